"""What is noted of a collection's standing probes: kept beside it in Milvus, by whoever writes rows.

The property `probes` of a collection names an epoch for each vector that is watched. Whatever writes reads the property
anyway, with the look that it takes at the collection before each write, so that where nothing is watched, nothing is
called. An epoch has probes, kept as `probes.EPOCH`, and notes: rows of the same companion whose key is `notes.EPOCH`.

A note (`imgvec.indexes.probes`) is written before the rows that it tells of, so that no kill and no other process can
come between: at worst it tells of rows that were never written, which whoever reads it asks the collection about.
Milvus has no compare-and-set, so nobody changes another's note: each writer adds its own, and whoever puts notes
together adds the sum before it deletes what it summed up, and nothing else.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import numpy as np

from imgvec.errors import BackendError
from imgvec.filters.fields import text_literal
from imgvec.indexes.probes import Merged, Note, Scores, merged, unpacked
from imgvec.milvus import Connection, Store
from imgvec.milvus.collection_link import WATCHED
from imgvec.milvus.companions import Companion
from imgvec.milvus.learned import LEARNED, PART_BYTES, Learned
from imgvec.vectors import Vectors

ABANDONED_MS = 3_600_000
"""A note whose rows were not acknowledged for so long tells of a writer that was killed."""
_AT_ONCE = 128
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Probes:
    """The standing probes of one vector, and from which score on rows are noted."""

    epoch: str
    vector: str
    vectors: Vectors
    """(probes, dim) float32."""
    floors: Scores
    """(probes,): what a writer begins with."""
    edges: Scores
    """Of the histogram of how near rows are to the nearest probe."""
    sources: frozenset[str]
    """Stored rows that the probes were made of, which are no example of how near rows are."""
    basis: str
    """What the probes are: `given`, `edited` or `between`."""


def epoch_of(store: Store, vector: str) -> str | None:
    """The epoch by which a vector is watched, as of the last look at the collection; None where it is not."""
    return store.link.watched.get(vector)


def begin(store: Store, vector: str, epoch: str | None) -> None:
    """Make an epoch that of the collection: from now on all writers note by it. None ends it."""
    store.check_same()  # and read what it is now
    now = {name: each for name, each in store.link.watched.items() if name != vector}
    store.remember(WATCHED, {**now, **({} if epoch is None else {vector: epoch})} or None)
    store.check_same()


def keep(learned: Learned, probes: Probes) -> None:
    """Keep the probes of an epoch."""
    about = {"vector": probes.vector, "basis": probes.basis, "sources": sorted(probes.sources)}
    arrays = {"vectors": probes.vectors, "floors": probes.floors, "edges": probes.edges}
    learned.write(_key(probes.epoch), {**arrays, "about": _bytes(about)})


def kept(learned: Learned, epoch: str) -> Probes | None:
    """The probes of an epoch; None where they are gone. Raises `BackendError`."""
    if (arrays := learned.read(_key(epoch))) is None:
        return None
    about = _told(arrays["about"])
    return Probes(
        epoch,
        about["vector"],
        np.ascontiguousarray(arrays["vectors"], np.float32),
        arrays["floors"],
        arrays["edges"],
        frozenset(about["sources"]),
        about["basis"],
    )


@dataclass(frozen=True, slots=True)
class Began:
    """What was known when the notes of an epoch were complete for the first time."""

    before: Any
    """(BINS,): the rows that were there, by how near they were to the nearest probe."""
    shares: Mapping[int, Scores]
    """Recall of each probe by limit; NaN where it was not certain."""
    about: Mapping[str, Any]
    """The index, its search parameters and the number of rows."""


def keep_beginning(learned: Learned, epoch: str, began: Began) -> None:
    """Keep what was known; from now on the epoch's notes are believed."""
    shares = {f"shares.{limit}": each for limit, each in began.shares.items()}
    learned.write(f"{_key(epoch)}.began", {"before": began.before, "about": _bytes(began.about), **shares})


def kept_beginning(learned: Learned, epoch: str) -> Began | None:
    """What was known; None where the epoch's rows are still being read."""
    if (arrays := learned.read(f"{_key(epoch)}.began")) is None:
        return None
    shares = {int(name.partition(".")[2]): each for name, each in arrays.items() if name.startswith("shares.")}
    return Began(arrays["before"], shares, _told(arrays["about"]))


def forget(learned: Learned, store: Store, epoch: str) -> None:
    """Remove the epoch's probes and notes."""
    for key in (f"{_key(epoch)}.began", _key(epoch)):
        learned.forget(key)
    notes = Notes(store, epoch)
    notes.remove(list(notes.listed()))


