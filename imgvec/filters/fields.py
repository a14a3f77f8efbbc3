"""What a collection's fields are, and how a name or a value of theirs is written in a Milvus expression."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from imgvec.dates import Span, span
from imgvec.errors import FilterError
from imgvec.filters.dialect import EVERY, EVERYWHERE, LITE_FUNCTIONS, SINCE, Dialect
from imgvec.filters.expressions import Path, Scalar
from imgvec.meant import suggestion

INT_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
SMALL_INTEGERS = ("INT8", "INT16", "INT32")
"""That a 64-bit float holds without loss."""
FLOATS = {"FLOAT", "DOUBLE"}
_SCALARS = {*INT_BITS, *FLOATS, "BOOL", "VARCHAR", "TIMESTAMPTZ"}
LARGEST = {"FLOAT": 3.4028234663852886e38, "DOUBLE": 1.7976931348623157e308}
"""Of the finite floats of a type."""
_MAX_INT = 2**63 - 1  # and the least is its negative: Milvus 2.3 cannot read -2**63

# Words that Milvus or Milvus Lite reads as something other than a name, in lower case. Functions are listed apart.
KEYWORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "exists", "true", "false", "iso", "interval"})
FUNCTIONS = EVERYWHERE | LITE_FUNCTIONS | SINCE.keys()
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class FieldType:
    """A scalar field's type, in Milvus's own names.

    `type` is BOOL, INT8, INT16, INT32, INT64, FLOAT, DOUBLE, VARCHAR, JSON, ARRAY, TIMESTAMPTZ or GEOMETRY, and
    `element` the type of an ARRAY's elements. `max_length` (of VARCHAR) is carried for those who read a field's
    type; a filter may ask for longer text, which no row has. An INT64 of the `format` unix_ms holds dates, and is
    asked for them; `unknown` is the number in it that stands for none. `match` says that Milvus looks for words in
    a VARCHAR.
    """

    type: str
    element: str | None = None
    nullable: bool = False
    max_length: int | None = None
    format: str | None = None
    unknown: int | None = None
    match: bool = False

    @property
    def is_date(self) -> bool:
        return self.format == "unix_ms" or self.type == "TIMESTAMPTZ"

    def when(self, value: object) -> Span | int:
        """What `value` means to a date field: a date, or a number of milliseconds as it is; raises `ValueError`.

        Text that spells a number is that number. To a TIMESTAMPTZ that number is a date.
        """
        if self.type == "TIMESTAMPTZ":
            return value if isinstance(value, Span) else span(value)
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, int) and value == self.unknown:
            return value
        found = value if isinstance(value, Span) else span(value)
        return value if isinstance(value, int) and (found.start, found.end) == (value, value + 1) else found

    def __str__(self) -> str:
        detail = f"({self.max_length})" if self.max_length else f"<{self.element}>" if self.element else ""
        detail = " of Unix ms" if self.format else detail
        return self.type + detail + (" or null" if self.nullable else "")


@dataclass(frozen=True)
class Operand:
    """A place as Milvus reads it: `text`, holding values of `type`.

    `open` says that a row may have no value there, or (in JSON) one of another kind.
    """

    text: str
    type: str
    nullable: bool = False
    open: bool = False
    element: str | None = None
    date: FieldType | None = None
    """The field, where it holds dates."""
    match: bool = False
    """Milvus looks for words in it."""


@dataclass(frozen=True)
class Fields:
    """The fields that a filter may name, whether the collection has a dynamic field, and what its backend reads."""

    types: Mapping[str, FieldType]
    dynamic: bool
    dialect: Dialect = EVERY

    def operand(self, path: Path) -> Operand:
        """The place that `path` names; FilterError if there is none."""
        if path.dynamic:
            self.check_key(path.name)
            return Operand(key_reference(path.name) + _subscripts(path.keys), "JSON", open=True)
        declared = self.types.get(path.name)
        if declared is None:
            raise self.unknown(path.name, f"dynamic({path.name!r})")
        if not is_identifier(path.name):
            raise FilterError(f"the field {path.name!r} cannot be written in a Milvus expression")
        if declared.type not in {*_SCALARS, "JSON", "ARRAY", "GEOMETRY"}:
            raise FilterError(f"the field {path.name!r} holds {declared.type}, which filters cannot search")
        text = path.name + _subscripts(path.keys)
        if not path.keys:
            date = declared if declared.is_date else None
            return Operand(
                text, declared.type, declared.nullable, element=declared.element, date=date, match=declared.match
            )
        if declared.type == "JSON":
            return Operand(text, "JSON", open=True)
        if declared.type == "ARRAY" and len(path.keys) == 1 and isinstance(path.keys[0], int):
            return Operand(text, str(declared.element), open=True)
        raise FilterError(
            f"{path}: the field {path.name!r} holds {declared.type}; only JSON has keys, and only ARRAY has positions"
        )

    def check_key(self, key: str) -> None:
        """FilterError unless `key` can be a key of the dynamic field."""
        if not self.dynamic:
            raise self.unknown(key)
        if key in self.types:
            raise FilterError(f"{key!r} is a declared field, not a key of the dynamic field: name it directly")
        if not key or "\0" in key:
            raise FilterError(f"{key!r} cannot be a key of the dynamic field: it is empty or contains NUL")

    def unknown(self, name: str, dynamic_form: str = "", column: int = 0) -> FilterError:
        """The error for a name that is not a field; `dynamic_form` is how a dynamic key of that name is written."""
        place = f" at column {column}" if column else ""
        message = f"no field {name!r}{place}{suggestion(name, self.types)} (fields: {', '.join(self.types) or 'none'})"
        if dynamic_form and self.dynamic:
            message += f"; a key of the dynamic field is written {dynamic_form}"
        return FilterError(message)


def is_identifier(name: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and name.lower() not in KEYWORDS | FUNCTIONS


def key_reference(key: str) -> str:
    """A key of the dynamic field.

    A bare name where it can be one: Milvus Lite accepts `$meta["x"]` neither before `in` nor within json_contains.
    """
    return key if is_identifier(key) else f"$meta[{text_literal(key)}]"


def _subscripts(keys: tuple[str | int, ...]) -> str:
    return "".join(f"[{text_literal(key) if isinstance(key, str) else key}]" for key in keys)


def check_characters(text: str) -> None:
    """FilterError if `text` cannot be encoded, and so neither sent nor stored."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise FilterError(f"{text!r} contains a lone surrogate, which is not a character") from exc


