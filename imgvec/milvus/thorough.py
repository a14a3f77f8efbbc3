"""Searches in which a filter does not hide from an index what it keeps.

An index looks at some of the rows, those around the query, and a filter leaves out most of what it looks at. So a graph
looks at more of them; where few rows match, an index of clusters looks at all of these, or they are read and compared
here; and where fewer rows come than were asked for although more match, it is searched wider, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import numpy as np

from imgvec.milvus.searching import Searching
from imgvec.rows import ID
from imgvec.store import NearestOf
from imgvec.stored import Found, Nearest, Reach
from imgvec.vectors import Vectors

FEW = 10_000
"""Rows that match, up to which an index of clusters looks at all of them.

Of 50,000 rows of 384 dimensions (Milvus 2.3.5, nlist 256) all clusters took 6 ms where 5,000 matched, and 19 ms where
25,000 did; what finds 0.99 of the nearest (nprobe 64) took 3 and 12 ms, and the default, nprobe 8, 4 ms for 0.72 and
0.83 of them. So from some 10,000 rows on, looking at all is no longer the cheaper way to them. Counting took 2 ms.
"""
FEW_HERE = 1000
"""Rows that match, up to which they are read and compared here.

A server took 0.17 ms a row to send its vector, so this is for what no parameter of an index reaches; and Milvus Lite
looks through all rows to read a few.
"""
WIDE, WIDE_MOST = 4096, 16_384
"""Candidates of a graph of Milvus Lite under a filter: 64 times the limit between these.

Of 50,000 rows (`tests/benchmarks/filtered.py --backend lite`) 64 candidates led to 0.98 of the nearest where half of
the rows matched and to 0.55 where 1 % did; 4,096 led to all, and took 28 ms more than the 49 ms of such a search.
"""
FILTERED = 256
"""Candidates of a graph of a server under a filter, and 4 times the limit where that is more.

