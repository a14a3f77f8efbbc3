"""How the values of a field with an order are spread: numbers in bins of one width, dates by day, month or year."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from imgvec.dates import FIRST, LAST
from imgvec.errors import OptionError, QueryError
from imgvec.filters import FieldType
from imgvec.meant import suggestion
from imgvec.search.facets import MOST_COUNTED
from imgvec.store import Reads

_WHOLE = ("INT8", "INT16", "INT32", "INT64")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose value is from `low` up to `high`, both among them (of fractions, up to but not including it, but for
    the last bin); of a date field these are days in UTC, such as 2024-06-01."""

    low: int | float | str
    high: int | float | str
    count: int

    def to_dict(self) -> dict[str, Any]:
        return {"from": self.low, "to": self.high, "count": self.count}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bins side by side from the least value to the greatest, and how many rows have none, or no date of a calendar."""

    bins: Sequence[Bin]
    without: int

    def to_dict(self) -> dict[str, Any]:
        return {"bins": [each.to_dict() for each in self.bins], "without": self.without}


def histogram(store: Reads, name: str, expression: str, bins: int) -> Histogram:
    """The spread of a field among the rows that match, in at most `bins` bins.

    Raises `OptionError` for a field that holds neither numbers nor Unix milliseconds, and `QueryError` where more than
    100,000 rows match, which are too many to be read.
    """
    kind = store.fields.get(name)
    if kind is None:
        raise OptionError("field", f"no field {name!r}{suggestion(name, store.fields)}")
    if kind.type not in (*_WHOLE, "FLOAT", "DOUBLE"):
        raise OptionError("field", f"{name!r} holds {kind.type}, which is not spread over a line")
    if store.count(expression) > MOST_COUNTED:
        raise QueryError(f"more than {MOST_COUNTED:,} rows match, which are too many to read: narrow the filter")
    rows = [row.get(name) for some in store.scan([name], expression) for row in some]
    known: list[Any] = [value for value in rows if _is_known(value, kind)]
    if not known:
        return Histogram([], len(rows))
    return Histogram(_dated(known, bins) if kind.is_date else _numbered(known, bins, kind), len(rows) - len(known))


def _is_known(value: Any, kind: FieldType) -> bool:
    if value is None or not math.isfinite(value):
        return False
    return not kind.is_date or (value != kind.unknown and FIRST <= value <= LAST)


def _numbered(values: Sequence[int | float], bins: int, kind: FieldType) -> list[Bin]:
    low, high = min(values), max(values)
    if kind.type in _WHOLE:
        width = max(1, math.ceil((high - low + 1) / bins))
        counts = Counter((value - low) // width for value in values)
        last = int((high - low) // width)
        return [Bin(low + at * width, min(high, low + (at + 1) * width - 1), counts[at]) for at in range(last + 1)]
    if low == high:
        return [Bin(low, high, len(values))]
    step = (high - low) / bins
    edges = [low + at * step for at in range(bins)] + [high]
    counts = Counter(min(bins - 1, int((value - low) / step)) if step else 0 for value in values)
    return [Bin(edges[at], edges[at + 1], counts[at]) for at in range(bins)]


def _dated(values: Sequence[int], bins: int) -> list[Bin]:
    days = Counter((_EPOCH + timedelta(milliseconds=value)).date() for value in values)
    low, high = min(days), max(days)
    if (high - low).days < bins:
        return _calendar(days, low, high, 0)
    months = _months(low, high)
    if months <= bins:
        return _calendar(days, low, high, 1)
    if (years := high.year - low.year + 1) <= bins:
        return _calendar(days, low, high, 12)
    return _calendar(days, low, high, 12 * math.ceil(years / bins))


def _months(low: date, high: date) -> int:
    return (high.year - low.year) * 12 + high.month - low.month + 1


def _calendar(days: Counter[date], low: date, high: date, months: int) -> list[Bin]:
    """Bins of so many months, or of a day where that is 0."""
    starts = list(_starts(low, high, months))
    counts: Counter[int] = Counter()
    for day, count in days.items():
        at = (day - low).days if months == 0 else (_months(starts[0], day) - 1) // months
        counts[at] += count
    return [Bin(start.isoformat(), _last(start, months).isoformat(), counts[at]) for at, start in enumerate(starts)]


def _starts(low: date, high: date, months: int) -> Iterable[date]:
    start = low if months == 0 else low.replace(day=1) if months == 1 else date(low.year, 1, 1)
    yield start
    while _last(start, months) < high:
        start = _next(start, months)
        yield start


def _last(start: date, months: int) -> date:
    """The last day of the bin that begins there; Python's calendar ends with the year 9999."""
    try:
        return _next(start, months) - timedelta(days=1)
    except (ValueError, OverflowError):
        return date.max


def _next(start: date, months: int) -> date:
    if months == 0:
        return start + timedelta(days=1)
    ahead = start.month - 1 + months
    return date(start.year + ahead // 12, ahead % 12 + 1, 1)
