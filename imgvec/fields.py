"""Declared scalar fields: what a definition says of one, and metadata values as its type."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from imgvec import catalog, dates
from imgvec.rows import MAX_ARRAY_ITEMS, MAX_JSON_BYTES, MAX_VARCHAR_BYTES
from imgvec.values import is_absent, plain, python, shown

_INTEGER_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
_TRUTH = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_WHOLE = re.compile(r"[+-]?\d+(?:\.0*)?")
"""A column of integers is one of floats once a cell is missing: 3 is written 3.0."""

FieldTypeName = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR", "JSON", "ARRAY"]
ElementTypeName = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR"]


class Section(BaseModel):
    # strict: a YAML string where a number belongs is a mistake to show, not to guess at
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FieldSection(Section):
    """One declared scalar field. A record that lacks it gets `default`, or null, or is refused where `required`."""

    type: FieldTypeName
    about: str = ""
    max_length: int | None = Field(default=None, ge=1, le=MAX_VARCHAR_BYTES)
    """Of a VARCHAR, or of the strings in an ARRAY, in UTF-8 bytes (what a server counts)."""
    element_type: ElementTypeName | None = None
    max_capacity: int | None = Field(default=None, ge=1, le=MAX_ARRAY_ITEMS)
    required: bool = False
    nullable: bool = False
    default: Any = None
    index: Annotated[str | None, BeforeValidator(lambda v: "AUTO" if v is True else None if v is False else v)] = None
    """A scalar index type, or AUTO for the best that the backend has."""
    index_params: dict[str, Any] = Field(default_factory=dict)
    format: Literal["unix_ms"] | None = None
    """An INT64 that holds Unix milliseconds; dates of every form are accepted for it, and asked for."""
    from_image: Literal["taken_at"] | None = None
    """Filled from the image where the metadata has nothing: `taken_at` is EXIF DateTimeOriginal in Unix ms."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        text = self.type == "VARCHAR" or self.element_type == "VARCHAR"
        if (self.type == "ARRAY") != (self.element_type is not None):
            raise ValueError("element_type belongs to an ARRAY, and an ARRAY needs it")
        if self.max_capacity is not None and self.type != "ARRAY":
            raise ValueError("max_capacity belongs to an ARRAY")
        if self.max_length is not None and not text:
            raise ValueError("max_length belongs to a VARCHAR, or an ARRAY of VARCHAR")
        if self.required and (self.nullable or self.default is not None):
            raise ValueError("a required field has neither a default nor nulls")
        if not self.required and not self.nullable and self.default is None:
            raise ValueError("say what a record without this field gets: required: true, nullable: true or a default")
        if (self.format or self.from_image) and self.type != "INT64":
            raise ValueError("format and from_image belong to an INT64")
        self._check_index()
        return self

    def _check_index(self) -> None:
        if self.index is None or self.index == "AUTO":
            if self.index_params:
                raise ValueError("index_params need an index type")
            return
        known = catalog.SCALAR_INDEXES.get(self.index)
        if known is None:
            raise ValueError(f"index {self.index!r} is none of AUTO, {', '.join(catalog.SCALAR_INDEXES)}")
        if self.type not in known.field_types:
            raise ValueError(f"index {self.index} takes {', '.join(known.field_types)}, not {self.type}")
        by_name = {p.name: p for p in known.params}
        for name, value in self.index_params.items():
            problem = by_name[name].problem(value) if name in by_name else f"{self.index} has no parameter {name}"
            if problem:
                raise ValueError(problem)
        grams = self.index_params
        if self.index == "NGRAM" and grams.get("min_gram", 2) > grams.get("max_gram", 3):
            raise ValueError("min_gram is the smaller of the two, or equal to max_gram")

    @property
    def text_bytes(self) -> int:
        """The longest string, in UTF-8 bytes."""
        return self.max_length or 1024

    @property
    def capacity(self) -> int:
        return self.max_capacity or 256


def convert(name: str, declared: FieldSection, value: Any) -> Any:
    """`value` as the declared type, as it is read back; text is read as what it spells, since CSV has nothing else.

    Values of data frames and Arrow are read as what they mean (`imgvec.values`), dates of every form as Unix
    milliseconds where the field holds these (`imgvec.dates`). An ARRAY in text is a JSON list, or items separated by
    `;`. Raises `ValueError`, in words for whoever wrote the value.
    """
    if declared.type == "ARRAY":
        items = _items(name, value)
        if len(items) > declared.capacity:
            raise ValueError(f"{name} has {len(items)} items, and the definition allows {declared.capacity}")
        return [_item(f"{name}[{i}]", declared, item) for i, item in enumerate(items)]
    value = python(value)
    if declared.type == "JSON":
        return _json_object(name, value)
    if declared.format == "unix_ms":
        return _unix_ms(name, declared, value)
    return _scalar(name, declared.type, value, declared)


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
        raise ValueError(f"{name} is missing, and a list has no empty places in Milvus: leave the item out")
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
        raise ValueError(f"{name} is {size} bytes long in UTF-8, and the definition allows {most}")
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
    """Raise `ValueError` where plain JSON is longer than Milvus takes."""
    size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{name} is {size} bytes of JSON, and Milvus takes {MAX_JSON_BYTES}")
