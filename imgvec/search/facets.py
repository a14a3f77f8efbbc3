"""How often each value of a field occurs, among all rows that match or among the hits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from imgvec.errors import OptionError, QueryError
from imgvec.plurals import counted
from imgvec.rows import IMAGE_ID
from imgvec.store import Searches
from imgvec.stored import Found

MOST_COUNTED = 100_000
"""Matching rows that are read to be counted: more would take longer than anybody waits for a search."""
_WHOLE = {str, int, bool, type(None)}
"""Types of which every value is counted as it is."""


@dataclass(frozen=True, slots=True)
class Facet:
    """How often each value of a field occurs."""

    counts: Mapping[Any, int]
    """By value, the most frequent first, equal ones by the value; None stands for a value that is missing. A row counts
    once for each different element of an ARRAY."""
    over: Literal["rows", "hits"]
    """Whether all rows that match `where` were counted, however far from the query, or the hits alone: of more than
    100,000 rows it is the hits. Where hits are pictures, so are the rows."""
    total: int
    """Rows or hits that were counted."""

    def __str__(self) -> str:
        values = ", ".join(f"{value} {number:,}" for value, number in self.counts.items()) or "no value"
        return f"{values} (of {counted(self.total, 'matching row' if self.over == 'rows' else 'hit')})"

    def to_dict(self) -> dict[str, Any]:
        counts = [{"value": value, "count": number} for value, number in self.counts.items()]
        return {"counts": counts, "over": self.over, "total": self.total}


def check_facets(names: Sequence[str], store: Searches) -> None:
    """Raises `OptionError` for a field that is not there, or holds what is not counted."""
    for name in names:
        known = store.fields.get(name)
        if known is None and not store.dynamic:
            raise OptionError("facet", f"no field {name!r} to count (fields: {', '.join(store.fields)})")
        if known is not None and known.type == "JSON":
            raise OptionError("facet", f"{name!r} holds JSON, whose values are not counted")


def of_rows(names: Sequence[str], store: Searches, expression: str, *, pictures: bool) -> dict[str, Facet] | None:
    """The facets of all rows that match, or of their pictures; None of more than are read."""
    if store.count(expression) > MOST_COUNTED:
        return None
    if pictures:
        rows = (row for some in store.scan([*names, IMAGE_ID], expression) for row in some)
        return _facets(names, ((row[IMAGE_ID], row) for row in rows), "rows")
    counts: dict[str, Counter[Any]] = {name: Counter() for name in names}
    total = 0
    for some in store.scan(names, expression):  # each row once
        total += len(some)
        for name, counted_so_far in counts.items():
            counted_so_far.update(_each_once(name, [row.get(name) for row in some]))
    return {name: Facet(_in_order(found), "rows", total) for name, found in counts.items()}


def of_hits(names: Sequence[str], hits: Iterable[Found]) -> dict[str, Facet]:
    """The facets of the hits of one answer."""
    return _facets(names, ((hit.id, hit.fields) for hit in hits), "hits")


def _facets(
    names: Sequence[str], rows: Iterable[tuple[str, Mapping[str, Any]]], over: Literal["rows", "hits"]
) -> dict[str, Facet]:
    seen: dict[str, set[tuple[str, Any]]] = {name: set() for name in names}
    counted_once = set()
    for id_, row in rows:
        counted_once.add(id_)
        for name in names:
            seen[name].update((id_, value) for value in _values(name, row.get(name)))
    return {
        name: Facet(_in_order(Counter(value for _, value in seen[name])), over, len(counted_once)) for name in names
    }


def _each_once(name: str, column: Sequence[Any]) -> Iterable[Any]:
    """The values of some rows, those of an ARRAY once a row."""
    types = set(map(type, column))
    if types <= _WHOLE:  # most fields, and a quick way
        return column
    if types == {list} and set(map(type, chain.from_iterable(column))) <= _WHOLE:
        return chain.from_iterable(map(set, column))
    return chain.from_iterable(set(_values(name, value)) for value in column)


def _in_order(counts: Counter[Any]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], str(one[0]))))


def _values(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, float) and math.isnan(value):
        return (None,)  # somebody else has written it
    if isinstance(value, str | int | float | None):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(each, str | int | float) for each in value):
        return value
    raise QueryError(f"{name!r} holds a {type(value).__name__}, whose values are not counted")
