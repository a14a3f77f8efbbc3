"""The first stages: read and hash, look up what is stored, pass over what has not changed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from imgvec.errors import UnreadableImage
from imgvec.images import Record, content_hash
from imgvec.ingest.items import Image, IngestStore, Ready, Result, RowFields
from imgvec.ingest.run import Run

S = TypeVar("S")
T = TypeVar("T")

Stored = Mapping[str, Mapping[str, Any]]

OWN_FIELDS = frozenset({"id", "uri", "content_hash", "width", "height", "media_type", "ingested_at", "vector"})
"""What an ingest itself fills in."""

LOOKUP_ROWS = 512
"""Records whose stored state is looked up in one call."""
LOOKUP_BYTES = 16 * 2**20
"""File bytes held while that call runs; a chunk ends earlier rather than hold more."""
LOOKUP_SECONDS = 0.1
"""A slow source's first images are not held back longer than this."""
LOOKUPS_AHEAD = 6
"""Such calls under way at once."""


def loaded(
    records: Iterable[Record | UnreadableImage], pool: ThreadPoolExecutor, threads: int, run: Run, max_bytes: int
) -> Iterator[list[tuple[Record, bytes] | UnreadableImage]]:
    """Chunks of records with their bytes, each chunk bounded in rows, bytes and the time that it took."""

    def read(record: Record | UnreadableImage) -> tuple[Record, bytes] | UnreadableImage:
        if isinstance(record, UnreadableImage):
            return record
        with run.timed("read"):
            try:
                return record, record.reader.read(max_bytes)
            except UnreadableImage as exc:
                return exc

    chunk: list[tuple[Record, bytes] | UnreadableImage] = []
    size, started = 0, time.monotonic()
    for item in _side_by_side(read, records, pool, 2 * threads):
        if run.stopped():
            run.cut_short = True
            return
        length = 0 if isinstance(item, UnreadableImage) else len(item[1])
        run.count(seen=1, bytes_read=length)
        chunk.append(item)
        size += length
        if len(chunk) >= LOOKUP_ROWS or size >= LOOKUP_BYTES or time.monotonic() - started >= LOOKUP_SECONDS:
            yield chunk
            chunk, size, started = [], 0, time.monotonic()
    if chunk:
        yield chunk


def _side_by_side(function: Callable[[S], T], items: Iterable[S], pool: ThreadPoolExecutor, ahead: int) -> Iterator[T]:
    """`map` in a pool, in order, with at most `ahead` results waiting; `Executor.map` takes every item at once."""
    pending: deque[Future[T]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def changed(
    chunks: Iterable[list[tuple[Record, bytes] | UnreadableImage]],
    store: IngestStore,
    row_fields: RowFields,
    pool: ThreadPoolExecutor,
    run: Run,
) -> Iterator[Image | Result]:
    """What is new or changed; rows of which only the metadata changed come ready, with their stored vector.

    Several look-ups are under way at once: on a server each waits some tenths of a second for the rows of others.
    """
    pending: deque[tuple[Mapping[str, Image], Future[Stored], int]] = deque()
    for chunk in chunks:
        images: dict[str, Image] = {}
        for item in chunk:
            result = item if isinstance(item, UnreadableImage) else _checked(*item, row_fields, run)
            if isinstance(result, Image):
                images[result.record.id] = result
            elif result is not None:
                yield result
        size = sum(len(image.data) for image in images.values())
        pending.append((images, pool.submit(_looked_up, images, store, run), size))
        while pending and (
            pending[0][1].done()
            or len(pending) == LOOKUPS_AHEAD
            or sum(held for _, _, held in pending) > 4 * LOOKUP_BYTES
        ):
            yield from _compared(*pending.popleft()[:2], store, run)
    while pending:
        yield from _compared(*pending.popleft()[:2], store, run)


def _checked(record: Record, data: bytes, row_fields: RowFields, run: Run) -> Image | UnreadableImage | None:
    """The image with its row so far; None for one that is on its way already."""
    if record.id in run.in_flight:
        run.count(duplicates=1)
        return None
    try:
        fields = row_fields(record.metadata)
    except ValueError as exc:
        return UnreadableImage(record.uri, "metadata refused", str(exc))
    run.in_flight.add(record.id)
    return Image(record, data, {"id": record.id, "uri": record.uri, "content_hash": content_hash(data), **fields})


def _looked_up(images: Mapping[str, Image], store: IngestStore, run: Run) -> Stored:
    if not images:
        return {}
    given = sorted({name for image in images.values() for name in _given(image)})
    with run.timed("lookup"):
        return run.retry.call(lambda: store.get(list(images), output_fields=["content_hash", *given]))


def _compared(
    images: Mapping[str, Image], lookup: Future[Stored], store: IngestStore, run: Run
) -> Iterator[Image | Result]:
    stored = lookup.result()
    changed, stale = [], []
    for id_, image in images.items():
        old = stored.get(id_)
        if old is None:
            yield image
        elif old.get("content_hash") != image.row["content_hash"]:
            changed.append(id_)
        elif all(old.get(name) == image.row[name] for name in _given(image)):
            run.in_flight.discard(id_)
            run.count(unchanged=1)
        else:
            stale.append(id_)
    if changed:
        with run.timed("lookup"):
            whole = run.retry.call(lambda: store.get(changed, output_fields=["*"]))
        for id_ in changed:
            # another picture under the same name: what is known of it stays, but for what the metadata says now
            image = images[id_]
            kept = {name: value for name, value in whole.get(id_, {}).items() if name not in OWN_FIELDS}
            given = {name: image.row[name] for name in _given(image)}
            yield replace(image, row={**image.row, **kept, **given})
    if stale:
        with run.timed("lookup"):
            whole = run.retry.call(lambda: store.get(stale, output_fields=["*"], with_vector=True))
        for id_ in stale:
            if id_ not in whole:  # deleted meanwhile
                yield images[id_]
                continue
            row = dict(whole[id_])
            vector = row.pop("vector")
            row.update({name: images[id_].row[name] for name in _given(images[id_])})
            yield Ready({"id": id_, **row}, vector, encoded=False)


def _given(image: Image) -> list[str]:
    """The fields that the metadata itself gave, which a stored row must agree with."""
    return [name for name, value in image.record.metadata.items() if value is not None and name in image.row]
