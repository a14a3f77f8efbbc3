"""Recall that is watched: standing probes are made, looked at, and closed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Any

import numpy as np
from typing_extensions import Unpack

from imgvec import noted, noting
from imgvec.by_vector import indexes_by
from imgvec.catalog.vector_types import FLOAT_METRICS
from imgvec.collection import ImageCollection
from imgvec.errors import BackendError, UsageError
from imgvec.indexes.drift import drift
from imgvec.indexes.known import Checked, Known, checked, lost
from imgvec.indexes.options import WatchOptions
from imgvec.indexes.probes import Merged, Note, binned, edges_of, entries, merged, scored
from imgvec.indexes.recall import estimate
from imgvec.indexes.watched import LIMITS, Facts, Watched, advice, fall
from imgvec.milvus.learned import Learned
from imgvec.noted import Began, Notes, Probes
from imgvec.noting import KEPT
from imgvec.options import documented, settled
from imgvec.progress import Telling
from imgvec.rows import VECTOR
from imgvec.store import Indexes
from imgvec.vectors import Vectors
from imgvec.verbs.probes import chosen, sample

_SUM_UP = 48
"""Rows of notes above which they are put together."""
_SCANNED = 4096
_PAUSE = 1.0
"""Before rows that were not there are looked for again: a server may hide one for a moment."""


@documented(WatchOptions)
def watch_index(collection: ImageCollection, **options: Unpack[WatchOptions]) -> Watched | None:
    """What the index finds of the true nearest rows of standing probes, without reading the collection.

    The first call makes them: 200 queries that are not stored rows, edited copies of stored pictures where these can be
    reopened, and reads all rows once to find the 100 nearest of each. From then on whatever writes through imgvec
    notes what comes near to them, in any process, so that later calls only look these rows up. A probe of which too
    many of the nearest rows were moved or deleted is open, and left out; such are closed by reading all rows once more.
    The outcome says recall@10 and @100 with intervals, whether it fell, which rows are missing, whether new rows are
    unlike the old, and what to do. `off` removes the probes and returns None. What is written past imgvec is not noted,
    but said where it is seen. Raises `UsageError`, `QueryError` where there is no such `vector`, `BackendError`.
    """
    collection = collection.pinned()
    asked = settled(WatchOptions, options)
    vector, store = asked["vector"], collection.store
    if store.vector(vector).metric_type not in FLOAT_METRICS:
        raise UsageError(f"standing probes need a vector of floats, which {vector!r} of {store.name!r} is not")
    store.refresh()
    noting.settle(store)
    tell, learned = Telling("watch", asked["on_progress"]), collection.learned
    epoch = noted.epoch_of(store, vector)
    if asked["off"]:
        if epoch is not None:
            noted.begin(store, vector, None)
            noted.forget(learned, store, epoch)
        return None
    probes = None if epoch is None else _kept(learned, epoch)
    watching, scanned = _Watching(collection, vector, tell), False
    began = None if probes is None else noted.kept_beginning(learned, probes.epoch)
    if probes is None or began is None or asked["again"] or asked["queries"] is not None:
        probes = watching.begun(chosen(collection, vector, asked, tell), epoch)
        scanned = True
    checks = watching.begun_with or watching.checks(probes)
    if not scanned and checks[max(LIMITS)].open and not asked["no_scan"]:
        probes, scanned = watching.begun(probes, epoch, since=began), True
        checks = watching.checks(probes)
    return watching.told(probes, checks, asked["recall"], scanned)


def is_watched(collection: ImageCollection, vector: str = VECTOR) -> bool:
    """Whether the vector has standing probes."""
    collection.store.refresh()
    return noted.epoch_of(collection.store, vector) is not None


class _Watching:
    """The standing probes of one vector of a collection."""

    def __init__(self, collection: ImageCollection, vector: str, tell: Telling) -> None:
        self._collection, self._vector, self._tell = collection, vector, tell
        self._own, self._learned = collection.store, collection.learned
        self._store: Indexes = indexes_by(collection.store, vector)
        self._started = time.monotonic()
        self._notes: dict[str, Notes] = {}
        self._known: Known | None = None
        """What was looked up for the last checks."""
        self.begun_with: dict[int, Checked] = {}
        """What was found when new probes began, a moment ago."""

    def _notes_of(self, probes: Probes) -> Notes:
        """The notes of their epoch, which keep what they have read."""
        return self._notes.setdefault(probes.epoch, Notes(self._own, probes.epoch))

    def begun(self, probes: Probes, former: str | None, since: Began | None = None) -> Probes:
        """Begin an epoch with these probes, for which all rows are read; `since` keeps what they are compared with.

        Writers note by it from the moment when the collection names it; the rows that are there by then are read. So
        there is no row that is neither noted nor read, but for those of a write that had begun before that moment, and
        whose writer is killed before it has looked again.
        """
        ids = sample(self._store)
        rows = self._store.get(ids, with_vector=True)
        some = np.stack([row["vector"] for row in rows.values()])
        scores = scored(self._store.metric_type, probes.vectors, some)
        floors = entries(list(rows), scores, np.full(len(probes.vectors), -np.inf, np.float32), KEPT).floors
        fresh = [place for place, id_ in enumerate(rows) if id_ not in probes.sources]
        edges = edges_of(scores[:, fresh].max(0)) if fresh else probes.edges
        probes = replace(probes, epoch=token_hex(8), floors=floors, edges=edges)
        noted.keep(self._learned, probes)
        noted.begin(self._own, self._vector, probes.epoch)
        note, before = self._read(probes)
        self._notes_of(probes).add(token_hex(8), 0, note)
        shares = {} if since is None else dict(since.shares)
        if since is None:
            self.begun_with = self.checks(probes)
            for limit, check in self.begun_with.items():
                shares[limit] = np.full(len(probes.vectors), np.nan, np.float32)
                shares[limit][list(check.shares)] = list(check.shares.values())
        about = self._facts().to_dict() if since is None else since.about
        noted.keep_beginning(self._learned, probes.epoch, Began(before, shares, about))
        self._own.check_same()
        if noted.epoch_of(self._own, self._vector) != probes.epoch:
            noted.forget(self._learned, self._own, probes.epoch)
            raise BackendError(f"the probes of {self._own.name!r} were made by someone else meanwhile", retryable=True)
        if former is not None:
            noted.forget(self._learned, self._own, former)
        return probes

    def _read(self, probes: Probes) -> tuple[Note, Any]:
        """The candidates among all rows, and the histogram of these."""
        rows, seen, before = self._store.count(), 0, np.zeros(len(probes.edges) + 1, np.int64)
        note = merged([], probes.floors)
        waiting: list[Note] = []
        for page in self._store.scan(["vector"], batch_size=_SCANNED):
            ids = [row["id"] for row in page]
            scores = scored(self._store.metric_type, probes.vectors, np.stack([row["vector"] for row in page]))
            fresh = [place for place, id_ in enumerate(ids) if id_ not in probes.sources]
            before += binned(scores[:, fresh], probes.edges)
            waiting.append(entries(ids, scores, note.floors, KEPT))
            if len(waiting) >= 8:
                note, waiting = merged([note, *waiting], note.floors, KEPT), []
            seen += len(page)
            self._tell("reading all rows for the standing probes", seen, max(rows, seen))
        note = merged([note, *waiting], note.floors, KEPT)
        return replace(note, counts=np.zeros_like(note.counts)), before

    def checks(self, probes: Probes) -> dict[int, Checked]:
        """What the index finds now, by limit."""
        self._tell("searching for the nearest rows of the standing probes")
        read = partial(self._notes_of(probes).merged, probes.floors)
        numbers, params = range(len(probes.vectors)), self._params()
        self._known = Known(self._store, probes.vectors, read().note)
        self._known.nearest(numbers, max(LIMITS))  # what is near in any case is asked for once
        return {
            limit: checked(self._store, probes.vectors, read, numbers, limit, params, self._known) for limit in LIMITS
        }

    def told(self, probes: Probes, checks: Mapping[int, Checked], wanted: float | None, scanned: bool) -> Watched:
        """The outcome, with what is missing, what has drifted, and what to do."""
        notes = self._notes_of(probes)
        began = noted.kept_beginning(self._learned, probes.epoch)
        assert began is not None
        recall = {limit: estimate(list(each.shares.values())) for limit, each in checks.items() if each.shares}
        falls = [
            fell
            for limit, check in checks.items()
            if limit in began.shares and (fell := fall(limit, began.shares[limit], check.shares)) is not None
        ]
        merged_now = notes.merged(probes.floors)
        deepest = checks[max(LIMITS)]
        found = Watched(
            name=self._own.name,
            vector=self._vector,
            probes=len(probes.vectors),
            basis=probes.basis,
            open=len(deepest.open),
            recall=recall,
            now=self._facts(),
            began=Facts(**began.about),
            began_recall={limit: float(np.nanmean(each)) for limit, each in began.shares.items() if _any(each)},
            falls=falls,
            wanted=wanted,
            lost=self._lost(probes, notes, merged_now),
            unnoted=len({id_ for check in checks.values() for id_ in check.unnoted}),
            unsettled=len(deepest.unsettled),
            short=deepest.short,
            pending_rows=self._store.index_state().pending_rows,
            drift=drift(began.before, merged_now.note.counts),
            scanned=scanned,
        )
        if len(notes.listed()) > _SUM_UP:
            notes.sum_up(probes.floors, lambda note: Known(self._store, probes.vectors, note).revised(KEPT))
        return replace(found, advice=advice(found), seconds=time.monotonic() - self._started)

    def _lost(self, probes: Probes, notes: Notes, known: Merged) -> list[str]:
        """Rows among the nearest hundred, as far as they were noted, that are not there, looked for twice."""
        absent = set() if self._known is None else self._known.absent
        if not (missing := lost(self._store, probes.vectors, known, absent)):
            return []
        time.sleep(_PAUSE)
        return lost(self._store, probes.vectors, notes.merged(probes.floors), missing)

    def _facts(self) -> Facts:
        index = self._store.index
        said = " ".join([index.type, *(f"{name}={value}" for name, value in index.params.items())])
        return Facts(said, self._params(), self._store.count())

    def _params(self) -> dict[str, Any]:
        return dict(self._collection.handle.target.search_defaults(self._vector).params)


def _kept(learned: Learned, epoch: str) -> Probes | None:
    """The probes of an epoch; None where they are gone, or parts of them are."""
    try:
        return noted.kept(learned, epoch)
    except BackendError as exc:
        if exc.retryable:
            raise
        return None


def _any(values: Vectors) -> bool:
    return bool(np.isfinite(values).any())
