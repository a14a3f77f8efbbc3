"""What is known of the pictures that were brought in, and how they are written.

A collection of whole pictures is its own journal: a row's `content_hash` says which picture it is of. A collection of
views has one beside it, with a row a picture: `id`, `uri`, `content_hash`, and `views`, the counts by kind. Pictures
are written so that a kill between any two calls is healed by the next ingest:

    1. the journal says of each: torn, with as many views at most
    2. the views' rows
    3. views that a changed picture lost are deleted, by ids made from what the journal knew
    4. the journal says which picture it is, and its views

Until the last step the picture is torn, so it is encoded again, under the same ids, even where the source gives the
former picture or metadata again by then.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from imgvec.ingest.items import Ready, VectorsByName
from imgvec.rows import (
    CONTENT_HASH,
    FROM_IMAGE,
    ID,
    INGESTED_AT,
    URI,
    VECTOR,
    VIEW,
    VIEWS,
    ViewCounts,
    is_view_id,
    reserved_names,
    view_counts,
    view_ids,
)
from imgvec.store import Writes

Row = Mapping[str, Any]
_NO_VECTORS = np.empty((0, 0), np.float32)

TORN = ""
"""The content hash of a picture that is being written."""

Again = Callable[[Callable[[], Any]], Any]
"""Calls a function, and again while Milvus is out of reach."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a picture that was brought in."""

    content_hash: str
    uri: str
    fields: Row
    """Those of its first row that were asked for."""
    views: ViewCounts = field(default_factory=dict)
    """Empty where the collection has no journal."""
    has_rows: bool = True


class Journal(Protocol):
    """The notes, as an ingest uses them."""

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ...) -> Mapping[str, Mapping[str, Any]]:
        """As `Notes.get`."""
        ...

    def upsert(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """As `Notes.upsert`."""
        ...


class Pictures:
    """The pictures of a collection that has one row a picture."""

    most = 1
    """Rows that a picture has at most."""
    own_fields = frozenset(reserved_names(views=False))
    """Those that imgvec fills in, and no metadata."""

    def __init__(self, store: Writes, further: Collection[str] = ()) -> None:
        self._store, self._further = store, further
        """The store, and the names of its vectors beside `vector`."""

    def id_problem(self, id_: str) -> str | None:  # noqa: ARG002  that of another kind
        """Why no picture may have that id; None if one may."""
        return None

    def known(self, ids: Sequence[str], names: Sequence[str]) -> Mapping[str, Known]:
        """By id, of the pictures that are known; `names` are those of the fields."""
        rows = self._store.get(ids, output_fields=[CONTENT_HASH, URI, *names])
        return {
            id_: Known(
                row.get(CONTENT_HASH, TORN), row.get(URI, ""), {name: row[name] for name in names if name in row}
            )
            for id_, row in rows.items()
        }

    def fields(self, known: Mapping[str, ViewCounts]) -> Mapping[str, Row]:
        """By id, all fields of a picture's first row."""
        return self._store.get(list(known), output_fields=["*", FROM_IMAGE])

    def rows(self, known: Mapping[str, ViewCounts]) -> Mapping[str, tuple[list[dict[str, Any]], VectorsByName]]:
        """By id, the rows of a picture and their vectors; without pictures that lack one of their rows."""
        stored = self._whole(list(known))
        return {id_: self._apart([{**row, ID: id_}]) for id_, row in stored.items()}

    def _whole(self, ids: Sequence[str]) -> Mapping[str, Row]:
        return self._store.get(ids, output_fields=["*", FROM_IMAGE, *self._further], with_vector=True)

    def _apart(self, rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], VectorsByName]:
        """Stored rows without their vectors, and these."""
        vectors = {name: [row.pop(name) for row in rows] for name in (VECTOR, *self._further)}
        return rows, {name: np.stack(each) if each else _NO_VECTORS for name, each in vectors.items()}

    def write(self, pictures: Sequence[Ready], again: Again) -> None:
        """Write pictures, each with all of its rows."""
        self._upsert([row for each in pictures for row in each.rows], [each.vectors for each in pictures], again)

    def _upsert(self, rows: Sequence[Row], vectors: Sequence[VectorsByName], again: Again) -> None:
        # the one place where rows and vectors go to the store
        if rows:
            now = time.time_ns() // 1_000_000
            rows = [{**row, INGESTED_AT: now} for row in rows]
            stacked = {
                name: np.concatenate([each[name] for each in vectors if len(each[name])])
                for name in (VECTOR, *self._further)
            }
            first = stacked.pop(VECTOR)
            again(partial(self._store.upsert, rows, first, **({"more": stacked} if stacked else {})))


