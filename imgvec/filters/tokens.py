"""A Milvus expression as tokens, with their columns; dates that lack their quotes are told by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imgvec.errors import FilterError

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
    | (?P<string>"(?:[^"\\\r\n]|\\[^\r\n])*"|'(?:[^'\\\r\n]|\\[^\r\n])*')
    | (?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.]))
    | (?P<name>\$meta(?!\w)|[A-Za-z_][A-Za-z0-9_]*(?!\w))
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<operator>==|!=|<=|>=|=~|!~|&&|\|\||\*\*|<<|>>|[<>!+\-*/%,&|^~])
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[\w.$]+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt]\w*$|\b\d{4}\.\d{1,2}\.\d{1,2}$|\b\d{1,2}\.\d{1,2}\.\d{4}$")
YEAR, _PART = re.compile(r"\d{4}"), re.compile(r"\d{1,2}")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the expression; `column` counts from 1."""

    kind: str
    text: str
    column: int


def tokens(text: str) -> list[Token]:
    """The tokens of `text`, spaces among them; raises `FilterError` for a character that begins none."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unexpected(text, position)
        found.append(Token(str(match.lastgroup), match[0], position + 1))
        position = match.end()
    return found


def _unexpected(text: str, position: int) -> FilterError:
    word = _WORD.match(text, position)
    found = word[0] if word else text[position]
    # a time behind a date, a date with dots
    if date := _DATE.search(text[:position] + found):
        return unquoted(date[0], date.start() + 1)
    if found in "\"'":
        return FilterError(f"the string starting at column {position + 1} is not closed on its line")
    if found == "{":
        hint = "; write the values themselves: templates do not work on Milvus Lite or Milvus 2.3"
    elif found == "=":
        hint = "; did you mean '=='?"
    else:
        hint = ""
    return FilterError(f"unexpected {found!r} at column {position + 1} of the filter expression{hint}")


def closings(tokens: Sequence[Token]) -> dict[int, int]:
    """The place of the bracket that closes each, by that of the one that opens it; they are known to match."""
    opened, found = list[int](), dict[int, int]()
    for at, token in enumerate(tokens):
        if token.kind == "open":
            opened.append(at)
        elif token.kind == "close":
            found[opened.pop()] = at
    return found


def outermost(tokens: Sequence[Token], first: int, end: int) -> Iterator[int]:
    """The places from `first` up to `end` that no bracket encloses; the outermost brackets' own are among them."""
    depth = 0
    for at in range(first, end):
        depth -= tokens[at].kind == "close"
        if not depth:
            yield at
        depth += tokens[at].kind == "open"


def text_of(token: Token) -> str:
    """What a token in quotes says."""
    return re.sub(r"\\(.)", r"\1", token.text[1:-1])


def in_tens(number: str) -> str:
    """A whole number in decimal: 010 is 8 to a server and 10 to Milvus Lite, which does not know 0xa."""
    if number[:2].lower() == "0x":
        return str(int(number, 16)) if len(number) < 100 else number
    return number.lstrip("0") or "0" if number.isdecimal() else number


def number_of(token: Token) -> int | float | None:
    """The number that a token is; None where Milvus has none so large."""
    if token.text[:2].lower() == "0x":
        number: int | float = int(token.text, 16)
    elif token.text.isdecimal():
        # Python does not read thousands of digits
        number = int(token.text) if len(token.text) < 100 else math.inf
    else:
        number = float(token.text)
    fits = abs(number) < 2**63 if isinstance(number, int) else math.isfinite(number)
    return number if fits else None


def check_arithmetic(tokens: Sequence[Token]) -> None:
    """Refuse dates without quotes, which Milvus takes for sums: `2024-01-01` is 2022."""
    for at in range(len(tokens) - 4):
        year, first, month, second, day = tokens[at : at + 5]
        if (
            first.text in ("-", "/")
            and first.text == second.text
            and YEAR.fullmatch(year.text)
            and _PART.fullmatch(month.text)
            and _PART.fullmatch(day.text)
        ):
            found = "".join(token.text for token in tokens[at : at + 5])
            raise unquoted(found, year.column)


def unquoted(found: str, column: int) -> FilterError:
    """The error for a date that is written without quotes."""
    example = found if YEAR.match(found) and "T" not in found else "2024-06-01"
    return FilterError(
        f'{found} at column {column} is arithmetic in Milvus, not a date: put it in quotes, as in "{example}"'
    )
