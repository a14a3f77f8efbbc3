"""Values of data frames, Arrow and Python as what Milvus stores."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgvec.definition import Definition
from imgvec.definition.values import is_absent, plain

JUNE = 1_717_200_000_000


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Colour.RED, "red"),
        (Decimal("1.50"), 1.5),
        (Decimal(10), 10),
        (Decimal("10.00"), 10.0),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(7), 7),
        ((1, (2, "a")), [1, [2, "a"]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", 1}), [1, "b"]),
        (Path("a/b.jpg"), "a/b.jpg"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2024, 6, 1), JUNE),
        (dt.datetime(2024, 6, 1, tzinfo=dt.UTC), JUNE),
        (np.datetime64("2024-06-01"), JUNE),
        ({"a": float("nan"), "b": [1, None, np.nan], 3: dt.date(2024, 6, 1)}, {"b": [1, None, None], "3": JUNE}),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_what_a_value_means(given: Any, stored: Any) -> None:
    found = plain("x", given)
    assert found == stored
    assert type(found) is type(stored)
    assert json.loads(json.dumps(found)) == found  # so that it reads back equal, and the next run writes nothing


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (2**63, r"x = 9223372036854775808 does not fit the 64 bits"),
        (-(2**63) - 1, "does not fit"),
        pytest.param(10**5000, "a 16,610-bit number does not fit", id="huge"),
        (np.uint64(2**64 - 1), "does not fit"),
        ({"a": [0, {"b": 2**64}]}, r"x\.a\[1\]\.b = 18446744073709551616 does not fit"),
        (float("inf"), "inf is not a finite number"),
        ("a\ud800", r"'a\\ud800' is not Unicode"),
        ({"\ud800": 1}, "not Unicode"),
        ({("a",): 1}, "keys of a JSON object must be strings"),
        ({True: 1}, "keys of a JSON object must be strings"),
        (b"abc", "has type bytes"),
        (object(), "has type object"),
        (dt.timedelta(1), "has type timedelta"),
        (dt.time(1), "has type time"),
        (np.timedelta64(1, "s"), "has type timedelta"),
        (1j, "has type complex"),
        (np.clongdouble(1), "has type clongdouble"),
        (memoryview(b"abc"), "has type memoryview"),
        (np.datetime64(10**18, "s"), r"x = np\.datetime64.* is not a date: write"),
        (Decimal("1E+1000000"), "inf is not a finite number"),
        (nested(65), r"nested deeper than 64 levels"),
        (nested(5000), r"nested deeper than 64 levels"),
        (["x" * 10_000, b"y" * 10_000], r"x\[1\] = b'y{70,80}… has type bytes"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_field_and_type(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plain("x", given)
    assert plain("x", nested(60)) == nested(60)


@pytest.mark.slow
def test_missing_cells_of_every_library() -> None:
    pandas = pytest.importorskip("pandas")
    nothing = (None, float("nan"), np.float32("nan"), np.datetime64("NaT"), Decimal("NaN"), Decimal("sNaN"), pandas.NA,
               pandas.NaT, np.ma.masked)  # fmt: skip
    assert all(map(is_absent, nothing))
    something = (0, "", False, [], (), {}, np.array([np.nan]), np.array(1), pandas.Timestamp(0), b"", object())
    assert not any(map(is_absent, something))


FIELDS = {
    "d": {"type": "DOUBLE", "default": 0.0},
    "f": {"type": "FLOAT", "default": 0.0},
    "i": {"type": "INT16", "default": 0},
    "big": {"type": "INT64", "default": 0},
    "t": {"type": "VARCHAR", "default": "none"},
    "b": {"type": "BOOL", "default": False},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "default": []},
    "j": {"type": "JSON", "default": {}},
    "at": {"type": "INT64", "format": "unix_ms", "default": -1},
}
TABLE = Definition.load({"encoder": {"model": "m"}, "fields": FIELDS})


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("d", Decimal("1.50"), 1.5),
        ("d", np.float32(0.5), 0.5),
        ("d", 10**300, 1e300),
        ("i", np.int64(3), 3),
        ("i", "3.0", 3),
        ("i", Decimal("3.00"), 3),
        ("t", 7, "7"),
        ("t", np.int64(7), "7"),
        ("t", dt.date(2024, 6, 1), "2024-06-01"),
        ("t", Path("a"), "a"),
        ("t", "", ""),
        ("b", np.bool_(True), True),
        ("b", 1.0, True),
        ("b", "False", False),
        ("tags", ("a", 1), ["a", "1"]),
        ("tags", {"b", "a"}, ["a", "b"]),
        ("tags", np.array(["a"]), ["a"]),
        ("j", {"a": np.int64(1)}, {"a": 1}),
        ("j", '{"a": NaN, "b": 1}', {"b": 1}),
        ("at", -1, -1),
        ("at", "-1", -1),
        ("at", 0, 0),
        ("at", dt.date(2024, 6, 1), JUNE),
        ("at", "20240601", JUNE),
    ],
)
def test_declared_fields(name: str, given: Any, stored: Any) -> None:
    found = TABLE.row_fields({name: given})[name]
    assert found == stored
    assert type(found) is type(stored)
    assert TABLE.row_fields({name: given}, only_given=True) == {name: stored}


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("d", dt.date(2024, 1, 1), r"d = datetime.date\(2024, 1, 1\) is not a number"),
        ("d", 10**400, "not a finite DOUBLE"),
        ("d", "1_000", "not a number"),
        ("f", 1e300, "not a finite FLOAT"),
        ("i", 40_000, "does not fit INT16"),
        pytest.param("i", 10**5000, "does not fit INT16", id="huge"),
        ("big", 2**63, "does not fit INT64"),
        ("big", "9" * 5000, "does not fit INT64"),
        ("t", 1.5, "not text"),
        ("t", True, "not text"),
        ("t", b"x", "not text"),
        ("tags", ["a", None], r"tags\[1\] is missing"),
        ("tags", 5, "not a list"),
        ("tags", "[" * 100_000, "not a JSON list"),
        ("j", '{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("j", {"a": 2**64}, r"j\.a = 18446744073709551616 does not fit"),
        ("j", [1], "not a JSON object"),
        ("at", 1_717_200_000, "at = 1717200000 would be 1970-01-20T21:00:00Z .* Unix seconds of 2024-06-01"),
        ("at", "01/02/2024", "at = '01/02/2024' is ambiguous about day and month"),
        ("at", dt.time(1), "neither"),
        ("hash", 2**64, "hash = 18446744073709551616 does not fit"),
    ],
)
def test_declared_fields_that_do_not_fit(name: str, given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TABLE.row_fields({name: given})


def test_a_missing_cell_gives_nothing() -> None:
    nothing = (None, float("nan"), np.datetime64("NaT"), Decimal("NaN"))
    for missing in nothing:
        assert TABLE.row_fields(dict.fromkeys([*FIELDS, "other"], missing), only_given=True) == {}
    assert TABLE.row_fields({"d": "NaN", "f": " nan"}, only_given=True) == {}
    assert TABLE.row_fields(dict.fromkeys(FIELDS, ""), only_given=True) == {"t": ""}


def test_a_default_is_stored_as_its_type() -> None:
    since = {"type": "INT64", "format": "unix_ms", "default": "2024-06-01"}
    made = Definition.load({"encoder": {"model": "m"}, "fields": {"at": since, "f": {"type": "FLOAT", "default": 0.1}}})
    assert made.row_fields({}) == {"at": JUNE, "f": float(np.float32(0.1))}
    assert made.row_fields({"at": "2024-06-01"})["at"] == JUNE