Of 50,000 rows (Milvus 2.3.5, M 16) the default, 64 candidates, led to 0.96, 0.92 and 0.88 of the nearest where 50, 20
and 10 % of the rows matched, and 256 to 1.00, 0.99 and 0.98, for 1 to 2 ms more than 3 to 5 ms. Counting what matches,
to have fewer candidates where much does, took longer than that. Where 7 % or less match, the server compares with all.
"""
_SEEN_LEAST, _SEEN_MOST = 128, 1024
"""Rows that such a search should find, 8 times the limit between these: where they come, enough of the rows that were
looked at match for the nearest of those that match to be among them."""


class Reads(Protocol):
    """What it needs to read of the collection."""

    def plain(self, vectors: Vectors, asked: NearestOf) -> list[Nearest]:
        """What Milvus finds by the parameters alone."""
        ...

    def counted(self, filter: str, consistency_level: str) -> int:
        """How many rows match."""
        ...

    def matching(
        self, filter: str, output_fields: Sequence[str], most: int, consistency_level: str | None
    ) -> list[dict[str, Any]] | None:
        """The rows that match, each with its id; None where there are more than `most`, or some may be missing."""
        ...


@dataclass(frozen=True, slots=True)
class Thorough:
    """One search, by one vector of a collection."""

    reads: Reads
    searching: Searching
    asked: NearestOf
    is_lite: bool

    def search(self, vectors: Vectors) -> list[Nearest]:
        """`Store.search` with `thorough`."""
        family = self.searching.family
        # below a score there is more only where 16,384 others match; and on 2.3.5 a range search by clusters
        # of which most have no row that matches ends too early
        if family == "exact" or self.asked.get("max_score") is not None:
            return self.reads.plain(vectors, self.asked)
        matched = None
        if self._filter:
            every = self.searching.params.of_every_row(self.asked.get("params"), FEW)
            if every is not None:
                # counting takes Milvus Lite longer than that, since it makes every row that it counts
                matched = None if self.is_lite else self._count()
                if matched is None or matched <= FEW:
                    return self._by(vectors, every, Reach(matched, "every row", every))
            elif self.is_lite:
                return self._by_graph_of_lite(vectors)
            elif raised := self._raised():
                return self._completed(vectors, self._by(vectors, raised, Reach(params=raised)), None)
        return self._completed(vectors, self._by(vectors, None, Reach(matched)), matched)

    @property
    def _filter(self) -> str:
        return self.asked.get("filter", "")

    def _count(self) -> int:
        # it only says how to search, and the search is as fresh as was asked for: so it need not wait for others
        return self.reads.counted(self._filter, "Eventually")

    def _by(self, vectors: Vectors, params: Mapping[str, Any] | None, reach: Reach, **asked: Any) -> list[Nearest]:
        """What Milvus finds, by those parameters instead of the search's own."""
        changed = {**asked, **({} if params is None else {"params": params})}
        found = self.reads.plain(vectors, cast(NearestOf, {**self.asked, **changed}))
        for each in found:
            each.reach = reach
        return found

    def _raised(self) -> dict[str, Any] | None:
        """Parameters by which a graph in a server's memory has candidates enough under a filter; None as it has."""
        params, given, limit = self.searching.params, self.asked.get("params"), self.asked["limit"]
        asked = params.checked(given, limit)
        candidates = min(WIDE_MOST, max(FILTERED, 4 * limit))
        return params.wider(given, limit, candidates) if asked.get("ef", candidates) < candidates else None

    def _by_graph_of_lite(self, vectors: Vectors) -> list[Nearest]:
        """By a graph whose walk ends after so many rows, whether they match or not."""
        limit = self.asked["limit"]
        seen = max(limit, min(_SEEN_MOST, max(_SEEN_LEAST, 8 * limit)))
        candidates = min(WIDE_MOST, max(WIDE, 64 * limit))
        params = self.searching.params.wider(self.asked.get("params"), limit, candidates)
        raised = params if params != self.searching.params.checked(self.asked.get("params"), limit) else None
        found = self._by(vectors, raised, Reach(params=raised), limit=seen)
        lacking = [place for place, each in enumerate(found) if len(each) < seen]
        if lacking and (here := self._here(vectors[lacking])):
            for place, each in zip(lacking, here, strict=True):
                found[place] = each
        for each in found:
            del each[limit:]
        return found

    def _completed(self, vectors: Vectors, answers: list[Nearest], matched: int | None) -> list[Nearest]:
        """The answers, those that are too short searched for once more."""
        limit = self.asked["limit"]
        short = [place for place, each in enumerate(answers) if len(each) < limit and not each.cut]
        if not short:
            return answers
        known = self._count() if matched is None else matched
        short = [place for place in short if len(answers[place]) < known]
        if not short:
            return answers
        params, given = self.searching.params, self.asked.get("params")
        every = params.of_every_row(given, known) if known <= FEW else None
        wider = params.wider(given, limit, max(WIDE, 4 * limit)) if every is None else every
        reach = Reach(known, "index" if every is None else "every row", wider)
        again = self._by(vectors[short], wider, reach)
        if known <= FEW_HERE and any(len(each) < min(limit, known) for each in again):
            again = self._here(vectors[short]) or again
        for place, each in zip(short, again, strict=True):
            each.reach = replace(each.reach, matched=known, before=len(answers[place]))
            answers[place] = max(each, answers[place], key=len)
        return answers

    def _here(self, vectors: Vectors) -> list[Nearest] | None:
        """The rows that match, read and compared here; None where they are many, or some may be missing."""
        asked, name = self.asked, self.searching.name
        wanted = asked.get("output_fields", ())
        rows = self.reads.matching(self._filter, [*wanted, name], FEW_HERE, asked.get("consistency_level"))
        if rows is None:
            return None
        stored = np.stack([row[name] for row in rows]) if rows else np.empty((0, self.searching.field.dim), np.float32)
        unwanted = {name, ID} - {*wanted, *({ID} if "*" in wanted else ())}
        fields = [{key: value for key, value in row.items() if key not in unwanted} for row in rows]
        reach = Reach(len(rows), "every row, here")
        answers = []
        for query in vectors:
            scores, distances = self.searching.scoring.compared(query, stored)
            found = [
                Found(row[ID], distance, score, each)
                for row, distance, score, each in zip(rows, distances.tolist(), scores.tolist(), fields, strict=True)
                if np.isfinite(score)
            ]
            found.sort(key=lambda each: (-each.score, each.id))
            answers.append(Nearest(found[: asked["limit"]], reach=reach))
        return answers
