"""Writes are watched: before rows go to Milvus, those that are near to a standing probe are noted.

For each batch that is written this costs probes x rows products, and one small write where a row is near. `noted` says
what is kept, and why it is written first.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex

import numpy as np
from numpy.typing import NDArray

from imgvec import noted
from imgvec.errors import BackendError
from imgvec.indexes.probes import BINS, Note, Scores, binned, entries, hashed, scored
from imgvec.milvus import Connection, Store
from imgvec.milvus.learned import Learned
from imgvec.noted import Notes, Probes
from imgvec.store import Observer
from imgvec.vectors import Vectors

KEPT = 160
"""Candidates of a probe that are kept: of them so many more than the hundred nearest may go before it is open."""
_MANY = 4 * KEPT
"""Candidates of its own above which a writer notes only what is nearer."""
_FOLD = 32
"""Notes that a writer has, until it puts them together."""
_COUNTED = 4096
"""Rows that are not told of in any histogram, at most."""

log = logging.getLogger(__name__)


def observe(store: Store) -> None:
    """Have what this store writes noted, where its collection says so: it is asked of each write's own look at that."""
    if store.link.observer is None:
        store.link.observer = Noting(store)


def settle(store: Store) -> None:
    """Say that whatever wrote to this store has come to its end."""
    if isinstance(store.link.observer, Noting):
        store.link.observer.settle()


def probes_of(store: Store, vector: str, epoch: str) -> Probes | None:
    """The probes of an epoch, where whatever writes to this store has read them; asks nothing."""
    return store.link.observer.known(vector, epoch) if isinstance(store.link.observer, Noting) else None


