"""Declared fields at random, as a definition spells them, and metadata values to put into them."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st

SCALARS = ("BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR")
_EDGES = [
    0,
    1,
    -1,
    127,
    128,
    -128,
    -129,
    32767,
    -32769,
    2**31,
    -(2**31),
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    10**400,
]
_SPELLED = [
    *(
        "",
        " ",
        "0",
        "1",
        "-1",
        "+7",
        " 12 ",
        "007",
        "--5",
        "1_000",
        "1,5",
        "1.0",
        "1e3",
        ".5",
        "5.",
        "0x10",
        "٣",
        "²",
        "1" * 5000,
    ),
    *(
        "true",
        "TRUE",
        "False",
        "yes",
        "no",
        "on",
        "NaN",
        "nan",
        "inf",
        "-Infinity",
        "None",
        "null",
        "NULL",
        "N/A",
        "NaT",
    ),
    *(
        "2024-06-01",
        "20240601",
        "2024-06-01T10:11:12",
        "2024-06-01T10:11:12.3456Z",
        "2024-06-01 10:11:12+05:30",
        "1717200000",
    ),
    *(
        "1717200000000",
        "2024-13-01",
        "2024-02-30",
        "01.06.2024",
        "0001-01-01",
        "9999-12-31T23:59:59-12:00",
        "2024-W22-6",
    ),
    *(
        "a;b;c",
        ";;",
        "a; ;b",
        '["a", "b"]',
        "[1, 2",
        "[[1]]",
        "[" * 5000,
        '{"a": 1}',
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        "{}",
    ),
    *(
        "é",
        "e\u0301",
        "日本",
        "\U0001f600",
        "a\0b",
        "\ud800",
        "\ufeffx",
        "'; drop",
        '"',
        "\\",
        "line\nbreak",
        "x" * 2000,
    ),
]

texts = st.sampled_from(_SPELLED) | st.text(max_size=8)
integers = st.sampled_from(_EDGES) | st.integers(-300, 300) | st.integers()
floats = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 3.5e38, 1e400, 5e-324, 2.0**53, 1e22, math.nan])
moments = st.datetimes(
    datetime(1, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))]),
)
plain = st.none() | st.booleans() | integers | floats | texts
json_values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
foreign = (
    st.decimals(allow_nan=False)
    | moments
    | st.dates(date(1, 1, 1), date(9999, 12, 31))
    | st.binary(max_size=5)
    | st.sampled_from(
        [
            np.int64(5),
            np.int8(-3),
            np.float32(0.1),
            np.float64(2.0),
            np.bool_(True),
            np.str_("né"),
            np.datetime64("NaT"),
        ]
    )
    | st.sampled_from([np.datetime64("2024-06-01T10:11:12", "s"), np.array([1, 2]), np.array(3), np.array([[1.5]])])
    | st.sampled_from([Decimal("1.50"), complex(1, 2), {1, 2}, object, range(3), timedelta(days=1)])
    | st.lists(st.just(np.int16(4)), max_size=2)
)
values = json_values | foreign


@st.composite
def fitting(draw: st.DrawFn, declared: dict[str, Any]) -> Any:
    """A value that fits the field, mostly."""
    return draw(_of(declared["type"], declared) | values)


def _of(kind: str, declared: dict[str, Any]) -> st.SearchStrategy[Any]:
    match kind:
        case "BOOL":
            return st.booleans()
        case "INT64" if declared.get("format"):
            return moments | st.integers(0, 2**42)
        case "INT8" | "INT16" | "INT32" | "INT64":
            bound = 2 ** (int(kind[3:]) - 1)
            return st.integers(-bound, bound - 1)
        case "FLOAT":
            return st.floats(width=32, allow_nan=False, allow_infinity=False)
        case "DOUBLE":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "VARCHAR":
            return st.text(st.characters(codec="utf-8"), max_size=12)
        case "ARRAY":
            return st.lists(_of(declared["element_type"], {}), max_size=5)
    return st.dictionaries(st.text(max_size=4), plain, max_size=3)


@st.composite
def declared_fields(draw: st.DrawFn) -> dict[str, Any]:
    """One field's section that a definition may have."""
    kind = draw(st.sampled_from([*SCALARS, "JSON", "ARRAY"]))
    declared: dict[str, Any] = {"type": kind}
    if kind == "ARRAY":
        declared["element_type"] = draw(st.sampled_from(SCALARS))
        if draw(st.booleans()):
            declared["max_capacity"] = draw(st.integers(1, 6))
    if "VARCHAR" in (kind, declared.get("element_type")) and draw(st.booleans()):
        declared["max_length"] = draw(st.sampled_from([1, 4, 16, 1024, 65535]))
    if kind == "INT64" and draw(st.booleans()):
        declared["format"] = "unix_ms"
    match draw(st.sampled_from(["required", "nullable", "default", "default", "both"])):
        case "required":
            declared["required"] = True
        case "nullable":
            declared["nullable"] = True
        case "default":
            declared["default"] = draw(fitting(declared))
        case _:
            declared |= {"nullable": True, "default": draw(fitting(declared))}
    return declared
