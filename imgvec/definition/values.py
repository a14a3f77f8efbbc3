"""Values as data frames, Arrow and Python have them, as what Milvus can store: plain text, numbers, lists and objects.

A cell that is missing, in whichever way its library says so, is absent and not a value: None, NaN, NaT, pandas' NA.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from imgvec import dates

MAX_JSON_DEPTH = 64
"""Of objects and lists in each other; far below what JSON readers on either side of Milvus take."""
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_OWN = frozenset({str, int, float, bool, list})
_PRESENT = frozenset({str, int, bool, bytes, list, tuple, dict})
_SHOWN = 80
_MOST_DIGITS = 20


def is_absent(value: Any) -> bool:
    """Whether a cell holds no value."""
    if value is None:
        return True
    if type(value) in _PRESENT or isinstance(value, str | int | Mapping):
        return False
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):  # pandas' and NumPy's, not imported for it
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, float) or getattr(value, "shape", None) == ():  # NumPy's scalars have a shape, an empty one
        try:
            return bool(value != value)
        except (TypeError, ValueError):
            return False
    return False


def shown(value: Any) -> str:
    """`value` for a sentence: short, and with its type where that is not plain from how it looks."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {value.bit_length():,}-bit number"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def kind(value: Any) -> str:
    """The type's name, for a sentence."""
    return type(value).__name__


def plain(name: str, value: Any, *, depth: int = 0) -> Any:
    """`value` as JSON has it, so that it reads back equal: dates as Unix milliseconds, sets as sorted lists.

    What is missing within an object is left out; in a list it is null, since the others keep their places. `name` is
    the value's for errors, as `exif` or `exif.lens[2]`. Raises `ValueError` for what JSON or Milvus cannot hold.
    """
    if depth > MAX_JSON_DEPTH:
        raise ValueError(f"{name} is nested deeper than {MAX_JSON_DEPTH} levels")
    value = python(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(name, value)
    if type(value) is int:
        if not _LEAST <= value <= _GREATEST:
            raise ValueError(f"{name} = {shown(value)} does not fit the 64 bits of Milvus's integers: store it as text")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} = {value!r} is not a finite number")
        return value
    if isinstance(value, Mapping):
        return {
            _text(name, _key(name, key)): plain(f"{name}.{_key(name, key)}", each, depth=depth + 1)
            for key, each in value.items()
            if not is_absent(each)
        }
    if isinstance(value, list):
        return [
            None if is_absent(each) else plain(f"{name}[{i}]", each, depth=depth + 1) for i, each in enumerate(value)
        ]
    if dates.is_date(value):
        try:
            return dates.span(value).start
        except ValueError as exc:
            raise ValueError(f"{name} = {shown(value)} {exc}") from None
    raise ValueError(f"{name} = {shown(value)} has type {kind(value)}, which Milvus cannot store")


def python(value: Any) -> Any:
    """Other libraries' scalars and sequences as Python's own: NumPy, Arrow, Decimal, Path, UUID, sets; dates stay."""
    if type(value) in _OWN:
        return value  # most of all there are
    if isinstance(value, int | float | str | list) or dates.is_date(value):
        return _base(value)
    if isinstance(value, Decimal):
        # 10 is whole, and 10.00 is a number that happens to be; 1E+1000000 would be a million digits
        exponent = value.as_tuple().exponent
        return int(value) if isinstance(exponent, int) and 0 <= exponent <= _MOST_DIGITS else float(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, set | frozenset):
        items = [python(each) for each in value]
        try:
            return sorted(items)
        except TypeError:
            return sorted(items, key=lambda each: (kind(each), repr(each)))
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping | bytes | bytearray | memoryview | time | timedelta):
        return value
    for method in ("as_py", "tolist", "to_list"):  # Arrow's, NumPy's and pandas', Polars'
        if callable(convert := getattr(value, method, None)):
            found = convert()
            if type(found) is not type(value):
                return python(found)
            real = getattr(getattr(found, "dtype", None), "kind", "") == "f"
            return float(found) if real else found  # NumPy's long numbers stay what they are
    return value


def _base(value: Any) -> Any:
    """Without a subclass's own ways: an enum that is text, a NumPy float64."""
    for base in (str, float):
        if isinstance(value, base) and type(value) is not base:
            return base.__str__(value) if base is str else float(value)
    return int(value) if isinstance(value, int) and type(value) not in (int, bool) else value


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} = {shown(value)} is not Unicode text") from None
    return value


def _key(name: str, key: Any) -> str:
    """A JSON object has text for keys; whole numbers become it."""
    if isinstance(key, str):
        return str(key)
    if hasattr(key, "__index__") and not isinstance(key, bool):
        return str(key.__index__())
    raise ValueError(f"{name} has the key {shown(key)}, but keys of a JSON object must be strings")
