"""Check a Milvus boolean expression that a person wrote: its characters, its brackets and every name in it."""

from __future__ import annotations

import re

from imgvec.errors import FilterError
from imgvec.filters.comparisons import Compare, Token, check_arithmetic, rewritten, unquoted
from imgvec.filters.fields import FUNCTIONS, KEYWORDS, Fields, check_characters, key_reference
from imgvec.meant import suggestion

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
_CLOSING = {"(": ")", "[": "]"}


def checked(text: str, fields: Fields, *, max_depth: int, compare: Compare) -> str:
    """`text` in the form that every backend reads: keywords in lower case, dynamic keys by their bare name.

    Comparisons of a field with plain values are checked, and written so that backends agree (`comparisons`); `compare`
    renders those with dates.

    Raises:
        FilterError: a character, string or bracket does not belong where it stands, a name is not a field of the
            collection, or brackets nest deeper than `max_depth`. The message gives the column, from 1.
    """
    check_characters(text)
    tokens = _tokens(text)
    significant = [index for index, token in enumerate(tokens) if token.kind != "space"]
    if not significant:
        raise FilterError("the filter expression is empty; omit it to search all rows")
    _check_brackets(tokens, max_depth)
    words = [token.text for token in tokens]
    for place, index in enumerate(significant):
        if tokens[index].kind != "name":
            continue
        following = significant[place + 1 : place + 4]
        if tokens[index].text == "$meta":
            reference = _dynamic_key(tokens[index], [tokens[i] for i in following], fields)
            if reference is not None:
                words[index : following[-1] + 1] = [reference, *[""] * (following[-1] - index)]
        else:
            called = bool(following) and tokens[following[0]].text == "("
            words[index] = _name(tokens[index], called, fields)
    check_arithmetic(tokens)
    rewritten(tokens, significant, words, fields, compare)
    return "".join(words)


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unexpected(text, position)
        tokens.append(Token(str(match.lastgroup), match[0], position + 1))
        position = match.end()
    return tokens


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


def _check_brackets(tokens: list[Token], max_depth: int) -> None:
    opened: list[Token] = []
    for token in tokens:
        if token.kind == "open":
            opened.append(token)
            if len(opened) > max_depth:
                raise FilterError(f"the filter expression is nested too deeply at column {token.column}")
        elif token.kind == "close" and (not opened or _CLOSING[opened.pop().text] != token.text):
            raise FilterError(f"{token.text!r} at column {token.column} closes no bracket")
    if opened:
        raise FilterError(f"{opened[-1].text!r} at column {opened[-1].column} is never closed")


def _name(token: Token, called: bool, fields: Fields) -> str:
    if token.text.lower() in KEYWORDS:
        return token.text.lower()  # Milvus 2.3 knows them in lower case only
    if called:
        if token.text.lower() in FUNCTIONS:
            return token.text.lower()
        known = suggestion(token.text.lower(), FUNCTIONS)
        raise FilterError(f"there is no function {token.text!r} at column {token.column}{known}")
    if token.text not in fields.types:
        raise fields.unknown(token.text, f'$meta["{token.text}"]')
    return token.text


def _dynamic_key(token: Token, following: list[Token], fields: Fields) -> str | None:
    """The key in `$meta["key"]` as every backend reads it, or None to leave it as it is written."""
    if [t.kind for t in following] != ["open", "string", "close"] or following[0].text != "[":
        raise FilterError(f'$meta at column {token.column} needs a key in double quotes: $meta["key"]')
    key = following[1].text[1:-1]
    if "\\" in key:
        return None
    fields.check_key(key)
    return key_reference(key)
