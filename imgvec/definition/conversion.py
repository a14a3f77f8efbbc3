"""Metadata values as the type of the field that was declared for them."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from imgvec import dates, geometry
from imgvec.definition.fields import FieldSection
from imgvec.definition.values import is_absent, plain, python, shown
from imgvec.plurals import counted
from imgvec.rows import MAX_JSON_BYTES

_INTEGER_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
_TRUTH = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_WHOLE = re.compile(r"[+-]?\d+(?:\.0*)?")
"""A column of integers is one of floats once a cell is missing: 3 is written 3.0."""

_SPELLINGS: Mapping[str, Callable[[Any], str]] = {
    "TIMESTAMPTZ": lambda value: dates.moment(dates.span(value).start),
    "GEOMETRY": geometry.wkt,
}
"""Of values that are text to Milvus, the one spelling that is stored; each raises `ValueError`."""


def convert(name: str, declared: FieldSection, value: Any) -> Any:
    """`value` as the declared type, as it is read back; text is read as what it spells, since CSV has nothing else.

    Values of data frames and Arrow are read as what they mean (`imgvec.definition.values`), dates of every form as Unix
    milliseconds where the field holds these (`imgvec.dates`), and in a TIMESTAMPTZ as ISO 8601 in UTC, to the
    millisecond; a GEOMETRY is WKT (`imgvec.geometry`). An ARRAY in text is a JSON list, or items separated by `;`.
    Raises `ValueError`, in words for whoever wrote the value.
    """
    if declared.type == "ARRAY":
        items = _items(name, value)
        if len(items) > declared.capacity:
            raise ValueError(
                f"{name} has {counted(len(items), 'item')}, but the definition allows at most {declared.capacity}"
            )
        return [_item(f"{name}[{i}]", declared, item) for i, item in enumerate(items)]
    value = python(value)
    if declared.type == "JSON":
        return _json_object(name, value)
    if declared.format == "unix_ms":
        return _unix_ms(name, declared, value)
    if declared.type in _SPELLINGS:
        try:
            return _SPELLINGS[declared.type](value)
        except ValueError as exc:
            raise ValueError(f"{name} = {shown(value)} {exc}") from None
    return _scalar(name, declared.type, value, declared)


def shortened(text: str, most: int) -> str:
    """`text`, or as many whole words of it as `most` bytes of UTF-8 hold; of a longer first word its beginning."""
    data = text.encode()
    if len(data) <= most:
        return text
    kept = data[:most].decode(errors="ignore")
    return (kept if text[len(kept)] == " " else kept.rpartition(" ")[0] or kept).rstrip()


def is_missing(declared: FieldSection, value: Any) -> bool:
    """Whether a cell says nothing of the field: an empty text does not, but for a VARCHAR, where it is one."""
    if isinstance(value, str):
        if value and declared.type not in ("FLOAT", "DOUBLE"):
            return False
        if value.strip().lower() == "nan":
            return True  # as some write a missing number to CSV
        return not value and (declared.type != "VARCHAR" or declared.required)
    return is_absent(value)


def _item(name: str, declared: FieldSection, item: Any) -> Any:
    if is_absent(item):
        raise ValueError(f"{name} is missing, but lists in Milvus cannot have gaps: leave the item out")
    return _scalar(name, str(declared.element_type), python(item), declared)


def _scalar(name: str, type_name: str, value: Any, declared: FieldSection) -> Any:
    if type_name == "VARCHAR":
        return _text(name, value, declared.text_bytes)
    if type_name == "BOOL":
        found = value if isinstance(value, bool) else _TRUTH.get(str(value).strip().lower())
        if not isinstance(found, bool):
            raise ValueError(f"{name} = {shown(value)} is neither true nor false")
        return found
    if isinstance(value, bool):
        raise ValueError(f"{name} = {value!r} does not fit {type_name}")
    if type_name in _INTEGER_BITS:
        return _integer(name, type_name, value)
    try:
        if not isinstance(value, int | float | str) or (isinstance(value, str) and "_" in value):
            raise TypeError
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} = {shown(value)} is not a finite {type_name}") from None
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {shown(value)} is not a number") from None
    # FLOAT is 32 bits wide: a larger number would be stored as infinity
    if not math.isfinite(number) or (type_name == "FLOAT" and abs(number) > 3.4028235e38):
        raise ValueError(f"{name} = {shown(value)} is not a finite {type_name}")
    # as it will be read back, so that the same metadata compares equal next time
    return float(struct.unpack("f", struct.pack("f", number))[0]) if type_name == "FLOAT" else number


def _integer(name: str, type_name: str, value: Any) -> int:
    whole: int | None = None
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        whole = int(value)
    elif isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        digits = value.strip().partition(".")[0]
        whole = int(digits) if len(digits) < 100 else 10**100  # beyond any type; Python refuses to read thousands
    if whole is None:
        raise ValueError(f"{name} = {shown(value)} is not an integer")
    bound = 2 ** (_INTEGER_BITS[type_name] - 1)
    if not -bound <= whole < bound:
        raise ValueError(f"{name} = {shown(value)} does not fit {type_name}")
    return whole


def _unix_ms(name: str, declared: FieldSection, value: Any) -> int:
    try:
        return dates.span(value).start
    except ValueError as exc:
        # the number that stands for "nobody knows" need not be a plausible date
        if isinstance(declared.default, int) and str(value).strip() in (f"{declared.default}", f"{declared.default}.0"):
            return declared.default
        raise ValueError(f"{name} = {shown(value)} {exc}") from None


def _text(name: str, value: Any, most: int) -> str:
    if isinstance(value, date):
        value = value.isoformat()
    elif type(value) is int:
        value = shown(value)
    elif type(value) is not str and dates.is_date(value):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name} = {shown(value)} is not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name} = {shown(value)} is not Unicode text") from None
    if size > most:
        raise ValueError(f"{name} is {size} bytes long in UTF-8, but the definition allows at most {most}")
    return value


def _items(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return [item.strip() for item in value.split(";") if item.strip()]
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"{name} is not a JSON list: {exc}") from None
    value = python(value)
    if not isinstance(value, list):
        raise ValueError(f"{name} = {shown(value)} is not a list")
    return value


def _json_object(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"{name} is not JSON: {exc}") from None
    # a bare string or number breaks Milvus Lite's results, and a server refuses it
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} = {shown(value)} is not a JSON object")
    found: dict[str, Any] = plain(name, value)
    check_size(name, found)
    return found


def check_size(name: str, value: Mapping[str, Any]) -> None:
    """Raise `ValueError` if plain JSON is longer than Milvus takes."""
    size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{name} is {size} bytes of JSON, but Milvus accepts at most {MAX_JSON_BYTES}")