def text_literal(text: str) -> str:
    """The one form that every backend reads back exactly."""
    check_characters(text)
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return f'"{text}"'


def literal(value: Scalar, type_: str, place: str) -> str:
    """`value` as a literal to compare with what `place` holds, values of the Milvus type `type_`.

    Raises:
        FilterError: the value is of another kind, or outside the type's range.
    """
    if isinstance(value, Span):
        raise FilterError(f"{place} holds {type_}, which cannot be compared with the date {value!r}")
    if isinstance(value, bool):
        fits, text = type_ in {"BOOL", "JSON"}, "true" if value else "false"
    elif isinstance(value, str):
        fits, text = type_ in {"VARCHAR", "JSON"}, text_literal(value)
    elif type_ in FLOATS:
        fits, text = True, _float_literal(value, type_, place)
    elif isinstance(value, float):
        fits, text = type_ == "JSON", repr(value)
    else:
        fits, text = type_ == "JSON" or type_ in INT_BITS, str(value)
        low, high = int_range(type_)
        if fits and not low <= value <= high:
            raise FilterError(f"{place}: {value} is outside {low} to {high}, the range of {type_}")
    if not fits:
        raise FilterError(f"{place} holds {type_}, which cannot be compared with {value!r} ({type(value).__name__})")
    return text


def int_range(type_: str) -> tuple[int, int]:
    """The least and the greatest whole number of a type that can be compared with."""
    high = 2 ** (INT_BITS.get(type_, 64) - 1) - 1
    return (-high if high == _MAX_INT else -high - 1), high


def _float_literal(value: float, type_: str, place: str) -> str:
    try:
        number = float(value)  # an integer literal would lose digits on one backend and be refused by the other
        if type_ == "FLOAT":
            # Milvus compares in 32 bits and Milvus Lite in 64: the 32-bit value, written exactly, suits both.
            (number,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError as exc:
        raise FilterError(f"{place}: {value} is larger than {type_} can hold") from exc
    return repr(number)
