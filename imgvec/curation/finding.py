"""The search for duplicates: rows in the order of their ids, their nearest, and the second look at these."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from imgvec.curation.groups import Edge
from imgvec.curation.judging import Relation, judged
from imgvec.curation.options import FindOptions
from imgvec.curation.remembering import MARGIN_MS, Remembered, Saving
from imgvec.curation.seeing import Seeing
from imgvec.curation.subjects import Subject, Subjects
from imgvec.curation.work import Work
from imgvec.filters import Filter
from imgvec.filters import field as row_field
from imgvec.progress import Telling
from imgvec.rows import CONTENT_HASH, ID, IMAGE_ID, INGESTED_AT, VECTOR
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.vectors import Vectors
from imgvec.views import best_views, rows_to_ask

ROWS = 512
"""That are read, and searched for, in one call."""
LOOKED_AT_ONCE = 64
"""Rows whose candidates are held against them together: their looks fit in memory."""
SAVE_SECONDS = 30.0
WIDER = 10
"""Times as many candidates for a picture of which all that were looked at are duplicates."""
PIXELS_SCORE = 0.9
"""With `exact`, pairs below are not decoded. A large JPEG file is encoded from half of its pixels or fewer, so equal
pixels in two formats may have different vectors, but by far less."""
_REMEMBERED_PAIRS = 1_000_000


class Finder:
    """One run over what is new."""

    def __init__(
        self,
        store: Searches,
        subjects: Subjects,
        seeing: Seeing,
        state: Remembered,
        save: Saving,
        asked: FindOptions,
        *,
        params: Mapping[str, Any],
        least_score: float | None,
    ) -> None:
        self._store, self._subjects, self._seeing, self._state, self._save = store, subjects, seeing, state, save
        self._asked, self._params, self._least_score = asked, params, least_score
        self._held: set[tuple[str, str]] = set()
        self._unseen_before = list(state.unseen)
        self.work = Work()

    def run(self) -> Work:
        """Look at everything that is new, and keep what was found; ends early when told to stop."""
        state, work = self._state, self.work
        now = time.time_ns() // 1_000_000
        if state.begun is None:
            state.begun, state.cursor = now, ""
        dated = INGESTED_AT in self._store.fields
        done = set(state.recent)
        total, told = self._new(dated), 0
        tell = Telling("duplicates", self._asked["on_progress"])
        tell("looking", 0, total)
        self._look_at_former()
        saved = time.monotonic()
        for rows in self._batches(dated):
            fresh = []
            for row in rows:
                subject = self._subjects.of(row[ID], row)
                mark = f"{subject.id}@{subject.ingested_at}"
                if not self._subjects.is_picture(row) or mark in done:
                    continue
                if dated and subject.ingested_at >= state.begun - MARGIN_MS:
                    state.recent.append(mark)
                fresh.append((subject, row[VECTOR]))
            if fresh:
                self._look_at([one for one, _ in fresh], np.stack([vector for _, vector in fresh]))
            work.looked_at += len(fresh)
            told += len(rows)
            state.cursor = rows[-1][ID]
            tell("looking", told, total, counts={"pairs": work.candidates, "found": len(state.edges)})
            if self._stopped:
                work.interrupted = True
                self._keep()
                return work
            if time.monotonic() - saved > SAVE_SECONDS:
                self._keep()
                saved = time.monotonic()
        self._end(dated)
        return work

    @property
    def _stopped(self) -> bool:
        stop = self._asked["stop"]
        return stop is not None and stop.is_set()

    def _end(self, dated: bool) -> None:
        state = self._state
        assert state.begun is not None
        state.last = state.begun
        if dated:
            state.since = max(state.since, state.begun - MARGIN_MS)
            state.recent = [mark for mark in state.recent if int(mark.rpartition("@")[2]) >= state.since]
            state.rows = self._count(row_field(INGESTED_AT) < state.since)
        state.begun, state.cursor = None, ""
        self._keep()

    def _keep(self) -> None:
        self._state.unseen = list(dict.fromkeys([*self._unseen_before, *self._seeing.unseen]))
        self._save(self._state)

    def _look_at_former(self) -> None:
        """What former runs could not reopen, such as of a disk that was not mounted, where that works now."""
        former = self._unseen_before
        self._unseen_before = []
        sees = self._seeing.pixels if self._asked["exact"] else self._seeing.look
        for start in range(0, len(former), ROWS):
            ids = former[start : start + ROWS]
            with self.work.timed("read", 1):
                rows = self._store.get(ids, output_fields=self._subjects.fields, with_vector=True)
            subjects = [self._subjects.of(id_, row) for id_, row in rows.items()]
            with self.work.timed("look"):
                seen = self._seeing.map(sees, subjects)
            fresh = [each for each, one in zip(subjects, seen, strict=True) if one is not None]
            if fresh:
                self._look_at(fresh, np.stack([rows[each.id][VECTOR] for each in fresh]))
            self.work.looked_at += len(fresh)
            if self._stopped:
                self._unseen_before = former[start + ROWS :]
                return

    def _new(self, dated: bool) -> int:
        return self._count(self._filter(dated))

    def _count(self, where: Filter | None) -> int:
        with self.work.timed("read", 1):
            return self._store.count(self._store.rendered(where))

    def _filter(self, dated: bool) -> Filter | None:
        where: Filter | None = None
        if dated and self._state.since:
            where = row_field(INGESTED_AT) >= self._state.since
        if self._state.cursor:
            after = row_field(ID) > self._state.cursor
            where = after if where is None else where & after
        return where

    def _batches(self, dated: bool) -> Iterator[list[dict[str, Any]]]:
        expression = self._store.rendered(self._filter(dated))
        batches = self._store.scan([*self._subjects.fields, VECTOR], expression, ROWS)
        while True:
            with self.work.timed("read", 1):
                rows = next(batches, None)
            if rows is None:
                return
            if rows:
                yield rows

    def _look_at(self, fresh: Sequence[Subject], vectors: Vectors) -> None:
        # by earlier rows of this run some are known already, as what they are now
        known = self._state.hashes
        self._state.forget(each.id for each in fresh if known.get(each.id, each.content_hash) != each.content_hash)
        repeated = self._same_files(fresh)
        places = [place for place, each in enumerate(fresh) if each.id not in repeated]
        if not places:
            return
        asking = [fresh[place] for place in places]
        found = self._near(vectors[places], self._asked["candidates"])
        for start in range(0, len(asking), LOOKED_AT_ONCE):
            part = range(start, min(start + LOOKED_AT_ONCE, len(asking)))
            pairs = self._pairs((asking[place], found[place]) for place in part)
            same = self._hold(pairs)
            wider = [place for place in part if self._all_same(asking[place], found[place], same)]
            if wider:
                more = self._near(vectors[places][wider], WIDER * self._asked["candidates"])
                self._hold(self._pairs(zip([asking[place] for place in wider], more, strict=True)))

    def _same_files(self, fresh: Sequence[Subject]) -> set[str]:
        """Edges between files of the same bytes; returns the ids of those that another one stands for."""
        hashes = sorted({each.content_hash for each in fresh if each.content_hash})
        if not hashes:
            return set()
        names = [CONTENT_HASH, *([IMAGE_ID] if self._subjects.views else [])]
        by_hash: dict[str, list[str]] = {}
        with self.work.timed("same files", 1):
            for rows in self._store.scan(names, self._store.rendered(row_field(CONTENT_HASH).in_(hashes))):
                for row in rows:
                    if self._subjects.is_picture(row):
                        by_hash.setdefault(row[CONTENT_HASH], []).append(row[ID])
        repeated: set[str] = set()
        for content_hash, ids in by_hash.items():
            first, *others = sorted(ids)
            repeated.update(others)
            for other in others:
                self._state.add(Edge(first, other, Relation("file")), content_hash, content_hash)
        return repeated

    def _near(self, vectors: Vectors, candidates: int) -> list[list[tuple[Subject, float]]]:
        """Of each vector the nearest pictures, with their scores."""
        limit = rows_to_ask(candidates + 1, self._store.most_views)
        limit = min(limit, self._store.vectors[VECTOR].most_hits)
        names = [*self._subjects.fields]
        found: list[Sequence[Found]] = []
        with self.work.timed("search", 1):
            found += self._store.search(
                vectors,
                limit=limit,
                output_fields=names,
                params=self._params,
                vector=VECTOR,
                consistency_level="Strong",
                min_score=self._least_score,
            )
        near = []
        for hits in found:
            pictures = best_views(hits) if self._subjects.views else hits
            near.append(
                [
                    (self._subjects.of(hit.fields[IMAGE_ID] if self._subjects.views else hit.id, hit.fields), hit.score)
                    for hit in pictures
                    if self._least_score is None or hit.score >= self._least_score
                ]
            )
        return near

    def _pairs(
        self, near: Iterable[tuple[Subject, Sequence[tuple[Subject, float]]]]
    ) -> list[tuple[Subject, Subject, float]]:
        """Those that were not held against each other: once, and of several files of the same bytes one."""
        pairs = []
        for one, others in near:
            hashes = {one.content_hash} - {""}
            for other, score in others:
                key = (min(one.id, other.id), max(one.id, other.id))
                if other.id == one.id or other.content_hash in hashes or key in self._held or self._state.has(*key):
                    continue
                hashes |= {other.content_hash} - {""}
                if len(self._held) >= _REMEMBERED_PAIRS:
                    self._held.clear()
                self._held.add(key)
                pairs.append((one, other, score))
        return pairs

    def _hold(self, pairs: Sequence[tuple[Subject, Subject, float]]) -> set[tuple[str, str]]:
        """Hold pairs against each other; returns those that are one."""
        with self.work.timed("look"):
            if not self._asked["exact"]:
                self._seeing.map(self._seeing.look, {each.id: each for pair in pairs for each in pair[:2]}.values())
            relations = self._seeing.map(lambda pair: self._compared(*pair), pairs)
        self.work.candidates += len(pairs)
        same = set()
        for (one, other, _), relation in zip(pairs, relations, strict=True):
            if relation is not None:
                self._state.add(Edge(one.id, other.id, relation), one.content_hash, other.content_hash)
                same.add((one.id, other.id))
        return same

    def _all_same(self, one: Subject, near: Sequence[tuple[Subject, float]], same: set[tuple[str, str]]) -> bool:
        others = [other for other, _ in near if other.id != one.id]
        return len(others) >= self._asked["candidates"] and all(
            (one.id, other.id) in same
            or self._state.has(one.id, other.id)
            or (other.content_hash and other.content_hash == one.content_hash)
            for other in others
        )

    def _compared(self, one: Subject, other: Subject, score: float) -> Relation | None:
        alone, exact = self._asked["vectors_alone"], self._asked["exact"]
        relation = None if exact and score < PIXELS_SCORE else self.compared(one, other)
        unseen = self._seeing.unseen
        if relation is None and alone is not None and score >= alone and (one.id in unseen or other.id in unseen):
            return Relation("vector", agreement=round(score, 4))
        return relation

    def compared(self, one: Subject, other: Subject) -> Relation | None:
        """What the other is to the one, by their pictures."""
        seeing, same_size = self._seeing, (one.width, one.height) == (other.width, other.height)
        if self._asked["exact"]:
            return Relation("pixels") if same_size and self._same_pixels(one, other) else None
        first, second = seeing.look(one), seeing.look(other)
        if first is None or second is None:
            return None
        relation = judged(
            first, second, taken=(one.taken_at, other.taken_at), burst_seconds=self._asked["burst_seconds"]
        )
        if relation is None or relation.mirrored or relation.agreement < 0.999 or not same_size:
            return relation
        return Relation("pixels") if self._same_pixels(one, other) else relation

    def _same_pixels(self, one: Subject, other: Subject) -> bool:
        digests = self._seeing.pixels(one), self._seeing.pixels(other)
        return digests[0] is not None and digests[0] == digests[1]
