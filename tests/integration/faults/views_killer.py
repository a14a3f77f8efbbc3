"""One ingest into a collection of views in its own process, killed at a named point: `views_killer.py URI NAME FOLDER
METADATA [POINT NTH]`.

POINT is one of `POINTS`, NTH how many times it is passed before the kill. Without a point the run goes to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fakes import FakeEncoder

from imgvec import ImageCollection
from imgvec.ingest import pipeline, reading

POINTS = ("torn in the journal", "before rows", "after rows", "after lost views", "before the journal", "noted")
"""In the order of one batch: the journal calls its pictures torn; their rows; views they lost; the journal again."""


def main(uri: str, name: str, folder: str, metadata: str, point: str = "", nth: str = "0") -> None:
    # small batches, so that a small source passes every point often: two pictures of 14 views
    pipeline.WRITE_ROWS, reading.LOOKUP_ROWS = 28, 8
    left = int(nth)

    def passing(here: str) -> None:
        nonlocal left
        if here == point:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as photos:
        store, journal = photos.store, photos.handle.target.journal
        assert journal is not None
        upsert, discard, note = store.upsert, store.discard, journal.upsert

        def passing_upsert(*args: Any, **options: Any) -> int:
            passing("before rows")
            written = upsert(*args, **options)
            passing("after rows")
            return written

        def passing_discard(ids: Sequence[str]) -> None:
            discard(ids)
            passing("after lost views")

        def passing_note(rows: Sequence[Mapping[str, Any]]) -> int:
            is_torn = not rows[0]["content_hash"]
            if not is_torn:
                passing("before the journal")
            written = note(rows)
            passing("torn in the journal" if is_torn else "noted")
            return written

        store.upsert, store.discard = passing_upsert, passing_discard  # type: ignore[method-assign]  # in place of the real
        journal.upsert = passing_note  # type: ignore[method-assign]  # likewise
        photos.ingest(folder, metadata=metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