class Noting(Observer):
    """Notes what one store writes, for each of its vectors that is watched. Any number of threads may write."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: dict[str, tuple[str, _Epoch | None]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def writing(self, watched: Mapping[str, str], ids: Sequence[str], vectors: Mapping[str, Vectors]) -> Iterator[None]:
        """Rows are written while the block runs, and were acknowledged where it ends well."""
        begun = [(each, each.begin(ids, vectors[name])) for name, each in self._epochs(watched, vectors)]
        try:
            yield
        except BaseException:
            for epoch, batch in begun:
                epoch.failed(batch)
            raise
        for epoch, batch in begun:
            epoch.done(batch)

    def deleting(self, watched: Mapping[str, str], ids: Sequence[str]) -> None:
        """Rows are about to be deleted."""
        for _, epoch in self._epochs(watched, watched):
            epoch.deleting(ids)

    def settle(self) -> None:
        """Say that what was noted was also written: whatever writes has come to its end."""
        for _, epoch in list(self._of.values()):
            if epoch is not None:
                epoch.settle()

    def known(self, vector: str, epoch: str) -> Probes | None:
        """The probes of an epoch that was written by; None of another."""
        with self._lock:
            name, found = self._of.get(vector, ("", None))
        return found.probes if found is not None and name == epoch else None

    def _epochs(self, watched: Mapping[str, str], names: Mapping[str, object]) -> list[tuple[str, _Epoch]]:
        found = ((name, self._epoch(name, watched[name])) for name in watched if name in names)
        return [(name, epoch) for name, epoch in found if epoch is not None]

    def _epoch(self, vector: str, epoch: str) -> _Epoch | None:
        with self._lock:
            known = self._of.get(vector)
        if known is not None and known[0] == epoch:
            return known[1]
        # read without the lock: on Milvus Lite another thread may hold that of the file, and want this one
        try:
            probes = noted.kept(Learned(Connection(self._store.link.database), self._store), epoch)
        except BackendError as exc:
            if exc.retryable:
                raise
            log.warning("nothing is noted for the standing probes: %s", exc)
            return None
        made = None if probes is None else _Epoch(self._store, probes)
        with self._lock:
            known = self._of.get(vector)
            if known is None or known[0] != epoch:  # another thread may have been faster
                self._of[vector] = known = (epoch, made)
            return known[1]


@dataclass(frozen=True, slots=True)
class _Batch:
    ids: Sequence[str]
    number: int
    """Of its note; 0 where it has none."""
    note: Note
    rows: Sequence[str]
    """Of the note."""
    counts: NDArray[np.int64]


class _Epoch:
    """One writer's notes of one epoch. What changes is changed under the lock, and no call to Milvus is made there."""

    def __init__(self, store: Store, probes: Probes) -> None:
        self.probes, self._notes = probes, Notes(store, probes.epoch)
        self._metric = store.vectors[probes.vector].metric_type
        self._writer, self._number = token_hex(8), 0
        self._lock = threading.Lock()
        self._floors = probes.floors
        """What was below was not noted; raised by a note that has said so."""
        self._raised = probes.floors.copy()
        """What the next note will say of that."""
        self._near: list[dict[str, float]] = [{} for _ in probes.floors]
        """By probe, the rows that this writer has noted and written, and their scores."""
        self._where: dict[str, set[int]] = {}
        self._gone = np.empty(0, np.uint64)
        self._counts = np.zeros(BINS, np.int64)
        self._rows: list[str] = []
        """Of the notes whose rows were acknowledged."""
        self._flying: set[int] = set()
        self._failed: set[int] = set()
        self._doubted = False
        """Whether the last note says of one that was acknowledged since that it was not."""
        self._ids: Counter[str] = Counter()
        self._contested: set[str] = set()
        """Written by several threads at once: which came last is not known."""

    def begin(self, ids: Sequence[str], vectors: Vectors) -> _Batch:
        """Note the rows of a batch that are near, before it is written."""
        scores = scored(self._metric, self.probes.vectors, vectors)
        fresh = [place for place, id_ in enumerate(ids) if id_ not in self.probes.sources]
        counts = binned(scores[:, fresh], self.probes.edges)
        with self._lock:
            note, number = entries(ids, scores, self._floors, KEPT), 0
            if len(note.rows):
                note, number = self._numbered(note)
                self._flying.add(number)
                note = replace(note, doubtful=np.append(note.doubtful, number))
            self._contested.update(id_ for id_ in ids if self._ids[id_])
            self._ids.update(ids)
        batch = _Batch(ids, number, note, (), counts)
        if not number:
            return batch
        try:
            rows = self._notes.add(self._writer, number, note)
        except BaseException:
            self.failed(batch)
            raise
        with self._lock:
            self._floors = np.maximum(self._floors, note.floors)
            self._doubted = True
        return replace(batch, rows=rows)

    def failed(self, batch: _Batch) -> None:
        """The batch was not acknowledged: it may have been written, or not."""
        with self._lock:
            self._landed(batch)
            if batch.number:
                self._failed.add(batch.number)

    def done(self, batch: _Batch) -> None:
        """The batch was written."""
        with self._lock:
            for id_ in batch.ids:
                if id_ not in self._contested:
                    for probe in self._where.pop(id_, ()):
                        self._near[probe].pop(id_, None)
            self._landed(batch)
            self._take_in(batch.note)
            self._counts += batch.counts
            self._rows += batch.rows
            fold, tell = len(self._rows) > _FOLD, self._counts.sum() >= _COUNTED
        if fold:
            self._fold()
        if tell:
            self.settle()

    def deleting(self, ids: Sequence[str]) -> None:
        """Note which rows will be gone."""
        gone = hashed(ids)
        with self._lock:
            note, number = self._numbered(replace(_nothing(self._floors), gone=gone))
        rows = self._notes.add(self._writer, number, note)
        with self._lock:
            self._gone = np.concatenate([self._gone, gone])
            self._rows += rows

    def settle(self) -> None:
        """Say that all has been written, and how near it was, where that was not said."""
        with self._lock:
            if not self._doubted and not self._counts.any():
                return
            # it is not among those that are put together: others may have added its counts to theirs
            note, number = self._numbered(replace(_nothing(self._floors), counts=self._counts))
            self._counts, self._doubted = np.zeros(BINS, np.int64), bool(self._flying)
        try:
            self._notes.add(self._writer, number, note)
        except BackendError as exc:  # the rows are written, whatever is said of them
            log.info("the standing probes: %s", exc)
            with self._lock:
                self._counts += note.counts
                self._doubted = True

    def _fold(self) -> None:
        """Put this writer's notes together."""
        with self._lock:
            done, self._rows = self._rows, []
            ids = list(self._where)
            place = {id_: number for number, id_ in enumerate(ids)}
            found = [(place[id_], probe, score) for probe, near in enumerate(self._near) for id_, score in near.items()]
            rows, probes, scores = zip(*found, strict=True) if found else ((), (), ())
            kept = Note(
                ids,
                np.array(rows, np.int32),
                np.array(probes, np.int32),
                np.array(scores, np.float32),
                self._floors,
                self._gone,
            )
            note, number = self._numbered(kept)
        try:
            done_now = self._notes.add(self._writer, number, note)
            with self._lock:
                self._floors = np.maximum(self._floors, note.floors)
                self._rows += done_now
            self._notes.remove(done)
        except BackendError as exc:
            log.info("the standing probes: %s", exc)
            with self._lock:
                self._rows += done

    def _numbered(self, note: Note) -> tuple[Note, int]:
        """The next note of this writer, with all that it says of earlier ones."""
        self._number += 1
        doubtful = np.array(sorted(self._flying | self._failed), np.int64)
        return replace(note, floors=np.maximum(note.floors, self._raised), doubtful=doubtful), self._number

    def _landed(self, batch: _Batch) -> None:
        self._flying.discard(batch.number)
        self._ids.subtract(batch.ids)
        for id_ in batch.ids:
            if self._ids[id_] <= 0:
                del self._ids[id_]
                self._contested.discard(id_)

    def _take_in(self, note: Note) -> None:
        for row, probe, score in zip(note.rows.tolist(), note.probes.tolist(), note.scores.tolist(), strict=True):
            id_, near = note.ids[row], self._near[probe]
            near[id_] = max(score, near.get(id_, score))
            self._where.setdefault(id_, set()).add(probe)
        for probe in set(note.probes.tolist()):
            near = self._near[probe]
            if len(near) > _MANY:
                last = sorted(near.values(), reverse=True)[KEPT - 1]
                self._raised[probe] = max(self._raised[probe], last)
                for id_ in [id_ for id_, score in near.items() if score < last]:
                    del near[id_]
                    self._where[id_].discard(probe)
                    if not self._where[id_]:
                        del self._where[id_]


def _nothing(floors: Scores) -> Note:
    nothing = np.empty(0, np.int32)
    return Note([], nothing, nothing, np.empty(0, np.float32), floors)
