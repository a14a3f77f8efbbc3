"""What a metadata value means for a declared field, told without the code that converts it.

`Meaning.values` are what may be stored: none where the value cannot be, several where two readings are fair. A value
of which `clear` is true must be stored; any other may be refused as well, in a sentence.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BITS = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Declared = Mapping[str, Any]


@dataclass(frozen=True)
class Meaning:
    values: tuple[Any, ...]
    clear: bool = False


IMPOSSIBLE = Meaning(())
ABSENT = object()
"""Among `values`: the value says nothing, and the field gets what a row without it gets."""


def absent(value: Any) -> bool:
    """Whether a table says nothing in this cell: null, or the NaN that data frames fill gaps with."""
    return (
        value is None or (isinstance(value, float | np.floating) and math.isnan(value)) or str(value) in ("NaT", "<NA>")
    )


def meaning(declared: Declared, value: Any) -> Meaning:
    kind = declared["type"]
    value = _python(value)
    if absent(value):
        return Meaning((ABSENT,), clear=True)
    if isinstance(value, str) and value.strip().lower() == "nan" and kind in ("FLOAT", "DOUBLE"):
        return Meaning((ABSENT,))
    if isinstance(value, str) and not value.strip() and kind != "VARCHAR":
        # a blank cell; the empty list and the empty object are no less fair
        return Meaning((ABSENT, *(([],) if kind == "ARRAY" else ())), clear=value == "")
    if isinstance(value, str) and value == "" and kind == "VARCHAR":
        return Meaning((ABSENT, ""), clear=not declared.get("required"))
    if kind == "ARRAY":
        return _list(declared, value)
    if kind == "JSON":
        return _object(value)
    if declared.get("format") == "unix_ms":
        return _moment(value)
    return _scalar(kind, value, declared)


def _python(value: Any) -> Any:
    """NumPy's scalars, also those with a shape, as Python's."""
    if isinstance(value, np.datetime64):
        return value.astype("M8[ms]").item()
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


def _scalar(kind: str, value: Any, declared: Declared) -> Meaning:
    if kind == "VARCHAR":
        return _text(value, declared.get("max_length") or 1024)
    if kind == "BOOL":
        return _truth(value)
    return _integer(kind, value) if kind in _BITS else _number(kind, value)


def _text(value: Any, most: int) -> Meaning:
    if isinstance(value, str):
        return Meaning((value,), clear=True) if _size(value) <= most else IMPOSSIBLE
    if isinstance(value, bool | list | tuple | dict | bytes):
        return Meaning(())  # spelled in too many ways to be guessed at
    if isinstance(value, int):
        return Meaning((str(value),)) if abs(value) < 10**50 and len(str(value)) <= most else IMPOSSIBLE
    if isinstance(value, float):
        return Meaning((repr(value), f"{value:g}", *((str(int(value)),) if value.is_integer() else ())))
    if isinstance(value, datetime | date):
        return Meaning((value.isoformat(), str(value)))
    return Meaning((str(value),))


def _size(text: str) -> float:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return math.inf


def _truth(value: Any) -> Meaning:
    if isinstance(value, bool):
        return Meaning((value,), clear=True)
    if isinstance(value, str):
        found = _TRUTHS.get(value.strip().lower())
        return IMPOSSIBLE if found is None else Meaning((found,), clear=value.lower() in ("true", "false"))
    return Meaning((bool(value),)) if isinstance(value, int | float | Decimal) and value in (0, 1) else IMPOSSIBLE


def _integer(kind: str, value: Any) -> Meaning:
    whole: int | None = None
    clear = False
    if isinstance(value, bool):
        return IMPOSSIBLE
    if isinstance(value, int):
        whole, clear = value, True
    elif isinstance(value, float | Decimal):
        whole = int(value) if math.isfinite(value) and value == int(value) else None
        clear = isinstance(value, float) and whole is not None and abs(whole) < 2**53
    elif isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d{1,400}", text):
            whole, clear = int(text), bool(re.fullmatch(r"-?[0-9]+", value))
        elif re.fullmatch(r"[+-]?[0-9]{1,18}\.0*", text):
            whole = int(text.partition(".")[0])
    bound = 2 ** (_BITS[kind] - 1)
    # the least of 64 bits: Milvus 2.3 cannot be asked for it
    return IMPOSSIBLE if whole is None or not -bound <= whole < bound else Meaning((whole,), clear)


def _number(kind: str, value: Any) -> Meaning:
    clear = isinstance(value, float | int)
    if isinstance(value, bool) or not isinstance(value, float | int | Decimal | str):
        return IMPOSSIBLE
    if isinstance(value, str):
        if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", value):
            return IMPOSSIBLE
        clear = bool(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value))
    try:
        number = float(value)
        if kind == "FLOAT":
            (number,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return IMPOSSIBLE
    return Meaning((number,), clear) if math.isfinite(number) else IMPOSSIBLE


def _moment(value: Any) -> Meaning:
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return Meaning(_milliseconds(aware), clear=1900 < value.year < 2100)
    if isinstance(value, date):
        return Meaning(_milliseconds(datetime(value.year, value.month, value.day, tzinfo=UTC)))
    if not isinstance(value, str):
        # whether so few milliseconds are a date at all is for the code to say
        whole = _integer("INT64", value).values
        return Meaning((*whole, *(_compact(str(whole[0])) if whole else ())))
    if found := re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d:\d\d)?)?", value
    ):
        return _iso(*found.groups())
    if re.fullmatch(r"[+-]?[0-9]{1,400}", value.strip()):
        return Meaning((*_integer("INT64", value).values, *_compact(value.strip().lstrip("+"))))
    if re.fullmatch(r"\d{4}-\d\d", value.strip()):
        return _iso(*value.strip().split("-"), "01")
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return IMPOSSIBLE
    return Meaning(_milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))


def _iso(year: str, month: str, day: str, *time: str | None) -> Meaning:
    hour, minute, second, fraction, zone = [*time, None, None, None, None, None][:5]
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
    except ValueError:
        # 24:00 is the next day's start
        return Meaning(_iso_midnight(year, month, day)) if hour == "24" else IMPOSSIBLE
    moment += timedelta(microseconds=int((fraction or "0").ljust(6, "0")))
    if zone and zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        if shift >= timedelta(days=1) or int(zone[4:]) > 59:
            return IMPOSSIBLE
        try:
            moment += shift if zone[0] == "-" else -shift
        except OverflowError:
            return IMPOSSIBLE
    return Meaning(_milliseconds(moment), clear=1900 < moment.year < 2100)


def _compact(digits: str) -> tuple[int, ...]:
    """A year, a day or a second without signs between: 2024, 20240601, 20240601101112."""
    found = re.fullmatch(r"(\d{4})(?:(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?)?", digits)
    return _iso(found[1], found[2] or "01", found[3] or "01", *found.groups()[3:]).values if found else ()


def _iso_midnight(year: str, month: str, day: str) -> tuple[int, ...]:
    try:
        return _milliseconds(datetime(int(year), int(month), int(day), tzinfo=UTC) + timedelta(days=1))
    except (ValueError, OverflowError):
        return ()


def _milliseconds(moment: datetime) -> tuple[int, ...]:
    """Down and up where there are microseconds."""
    since = moment - _EPOCH
    low = since // timedelta(milliseconds=1)
    return (low, low + 1) if since % timedelta(milliseconds=1) else (low,)


def _list(declared: Declared, value: Any) -> Meaning:
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return IMPOSSIBLE
            items, clear = value, False
        else:
            items, clear = [item.strip() for item in value.split(";") if item.strip()], True
    elif isinstance(value, list | tuple):
        items, clear = list(value), isinstance(value, list)
    elif isinstance(value, set | frozenset | range):
        items, clear = sorted(value, key=repr), False
    elif isinstance(value, np.ndarray) and value.ndim == 1:
        items, clear = value.tolist(), False
    else:
        return IMPOSSIBLE
    if len(items) > (declared.get("max_capacity") or 256):
        return IMPOSSIBLE
    element = declared["element_type"]
    found = [_scalar(element, _python(item), declared) for item in items]
    if not all(one.values for one in found):
        return IMPOSSIBLE
    values: list[list[Any]] = [[]]
    for one in found:
        values = [[*before, chosen] for before in values[:8] for chosen in one.values]
    return Meaning(tuple(values), clear and all(one.clear for one in found))


def _object(value: Any) -> Meaning:
    clear = isinstance(value, dict)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return IMPOSSIBLE
    if not isinstance(value, dict):
        return IMPOSSIBLE
    return Meaning((value, without_gaps(value)), clear and storable(value))


def without_gaps(value: Any) -> Any:
    """An object without the keys that hold nothing; in lists nothing is null."""
    if isinstance(value, dict):
        return {key: without_gaps(one) for key, one in value.items() if not absent(one)}
    if isinstance(value, list | tuple):
        return [None if absent(one) else without_gaps(one) for one in value]
    return _python(value)


def free(value: Any) -> Meaning:
    """What a value means under a name that no field declares."""
    value = _python(value)
    if absent(value) or (isinstance(value, str) and not value):
        return Meaning((ABSENT,), clear=True)
    if isinstance(value, bool | int | float | str | list | dict):
        return Meaning((value, without_gaps(value)) if _held(value) else (), clear=storable(value))
    if isinstance(value, datetime | date):
        return Meaning((value.isoformat(), str(value), *_moment(value).values))
    if isinstance(value, Decimal):
        return Meaning((str(value), *((float(value), int(value)) if math.isfinite(value) else ())))
    if isinstance(value, np.ndarray):
        return free(value.tolist())
    if isinstance(value, tuple | set | range):
        return Meaning((list(value), sorted(value, key=repr)))
    return IMPOSSIBLE


def _held(value: Any) -> bool:
    """Whether JSON holds it: where it does, it may still be too large for Milvus."""
    try:
        json.dumps(without_gaps(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return _plain(value)
    return True


def _plain(value: Any) -> bool:
    return isinstance(value, list | dict) and not isinstance(value, str)


def storable(value: Any) -> bool:
    """Whether every backend keeps this JSON value as it is."""
    match value:
        case bool() | None:
            return True
        case str():
            return _size(value) < 1000
        case int():
            return -(2**63) < value < 2**63
        case float():
            return math.isfinite(value)
        case list():
            return len(value) < 100 and all(map(storable, value))
        case dict():
            return all(isinstance(key, str) and _size(key) < 100 and storable(one) for key, one in value.items())
    return False


def same(stored: Any, meant: Any) -> bool:
    """Equal, and of the same kind: 1, 1.0 and True are three."""
    if isinstance(meant, bool) or isinstance(stored, bool):
        return stored is meant
    if isinstance(meant, list | tuple):
        return isinstance(stored, list) and len(stored) == len(meant) and all(map(same, stored, meant))
    if isinstance(meant, dict):
        return (
            isinstance(stored, dict) and stored.keys() == meant.keys() and all(same(stored[k], meant[k]) for k in meant)
        )
    if isinstance(meant, int | float):
        return (
            isinstance(stored, int | float)
            and isinstance(stored, float) == isinstance(meant, float)
            and stored == meant
        )
    return type(stored) is type(meant) and stored == meant
