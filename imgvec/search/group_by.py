"""Hits by groups: those that share the value of a field, or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from imgvec.errors import FilterError, OptionError, QueryError
from imgvec.filters import FieldType, Filter, field, render
from imgvec.search.ranking import Ask, Asking, Ranking
from imgvec.stored import Found
from imgvec.views import rows_to_ask

_TYPES = frozenset({"BOOL", "INT8", "INT16", "INT32", "INT64", "VARCHAR"})
_VALUES = (str, int, float, type(None))
_FIRST_ROWS = 100
"""Asked for at least: a few more rows cost less than a second call."""


@dataclass(frozen=True, slots=True)
class Members:
    """A group and its hits, best first."""

    value: Any
    """Of the field, or a tuple of those of several; None stands for a value that is missing."""
    hits: list[Found]


@dataclass(frozen=True, slots=True)
class Grouped:
    """The first groups of a query, in the order of their best hits."""

    groups: list[Members]
    cut: bool
    """The least score ended them."""
    others: str | None
    """The expression of the rows in none of them; None where Milvus cannot be asked for these."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """By which fields hits are grouped, and how many of each group are kept."""

    fields: tuple[str, ...]
    size: int
    strict: bool
    """Whether to look on until each group that is kept has `size` hits, or no more match."""
    types: Mapping[str, FieldType]
    """Of the declared fields among them; another one is a key of the dynamic field."""

    @classmethod
    def of(
        cls, names: Iterable[str], size: int, *, strict: bool, types: Mapping[str, FieldType], dynamic: bool
    ) -> Grouping:
        """Raises `OptionError` for a field that is not there, or holds what makes no groups."""
        fields = tuple(dict.fromkeys(names))
        for name in fields:
            if (known := types.get(name)) is None and not dynamic:
                raise OptionError("group_by", f"no field {name!r} to group by (fields: {', '.join(types)})")
            if known is not None and known.type not in _TYPES:
                raise OptionError(
                    "group_by", f"{name!r} holds {known.type}: group by text, whole numbers or truth values"
                )
        # a date is a number here: what is compared is what is stored
        plain = {name: FieldType(types[name].type, nullable=types[name].nullable) for name in fields if name in types}
        return cls(fields, size, strict, plain)

    def parted(self, hits: Iterable[Found]) -> list[Members]:
        """The groups of these hits, in the order of their first ones, with up to `size` hits each."""
        groups: dict[Any, Members] = {}
        for hit in hits:
            value = self._value(hit)
            members = groups.setdefault(_key(value), Members(value, [])).hits
            if len(members) < self.size:
                members.append(hit)
        return list(groups.values())

    def first(self, ranking: Ranking, wanted: int) -> Asking[Grouped]:
        """The first `wanted` groups; fewer where there are no more.

        Their order and best hits are those that the whole ranking would give, and so are all of their hits if `strict`;
        if not, hits beyond the first are those that were seen on the way. While groups are missing, rows of those that
        are full are no longer asked for. Raises `QueryError` where more than Milvus gives to one query would be needed.
        """
        most = ranking.most_rows
        needed = rows_to_ask(wanted * self.size, ranking.most_views)
        if needed > most:
            raise QueryError(
                f"limit + offset = {wanted:,} groups of {self.size:,} are {needed:,} rows, and Milvus gives {most:,} "
                f"to one query: ask for fewer"
            )
        asked, beside = min(most, max(2 * needed, _FIRST_ROWS)), ""
        groups: dict[Any, Members] = {}
        seen = 0
        while True:
            ranked = ranking.settled((yield Ask(asked, beside)), asked)
            for one in self.parted(ranked.hits):
                known = groups.setdefault(_key(one.value), one)
                if len(known.hits) < len(one.hits):
                    groups[_key(one.value)] = one
            every = sorted(groups.values(), key=lambda one: ranking.order(one.hits[0]))
            first = every[:wanted]
            lacking = [one for one in first if len(one.hits) < self.size]
            if ranked.ended or (len(first) == wanted and not (self.strict and lacking)):
                return Grouped(first, ranked.cut, self._rows_of([one.value for one in every], among=False))
            if len(first) == wanted:  # no other group can come before these
                following = self._rows_of([one.value for one in lacking], among=True)
            else:
                full = [one.value for one in every if len(one.hits) == self.size]
                following = self._rows_of(full, among=False)
            reached = sum(len(one.hits) for one in every)
            if reached == seen or following in (None, beside):  # leaving rows out does not help: look deeper
                if asked >= most:
                    raise QueryError(
                        f"{len(first):,} of {wanted:,} groups are within the {most:,} rows that Milvus gives to one "
                        f"query: ask for fewer groups, or fewer hits of each"
                    )
                asked = min(most, 2 * asked)
            seen, beside = reached, beside if following is None else following

    def _value(self, row: Found) -> Any:
        values = tuple(row.fields.get(name) for name in self.fields)
        for name, value in zip(self.fields, values, strict=True):
            if not isinstance(value, _VALUES):
                raise QueryError(f"{name!r} holds a {type(value).__name__} in the row {row.id!r}, which makes no group")
        return values if len(values) > 1 else values[0]

    def _rows_of(self, values: Sequence[Any], *, among: bool) -> str | None:
        """The expression of the rows in the groups with these values, or if not `among` them in all others.

        None where Milvus cannot be asked so: a key of the dynamic field may be missing, or hold anything.
        """
        if len(self.types) < len(self.fields):
            return None
        if not values:
            return ""
        try:
            return render(self._condition(values, among=among), self.types, dynamic=False)
        except FilterError:  # a number that no backend reads
            return None

    def _condition(self, values: Sequence[Any], *, among: bool) -> Filter:
        [name, *more] = self.fields
        if not more and self.types[name].type != "BOOL":
            present = [value for value in values if value is not None]
            listed = field(name).in_(present) if among else field(name).not_in(present)
            if not self.types[name].nullable:
                return listed
            null = (None in values) is among
            if among:
                return listed | field(name).is_null() if null else listed
            return listed | field(name).is_null() if null else listed & field(name).is_not_null()
        each = [
            [
                self._same(name, part, among=among)
                for name, part in zip(self.fields, value if more else (value,), strict=True)
            ]
            for value in values
        ]
        return _joined([_joined(parts, every=among) for parts in each], every=not among)

    def _same(self, name: str, value: Any, *, among: bool) -> Filter:
        """Whether the field has this value, or another one or none; a comparison with null is never true."""
        if value is None:
            return field(name).is_null() if among else field(name).is_not_null()
        compared: Filter = field(name) == value if among else field(name) != value
        return compared | field(name).is_null() if self.types[name].nullable and not among else compared


def _key(value: Any) -> Any:
    """What is equal is one group; but True is 1 to Python, and another value to whoever stored it."""
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    return (bool, value) if isinstance(value, bool) else value


def _joined(parts: Iterable[Filter], *, every: bool) -> Filter:
    return reduce(lambda one, other: one & other if every else one | other, parts)
