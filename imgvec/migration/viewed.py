"""Pictures of several rows: all rows of one are made of its bytes again in one pass, as an ingest makes them.

A picture is compared by its whole view, whose id is its own: every row of it has the same content hash and moment. Of
the new collection its journal is asked as well, so that a picture whose rows a kill has cut short is made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imgvec.ingest import StoredPictures
from imgvec.ingest.items import Ready
from imgvec.ingest.journal import TORN, ViewedPictures
from imgvec.migration.difference import Entry, Pair, entries, pairs
from imgvec.migration.renewing import Renewed
from imgvec.rows import (
    CONTENT_HASH,
    FROM_IMAGE,
    ID,
    IMAGE_ID,
    INGESTED_AT,
    URI,
    VECTOR,
    VIEW,
    VIEW_FIELDS,
    VIEWS,
    view_counts,
    view_ids,
)
from imgvec.store import Notes, Store
from imgvec.vectors import Vectors

Row = Mapping[str, Any]

_WHOLE = f'{VIEW} == "whole"'
"""The rows that stand for their pictures."""


class RenewedViews(Renewed):
    """`Renewed` of a collection of views. All of a row's vectors are made again: where its view lies is the new
    model's to say.
    """

    def __init__(self, source: Store, target: Store, journal: Notes) -> None:
        super().__init__(source, target)
        self._journal = journal
        self.notes = RenewedNotes(self, target, journal)
        """In the journal's place during an ingest."""

    def pairs(self) -> Iterator[Pair]:
        """As `Renewed.pairs`."""
        return pairs(entries(self._source, _WHOLE), _sound(entries(self._target, _WHOLE), _noted(self._journal)))

    def left(self) -> int:
        """As `Renewed.left`."""
        return max(1, self._source.count(_WHOLE) - self._target.count(_WHOLE))

    def remove(self, ids: Sequence[str]) -> None:
        """As `Renewed.remove`, with all of their rows."""
        self.check()
        StoredPictures(self._target, self._journal).delete(ids)

    def upsert(self, rows: Sequence[Row], vectors: Vectors, more: Mapping[str, Vectors] | None = None) -> int:
        """Write the rows of those pictures with their new vectors and places; returns how many."""
        stored = self._fields(dict.fromkeys(row[name] for row in rows for name in (IMAGE_ID, ID)))
        made, places = [], []
        for place, row in enumerate(rows):
            whole = stored.get(row[IMAGE_ID])
            if whole is not None and whole[CONTENT_HASH] == row[CONTENT_HASH]:
                own = {ID: row[ID], **{name: row[name] for name in VIEW_FIELDS}}
                made.append({**_latest(whole, stored.get(row[ID])), **own})
                places.append(place)
        if not made:
            return 0
        further = {name: each[places] for name, each in (more or {}).items()}
        self.check()
        return self._target.upsert(made, vectors[places], further or None)

    def renew(self, ids: Sequence[str]) -> int:
        """As `Renewed.renew`: every row of those pictures, as it lies there; returns how many pictures."""
        noted = self._journal.get(ids, output_fields=[URI, CONTENT_HASH, VIEWS])
        known = {id_: view_counts(each[VIEWS]) for id_, each in noted.items() if each[CONTENT_HASH] != TORN}
        further = [name for name in self._target.vectors if name != VECTOR]
        there = ViewedPictures(self._target, self._journal, 1, further).rows(known)
        if torn := [{**noted[id_], ID: id_, CONTENT_HASH: TORN} for id_ in known if id_ not in there]:
            self._journal.upsert(torn)  # somebody has deleted some of their rows: the next round makes all again
        stored = self._fields(there)
        ready = [
            Ready({ID: id_, **noted[id_]}, rows, vectors, encoded=False, known=known[id_])
            for id_, (rows, vectors) in there.items()
            if id_ in stored and stored[id_][CONTENT_HASH] == noted[id_][CONTENT_HASH]
        ]
        ViewedPictures(self, self.notes, 1, further).write(ready, lambda call: call())
        return len(ready) + len(torn)

    def has(self, ids: Sequence[str]) -> set[str]:
        """Those of which the source has a picture, or the target a row."""
        return {id_ for store in (self._source, self._target) for id_ in store.get(ids, output_fields=[CONTENT_HASH])}

    def _fields(self, ids: Mapping[str, Any]) -> dict[str, Row]:
        """All that the source says of its rows of those ids, without their vectors."""
        return {**self._source.get(list(ids), output_fields=["*", FROM_IMAGE])}


class RenewedNotes:
    """Stands in the journal's place during an ingest: every picture is to be made, and none is called whole of which
    rows were left out, as the source has it no more, or another one by now. Implements `ingest.Journal`.
    """

    def __init__(self, renewed: RenewedViews, target: Store, journal: Notes) -> None:
        self._renewed, self._target, self._journal = renewed, target, journal

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ("*",)) -> Mapping[str, Row]:
        """As `Notes.get`, each of them torn."""
        found = self._journal.get(ids, output_fields=output_fields)
        return {id_: {**each, CONTENT_HASH: TORN} for id_, each in found.items()}

    def upsert(self, rows: Sequence[Row]) -> int:
        """As `Notes.upsert`, without those that are whole and have not all of their rows."""
        self._renewed.check()
        torn = [row for row in rows if row[CONTENT_HASH] == TORN]
        whole = {row[ID]: row for row in rows if row[CONTENT_HASH] != TORN}
        wanted = {id_: list(view_ids(id_, row[VIEWS])) for id_, row in whole.items()}
        there = self._target.get([each for ids in wanted.values() for each in ids], output_fields=[CONTENT_HASH])
        done = [
            row
            for id_, row in whole.items()
            if all(each in there and there[each][CONTENT_HASH] == row[CONTENT_HASH] for each in wanted[id_])
        ]
        written = self._journal.upsert([*torn, *done])
        rest = whole.keys() - {row[ID] for row in done}
        if rest and (nowhere := rest - self._renewed.has(list(rest))):
            self._journal.delete(list(nowhere))  # deleted while it was encoded
        return written


def _latest(whole: Row, own: Row | None) -> Row:
    """What a view's row has besides: its own where that is of the same write, or a later one, as its picture's."""
    if own is None or own[CONTENT_HASH] != whole[CONTENT_HASH] or own[INGESTED_AT] < whole[INGESTED_AT]:
        return whole
    return {**own, INGESTED_AT: whole[INGESTED_AT]}


def _noted(journal: Notes) -> Iterator[Entry]:
    for some in journal.scan([URI, CONTENT_HASH]):
        for each in some:
            yield Entry(each[ID], each[URI], each[CONTENT_HASH], 0)


def _sound(rows: Iterator[Entry], noted: Iterator[Entry]) -> Iterator[Entry]:
    """The pictures of both; those that are not whole by their journal, of no content and no moment."""
    for row, note in pairs(rows, noted):
        one = row or note
        if one is not None:
            is_whole = row is not None and note is not None and row.content_hash == note.content_hash
            yield one if is_whole else one._replace(content_hash=TORN, ingested_at=0)
