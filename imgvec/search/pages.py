"""The hits of one query page by page: each row that still exists once, whatever is written and deleted meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from imgvec.errors import UnsupportedByBackend
from imgvec.search.answer import Hit, Verdict
from imgvec.search.ranking import Ranking
from imgvec.stored import Found, is_complete


class Nearest(Protocol):
    """The nearest rows of the query that score no more than `most`."""

    def __call__(self, limit: int, most: float | None) -> Sequence[Found]: ...


Fetch: TypeAlias = Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]]
"""The fields of rows by id, of those that exist."""


class Pages:
    """The pages of one query: an iterator of tuples of hits, made by `ImageCollection.pages`.

    The ranking is made once, by the first call, and its ids and scores are kept: at most `most` rows of it. Every page
    then reads its rows as they are, and leaves out those that exist no more, so that a page before the last one always
    has `size` hits, and no row comes twice or is left out because others come and go. What a page could not find is
    looked for again after the last one: a server may hide a row for the moment in which it is replaced. Scores are
    those of the ranking, also of a row that was written again since; rows that are new since do not come.

    Not for several threads at once. Raises `CollectionNotFound` and the other errors of a read; a page that failed so
    is what the next call reads again.
    """

    def __init__(
        self, kept: Sequence[Found], *, truncated: bool, complete: bool, size: int, fetch: Fetch, made: Made,
        verdict: Verdict | None = None,
    ):  # fmt: skip
        self._rows, self._size, self._fetch, self._made = kept, size, fetch, made
        self.kept = len(kept)
        """How many hits the ranking has, those that exist no more among them."""
        self.truncated = truncated
        """Whether more rows may match than are kept."""
        self.complete = complete
        """False if rows may be missing, as in `Answer.complete`."""
        self.verdict = verdict
        """Whether the best row is a real match, as in `Answer.verdict`; None where nothing was calibrated."""
        self._next = 0
        self._missing: list[Found] = []
        self._again = False

    def __iter__(self) -> Iterator[tuple[Hit, ...]]:
        return self

    def __next__(self) -> tuple[Hit, ...]:
        before = self._rows, self._next, len(self._missing), self._again
        try:
            page = self._page()
        except BaseException:  # the next call reads it again, so that no row of it is lost
            self._rows, self._next, missing, self._again = before
            del self._missing[missing:]
            raise
        if not page:
            raise StopIteration
        return page

    def _page(self) -> tuple[Hit, ...]:
        page: list[Hit] = []
        while len(page) < self._size and (asked := self._following(self._size - len(page))):
            rows = self._fetch([each.id for each in asked])
            page += (self._made(each, rows[each.id]) for each in asked if each.id in rows)
            if not self._again:
                self._missing += (each for each in asked if each.id not in rows)
        return tuple(page)

    def _following(self, count: int) -> Sequence[Found]:
        if self._next >= len(self._rows) and self._missing and not self._again:
            self._rows, self._next, self._again = self._missing, 0, True
        asked = self._rows[self._next : self._next + count]
        self._next += len(asked)
        return asked


Made: TypeAlias = Callable[[Found, Mapping[str, Any]], Hit]
"""A hit of the ranking, with the fields that its row has now."""


def ranked(nearest: Nearest, ranking: Ranking, most: int) -> tuple[list[Found], bool, bool]:
    """The first `most` rows as hits, whether there may be more, and whether none of those can be missing.

    Milvus gives `most_rows` to one call: those that follow are asked for as the nearest ones that score no more than
    the last one did. They are the next ones as far as the index is exact. Of equal scores those with the first ids are
    kept, as by `Ranking.first`, as far as one call gives all of them.
    """
    rows: dict[str, Found] = {}
    bound: float | None = None
    complete = truncated = True
    while len(rows) < most:
        # one more than is kept, to know whether it is the last
        limit = min(ranking.most_rows, most + 1 if bound is None else most + 1 - len(rows) + ranking.most_rows // 4)
        try:
            found = nearest(limit, bound)
            # which rows of equal score come last is chance: all of them are wanted to choose from
            while (
                bound is None and len(found) == limit < ranking.most_rows and found[-1].score == found[most - 1].score
            ):
                complete = complete and is_complete(found)
                limit = min(2 * limit, ranking.most_rows)
                found = nearest(limit, bound)
        except UnsupportedByBackend:  # no range search by that index, so there is no second call
            break
        complete = complete and is_complete(found)
        new = [row for row in found if row.id not in rows]
        rows.update((row.id, row) for row in new)
        if len(found) < limit or (ranking.least is not None and found[-1].score < ranking.least):
            truncated = len(rows) > most
            break
        if not new or found[-1].score == bound:  # more rows of one score than Milvus gives to one call
            break
        bound = found[-1].score
    ordered = sorted(rows.values(), key=lambda row: (-row.score, row.id))
    settled = ranking.settled(ordered[:most], most + 1)
    return settled.hits, truncated and not settled.cut, complete