class ViewedPictures(Pictures):
    """The pictures of a collection that has a row for each view, with their journal."""

    def __init__(
        self, store: Writes, journal: Journal, most: int, further: Collection[str] = (), own: Collection[str] = ()
    ) -> None:
        super().__init__(store, further)
        self._journal, self.most = journal, most
        self.own_fields = frozenset([*reserved_names(views=True), *own])

    def id_problem(self, id_: str) -> str | None:
        """As `Pictures.id_problem`; a source that gives such ids is an export of views, each of which is no picture."""
        return f"its id {id_!r} is that of a view" if is_view_id(id_) else None

    def known(self, ids: Sequence[str], names: Sequence[str]) -> Mapping[str, Known]:
        """As `Pictures.known`; a picture whose first row somebody has deleted is torn."""
        entries = self._journal.get(ids, output_fields=[CONTENT_HASH, URI, VIEWS])
        views = {id_: view_counts(entry[VIEWS]) for id_, entry in entries.items()}
        rows = self._first_rows(views, names) if names else {}
        return {
            id_: Known(
                TORN if names and id_ not in rows and any(views[id_].values()) else entry[CONTENT_HASH],
                entry[URI],
                rows.get(id_, {}),
                views[id_],
                any(views[id_].values()),
            )
            for id_, entry in entries.items()
        }

    def fields(self, known: Mapping[str, ViewCounts]) -> Mapping[str, Row]:
        """As `Pictures.fields`."""
        return self._first_rows(known, ["*", FROM_IMAGE])

    def _first_rows(self, known: Mapping[str, ViewCounts], names: Sequence[str]) -> dict[str, Row]:
        first = {id_: next(view_ids(id_, views), None) for id_, views in known.items()}
        rows = self._store.get([one for one in first.values() if one is not None], output_fields=names)
        return {id_: rows[row_id] for id_, row_id in first.items() if row_id is not None and row_id in rows}

    def rows(self, known: Mapping[str, ViewCounts]) -> Mapping[str, tuple[list[dict[str, Any]], VectorsByName]]:
        """As `Pictures.rows`."""
        there = self.present(known)
        return {id_: each for id_, each in there.items() if len(each[0]) == sum(known[id_].values())}

    def present(self, known: Mapping[str, ViewCounts]) -> Mapping[str, tuple[list[dict[str, Any]], VectorsByName]]:
        """As `rows`, of each picture the rows that are there."""
        ids = {id_: list(view_ids(id_, views)) for id_, views in known.items()}
        stored = self._whole([row_id for each in ids.values() for row_id in each])
        return {
            id_: self._apart([{**stored[row_id], ID: row_id} for row_id in each if row_id in stored])
            for id_, each in ids.items()
        }

    def write(self, pictures: Sequence[Ready], again: Again) -> None:
        """As `Pictures.write`, in the order that this module's head gives."""
        views = {each.row[ID]: dict(Counter(row[VIEW] for row in each.rows)) for each in pictures}
        torn, lost = [], list[str]()
        for each in pictures:
            id_, now = each.row[ID], views[each.row[ID]]
            most = {kind: max(now.get(kind, 0), each.known.get(kind, 0)) for kind in {**each.known, **now}}
            torn.append(_entry(each.row, TORN, most))
            kept = set(view_ids(id_, now))
            lost += [row_id for row_id in view_ids(id_, each.known) if row_id not in kept]
        self._note(torn, again)
        super().write(pictures, again)
        if lost:
            again(lambda: self._store.discard(lost))
        self._note([_entry(each.row, each.row[CONTENT_HASH], views[each.row[ID]]) for each in pictures], again)

    def _note(self, entries: Sequence[Row], again: Again) -> None:
        if entries:
            again(lambda: self._journal.upsert(entries))


def _entry(row: Row, content_hash: str, views: ViewCounts) -> Row:
    return {ID: row[ID], URI: row[URI], CONTENT_HASH: content_hash, VIEWS: dict(views)}
