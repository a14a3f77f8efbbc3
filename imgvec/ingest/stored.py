"""The pictures of a collection as a whole: listed, counted and deleted, whatever number of rows each has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from imgvec.ingest.journal import TORN
from imgvec.rows import CONTENT_HASH, ID, IMAGE_ID, URI, VIEWS, view_counts, view_ids
from imgvec.store import Notes, Store

_AT_ONCE = 1000


class StoredPictures:
    """The pictures of a store; of a collection of views with its `journal`.

    Picture ids are those of their whole views, so a collection of whole pictures has the same ids for both.
    """

    def __init__(self, store: Store, journal: Notes | None) -> None:
        self._store, self._journal = store, journal

    def scan(self) -> Iterator[list[tuple[str, str]]]:
        """Every picture's id and uri, once, also where it has no row."""
        if self._journal is None:
            for rows in self._store.scan([ID, URI]):
                yield [(row[ID], row[URI]) for row in rows]
            return
        seen: set[str] = set()
        for rows in self._journal.scan([ID, URI]):
            seen.update(row[ID] for row in rows)
            yield [(row[ID], row[URI]) for row in rows]
        # those whose journal somebody has dropped
        for rows in self._store.scan([IMAGE_ID, URI]):
            yield [*{row[IMAGE_ID]: row[URI] for row in rows if row[IMAGE_ID] not in seen}.items()]
            seen.update(row[IMAGE_ID] for row in rows)

    def has_any(self, ids: Sequence[str]) -> bool:
        """Whether one of these ids is a picture's."""
        return bool(self._store.get(ids) or (self._journal is not None and self._journal.get(ids, output_fields=[URI])))

    def of(self, ids: Sequence[str]) -> list[str]:
        """The ids of the pictures that have these ids, or rows of these ids; those that are not there are left out."""
        if self._journal is None:
            return list(self._store.get(ids))
        rows = self._store.get(ids, output_fields=[IMAGE_ID])
        noted = self._journal.get([id_ for id_ in ids if id_ not in rows], output_fields=[URI])
        return list(dict.fromkeys(rows[id_][IMAGE_ID] if id_ in rows else id_ for id_ in ids if id_ in {*rows, *noted}))

    def matching(self, expression: str) -> list[str]:
        """The ids of the pictures of which a row matches a filter."""
        name = ID if self._journal is None else IMAGE_ID
        return list(dict.fromkeys(row[name] for rows in self._store.scan([name], expression) for row in rows))

    def count(self) -> int:
        """How many there are, those without a row among them."""
        if self._journal is None:
            return self._store.count()
        # where somebody has dropped the journal its rows tell, until the next ingest
        return self._journal.count() or len(self.matching(""))

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the pictures that have these ids, or rows of these ids, with all of their rows; returns how many.

        A kill in between leaves pictures that the next ingest makes whole again, and the same call deletes.
        """
        if self._journal is None:
            return self._store.delete(ids)
        pictures = self.of(ids)
        for start in range(0, len(pictures), _AT_ONCE):
            some = pictures[start : start + _AT_ONCE]
            entries = self._journal.get(some, output_fields=[URI, CONTENT_HASH, VIEWS])
            self._journal.upsert([{**entry, ID: id_, CONTENT_HASH: TORN} for id_, entry in entries.items()])
            self._store.discard(
                [row for id_, entry in entries.items() for row in view_ids(id_, view_counts(entry[VIEWS]))]
            )
            if bare := [id_ for id_ in some if id_ not in entries]:
                self._store.delete(self._rows_of(bare))
            self._journal.delete(list(entries))
        return len(pictures)

    def _rows_of(self, pictures: Iterable[str]) -> list[str]:
        """Their rows, where no journal tells of them."""
        wanted = {*pictures}
        return [row[ID] for rows in self._store.scan([ID, IMAGE_ID]) for row in rows if row[IMAGE_ID] in wanted]


def prune(
    pictures: StoredPictures, is_gone: Callable[[str], bool], *, confirm: Callable[[int, int], bool] | None = None
) -> int:
    """Delete the pictures whose image `is_gone`, by uri; returns how many.

    `confirm` is asked first, with the number of pictures to delete and the number looked at; a false answer deletes
    none.
    """
    looked_at = 0
    gone: list[str] = []
    for some in pictures.scan():
        looked_at += len(some)
        gone += [id_ for id_, uri in some if is_gone(uri)]
    if not gone or (confirm is not None and not confirm(len(gone), looked_at)):
        return 0
    return pictures.delete(gone)
