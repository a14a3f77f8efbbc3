"""Takes single views out of pictures, so that the next ingest of the same pictures does not bring them back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from imgvec.ingest.items import Ready
from imgvec.ingest.journal import TORN, ViewedPictures
from imgvec.rows import CONTENT_HASH, FROM_IMAGE, ID, IMAGE_ID, URI, VIEW, VIEWS, view_counts, view_id
from imgvec.store import Notes, Store

_AT_ONCE = 64


def without(
    store: Store,
    journal: Notes,
    expression: str,
    goes: Callable[[Mapping[str, Any]], bool],
    further: Collection[str],
) -> int:
    """Delete the rows that match `expression`; returns how many. `goes` says the same of a row's fields.

    The views that are left of a picture move up, so that they are numbered through as the journal counts them. What is
    not whole, as a kill leaves it, loses the rows alone: the next ingest makes all of its views again.
    """
    pictures, deleted = ViewedPictures(store, journal, 1, further), 0
    matching: dict[str, list[str]] = {}
    for rows in store.scan([ID, IMAGE_ID], expression):
        for row in rows:
            matching.setdefault(row[IMAGE_ID], []).append(row[ID])
    ids = list(matching)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        entries = journal.get(some, output_fields=[URI, CONTENT_HASH, VIEWS])
        whole = {id_: view_counts(each[VIEWS]) for id_, each in entries.items() if each[CONTENT_HASH] != TORN}
        ready = []
        for id_, (rows, vectors) in pictures.rows(whole).items():
            stay = [number for number, row in enumerate(rows) if not goes(row)]
            kinds: dict[str, int] = {}
            kept = []
            for number in stay:
                kind = rows[number][VIEW]
                row = {**rows[number], ID: view_id(id_, kind, kinds.get(kind, 0))}
                kept.append({name: value for name, value in row.items() if name != FROM_IMAGE or value})
                kinds[kind] = kinds.get(kind, 0) + 1
            left = {name: each[stay] for name, each in vectors.items()}
            ready.append(Ready({ID: id_, **entries[id_]}, kept, left, encoded=False, known=whole[id_]))
            deleted += len(rows) - len(kept)
        pictures.write(ready, lambda call: call())
        done = {each.row[ID] for each in ready}
        deleted += store.delete([row for id_ in some if id_ not in done for row in matching[id_]])
    return deleted
