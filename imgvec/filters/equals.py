"""FIELD=VALUE as a person types it: the text becomes a value of the field's type."""

from __future__ import annotations

import re
from collections.abc import Mapping

from imgvec.errors import FilterError
from imgvec.filters.expressions import Field, Filter, Scalar, dynamic, field
from imgvec.filters.fields import Fields, FieldType

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUTH = {"true": True, "false": False}


def equals_text(name: str, text: str, fields: Mapping[str, FieldType], *, dynamic: bool = False) -> Filter:
    """The filter for `name=text`, where the field's type says what `text` is.

    An ARRAY field matches rows that contain the value. With `dynamic`, a name that is not declared is a key of the
    dynamic field, and text that can also be read as a number or truth value matches that too.

    Raises:
        FilterError: no such field, a JSON field, or text that is no value of the field's type.
    """
    declared = fields.get(name)
    if declared is None:
        return _equals_dynamic(name, text, Fields(fields, dynamic))
    if declared.type == "ARRAY":
        return field(name).contains(_value(name, text, str(declared.element)))
    if declared.type == "JSON":
        raise FilterError(f"{name!r} holds a JSON object, which one value cannot equal: write an expression instead")
    return field(name) == _value(name, text, declared.type)


def _equals_dynamic(name: str, text: str, fields: Fields) -> Filter:
    fields.check_key(name)
    place: Field = dynamic(name)
    same_text = place == text
    if text in _TRUTH:
        return same_text | (place == _TRUTH[text])
    if _NUMBER.fullmatch(text):
        return same_text | (place == (int(text) if _INTEGER.fullmatch(text) else float(text)))
    return same_text


def _value(name: str, text: str, type_: str) -> Scalar:
    if type_ == "VARCHAR":
        return text
    if type_ == "BOOL" and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if type_.startswith("INT") and _INTEGER.fullmatch(text):
        return int(text)
    if type_ in {"FLOAT", "DOUBLE"} and _NUMBER.fullmatch(text):
        return float(text)
    raise FilterError(f"{text!r} is no value for the field {name!r}, which holds {type_}")
