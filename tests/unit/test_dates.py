"""What a date means, in every form that people, tables and libraries write it in."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import numpy as np
import pytest

from imgvec import dates

DAY = 86_400_000
JUNE = 1_717_200_000_000  # 2024-06-01T00:00:00Z
BERLIN = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    ("given", "start", "length"),
    [
        ("2024", JUNE - 152 * DAY, 366 * DAY),
        ("2023", JUNE - (152 + 365) * DAY, 365 * DAY),
        ("2024-06", JUNE, 30 * DAY),
        ("2024-06-01", JUNE, DAY),
        (" 20240601 ", JUNE, DAY),
        (20240601, JUNE, DAY),
        (20240601.0, JUNE, DAY),
        (np.int32(20240601), JUNE, DAY),
        ("2024/06/01", JUNE, DAY),
        ("2024:06:01", JUNE, DAY),
        ("2024-06-01T10", JUNE + 36_000_000, 3_600_000),
        ("2024-06-01T10:30", JUNE + 37_800_000, 60_000),
        ("2024-06-01 10:30:05", JUNE + 37_805_000, 1000),
        ("2024:06:01 10:30:05", JUNE + 37_805_000, 1000),
        ("20240601T103005", JUNE + 37_805_000, 1000),
        ("20240601T1030Z", JUNE + 37_800_000, 60_000),
        ("20240601103005", JUNE + 37_805_000, 1000),
        ("2024-06-01T10:30:05.25Z", JUNE + 37_805_250, 1),
        ("2024-06-01T10:30:05,123456789", JUNE + 37_805_123, 1),
        ("2024-06-01T12:30:05+02:00", JUNE + 37_805_000, 1000),
        ("2024-06-01 12:30:05.000000+0200", JUNE + 37_805_000, 1),
        ("2024-05-31T20:00-04", JUNE, 60_000),
        ("1969-12-31", -DAY, DAY),
        ("0001-01-01", -62_135_596_800_000, DAY),
        ("9999-12-31", 253_402_214_400_000, DAY),
        (dt.date(2024, 6, 1), JUNE, DAY),
        (dt.datetime(2024, 6, 1), JUNE, 1),  # noqa: DTZ001  naive on purpose
        (dt.datetime(2024, 6, 1, 2, tzinfo=BERLIN), JUNE, 1),
        (dt.datetime(2024, 6, 1, 0, 0, 0, 1999, tzinfo=dt.UTC), JUNE + 1, 1),
        (np.datetime64("2024-06"), JUNE, 30 * DAY),
        (np.datetime64("2024-06-01T00:00:00.000000001"), JUNE, 1),
        (JUNE, JUNE, 1),
        (str(JUNE), JUNE, 1),
        (float(JUNE), JUNE, 1),
        (f"{JUNE}.0", JUNE, 1),
        (-JUNE, -JUNE, 1),
        (0, 0, 1),
        (253_402_300_799_999, 253_402_300_799_999, 1),
    ],
)
def test_every_form(given: Any, start: int, length: int) -> None:
    found = dates.span(given)
    assert (found.start, found.end - found.start) == (start, length)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("01/06/2024", "is ambiguous about day and month"),
        ("1.6.24", "is ambiguous about day and month"),
        ("13-06-2024", "is ambiguous about day and month"),
        ("2024-6-1", "is not a date: write"),
        ("June 2024", "is not a date: write"),
        ("", "is not a date: write"),
        ("2024-02-30", r"is not a date \(day"),
        ("0000:00:00 00:00:00", "is not a date"),
        ("2024-06-01T24:30", "is not a date"),
        ("2024-06-01T10:00+25:00", "UTC offset .* is out of range"),
        (1_717_200_000, "1970-01-20T21:00:00Z in Unix milliseconds, Unix seconds of 2024-06-01T00:00:00Z"),
        ("1717200000", "Unix seconds of 2024-06-01T00:00:00Z"),
        (-1_717_200_000, "Unix seconds of 1915"),
        (JUNE * 1000, "Unix microseconds of 2024-06-01"),
        (JUNE * 10**6, "Unix nanoseconds of 2024-06-01"),
        (7, "would be 1970-01-01T00:00:00.007Z"),
        (20241301, "is not a date"),
        (202406011030, "could be a date and time or Unix milliseconds"),
        (10**40, "out of range as Unix milliseconds"),
        (JUNE + 0.5, "neither Unix milliseconds nor a date"),
        (True, "is not a date"),
        (dt.timedelta(1), "neither"),
        ([2024], "neither"),
    ],
)
def test_what_is_no_date_is_refused_with_what_to_write(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=f"{says}.*2024-06-01T10:30:00"):
        dates.span(given)


def test_the_machines_zone_plays_no_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert {
            dates.span(each).start for each in ("2024-06-01", dt.date(2024, 6, 1), np.datetime64("2024-06-01"))
        } == {JUNE}
        assert dates.span(dt.datetime(2024, 6, 1)).start == JUNE  # noqa: DTZ001  naive on purpose
        assert dates.iso(JUNE) == "2024-06-01T00:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("ms", "text"),
    [(JUNE, "2024-06-01T00:00:00Z"), (JUNE + 5, "2024-06-01T00:00:00.005Z"), (-1, "1969-12-31T23:59:59.999Z"),
     (-62_135_596_800_000, "0001-01-01T00:00:00Z"), (10**17, "100000000000000000")],
)  # fmt: skip
def test_as_text(ms: int, text: str) -> None:
    assert dates.iso(ms) == text
    if ms < 10**17:
        assert dates.span(text).start == ms
