"""What becomes of a query's ranking before it is an answer: one order, in which all options mean the same together.

    where       the rows that match, best first, equal scores in the order of their ids
    views       each picture once with its best view, unless `views` asks for all
    min_score   hits below it are left out
    candidates  the first so many hits, where `collapse`, `diversity` or `order_by` is given, or the question is a
                hybrid; what follows sees these
    collapse    from the best hit down, each takes away those after it that are too much alike to it
    group_by    hits that share a value are one group with its first `group_size` hits; groups stand where their best
                hits stood. From here on a group is moved and counted as one, by its best hit
    diversity   the order of maximal marginal relevance instead of that of the scores
    order_by    the order of a field instead; rows without a value, or of an unknown date, last
    offset      so many hits, or groups, are skipped
    limit       and so many are given

So the first 5 of 15 are the 5 of 5, whatever else is asked: `candidates` does not depend on `limit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from imgvec.errors import OptionError
from imgvec.filters import FieldType
from imgvec.search.diversity import Likeness, distinct, marginal
from imgvec.search.group_by import Grouping
from imgvec.search.ranking import Asking, Ranking
from imgvec.search.request import SearchOptions
from imgvec.store import Searches
from imgvec.stored import Found

T = TypeVar("T")

Ended: TypeAlias = Literal["min_score", "candidates", "collapse"]
"""What kept the list of hits from being longer, other than what is stored."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The hits of one answer."""

    hits: list[Found]
    groups: list[tuple[Any, list[Found]]]
    """The same hits by the value that they share, where that was asked for."""
    found: int
    """Hits or groups that there were, those before `offset` among them."""
    ended: Ended | None
    others: str | None = ""
    """An expression of the rows that could make further groups; None where there is none."""


