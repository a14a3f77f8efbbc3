"""The first stages: read and hash, look up what is stored, pass over what has not changed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from imgvec.errors import UnreadableImage
from imgvec.images import content_hash
from imgvec.ingest.items import Image, Ready, Result, Row, RowFields, VectorsByName
from imgvec.ingest.journal import Known, Pictures
from imgvec.ingest.run import Run
from imgvec.rows import FROM_IMAGE, ViewCounts
from imgvec.sources import Again, Item, Notice, PassedOver, Record

S = TypeVar("S")
T = TypeVar("T")

Stored = Mapping[str, Known]
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
            except OSError as exc:  # of a caller's own reader, or a plug-in's
                return UnreadableImage(record.uri, "read failed", str(exc) or type(exc).__name__)

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
    pictures: Pictures,
    row_fields: RowFields,
    pool: ThreadPoolExecutor,
    run: Run,
) -> Iterator[Image | Result]:
    """What is new or changed; rows of which only the metadata changed come ready, with their stored vectors.

    Several look-ups are under way at once: on a server each waits some tenths of a second for the rows of others.
    """
    pending: deque[tuple[_Chunk, Future[Stored]]] = deque()
    for items in chunks:
        chunk = _Chunk()
        for item in items:
            result = _checked(*item, row_fields, pictures) if isinstance(item, tuple) else item
            if isinstance(result, Image):
                chunk.images[result.record.id] = result
                chunk.size += len(result.data)
            elif isinstance(result, UnreadableImage):
                yield result
            elif result.same:
                run.count(duplicates=1)
            else:
                chunk.again.append(result)
        pending.append((chunk, pool.submit(_looked_up, chunk, pictures, run)))
        while pending and (
            pending[0][1].done()
            or len(pending) == LOOKUPS_AHEAD
            or sum(held.size for held, _ in pending) > 4 * LOOKUP_BYTES
        ):
            yield from _compared(*pending.popleft(), pictures, row_fields, run)
    while pending:
        yield from _compared(*pending.popleft(), pictures, row_fields, run)


@dataclass(slots=True)
class _Chunk:
    """What one look-up is about."""

    images: dict[str, Image] = field(default_factory=dict)
    again: list[Again] = field(default_factory=list)
    """Refused; whose id they have is looked up where it is not remembered."""
    size: int = 0


def _checked(record: Record, data: bytes, row_fields: RowFields, pictures: Pictures) -> Image | UnreadableImage:
    """The image with its row so far."""
    try:
        if problem := pictures.id_problem(record.id):
            raise ValueError(problem)
        fields = row_fields(record.metadata)
        given = row_fields(record.metadata, only_given=True) if record.metadata else {}
    except ValueError as exc:
        return UnreadableImage(record.uri, "metadata refused", str(exc))
    row = {"id": record.id, "uri": record.uri, "content_hash": content_hash(data), **fields}
    return Image(record, data, row, given)


def _looked_up(chunk: _Chunk, pictures: Pictures, run: Run) -> Stored:
    ids = [*chunk.images, *dict.fromkeys(one.id for one in chunk.again if one.id not in chunk.images)]
    if not ids:
        return {}
    given = sorted({name for image in chunk.images.values() for name in image.given})
    if given:
        given.append(FROM_IMAGE)
    with run.timed("lookup"):
        return run.retry.call(lambda: pictures.known(ids, given))


def _compared(
    chunk: _Chunk, lookup: Future[Stored], pictures: Pictures, row_fields: RowFields, run: Run
) -> Iterator[Image | Result]:
    images, stored = chunk.images, lookup.result()
    for again in chunk.again:
        first = again.first or (stored[again.id].uri if again.id in stored else None)
        # a row that is this very image's is from a run over another source: the first one is still unknown
        yield again.refusal(first if again.first or first != again.uri else None)
    changed, stale = {}, {}
    for id_, image in images.items():
        old = stored.get(id_)
        if old is None:
            yield image
        elif old.content_hash != image.row["content_hash"] or (
            old.uri != image.row["uri"] and _is_named(image.record.metadata, row_fields)
        ):
            changed[id_] = old.views
        elif (
            old.uri == image.row["uri"]
            and not _from_image(old.fields) & image.given.keys()
            and (not old.has_rows or _all_agree(old.fields, image.given))
        ):
            run.count(unchanged=1)
        else:
            stale[id_] = old.views
    if changed:
        with run.timed("lookup"):
            whole = run.retry.call(lambda: pictures.fields(changed))
        for id_, known in changed.items():
            # another picture under the same name: what is known of it stays, but for what the metadata says now, and
            # for what came from the former picture
            image, fields = images[id_], whole.get(id_, {})
            gone = pictures.own_fields | _from_image(fields)
            kept = {name: value for name, value in fields.items() if name not in gone}
            settled = frozenset(name for name, value in kept.items() if value != image.row.get(name))
            yield replace(image, row={**image.row, **kept, **image.given}, settled=settled, known=known, is_new=False)
    for some in _in_parts(stale, max(1, LOOKUP_ROWS // pictures.most)):
        with run.timed("lookup"):
            found = run.retry.call(partial(pictures.rows, some))
        for id_, known in some.items():
            image = replace(images[id_], known=known, is_new=False)
            # where rows are not there, they were deleted meanwhile
            yield _renewed(image, *found[id_]) if id_ in found else image


def _is_named(metadata: Mapping[str, Any], row_fields: RowFields) -> bool:
    """Whether the name of the picture's file fills a field, which then has to follow it."""
    return row_fields(metadata, file_name="a") != row_fields(metadata, file_name="b")


def _renewed(image: Image, rows: Sequence[Row], vectors: VectorsByName) -> Ready:
    """A stored picture with the metadata of now."""
    given, renewed = image.given, []
    for row in rows:
        noted = _from_image(row) - given.keys()
        # an id that the source gives stays with its image wherever that is moved
        changed = {**row, **given, "uri": image.row["uri"], FROM_IMAGE: " ".join(sorted(noted))}
        renewed.append({name: value for name, value in changed.items() if name != FROM_IMAGE or value})
    return Ready(image.row, renewed, vectors, encoded=False, known=image.known)


def _in_parts(known: Mapping[str, ViewCounts], size: int) -> Iterator[dict[str, ViewCounts]]:
    rest = iter(known.items())
    while part := dict(islice(rest, size)):
        yield part


def _all_agree(stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    return all(_agrees(stored.get(name), value) for name, value in given.items())


def _agrees(stored: Any, given: Any) -> bool:
    """To Python True is 1; to a filter they are two."""
    return bool(stored == given) and isinstance(stored, bool) == isinstance(given, bool)


def _from_image(stored: Mapping[str, Any]) -> frozenset[str]:
    """The fields that the stored picture filled itself."""
    return frozenset(str(stored.get(FROM_IMAGE) or "").split())
