"""Rows as they were stored, with new vectors of their pictures, which are opened again by their uris."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgvec.errors import UnreadableImage
from imgvec.migration.difference import Entry, Pair, entries, pairs
from imgvec.rows import CONTENT_HASH, FROM_IMAGE, ID, VECTOR
from imgvec.sources import Guards, Record, reopen
from imgvec.sources.reopening import Roots
from imgvec.store import Store, Writes
from imgvec.stored import taken_out
from imgvec.vectors import Vectors


def no_fields(*_: Any, **__: Any) -> dict[str, Any]:
    """A row's of its picture: none, they come from the stored row."""
    return {}


@dataclass(frozen=True, slots=True)
class Reopened:
    """Reads the bytes of a stored picture, and no other's: `images.readers.Reader`."""

    uri: str
    content_hash: str
    """Empty where the row says nothing of it."""
    roots: Roots | None
    guards: Guards

    def read(self, max_bytes: int) -> bytes:  # noqa: ARG002  the guards have it
        try:
            return reopen(self.uri, self.roots, guards=self.guards, hashed=self.content_hash or None)
        except UnreadableImage as exc:
            raise UnreadableImage(self.uri, exc.reason, exc.detail) from exc  # by the uri as it is stored


def record(entry: Entry, roots: Roots | None, guards: Guards) -> Record:
    """What the pipeline is to bring in for a row."""
    return Record(entry.id, entry.uri, Reopened(entry.uri, entry.content_hash, roots, guards), {})


class Renewed(Writes):
    """Stands in a store's place at the end of an ingest: a new vector is written to `target` with all else that the row
    has in `source`, its further vectors too. What the source has no more, or of another picture by now, is left out.
    """

    def __init__(self, source: Store, target: Store, vector: str = VECTOR) -> None:
        self._source, self._target, self._vector = source, target, vector
        self.check: Callable[[], None] = lambda: None
        """Called before each write; raises where this run may not write any more."""

    def pairs(self) -> Iterator[Pair]:
        """What the source has of each picture, and what the target has, in the order of the ids."""
        return pairs(entries(self._source), entries(self._target))

    def left(self) -> int:
        """About how many pictures the target lacks, and one at least."""
        return max(1, self._source.count() - self._target.count())

    def remove(self, ids: Sequence[str]) -> None:
        """Delete the target's pictures of those ids."""
        self.check()
        self._target.discard(ids)

    def get(self, *_: Any, **__: Any) -> Mapping[str, Mapping[str, Any]]:
        """Nothing: which pictures are to be encoded was found out before."""
        return {}

    def upsert(
        self,
        rows: Sequence[Mapping[str, Any]],
        vectors: Vectors,
        more: Mapping[str, Vectors] | None = None,  # noqa: ARG002  the pipeline has one encoder
    ) -> int:
        """Write the rows of those ids and pictures, each with its new vector; returns how many."""
        hashes = {row[ID]: row[CONTENT_HASH] for row in rows}
        made = {row[ID]: vector for row, vector in zip(rows, vectors, strict=True)}
        stored = self._stored(list(hashes))
        return self._write([row for row in stored if row[CONTENT_HASH] in ("", hashes[row[ID]])], made)

    def discard(self, ids: Sequence[str]) -> None:
        self._target.discard(ids)

    def renew(self, ids: Sequence[str]) -> int:
        """Write rows of those ids with what the source says of them now, and the vectors that they have."""
        there = self._target.get(ids, output_fields=[CONTENT_HASH, self._vector])
        field = self._target.vectors[self._vector]
        rows = [{**row, ID: id_} for id_, row in there.items()]
        vectors = taken_out(rows, self._vector, field) if rows else ()
        made = {row[ID]: vector for row, vector in zip(rows, vectors, strict=True)}
        stored = [row for row in self._stored(list(made)) if row[CONTENT_HASH] == there[row[ID]][CONTENT_HASH]]
        return self._write(stored, made)

    def gone(self, ids: Sequence[str]) -> list[str]:
        """Those that the source has no row for: a scan may miss one that is replaced meanwhile."""
        there = self._source.get(ids, output_fields=[CONTENT_HASH])
        return [id_ for id_ in ids if id_ not in there]

    def _stored(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        others = [name for name in self._source.vectors if name != self._vector]
        found = self._source.get(ids, output_fields=["*", FROM_IMAGE, *others])
        return [{**row, ID: id_} for id_, row in found.items()]

    def _write(self, rows: list[dict[str, Any]], made: Mapping[str, Vectors]) -> int:
        if not rows:
            return 0
        others = {name: field for name, field in self._source.vectors.items() if name != self._vector}
        vectors = {name: taken_out(rows, name, field) for name, field in others.items()}
        vectors[self._vector] = np.stack([made[row[ID]] for row in rows])
        self.check()
        return self._target.upsert(rows, vectors.pop(VECTOR), vectors or None)
