"""Histograms of fields against counting each bin by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgvec.errors import OptionError
from imgvec.filters import FieldType
from imgvec.search.histogram import histogram
from imgvec.store import Reads

FIELDS = {
    "width": FieldType("INT32"),
    "price": FieldType("DOUBLE"),
    "taken_at": FieldType("INT64", format="unix_ms", unknown=0),
    "album": FieldType("VARCHAR"),
}


class Rows:
    """As much of a store as is read."""

    fields = FIELDS

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self._rows = [{"id": str(number), name: value} for number, value in enumerate(values)]

    def count(self, filter: str = "") -> int:
        return len(self._rows)

    def scan(self, output_fields: Sequence[str], filter: str = "") -> Iterator[list[dict[str, Any]]]:
        yield from ([row] for row in self._rows)


def made(name: str, values: Sequence[Any], bins: int = 10) -> dict[str, Any]:
    return histogram(cast("Reads", Rows(name, values)), name, "", bins).to_dict()


@given(st.lists(st.one_of(st.integers(-(2**31), 2**31 - 1), st.none()), max_size=60), st.integers(1, 40))
def test_whole_numbers(values: list[int | None], bins: int) -> None:
    found = made("width", values, bins)
    known = [value for value in values if value is not None]
    assert found["without"] == len(values) - len(known)
    assert len(found["bins"]) <= bins
    for each in found["bins"]:
        assert each["count"] == sum(each["from"] <= value <= each["to"] for value in known)
    assert sum(each["count"] for each in found["bins"]) == len(known)
    if known:
        assert (found["bins"][0]["from"], found["bins"][-1]["to"]) == (min(known), max(known))


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=60), st.integers(1, 40))
def test_fractions(values: list[float], bins: int) -> None:
    found = made("price", values, bins)
    known = [value for value in values if not math.isnan(value)]
    assert sum(each["count"] for each in found["bins"]) == len(known)
    assert len(found["bins"]) <= bins
    if known:
        assert (found["bins"][0]["from"], found["bins"][-1]["to"]) == (min(known), max(known))


EPOCH, MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)) | st.datetimes()  # noqa: DTZ001  as hypothesis wants


@given(st.lists(MOMENTS, min_size=1, max_size=40), st.integers(1, 60))
def test_dates_fall_into_the_days_that_are_said(moments: list[datetime], bins: int) -> None:
    stamps = [(each.replace(tzinfo=UTC) - EPOCH) // MS for each in moments]
    stamps = [each for each in stamps if each]
    found = made("taken_at", [*stamps, 0, None], bins)
    assert found["without"] == 2
    assert len(found["bins"]) <= bins
    days = [(EPOCH + each * MS).date().isoformat() for each in stamps]
    for each in found["bins"]:
        assert each["count"] == sum(each["from"] <= day <= each["to"] for day in days)
    assert sum(each["count"] for each in found["bins"]) == len(stamps)


@pytest.mark.parametrize("bins", [1, 12, 64])
def test_the_calendar_has_an_end(bins: int) -> None:
    """What others have written may lie beyond it: that is no date."""
    first, last = -62_135_596_800_000, 253_402_300_799_999
    found = made("taken_at", [first, last, last + 1, first - 1, 2**63 - 1, -(2**63)], bins)
    assert found["without"] == 4
    assert (found["bins"][0]["from"], found["bins"][-1]["to"]) == ("0001-01-01", "9999-12-31")
    assert sum(each["count"] for each in found["bins"]) == 2
    assert [made("taken_at", [last], bins)["bins"]] == [[{"from": "9999-12-31", "to": "9999-12-31", "count": 1}]]


def test_units_of_dates() -> None:
    def starts(*days: str) -> list[str]:
        stamps = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000 for day in days]
        return [each["from"] for each in made("taken_at", stamps, 12)["bins"]]

    assert starts("2024-02-28", "2024-03-01") == ["2024-02-28", "2024-02-29", "2024-03-01"]
    assert starts("2023-12-31", "2024-02-03") == ["2023-12-01", "2024-01-01", "2024-02-01"]
    assert starts("2019-05-05", "2021-01-01") == ["2019-01-01", "2020-01-01", "2021-01-01"]
    assert starts("2000-05-05", "2023-01-01") == [f"{year}-01-01" for year in range(2000, 2024, 2)]


def test_what_is_not_spread_over_a_line() -> None:
    with pytest.raises(OptionError, match="VARCHAR"):
        made("album", ["a"])
    with pytest.raises(OptionError, match="did you mean 'width'"):
        made("widht", [1])
    assert made("width", []) == {"bins": [], "without": 0}
