"""FIELD=VALUE, FIELD=A,B and FIELD=A..B as a person types them: the text becomes values of the field's type.

Errors give the column of the mistake in the whole of it, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from imgvec.dates import Span
from imgvec.errors import FilterError
from imgvec.filters.expressions import Any, Filter, Scalar
from imgvec.filters.fields import Fields, FieldType
from imgvec.filters.places import Field, field
from imgvec.filters.places import dynamic as dynamic_field

_ITEM = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>(?!\s*")[^,]*))(?P<comma>,|$)')
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DIGITS = 400
"""More than any number has that Milvus holds; Python itself refuses to read some thousands."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBERS = frozenset({"INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE"})
_DATES = FieldType("INT64", format="unix_ms")
_TRUTH = {"true": True, "false": False}


def equals_text(name: str, text: str, fields: Mapping[str, FieldType], *, dynamic: bool = False) -> Filter:
    """The filter for `name=text`, where the field's type says what `text` is.

    An ARRAY field matches rows that contain the value. With `dynamic`, a name that is not declared is a key of the
    dynamic field, and text that can also be read as a number or truth value matches that too.

    Raises:
        FilterError: no such field, a JSON field, or text that is not a value of the field's type.
    """
    declared = _declared(name, fields, dynamic)
    with _column(len(name) + 2):
        if declared is None:
            return _equals_dynamic(name, text)
        value = _one(name, text, declared)
    return field(name).contains(value) if declared.type == "ARRAY" else field(name) == value


def in_text(name: str, text: str, fields: Mapping[str, FieldType], *, dynamic: bool = False) -> Filter:
    """The filter for `name=A,B`: a row whose field equals one of the values, each read as `equals_text` does.

    A value with a comma stands in double quotes, within which a double quote is doubled. An ARRAY field matches rows
    that contain one of the values.

    Raises:
        FilterError: as `equals_text`, or a quote that does not close.
    """
    declared = _declared(name, fields, dynamic)
    start = len(name) + 2
    found: list[Filter] = []
    values: list[Scalar] = []
    for column, item in _items(text, start):
        with _column(column):
            if declared is None:
                found.append(_equals_dynamic(name, item))
            else:
                values.append(_one(name, item, declared))
    if declared is None:
        return Any(tuple(found))
    return field(name).contains_any(values) if declared.type == "ARRAY" else field(name).in_(values)


def _items(text: str, column: int) -> Iterator[tuple[int, str]]:
    """The values between commas, each with its column; the text begins at `column`."""
    at = 0
    while True:
        match = _ITEM.match(text, at)
        if match is None:
            raise FilterError(
                f"the double quote at column {column + at} does not close before a comma or the end: write "
                f'a,"b, c", and "" for a double quote within'
            )
        quoted, plain = match.group("quoted", "plain")
        yield (
            column + match.start("quoted" if plain is None else "plain"),
            (plain.strip() if quoted is None else quoted.replace('""', '"')),
        )
        at = match.end()
        if not match["comma"]:
            return


@contextmanager
def _column(column: int) -> Iterator[None]:
    """Say where it is, of what is wrong with a value."""
    try:
        yield
    except FilterError as exc:
        raise FilterError(f"{exc} (column {column})") from None


def _declared(name: str, fields: Mapping[str, FieldType], dynamic: bool) -> FieldType | None:
    """The field, or None for a key of the dynamic field."""
    declared = fields.get(name)
    if declared is None:
        with _column(1):
            Fields(fields, dynamic).check_key(name)
    return declared


def _one(name: str, text: str, declared: FieldType) -> Scalar:
    if declared.is_date:
        _when(name, text, declared)
        return text
    if declared.type == "JSON":
        raise FilterError(f"{name!r} holds a JSON object, which cannot equal a single value: use an expression")
    return _value(name, text, str(declared.element) if declared.type == "ARRAY" else declared.type)


def range_text(name: str, text: str, fields: Mapping[str, FieldType], *, dynamic: bool = False) -> Filter:
    """The filter for `name=A..B`: from A up to and with B, of which one may be left out.

    Numbers, and dates: the whole of the day, month or year that B names. With `dynamic`, a name that is not declared
    is a key of the dynamic field, where dates are Unix milliseconds.

    Raises:
        FilterError: no such field, a field of another type, an end that is not a value of it, or A beyond B.
    """
    declared = _declared(name, fields, dynamic)
    start = len(name) + 2
    if declared is not None and not declared.is_date and declared.type not in _NUMBERS:
        raise FilterError(f"{name!r} holds {declared}, but ranges need numbers or dates: use an expression (column 1)")
    low, dots, high = text.partition("..")
    columns = (start, start + len(low) + len(dots) + len(high) - len(high.lstrip()))
    low, high = low.strip(), high.strip()
    if not dots or not (low or high):
        raise FilterError(
            f"{text!r} is not a range for {name!r}: write A..B, A.. or ..B, as in 2024-01..2024-03 (column {start})"
        )
    ends: list[Span | int | float | None] = []
    for each, column in zip((low, high), columns, strict=True):
        with _column(column):
            ends.append(_end(name, each, declared) if each else None)
    first = ends[0].start if isinstance(ends[0], Span) else ends[0]
    last = ends[1].end - 1 if isinstance(ends[1], Span) else ends[1]
    if first is not None and last is not None and first > last:
        raise FilterError(f"the range {text!r} for {name!r} is empty: {low} comes after {high} (column {start})")
    place: Field = dynamic_field(name) if declared is None else field(name)
    parts = [place >= ends[0]] if low else []
    parts += [place <= ends[1]] if high else []
    return parts[0] if len(parts) == 1 else parts[0] & parts[1]


def _end(name: str, text: str, declared: FieldType | None) -> Span | int | float:
    if declared is not None and declared.is_date:
        return _when(name, text, declared)
    if declared is None and not _NUMBER.fullmatch(text):
        return _when(name, text, _DATES)
    if declared is None:
        return _number(name, text)
    found = _value(name, text, declared.type)
    assert isinstance(found, int | float)  # a range is of numbers
    return found


def _when(name: str, text: str, declared: FieldType) -> Span | int:
    try:
        return declared.when(text)
    except ValueError as exc:
        raise FilterError(f"{name!r} holds dates, and {text!r} {exc}") from None


def _equals_dynamic(name: str, text: str) -> Filter:
    place: Field = dynamic_field(name)
    same_text = place == text
    if text in _TRUTH:
        return same_text | (place == _TRUTH[text])
    if _NUMBER.fullmatch(text) and len(text) <= _DIGITS:
        return same_text | (place == _number(name, text))
    return same_text


def _number(name: str, text: str) -> int | float:
    if len(text) > _DIGITS:
        raise FilterError(f"{name!r}: a number with {len(text):,} digits is too large for Milvus")
    return int(text) if _INTEGER.fullmatch(text) else float(text)


def _value(name: str, text: str, type_: str) -> Scalar:
    if type_ == "VARCHAR":
        return text
    if type_ == "BOOL" and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if type_.startswith("INT") and _INTEGER.fullmatch(text):
        return _number(name, text)
    if type_ in {"FLOAT", "DOUBLE"} and _NUMBER.fullmatch(text):
        return float(text)
    raise FilterError(f"{text!r} is not a valid value for the field {name!r}, which holds {type_}")
