"""The rows nearest to a query, looked up as deep as its answer needs.

What an answer needs is written as a generator: it yields what to ask, is sent the rows, and returns what it made of
them. So many queries go forward together, and those that ask the same are one call to Milvus.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from imgvec.rows import IMAGE_ID
from imgvec.stored import Found, Reach, is_complete, is_cut, reach_of
from imgvec.views import best_views, rows_to_ask

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """The nearest `limit` rows, of those that also match `beside`, a Milvus expression."""

    limit: int
    beside: str = ""


Asking: TypeAlias = Generator[Ask, Sequence[Found], T]


@dataclass(slots=True)
class Told:
    """What was asked for one query, and whether every answer to it was complete."""

    calls: int = 0
    rows: int = 0
    """Asked for, in all calls together."""
    complete: bool = True
    cut: bool = False
    """Whether Milvus itself left out what scores less than `min_score`."""
    reach: Reach = field(default_factory=Reach)
    """Of the last call."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The first hits of a query, in an order that no deeper look can change."""

    hits: list[Found]
    """Best first, equal scores in the order of their ids."""
    ended: bool
    """No further hit is to be had: Milvus gave all rows, or the next ones are below the least score."""
    cut: bool
    """A row below the least score was seen."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the rows of a search make hits, and how many of them Milvus gives."""

    most_rows: int
    """That Milvus gives to one query by that index."""
    most_views: int | None = None
    """Rows that a picture has at most, where hits are pictures with their best view; None where rows are hits."""
    least: float | None = None
    """Hits with a lower score are left out."""

    def at_least(self, score: float) -> Ranking:
        """The same without hits of a lower score."""
        return replace(self, least=score if self.least is None else max(score, self.least))

    def first(self, wanted: int, beside: str = "") -> Asking[Ranked]:
        """The first `wanted` hits, or more; fewer where there are no more.

        Which rows of equal score come last in what Milvus gives is chance. So one row more is asked for than is needed,
        and where the last score goes on to the end, more: the first 5 hits of 15 are the 5 hits of 5. At `most_rows`
        the last rows are taken as they come. Raises `QueryError` where Milvus does not give enough rows.
        """
        rows = rows_to_ask(wanted, self.most_views)
        asked = max(rows, min(rows + 1, self.most_rows))
        while True:
            found = yield Ask(asked, beside)
            ranked = self.settled(found, asked)
            if ranked.ended or len(ranked.hits) >= wanted or asked >= self.most_rows:
                return ranked
            asked = min(2 * asked, self.most_rows)

    def order(self, hit: Found) -> tuple[float, str]:
        """What hits are sorted by."""
        return -hit.score, hit.id if self.most_views is None else hit.fields[IMAGE_ID]

    def settled(self, found: Sequence[Found], asked: int) -> Ranked:
        """What is certain of the `asked` rows that were found."""
        every = len(found) < asked
        if every or asked >= self.most_rows:
            rows = list(found)
        else:
            rows = [row for row in found if row.score > found[-1].score]
        above = [row for row in rows if self.least is None or row.score >= self.least]
        # a row below may be within the uncertain tail: all above it is certain all the same
        cut = bool(found) and self.least is not None and found[-1].score < self.least
        hits = above if self.most_views is None else best_views(above)
        return Ranked(hits, every or cut, cut)


def together(
    jobs: Sequence[Asking[T]], search: Callable[[Sequence[int], Ask], Sequence[Sequence[Found]]]
) -> list[tuple[T, Told]]:
    """What each job returns, and what was asked for it; `search` answers one ask of several jobs, by their places."""
    told = [Told() for _ in jobs]
    results: dict[int, T] = {}
    waiting = {place: next(job) for place, job in enumerate(jobs)}
    while waiting:
        alike: dict[Ask, list[int]] = {}
        for place, ask in waiting.items():
            alike.setdefault(ask, []).append(place)
        waiting = {}
        for ask, places in alike.items():
            for place, found in zip(places, search(places, ask), strict=True):
                mine = told[place]
                mine.calls, mine.rows = mine.calls + 1, mine.rows + ask.limit
                mine.complete = mine.complete and is_complete(found)
                mine.cut, mine.reach = mine.cut or is_cut(found), reach_of(found)
                try:
                    waiting[place] = jobs[place].send(found)
                except StopIteration as done:
                    results[place] = done.value
    return [(results[place], told[place]) for place in range(len(jobs))]


def both(one: str, other: str) -> str:
    """The expression of the rows that match both; an empty one matches all."""
    return f"({one}) and ({other})" if one and other else one or other
