"""Pictures that are there under another id: files of the same bytes, in the collection or earlier in the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, Protocol, TypeAlias

from imgvec.ingest.items import Image, Result
from imgvec.ingest.run import Run
from imgvec.rows import CONTENT_HASH
from imgvec.sources.seen import Seen, hash64

OnDuplicate: TypeAlias = Literal["keep", "skip", "report"]

AT_ONCE = 256
"""Pictures that are asked for in one call."""
AT_ONCE_BYTES = 16 * 2**20
"""Of their files, in memory meanwhile."""
AT_ONCE_SECONDS = 0.1
_NAMED = 65_536
"""Uris of this run that are remembered, to say which picture another one repeats."""


class Files(Protocol):
    """Which files a collection has; handed in by whoever knows it."""

    def with_content(self, hashes: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """By content hash, the uris of the pictures that have it, by their ids."""
        ...


def unrepeated(
    images: Iterable[Image | Result], files: Files, on_duplicate: OnDuplicate, run: Run
) -> Iterator[Image | Result]:
    """All of them, in order, but for new pictures that repeat a file where these are to be skipped; notes both.

    A stored picture that has become a copy of another is noted, and written as ever: its row is there.
    """
    seen = Seen()
    first: dict[int, str] = {}
    for batch in _batches(images):
        wanted = sorted({each.row[CONTENT_HASH] for each in batch if isinstance(each, Image)})
        with run.timed("lookup"):
            stored = run.retry.call(partial(files.with_content, wanted)) if wanted else {}
        for each in batch:
            if isinstance(each, Image):
                content_hash = each.row[CONTENT_HASH]
                others = {id_: uri for id_, uri in stored.get(content_hash, {}).items() if id_ != each.record.id}
                key = hash64(content_hash)
                again = seen.claim(key) is not None
                if len(first) < _NAMED and not again:
                    first[key] = each.record.uri
                if others or again:
                    skip = on_duplicate == "skip" and each.is_new
                    run.repeat(each.record.uri, next(iter(others.values()), first.get(key, "")), skipped=skip)
                    if skip:
                        continue
            yield each


def _batches(images: Iterable[Image | Result]) -> Iterator[list[Image | Result]]:
    batch: list[Image | Result] = []
    size, started = 0, time.monotonic()
    for each in images:
        batch.append(each)
        size += len(each.data) if isinstance(each, Image) else 0
        if len(batch) >= AT_ONCE or size >= AT_ONCE_BYTES or time.monotonic() - started >= AT_ONCE_SECONDS:
            yield batch
            batch, size, started = [], 0, time.monotonic()
    if batch:
        yield batch
