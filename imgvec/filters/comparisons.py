"""Comparisons of a field with plain values within a raw expression: checked, and written so that backends agree.

    taken_at >= "2024-06-01"      a date field and a date: Unix milliseconds
    x == 0.1                      a FLOAT field: the 32-bit number that is nearest, which is what it stores
    n < 2.5, n == 2.0             an INT field: a whole number, since Milvus 2.3 compares with no other
    1 < n < 3                     (1 < n and n < 3), which Milvus Lite does not read in one

Whatever is not such a comparison (arithmetic, functions, keys of JSON) is left to the backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

from imgvec.dates import Span
from imgvec.errors import FilterError
from imgvec.filters.expressions import Operator, Path, Scalar
from imgvec.filters.fields import FLOATS, INT_BITS, Fields, FieldType, literal
from imgvec.filters.negation import Negation
from imgvec.filters.tokens import YEAR, Token, in_tens, text_of, unquoted

_ORDER = ("==", "!=", "<", "<=", ">", ">=")
_MIRRORED: dict[str, Operator] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^", "~"})
_WORDS = frozenset({"and", "or", "not", "in", "(", "[", ",", "&&", "||", "!", *_ORDER})
"""After which a sign belongs to the number behind it."""
_BEYOND = 2**63


@dataclass(frozen=True, slots=True)
class _Value:
    """A plain value as written, from token to token."""

    value: Scalar
    text: str
    column: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class _Sent:
    """A comparison as it is sent, and whether that is another one than was written."""

    text: str
    changed: bool


Compare = Callable[[Path, Operator, Scalar, Negation], str]
"""Renders a comparison with a date as the typed filters do, as it is asked there."""
_Compare = Callable[[Path, Operator, Scalar], str]


def rewritten(
    tokens: Sequence[Token],
    significant: Sequence[int],
    words: list[str],
    asked: Sequence[Negation],
    fields: Fields,
    compare: Compare,
) -> None:
    """Put into `words`, the tokens' text, what is to be sent for each comparison of a field with plain values.

    `significant` are the places of the tokens that are not spaces, and `asked` the `negations` of these. Raises
    `FilterError`, with the column, for a value that the field does not hold.
    """
    view = _View(tokens, significant)
    for place in range(len(significant)):
        token = view[place]
        if token.kind != "name" or token.text not in fields.types or view.text(place + 1) in ("(", "["):
            continue
        _rewrite(view, place, words, fields.types[token.text], partial(_as_asked, compare, asked[place]))


def _as_asked(compare: Compare, asked: Negation, path: Path, operator: Operator, value: Scalar) -> str:
    return compare(path, operator, value, asked)


class _View:
    """The tokens without spaces; beyond the ends there is an empty one."""

    def __init__(self, tokens: Sequence[Token], significant: Sequence[int]) -> None:
        self._tokens, self.significant = tokens, significant

    def __getitem__(self, place: int) -> Token:
        return self._tokens[self.significant[place]]

    def text(self, place: int) -> str:
        return self[place].text.lower() if 0 <= place < len(self.significant) else ""

    def value(self, place: int, step: Literal[1, -1]) -> _Value | None:
        """The plain value that begins at `place`, or ends there; None if it is part of something larger."""
        if not 0 <= place < len(self.significant):
            return None
        token = self[place]
        first = last = place
        sign = ""
        if step == 1 and token.text in ("+", "-"):
            sign, last = token.text, place + 1
            if not last < len(self.significant):
                return None
            token = self[last]
        elif step == -1 and self.text(place - 1) in ("+", "-") and token.kind == "number":
            sign, first = self.text(place - 1), place - 1
            if first and (self[first - 1].kind in ("number", "string", "close") or self.text(first - 1) not in _WORDS):
                return None  # a difference
        if token.kind == "string" and self.text(place - 1) in ("iso", "interval"):
            return None  # Milvus's own moment or duration
        if self.text(last + 1) in _ARITHMETIC or self.text(first - 1) in _ARITHMETIC:
            return None
        read = _read(token, sign)
        column = self[first].column
        return None if read is None else _Value(read, sign + in_tens(token.text), column, first, last)


def _read(token: Token, sign: str) -> Scalar | None:
    if token.kind == "string" and not sign:
        return text_of(token)
    if token.kind == "number":
        if token.text[:2].lower() == "0x":
            return int(sign + token.text, 16)
        if token.text.isdecimal():
            # Python does not read thousands of digits
            return int(sign + token.text) if len(token.text) < 100 else _BEYOND
        return float(sign + token.text)
    if token.kind == "name" and token.text.lower() in ("true", "false") and not sign:
        return token.text.lower() == "true"
    return None


def _rewrite(view: _View, place: int, words: list[str], kind: FieldType, compare: _Compare) -> None:
    """One field's comparisons: with what stands before it, behind it, or in a list."""
    name = view[place].text
    if view.text(place - 1) in _ARITHMETIC or view.text(place + 1) in _ARITHMETIC:
        return
    negated = view.text(place + 1) == "not"
    if view.text(place + 1 + negated) == "in" and view.text(place + 2 + negated) == "[":
        _rewrite_list(view, place, place + 2 + negated, words, kind, compare, negated)
        return
    before = view.text(place - 1) in _ORDER
    behind = view.text(place + 1) in _ORDER
    left = view.value(place - 2, -1) if before else None
    right = view.value(place + 2, 1) if behind else None
    if behind and right is None:
        _check_sum(view, place, kind)
    if (before and left is None) or (behind and right is None):
        return  # compared with something else as well
    parts = []
    if left is not None:
        parts.append(_comparison(name, _MIRRORED[view.text(place - 1)], left, kind, compare))
    if right is not None:
        parts.append(_comparison(name, cast(Operator, view.text(place + 1)), right, kind, compare))
    if len(parts) == 2 or any(each.changed for each in parts):
        first, last = left.first if left else place, right.last if right else place
        _put(view, words, first, last, parts[0].text if len(parts) == 1 else f"({' and '.join(p.text for p in parts)})")
    if parts:
        _bracket(view, words, left.first if left else place, right.last if right else place)


