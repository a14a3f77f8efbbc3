"""The first stages: read and hash, look up what is stored, pass over what has not changed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from imgvec.errors import UnreadableImage
from imgvec.images import content_hash
from imgvec.ingest.items import Image, Ready, Result, RowFields
from imgvec.ingest.run import Run
from imgvec.rows import FROM_IMAGE, RESERVED_NAMES
from imgvec.sources import Again, Item, Notice, PassedOver, Record
from imgvec.store import Writes

S = TypeVar("S")
T = TypeVar("T")

Stored = Mapping[str, Mapping[str, Any]]
Loaded = tuple[Record, bytes] | UnreadableImage | Again

LOOKUP_ROWS = 512
"""Records whose stored state is looked up in one call."""
LOOKUP_BYTES = 16 * 2**20
"""File bytes held while that call runs; a chunk ends earlier rather than hold more."""
LOOKUP_SECONDS = 0.1
"""A slow source's first images are not held back longer than this."""
LOOKUPS_AHEAD = 6
"""Such calls under way at once."""


def loaded(
    records: Iterable[Item], pool: ThreadPoolExecutor, threads: int, run: Run, max_bytes: int
) -> Iterator[list[Loaded]]:
    """Chunks of records with their bytes, each chunk bounded in rows, bytes and the time that it took."""

    def read(record: Item) -> Loaded | PassedOver | Notice:
        if not isinstance(record, Record):
            return record
        with run.timed("read"):
            try:
                return record, record.reader.read(max_bytes)
            except UnreadableImage as exc:
                return exc

    chunk: list[Loaded] = []
    size, started = 0, time.monotonic()
    for item in _side_by_side(read, records, pool, 2 * threads):
        if run.stopped():
            run.cut_short = True
            return
        if isinstance(item, PassedOver | Notice):
            run.tell(item)
            continue
        length = len(item[1]) if isinstance(item, tuple) else 0
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
    chunks: Iterable[list[Loaded]],
    store: Writes,
    row_fields: RowFields,
    pool: ThreadPoolExecutor,
    run: Run,
) -> Iterator[Image | Result]:
    """What is new or changed; rows of which only the metadata changed come ready, with their stored vector.

    Several look-ups are under way at once: on a server each waits some tenths of a second for the rows of others.
    """
    pending: deque[tuple[_Chunk, Future[Stored]]] = deque()
    for items in chunks:
        chunk = _Chunk()
        for item in items:
            result = _checked(*item, row_fields) if isinstance(item, tuple) else item
            if isinstance(result, Image):
                chunk.images[result.record.id] = result
                chunk.size += len(result.data)
            elif isinstance(result, UnreadableImage):
                yield result
            elif result.same:
                run.count(duplicates=1)
            else:
                chunk.again.append(result)
        pending.append((chunk, pool.submit(_looked_up, chunk, store, run)))
        while pending and (
            pending[0][1].done()
            or len(pending) == LOOKUPS_AHEAD
            or sum(held.size for held, _ in pending) > 4 * LOOKUP_BYTES
        ):
            yield from _compared(*pending.popleft(), store, run)
    while pending:
        yield from _compared(*pending.popleft(), store, run)


@dataclass(slots=True)
class _Chunk:
    """What one look-up is about."""

    images: dict[str, Image] = field(default_factory=dict)
    again: list[Again] = field(default_factory=list)
    """Refused; whose id they have is looked up where it is not remembered."""
    size: int = 0


def _checked(record: Record, data: bytes, row_fields: RowFields) -> Image | UnreadableImage:
    """The image with its row so far."""
    try:
        fields = row_fields(record.metadata)
        given = row_fields(record.metadata, only_given=True) if record.metadata else {}
    except ValueError as exc:
        return UnreadableImage(record.uri, "metadata refused", str(exc))
    row = {"id": record.id, "uri": record.uri, "content_hash": content_hash(data), **fields}
    return Image(record, data, row, given)


def _looked_up(chunk: _Chunk, store: Writes, run: Run) -> Stored:
    ids = [*chunk.images, *dict.fromkeys(one.id for one in chunk.again if one.id not in chunk.images)]
    if not ids:
        return {}
    given = sorted({name for image in chunk.images.values() for name in image.given})
    if given:
        given.append(FROM_IMAGE)
    with run.timed("lookup"):
        return run.retry.call(lambda: store.get(ids, output_fields=["content_hash", "uri", *given]))


def _compared(chunk: _Chunk, lookup: Future[Stored], store: Writes, run: Run) -> Iterator[Image | Result]:
    images, stored = chunk.images, lookup.result()
    for again in chunk.again:
        first = again.first or stored.get(again.id, {}).get("uri")
        # a row that is this very image's is from a run over another source: the first one is still unknown
        yield again.refusal(first if again.first or first != again.uri else None)
    changed, stale = [], []
    for id_, image in images.items():
        old = stored.get(id_)
        if old is None:
            yield image
        elif old.get("content_hash") != image.row["content_hash"]:
            changed.append(id_)
        elif (
            old.get("uri") == image.row["uri"]
            and not _from_image(old) & image.given.keys()
            and all(_agrees(old.get(name), value) for name, value in image.given.items())
        ):
            run.count(unchanged=1)
        else:
            stale.append(id_)
    if changed:
        with run.timed("lookup"):
            whole = run.retry.call(lambda: store.get(changed, output_fields=["*", FROM_IMAGE]))
        for id_ in changed:
            # another picture under the same name: what is known of it stays, but for what the metadata says now, and
            # for what came from the former picture
            image, old = images[id_], whole.get(id_, {})
            gone = {*RESERVED_NAMES} | _from_image(old)
            kept = {name: value for name, value in old.items() if name not in gone}
            settled = frozenset(name for name, value in kept.items() if value != image.row.get(name))
            yield replace(image, row={**image.row, **kept, **image.given}, settled=settled)
    if stale:
        with run.timed("lookup"):
            whole = run.retry.call(lambda: store.get(stale, output_fields=["*", FROM_IMAGE], with_vector=True))
        for id_ in stale:
            if id_ not in whole:  # deleted meanwhile
                yield images[id_]
                continue
            row = dict(whole[id_])
            vector = row.pop("vector")
            given = images[id_].given
            noted = _from_image(row) - given.keys()
            # an id that the source gives stays with its image wherever that is moved
            row = {**row, **given, "id": id_, "uri": images[id_].row["uri"], FROM_IMAGE: " ".join(sorted(noted))}
            yield Ready({k: v for k, v in row.items() if k != FROM_IMAGE or v}, vector, encoded=False)


def _agrees(stored: Any, given: Any) -> bool:
    """To Python True is 1; to a filter they are two."""
    return bool(stored == given) and isinstance(stored, bool) == isinstance(given, bool)


def _from_image(stored: Mapping[str, Any]) -> frozenset[str]:
    """The fields that the stored picture filled itself."""
    return frozenset(str(stored.get(FROM_IMAGE) or "").split())
