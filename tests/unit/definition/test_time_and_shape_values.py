"""Metadata of TIMESTAMPTZ and GEOMETRY fields: how it is stored, what is refused, and what a definition may say."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from imgvec.dates import moment, utc
from imgvec.definition import Definition, convert
from imgvec.definition.fields import FieldSection
from imgvec.errors import DefinitionError

TIME = FieldSection(type="TIMESTAMPTZ", nullable=True)
SHAPE = FieldSection(type="GEOMETRY", nullable=True)


def defined(**fields: Any) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, "fields": fields})


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2024-06-01T12:00:00+02:00", "2024-06-01T10:00:00Z"),
        ("2024-06-01 12:00", "2024-06-01T12:00:00Z"),
        ("2024", "2024-01-01T00:00:00Z"),
        ("2024:06:01 10:30:00", "2024-06-01T10:30:00Z"),
        ("2024-06-01T10:30:00.123456Z", "2024-06-01T10:30:00.123Z"),
        (dt.date(1960, 7, 1), "1960-07-01T00:00:00Z"),
        (dt.datetime(2024, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2024-06-01T10:00:00Z"),
        (np.datetime64("2024-06-01T10:30"), "2024-06-01T10:30:00Z"),
        (1_717_200_000_000, "2024-06-01T00:00:00Z"),
    ],
)
def test_a_time_is_stored_in_utc(given: Any, stored: str) -> None:
    assert convert("at", TIME, given) == stored
    assert convert("at", TIME, stored) == stored
    assert utc(stored) == stored


@pytest.mark.parametrize("given", ["soon", "01/02/2024", 1_717_200_000, True, [1], "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^at = "):
        convert("at", TIME, given)


def test_a_shape_is_stored_in_one_spelling() -> None:
    assert convert("place", SHAPE, "point(13.40 52.5)") == "POINT (13.4 52.5)"
    with pytest.raises(ValueError, match=r"^place = '52.5,13.4' is neither a point nor a polygon"):
        convert("place", SHAPE, "52.5,13.4")


def test_missing_values_and_defaults() -> None:
    fields = {"at": {"type": "TIMESTAMPTZ", "default": dt.date(2000, 1, 1)}, "place": SHAPE.model_dump()}
    what = defined(**fields)
    assert what.row_fields({"at": "", "place": ""}) == {"at": "2000-01-01T00:00:00Z", "place": None}
    assert Definition.load(what.model_dump(exclude_defaults=True)) == what


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"type": "TIMESTAMPTZ", "default": "soon"}, "is not a date"),
        ({"type": "GEOMETRY", "default": "here"}, "neither a point nor a polygon"),
        ({"type": "TIMESTAMPTZ"}, "say what happens if the field is missing"),
        ({"type": "TIMESTAMPTZ", "nullable": True, "format": "unix_ms"}, "format is only for an INT64"),
        ({"type": "TIMESTAMPTZ", "nullable": True, "index": "RTREE"}, "RTREE takes GEOMETRY, not TIMESTAMPTZ"),
        ({"type": "GEOMETRY", "nullable": True, "max_length": 9}, "max_length is only for a VARCHAR"),
    ],
)
def test_a_definition_that_does_not_fit(section: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        defined(f=section)


def test_other_spellings_of_a_time_become_the_same() -> None:
    assert utc("2024-06-01T12:00:00.100000+02:00") == "2024-06-01T10:00:00.100Z"
    assert utc("2024-06-01T10:00:00.123456Z") == "2024-06-01T10:00:00.123456Z"
    assert utc("later") == "later"
    with pytest.raises(ValueError, match="outside the years 1 to 9999"):
        moment(253_402_300_800_000)