def _check_sum(view: _View, place: int, kind: FieldType) -> None:
    """A year and what looks like a month after a date field: surely not meant as a subtraction."""
    if kind.is_date and view.text(place + 3) in ("-", "/") and YEAR.fullmatch(view.text(place + 2)):
        found = "".join(view.text(at) for at in range(place + 2, place + 5))
        raise unquoted(found, view[place + 2].column)


def _rewrite_list(
    view: _View, place: int, opening: int, words: list[str], kind: FieldType, compare: _Compare, negated: bool
) -> None:
    name, found = view[place].text, []
    at = opening + 1
    while view.text(at) not in ("]", ""):
        value = view.value(at, 1)
        if value is None or view.text(value.last + 1) not in (",", "]"):
            return
        found.append(value)
        at = value.last + 1 + (view.text(value.last + 1) == ",")
    if view.text(at) != "]":
        return
    checked = [_checked(name, each, kind, whole=True) for each in found]
    if any(isinstance(each, Span) for each in checked):
        parts = [compare(Path(name), "!=" if negated else "==", each) for each in checked]
        _put(view, words, place, at, f"({(' and ' if negated else ' or ').join(parts)})")
        return
    for value, each in zip(found, checked, strict=True):
        _put(view, words, value.first, value.last, _written(value, each, kind))
    _bracket(view, words, place, at)


def _bracket(view: _View, words: list[str], first: int, last: int) -> None:
    """`not n < 3` as `not (n < 3)`: Milvus 2.3 takes it for `(not n) < 3`."""
    if view.text(first - 1) in ("not", "!"):
        start, end = view.significant[first], view.significant[last]
        words[start] = "(" + words[start]
        words[end] += ")"


def _put(view: _View, words: list[str], first: int, last: int, text: str) -> None:
    start, end = view.significant[first], view.significant[last]
    words[start : end + 1] = [text, *[""] * (end - start)]


def _comparison(name: str, operator: Operator, value: _Value, kind: FieldType, compare: _Compare) -> _Sent:
    checked = _checked(name, value, kind, whole=operator in ("==", "!="))
    if isinstance(checked, Span):
        return _Sent(compare(Path(name), operator, checked), changed=True)
    if kind.type in INT_BITS and isinstance(checked, float):
        # below 2.5 are the whole numbers up to 2
        below = operator in ("<", "<=")
        whole = math.floor(checked) if below else math.ceil(checked)
        return _Sent(f"{name} {'<=' if below else '>='} {whole}", changed=True)
    text = _written(value, checked, kind)
    return _Sent(f"{name} {operator} {text}", changed=text != value.text)


def _written(value: _Value, checked: Scalar, kind: FieldType) -> str:
    """The value as it is sent: as it was written, unless the field holds another one."""
    if kind.type == "FLOAT":
        sent = literal(checked, "FLOAT", value.text)
        return value.text if float(sent) == value.value else sent
    if isinstance(value.value, bool):
        return value.text.lower()
    return str(checked) if type(checked) is not type(value.value) else value.text


def _checked(name: str, value: _Value, kind: FieldType, *, whole: bool) -> Scalar:
    """The value as the field's kind; with `whole`, an INT field's must be a whole number."""
    given = value.value
    number = isinstance(given, int | float) and not isinstance(given, bool)
    if isinstance(given, int) and not -_BEYOND < given < _BEYOND:
        raise _unfit(name, value, kind, "an integer has 64 bits")
    if kind.is_date and (isinstance(given, str) or number):
        return _date(name, value, kind)
    if kind.type == "GEOMETRY":
        raise _unfit(name, value, kind, f"write st_intersects({name}, {value.text})")
    if kind.type == "ARRAY":
        raise _unfit(name, value, kind, f"write array_contains({name}, {value.text})")
    if kind.type == "JSON":
        raise _unfit(name, value, kind, f'name the key, as in {name}["key"]')
    if kind.type in INT_BITS and isinstance(given, float):
        if given.is_integer() and abs(given) < _BEYOND:
            return int(given)
        if whole or not math.isfinite(given) or abs(given) >= _BEYOND:
            raise _unfit(name, value, kind, "it holds only whole numbers")
        return given
    fits = {"VARCHAR": isinstance(given, str), "BOOL": isinstance(given, bool)}
    if not fits.get(kind.type, number and kind.type in {*INT_BITS, *FLOATS}):
        raise _unfit(name, value, kind, "")
    return given


def _date(name: str, value: _Value, kind: FieldType) -> Scalar:
    try:
        return kind.when(value.value)
    except ValueError as exc:
        raise FilterError(f"{name} holds dates, and {value.text} at column {value.column} {exc}, in quotes") from None


def _unfit(name: str, value: _Value, kind: FieldType, what_to_do: str) -> FilterError:
    problem = f"{name} holds {kind}, which cannot be compared with {value.text} at column {value.column}"
    return FilterError(f"{problem}: {what_to_do}" if what_to_do else problem)