@dataclass(frozen=True, slots=True)
class AfterWork:
    """The part of a search's options that begins where Milvus has ranked the rows."""

    options: SearchOptions
    metric_type: str
    grouping: Grouping | None
    order: Order | None
    ends: bool = False
    """Whether the ranking has no more than the first candidates, whatever is asked of it."""

    @classmethod
    def of(cls, options: SearchOptions, store: Searches, *, bounded: bool = False) -> AfterWork:
        """Of a ranking that is `bounded` to the first candidates by itself, or has all rows.

        Raises `OptionError` for a field that is not there, and for options that exclude each other.
        """
        types, dynamic = store.fields, store.dynamic
        grouping = None
        if options["group_by"]:
            grouping = Grouping.of(
                options["group_by"],
                options["group_size"],
                strict=options["strict_group_size"],
                types=types,
                dynamic=dynamic,
            )
        elif options["group_size"] > 1 or options["strict_group_size"]:
            name = "group_size" if options["group_size"] > 1 else "strict_group_size"
            raise OptionError(name, f"{name} is about the groups of group_by: name its field")
        if options["diversity"] and options["order_by"]:
            raise OptionError("order_by", "diversity and order_by both decide the order of the hits: give one of them")
        order = None if options["order_by"] is None else Order.of(options["order_by"], types)
        work = cls(options, store.vectors[options["vector"]].metric_type, grouping, order, bounded)
        if work.bounded and work.wanted > options["candidates"]:
            raise OptionError(
                "candidates",
                f"limit + offset is {work.wanted:,}, of {options['candidates']:,} candidates: ask for at least as many "
                f"candidates",
            )
        return work

    @property
    def wanted(self) -> int:
        return self.options["offset"] + self.options["limit"]

    @property
    def bounded(self) -> bool:
        """Whether it sees the first candidates alone."""
        return self.ends or self.compares or self.order is not None

    @property
    def compares(self) -> bool:
        """Whether it needs the vectors of the candidates."""
        return self.options["collapse"] is not None or bool(self.options["diversity"])

    @property
    def fields(self) -> list[str]:
        """That rows must come with."""
        named = [*(self.grouping.fields if self.grouping else ()), *([self.order.field] if self.order else [])]
        return [*named, *([self.options["vector"]] if self.compares else [])]

    def of_query(self, ranking: Ranking) -> Asking[Outcome]:
        """The hits of one query, from as many of its rows as they need."""
        if self.bounded:
            ranked = yield from ranking.first(self.options["candidates"])
            return self.of_candidates(ranked.hits, more=not ranked.ended, cut=ranked.cut)
        if self.grouping:
            grouped = yield from self.grouping.first(ranking, self.wanted)
            units, cut, others = [(one.value, one.hits) for one in grouped.groups], grouped.cut, grouped.others
        else:
            ranked = yield from ranking.first(self.wanted)
            units, cut, others = [(None, [hit]) for hit in ranked.hits[: self.wanted]], ranked.cut, ""
        return self._outcome(units, "min_score" if cut else None, others)

    def of_candidates(self, hits: Sequence[Found], *, more: bool = False, cut: bool = False) -> Outcome:
        """The same from the first hits alone; `more` says that there are others, and `cut` that these score too low."""
        most = self.options["candidates"]
        ended: Ended | None = "candidates" if more or len(hits) > most else "min_score" if cut else None
        hits = hits[:most]
        places = list(range(len(hits)))
        likeness = None
        if self.compares and hits:
            likeness = Likeness(self.metric_type, np.stack([hit.fields[self.options["vector"]] for hit in hits]))
            if (threshold := self.options["collapse"]) is not None:
                assert not isinstance(threshold, str), "the searcher asks the calibration before"
                places = distinct(likeness, threshold)
                if len(places) < len(hits):
                    ended = ended or "collapse"
        units: list[tuple[Any, list[Found]]]
        if self.grouping:
            units = [(one.value, one.hits) for one in self.grouping.parted(hits[place] for place in places)]
            at = {hit.id: place for place, hit in enumerate(hits)}
            places = [at[members[0].id] for _, members in units]
        else:
            units = [(None, [hits[place]]) for place in places]
        if likeness is not None and self.options["diversity"]:
            scores = [members[0].score for _, members in units]
            chosen = marginal(likeness, scores, places, self.options["diversity"], self.wanted)
            by_place = dict(zip(places, units, strict=True))
            units = [by_place[place] for place in chosen]
        elif self.order:
            units = self.order.sorted(units, lambda unit: unit[1][0].fields)
        return self._outcome(units, ended, None if self.grouping else "")

    def _outcome(self, units: Sequence[tuple[Any, list[Found]]], ended: Ended | None, others: str | None) -> Outcome:
        given = list(units[self.options["offset"] : self.wanted])
        hits = [hit for _, members in given for hit in members]
        return Outcome(hits, given if self.grouping else [], len(units), ended, others)


@dataclass(frozen=True, slots=True)
class Order:
    """The field by which hits are ordered."""

    field: str
    descending: bool
    kind: FieldType

    @classmethod
    def of(cls, given: str, types: Mapping[str, FieldType]) -> Order:
        """Raises `OptionError`."""
        name = given.removeprefix("-")
        kind = types.get(name)
        if kind is None:
            raise OptionError("order_by", f"no field {name!r} to order by (fields: {', '.join(types)})")
        if kind.type in ("ARRAY", "JSON", "GEOMETRY"):
            raise OptionError("order_by", f"{name!r} holds {kind.type}, which has no order")
        return cls(name, given.startswith("-"), kind)

    def sorted(self, given: Sequence[T], fields: Callable[[T], Mapping[str, Any]]) -> list[T]:
        """By a value among the fields of each; equal ones stay in their order, those without a value come last."""

        def has(each: T) -> bool:
            value = fields(each).get(self.field)
            if value is None or value != value:
                return False
            return not (self.kind.is_date and value == self.kind.unknown)

        def place(each: T) -> Any:
            value = fields(each)[self.field]
            # before a fraction of a second, which begins with a dot, comes the second itself
            return value.removesuffix("Z") if self.kind.type == "TIMESTAMPTZ" else value

        known = sorted(filter(has, given), key=place, reverse=self.descending)
        return [*known, *(each for each in given if not has(each))]