class Notes:
    """The notes of one epoch."""

    def __init__(self, store: Store, epoch: str) -> None:
        self._rows: Companion = Connection(store.link.database).companion(store, LEARNED)
        self._epoch, self._key = epoch, f"notes.{epoch}"
        self._known: dict[str, _Row] = {}

    def add(self, writer: str, number: int, note: Note) -> list[str]:
        """Add the `number`th note of a writer, in as many rows as it takes; returns their ids."""
        at = time.time_ns() // 1_000_000
        texts = list(_texts(note))
        ids = [f"{self._key}.{writer}.{number:x}.{part:x}" for part in range(len(texts))]
        same = {"key": self._key, "generation": f"{writer}.{number:x}", "at": at}
        rows = [{**same, "id": id_, "data": text} for id_, text in zip(ids, texts, strict=True)]
        for start in range(0, len(rows), _AT_ONCE):
            self._rows.upsert(rows[start : start + _AT_ONCE])
        return ids

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows of notes."""
        for start in range(0, len(ids), _AT_ONCE):
            self._rows.delete(ids[start : start + _AT_ONCE])

    def listed(self) -> dict[str, dict[str, Any]]:
        """The rows of all notes by id, without what they hold."""
        where = f"key == {text_literal(self._key)}"
        return {row["id"]: row for rows in self._rows.scan(["generation", "at"], where) for row in rows}

    def read(self) -> list[_Row]:
        """All notes, each in one or more rows. Raises `BackendError` while others put them together all the time."""
        for _ in range(_TRIES):
            there = self.listed()
            self._known = {id_: row for id_, row in self._known.items() if id_ in there}
            new = [id_ for id_ in there if id_ not in self._known]
            for start in range(0, len(new), _AT_ONCE):
                found = self._rows.get(new[start : start + _AT_ONCE], output_fields=["data"])
                self._known |= {id_: _Row.of({**there[id_], **row}) for id_, row in found.items()}
            # a sum may have come while the pages were read, and what it sums up gone
            if all(id_ in self._known for id_ in there) and (not new or self.listed().keys() <= self._known.keys()):
                return list(self._known.values())
        raise BackendError("the notes of the standing probes keep changing while they are read", retryable=True)

    def merged(self, floors: Scores) -> Merged:
        """All notes as one."""
        return together(self.read(), floors)

    def sum_up(self, floors: Scores, revised: Callable[[Note], Note]) -> None:
        """Put all notes whose rows were acknowledged together into one: what `revised` makes of it, by what is stored
        when it is called. What is written meanwhile is noted apart.
        """
        rows = self.read()
        unsure = _unsure(rows)
        done = [row for row in rows if (row.writer, row.number) not in unsure]
        if len(done) > 1:
            self.add(token_hex(8), 0, revised(merged([row.note for row in done], floors)))
            self.remove([row.id for row in done])


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    writer: str
    number: int
    at: int
    note: Note

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Row:
        writer, _, number = row["generation"].partition(".")
        return cls(row["id"], writer, int(number, 16), row["at"], unpacked(base64.b64decode(row["data"])))


def together(rows: Sequence[_Row], floors: Scores) -> Merged:
    """Rows of notes as one note."""
    unsure = _unsure(rows)
    doubtful = {id_ for row in rows if (row.writer, row.number) in unsure for id_ in row.note.ids}
    certain = {id_ for row in rows if (row.writer, row.number) not in unsure for id_ in row.note.ids}
    return Merged(merged([row.note for row in rows], floors), frozenset(doubtful - certain))


def _unsure(rows: Sequence[_Row]) -> set[tuple[str, int]]:
    """The notes whose rows may never have been written: the last note of their writer says so."""
    last: dict[str, _Row] = {}
    for row in rows:
        if row.writer not in last or row.number >= last[row.writer].number:
            last[row.writer] = row
    return {(writer, number) for writer, row in last.items() for number in row.note.doubtful.tolist()}


def _texts(note: Note) -> Iterator[str]:
    """The note in parts that a row of the companion holds."""
    text = base64.b64encode(note.packed()).decode("ascii")
    if len(text) <= PART_BYTES or max(len(note.rows), len(note.gone)) < 2:
        yield text
    else:
        for half in note.halves():
            yield from _texts(half)


def _key(epoch: str) -> str:
    return f"probes.{epoch}"


def _bytes(value: Any) -> Any:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _told(array: Any) -> Any:
    return json.loads(array.tobytes())
