"""Two collections held against each other, picture by picture: what was made of the one is in the other, or not."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imgvec.rows import CONTENT_HASH, ID, INGESTED_AT, URI
from imgvec.sources.seen import hash64
from imgvec.store import Reads

Marks: TypeAlias = NDArray[np.uint64]

Verdict: TypeAlias = Literal["same", "missing", "stale", "gone"]
"""Of a row: as it should be; to be made of its picture; to be written with the other's fields; to be deleted."""


class Entry(NamedTuple):
    """What is compared of a picture: of its row, or of its several, which have this in common.

    A write of a row changes one of these: an ingest stamps each with its moment.
    """

    id: str
    uri: str
    content_hash: str
    ingested_at: int

    @property
    def mark(self) -> int:
        """64 bits of a hash over what is compared."""
        return hash64(self.id, self.content_hash, str(self.ingested_at))


Pair: TypeAlias = tuple[Entry | None, Entry | None]
"""A row as it is in the source and in what was made of it."""


def entries(store: Reads, expression: str = "") -> Iterator[Entry]:
    """Every row that matches, in the order of the ids; memory holds a page."""
    for rows in store.scan([URI, CONTENT_HASH, INGESTED_AT], expression):
        for row in rows:
            yield Entry(row[ID], row[URI], row[CONTENT_HASH], row[INGESTED_AT])


def pairs(ours: Iterator[Entry], theirs: Iterator[Entry]) -> Iterator[Pair]:
    """Entries of the source and of the target, each in the order of their ids: those of one id together."""
    was, now = next(ours, None), next(theirs, None)
    while was is not None or now is not None:
        if now is None or (was is not None and was.id < now.id):
            yield was, None
            was = next(ours, None)
        elif was is None or now.id < was.id:
            yield None, now
            now = next(theirs, None)
        else:
            yield was, now
            was, now = next(ours, None), next(theirs, None)


class Judge(Protocol):
    """Says of a row what is to be done."""

    def __call__(self, was: Entry | None, now: Entry | None) -> Verdict: ...


def _compared(was: Entry, now: Entry | None) -> Verdict:
    if now is None or was.content_hash != now.content_hash:
        return "missing"
    return "same" if was.ingested_at == now.ingested_at else "stale"


class _Live:
    """While clients write to the source alone: the target is to have the same rows."""

    def __call__(self, was: Entry | None, now: Entry | None) -> Verdict:
        return "gone" if was is None else _compared(was, now)


LIVE = _Live()


class Since:
    """Once clients write to the target: what changed in the source since it had the rows of those `marks`.

    A row that the source has as it had it then is the target's own: there it was changed or deleted since, or it was
    never to be read. What the source had then, and has no more, goes, unless the target's is another by now.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = np.sort(marks)

    def __call__(self, was: Entry | None, now: Entry | None) -> Verdict:
        if was is None:
            return "gone" if now is not None and self._had(now) else "same"
        if self._had(was) or (now is not None and now.ingested_at >= was.ingested_at):
            return "same"
        return _compared(was, now)

    def _had(self, entry: Entry) -> bool:
        place = int(np.searchsorted(self._marks, np.uint64(entry.mark)))
        return place < len(self._marks) and int(self._marks[place]) == entry.mark


def marks(found: array[Any]) -> Marks:
    """The marks of rows as an array."""
    made: Marks = np.frombuffer(found, np.uint64).copy() if len(found) else np.empty(0, np.uint64)
    return made
