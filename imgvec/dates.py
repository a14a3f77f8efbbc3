"""Dates as people write them, Unix milliseconds as Milvus stores them.

A date names a span of time: `2024` a year, `2024-06` a month, `2024-06-01` a day, `2024-06-01T10:30` a minute, down to
the millisecond. The start of the span is what is stored; a query covers all of it. A date without a time zone is in
UTC, wherever the program runs, like EXIF times without an offset.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY_MS = 86_400_000
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, all that Python's calendar has."""
_SECONDS_OF_2100 = 4_102_444_800
"""Fewer milliseconds than this fall in the first 48 days of 1970, so seconds or a date must have been meant."""
_MS_OF_2200 = 7_258_118_400_000
"""A larger number must be in microseconds or smaller units, except for the last possible day, which means 'never'."""

_DATE = r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d))?)?"
_TIME = r"(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?)?"
_ZONE = r"(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?"
_FORMS = (
    re.compile(_DATE),
    re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[Tt ]{_TIME} ?{_ZONE}"),
    # ISO 8601's basic form, and the same without its T
    re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"),
    re.compile(
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[Tt ](?P<hour>\d\d)(?:(?P<minute>\d\d)"
        rf"(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d{{1,12}}))?)?)?{_ZONE}"
    ),
    re.compile(r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"),
    # EXIF's own, as its tools print it
    re.compile(rf"(?P<year>\d{{4}}):(?P<month>\d\d):(?P<day>\d\d)(?:[Tt ]{_TIME} ?{_ZONE})?"),
    # the year first: nothing to mistake
    re.compile(rf"(?P<year>\d{{4}})/(?P<month>\d\d)/(?P<day>\d\d)(?:[Tt ]{_TIME} ?{_ZONE})?"),
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.0*)?", re.ASCII)
_AMBIGUOUS = re.compile(r"\d{1,2}([/.-])\d{1,2}\1(?:\d{4}|\d\d)(?:[T ,].*)?", re.ASCII)
_COMPACT_MINUTES = re.compile(r"(?:18|19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d")

HINT = "write a date such as 2024-06-01 or 2024-06-01T10:30:00+02:00"
"""Advice for a date that cannot be read."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` up to but not including `end`, in Unix milliseconds; negative before 1970."""

    start: int
    end: int
    text: str = ""
    """As it was written."""

    def __repr__(self) -> str:
        return self.text or iso(self.start)


def is_date(value: Any) -> bool:
    """Whether `value` is a date by its type: a `date`, a `datetime` (pandas' too), or a `datetime64` of NumPy."""
    return isinstance(value, date) or _is_datetime64(value)


def span(value: Any) -> Span:
    """Read `value` as a date: text, a `date`, a `datetime`, a `datetime64`, or Unix milliseconds as a number.

    Whole numbers may be given as text. Numbers that are implausible as milliseconds are read as the date they spell
    (20240601), or refused (Unix seconds, microseconds). Raises `ValueError`, a sentence without its subject: "is …:
    write …".
    """
    if _is_datetime64(value):
        value = str(value)
    if isinstance(value, str):
        text = value.strip()
        return _number(text, int(text.partition(".")[0])) if _is_number(text) else _read(text)
    if isinstance(value, datetime):
        if value != value:  # pandas' NaT
            raise ValueError(f"is not a date: {HINT}")
        start = _ms(value if value.tzinfo else value.replace(tzinfo=UTC))
        return Span(start, start + 1, str(value))
    if isinstance(value, date):
        start = (value.toordinal() - _EPOCH.toordinal()) * _DAY_MS
        return Span(start, start + _DAY_MS, value.isoformat())
    if isinstance(value, bool):
        raise ValueError(f"is not a date: {HINT}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if hasattr(value, "__index__"):
        return _number(str(value) if abs(value) < 2**63 else "", int(value.__index__()))
    raise ValueError(f"is neither Unix milliseconds nor a date: {HINT}")


def iso(ms: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC, with a fraction where there is one; the number itself beyond 1 to 9999."""
    if not FIRST <= ms <= LAST:
        return str(ms)
    moment = _EPOCH + ms * _MS
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds").removesuffix("+00:00") + "Z"


def utc(text: str) -> str:
    """ISO 8601 with a zone as `iso` has it, to the microsecond; a text that is none of that as it is."""
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    parts = moment.microsecond
    finest = "seconds" if not parts else "microseconds" if parts % 1000 else "milliseconds"
    return moment.isoformat(timespec=finest).removesuffix("+00:00") + "Z"


def moment(ms: int) -> str:
    """Unix milliseconds as ISO 8601; raises `ValueError`, as `span` does, before the year 1 and after 9999."""
    if not FIRST <= ms <= LAST:
        raise ValueError("lies outside the years 1 to 9999")
    return iso(ms)


def _is_datetime64(value: Any) -> bool:
    return type(value).__name__ == "datetime64" and type(value).__module__ == "numpy"


def _is_number(text: str) -> bool:
    return len(text) < 25 and bool(_NUMBER.fullmatch(text))


def _number(text: str, number: int) -> Span:
    """A whole number as a date, with the same result for text from a CSV and for a number from a data frame."""
    digits = text.partition(".")[0]
    if digits.isdecimal() and len(digits) in (4, 8, 14) and "1" <= digits[0] <= "2":
        try:
            return _read(digits)
        except ValueError:
            if len(digits) != 14:
                raise ValueError(f"is not a date: {HINT}") from None
    if _COMPACT_MINUTES.fullmatch(digits):
        raise ValueError(f"could be a date and time or Unix milliseconds ({iso(number)}): {HINT}")
    if number == 0 or _SECONDS_OF_2100 <= abs(number) < _MS_OF_2200 or LAST - _DAY_MS < number <= LAST:
        return Span(number, number + 1, digits)
    if FIRST <= number < 0 and abs(number) >= _SECONDS_OF_2100:
        return Span(number, number + 1, digits)
    if abs(number) < _SECONDS_OF_2100:
        seconds = f", Unix seconds of {iso(number * 1000)}" if abs(number) >= _DAY_MS else ""
        raise ValueError(f"would be {iso(number)} in Unix milliseconds{seconds}: {HINT}")
    for factor, unit in ((1000, "microseconds"), (1_000_000, "nanoseconds")):
        if abs(number) // factor < _MS_OF_2200:
            raise ValueError(f"looks like Unix {unit} of {iso(number // factor)}, not milliseconds: {HINT}")
    raise ValueError(f"is out of range as Unix milliseconds: {HINT}")


@lru_cache(4096)  # an ingest reads the same date several times
def _read(text: str) -> Span:
    for form in _FORMS:
        if match := form.fullmatch(text):
            return _of(match, text)
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError(f"is ambiguous about day and month: {HINT}")
    raise ValueError(f"is not a date: {HINT}")


def _of(match: re.Match[str], text: str) -> Span:
    part = {name: found for name, found in match.groupdict().items() if found is not None}
    year, month, day, hour, minute, second = (
        int(part.get(name, low)) for name, low in zip(_UNITS, (1, 1, 1, 0, 0, 0), strict=True)
    )
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(part.get("zone")))
        start = _ms(moment)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"is not a date ({exc}): {HINT}") from None
    if "fraction" in part:
        start += int(part["fraction"].ljust(3, "0")[:3])
        return Span(start, start + 1, text)
    days = {"year": 365 + calendar.isleap(year), "month": calendar.monthrange(year, month)[1]}
    finest = [name for name in _UNITS if name in part][-1]
    length = {"day": _DAY_MS, "hour": 3_600_000, "minute": 60_000, "second": 1000}
    return Span(start, start + (length[finest] if finest in length else days[finest] * _DAY_MS), text)


_UNITS = ("year", "month", "day", "hour", "minute", "second")


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    if away > timedelta(hours=14):
        raise ValueError(f"UTC offset {text} is out of range")
    return timezone(away if text[0] == "+" else -away)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MS
