"""FIELD=VALUE and FIELD=A..B as a person types them: the text becomes a value of the field's type."""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgvec.dates import Span
from imgvec.errors import FilterError
from imgvec.filters.expressions import Filter, Scalar
from imgvec.filters.fields import Fields, FieldType
from imgvec.filters.places import Field, field
from imgvec.filters.places import dynamic as dynamic_field

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
    declared = fields.get(name)
    if declared is not None and declared.is_date:
        _when(name, text, declared)
        return field(name) == text
    if declared is None:
        return _equals_dynamic(name, text, Fields(fields, dynamic))
    if declared.type == "ARRAY":
        return field(name).contains(_value(name, text, str(declared.element)))
    if declared.type == "JSON":
        raise FilterError(f"{name!r} holds a JSON object, which cannot equal a single value: use an expression")
    return field(name) == _value(name, text, declared.type)


def range_text(name: str, text: str, fields: Mapping[str, FieldType], *, dynamic: bool = False) -> Filter:
    """The filter for `name=A..B`: from A up to and with B, of which one may be left out.

    Numbers, and dates: the whole of the day, month or year that B names. With `dynamic`, a name that is not declared
    is a key of the dynamic field, where dates are Unix milliseconds.

    Raises:
        FilterError: no such field, a field of another type, an end that is not a value of it, or A beyond B.
    """
    declared = fields.get(name)
    if declared is None:
        Fields(fields, dynamic).check_key(name)
    elif not declared.is_date and declared.type not in _NUMBERS:
        raise FilterError(f"{name!r} holds {declared}, but ranges need numbers or dates: use an expression")
    low, dots, high = text.partition("..")
    low, high = low.strip(), high.strip()
    if not dots or not (low or high):
        raise FilterError(f"{text!r} is not a range for {name!r}: write A..B, A.. or ..B, as in 2024-01..2024-03")
    ends = [_end(name, each, declared) if each else None for each in (low, high)]
    first = ends[0].start if isinstance(ends[0], Span) else ends[0]
    last = ends[1].end - 1 if isinstance(ends[1], Span) else ends[1]
    if first is not None and last is not None and first > last:
        raise FilterError(f"the range {text!r} for {name!r} is empty: {low} comes after {high}")
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


def _equals_dynamic(name: str, text: str, fields: Fields) -> Filter:
    fields.check_key(name)
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
