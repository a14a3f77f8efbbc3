"""Images into a collection: read, decode, encode, write; restartable, in bounded memory.

    records ─▶ read and hash ─▶ look up what is stored ─▶ decode and resize ─▶ encode ─▶ upsert
               └───────── reader thread ────────────┘     └ decode threads ┘   caller    writer thread

The database is the journal. For each chunk of records the stored `content_hash` is looked up: what is unchanged is
skipped before it is decoded, what is new or changed is upserted under the id made from its uri. So the same call after
a crash goes on where that one stopped, and a second one writes nothing.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.protocol import Tunable
from imgvec.errors import BackendError, EncoderError, UnreadableImage
from imgvec.images import Record, content_hash, decode
from imgvec.report import IngestReport
from imgvec.retry import Retry
from imgvec.threads import Ahead, ByteBudget, Writer
from imgvec.workers import WorkerDiedError, Workers, workers

if TYPE_CHECKING:
    from PIL.Image import Image

    from imgvec.encoders.protocol import Encoder, Pixels

_log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")

Vectors = NDArray[np.float32]
Row = dict[str, Any]
_Stored = Mapping[str, Mapping[str, Any]]

_OWN_FIELDS = frozenset({"id", "uri", "content_hash", "width", "height", "media_type", "ingested_at", "vector"})
"""What an ingest itself fills in."""

LOOKUP_ROWS = 512
"""Records whose stored state is looked up in one call."""
LOOKUP_BYTES = 16 * 2**20
"""File bytes held while that call runs; a chunk ends earlier rather than hold more."""
LOOKUP_SECONDS = 0.1
"""A slow source's first images are not held back longer than this."""
LOOKUPS_AHEAD = 6
"""Such calls under way at once."""
DECODE_BYTES = 64 * 2**20
"""File bytes that wait for a decoder, or are with one."""
WRITE_ROWS = 512
"""Rows sent in one call, at most; what a crash costs is encoding them again."""
WRITE_SECONDS = 1.0
"""A slow encoder's rows are not held back longer than this."""
TUNE_AFTER = 1000
"""Images after which a run is long enough for the encoder to look for its fastest way; again after each fourfold."""


class IngestStore(Protocol):
    """What ingesting needs of a store."""

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]: ...
    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int: ...


class RowFields(Protocol):
    """`Definition.row_fields`: metadata as a row's fields, `ValueError` where it does not fit."""

    def __call__(self, metadata: Mapping[str, Any], *, taken_at: int | None = None) -> Row: ...


@dataclass(frozen=True, slots=True)
class _Image:
    """One image on its way: its bytes, and the row so far."""

    record: Record
    data: bytes
    row: Row


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A row whose pixels are to encode."""

    row: Row
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class _Ready:
    """A row to write with its vector: just `encoded`, or the one that was stored."""

    row: Row
    vector: Vectors
    encoded: bool


_Result = _Prepared | _Ready | UnreadableImage


def ingest(
    records: Iterable[Record | UnreadableImage],
    store: IngestStore,
    encoder: Encoder,
    row_fields: RowFields,
    *,
    threads: int,
    processes: int = 0,
    max_pixels: int,
    max_bytes: int,
    retry_seconds: float = 60.0,
    strict: bool = False,
    errors: str | Path | None = None,
    on_progress: Callable[[IngestReport], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestReport:
    """Bring `records` in; returns what became of each.

    A refused image is counted, written to the JSON-lines file `errors` (uri, reason, detail), and passed over; with
    `strict` the first one is raised, after what was encoded before it is written. `on_progress` gets the report at most
    ten times a second, from any thread, one call at a time. `stop`, once set, ends the run after the batch in hand.
    Decoding runs in `threads`, or in so many `processes`, where an image that kills its decoder is refused. What Milvus
    refuses for the moment is tried again for `retry_seconds`. Raises the store's and the encoder's errors; what was
    acknowledged before stays.
    """
    closing = threading.Event()

    def stopped() -> bool:
        return closing.is_set() or (stop is not None and stop.is_set())

    with ExitStack() as stack:
        log = stack.enter_context(Path(errors).open("w", encoding="utf-8")) if errors is not None else None
        run = _Run(strict, log, on_progress, retry_seconds, stopped)
        # read threads wait for storage, decode threads for the processor: two pools, so that neither holds up the other
        readers = stack.enter_context(_pool("imgvec-read", threads))
        decoders = workers(threads, processes)
        stack.callback(decoders.shutdown, cancel_futures=True)
        lookups = stack.enter_context(_pool("imgvec-lookup", LOOKUPS_AHEAD))
        writer: Writer[_Ready] = Writer(lambda batch: _write(batch, store, run), WRITE_ROWS, WRITE_SECONDS)
        stack.enter_context(writer)

        loaded = _loaded(records, readers, threads, run, max_bytes)
        changed = _changed(loaded, store, row_fields, lookups, run)
        decoder = _Decoder(encoder.prepare, row_fields, max_pixels, encoder.binding.image_size)
        decoding = _decoding(changed, decoders, decoder, run)
        ahead = stack.enter_context(Ahead(decoding, 2 * encoder.batch_size + threads, stopped))
        # the first to run on the way out: whatever waits then, for Milvus or for room, waits no longer
        stack.callback(closing.set)
        tuned_at = TUNE_AFTER
        for batch in _batches(ahead, encoder, run):
            encoded = _encoded(batch, encoder, run)
            with run.timed("blocked"):
                writer.put(encoded)
            if run.encoded >= tuned_at and isinstance(encoder, Tunable):
                # as many again as there were so far: a guess that is right within a factor of two, whatever the source
                with run.timed("tune"):
                    encoder.prepare_for(run.encoded)
                tuned_at *= 4
        writer.finish()
        run.report.interrupted = run.cut_short or not ahead.exhausted
    return run.finish()


class _Run:
    """The report of one run, counted from several threads."""

    def __init__(
        self,
        strict: bool,
        log: IO[str] | None,
        on_progress: Callable[[IngestReport], None] | None,
        retry_seconds: float,
        stopped: Callable[[], bool],
    ) -> None:
        self.report = IngestReport()
        self.retry = Retry(retry_seconds, on_retry=self._retrying, stopped=stopped)
        self.stopped = stopped
        self.decoding = ByteBudget(DECODE_BYTES)
        self.encoded = 0
        self.cut_short = False
        self.in_flight: set[str] = set()
        self._strict, self._log, self._on_progress = strict, log, on_progress
        self._lock = threading.Lock()
        self._start = time.perf_counter()
        self._told = 0.0

    def count(self, **counts: int) -> None:
        with self._lock:
            for name, number in counts.items():
                setattr(self.report, name, getattr(self.report, name) + number)
            now = time.perf_counter()
            if self._on_progress and now - self._told >= 0.1:
                self._told = now
                self.report.seconds = now - self._start
                self._on_progress(self.report)

    def _retrying(self, error: BackendError, wait: float) -> None:
        self.count(retries=1)
        _log.info("again in %.1f s: %s", wait, error)

    def refuse(self, error: UnreadableImage) -> None:
        with self._lock:
            self.report.refused[error.reason] += 1
            if self._log:
                entry = {"uri": error.uri, "reason": error.reason, "detail": error.detail}
                print(json.dumps(entry, ensure_ascii=False), file=self._log, flush=True)
        if self._strict:
            raise error

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent(stage, time.perf_counter() - start)

    def spent(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.report.stage_seconds[stage] += seconds

    def finish(self) -> IngestReport:
        self.report.seconds = time.perf_counter() - self._start
        if self._on_progress:
            self._on_progress(self.report)
        return self.report


@contextmanager
def _pool(name: str, threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _loaded(
    records: Iterable[Record | UnreadableImage], pool: ThreadPoolExecutor, threads: int, run: _Run, max_bytes: int
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


def _changed(
    chunks: Iterable[list[tuple[Record, bytes] | UnreadableImage]],
    store: IngestStore,
    row_fields: RowFields,
    pool: ThreadPoolExecutor,
    run: _Run,
) -> Iterator[_Image | _Result]:
    """What is new or changed; rows of which only the metadata changed come ready, with their stored vector.

    Several look-ups are under way at once: on a server each waits some tenths of a second for the rows of others.
    """
    pending: deque[tuple[Mapping[str, _Image], Future[_Stored], int]] = deque()
    for chunk in chunks:
        images: dict[str, _Image] = {}
        for item in chunk:
            result = item if isinstance(item, UnreadableImage) else _checked(*item, row_fields, run)
            if isinstance(result, _Image):
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


def _checked(record: Record, data: bytes, row_fields: RowFields, run: _Run) -> _Image | UnreadableImage | None:
    """The image with its row so far; None for one that is on its way already."""
    if record.id in run.in_flight:
        run.count(duplicates=1)
        return None
    try:
        fields = row_fields(record.metadata)
    except ValueError as exc:
        return UnreadableImage(record.uri, "metadata refused", str(exc))
    run.in_flight.add(record.id)
    return _Image(record, data, {"id": record.id, "uri": record.uri, "content_hash": content_hash(data), **fields})


def _looked_up(images: Mapping[str, _Image], store: IngestStore, run: _Run) -> _Stored:
    if not images:
        return {}
    given = sorted({name for image in images.values() for name in _given(image)})
    with run.timed("lookup"):
        return run.retry.call(lambda: store.get(list(images), output_fields=["content_hash", *given]))


def _compared(
    images: Mapping[str, _Image], lookup: Future[_Stored], store: IngestStore, run: _Run
) -> Iterator[_Image | _Result]:
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
            kept = {name: value for name, value in whole.get(id_, {}).items() if name not in _OWN_FIELDS}
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
            yield _Ready({"id": id_, **row}, vector, encoded=False)


def _given(image: _Image) -> list[str]:
    """The fields that the metadata itself gave, which a stored row must agree with."""
    return [name for name, value in image.record.metadata.items() if value is not None and name in image.row]


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Bytes to pixels to encode; picklable, so that it can run in another process."""

    prepare: Callable[[Image], Pixels]
    row_fields: RowFields
    max_pixels: int
    min_side: int

    def __call__(self, image: _Image) -> tuple[_Result, float]:
        """What became of the image, and the seconds that it took."""
        start = time.perf_counter()
        try:
            decoded = decode(image.data, uri=image.record.uri, max_pixels=self.max_pixels, min_side=self.min_side)
        except UnreadableImage as exc:
            # a new one: the traceback of this would keep the file's bytes for as long as the refusal lives
            return UnreadableImage(exc.uri, exc.reason, exc.detail), time.perf_counter() - start
        row = {
            **image.row,
            **self._from_image(image.record.metadata, decoded.taken_at),
            "width": decoded.width,
            "height": decoded.height,
            "media_type": decoded.media_type,
        }
        return _Prepared(row, self.prepare(decoded.image)), time.perf_counter() - start

    def _from_image(self, metadata: Mapping[str, Any], taken_at: int | None) -> Row:
        """The fields whose value comes from the picture itself."""
        if taken_at is None:
            return {}
        without = self.row_fields(metadata)
        return {k: v for k, v in self.row_fields(metadata, taken_at=taken_at).items() if v != without[k]}


def _decoding(
    images: Iterable[_Image | _Result], pool: Workers, decoder: _Decoder, run: _Run
) -> Iterator[Callable[[], _Result]]:
    """Decoding under way, in the order of the images; each is called for its result."""
    for image in images:
        if isinstance(image, _Image):
            run.decoding.take(len(image.data), run.stopped)
            yield partial(_decoded, image.record, len(image.data), pool.submit(decoder, image), run)
        else:
            yield partial(_itself, image)


def _decoded(record: Record, size: int, future: Future[tuple[_Result, float]], run: _Run) -> _Result:
    try:
        result, seconds = future.result()
    except WorkerDiedError:
        result, seconds = UnreadableImage(record.uri, "broken", "the process that decoded it died of it"), 0.0
    run.spent("decode", seconds)
    run.decoding.give_back(size)
    if isinstance(result, UnreadableImage):
        run.in_flight.discard(record.id)
    return result


def _itself(result: _Result) -> _Result:
    return result


def _batches(
    decoding: Iterable[Callable[[], _Result]], encoder: Encoder, run: _Run
) -> Iterator[list[_Prepared | _Ready]]:
    """Batches of the encoder's size to encode, with the rows that come ready among them; refusals are counted here."""
    batch: list[_Prepared | _Ready] = []
    to_encode = 0
    source = iter(decoding)
    while True:
        with run.timed("waiting"):
            finished = next(source, None)
            result = finished() if finished else None
        if result is None:
            break
        if isinstance(result, UnreadableImage):
            run.refuse(result)
            continue
        batch.append(result)
        to_encode += isinstance(result, _Prepared)
        if to_encode >= encoder.batch_size or len(batch) == WRITE_ROWS:
            yield batch
            batch, to_encode = [], 0
    if batch:
        yield batch


def _encoded(batch: Sequence[_Prepared | _Ready], encoder: Encoder, run: _Run) -> list[_Ready]:
    """The batch with a vector for every row."""
    prepared = [item for item in batch if isinstance(item, _Prepared)]
    ready = [item for item in batch if isinstance(item, _Ready)]
    if prepared:
        with run.timed("encode"):
            try:
                vectors: Sequence[Vectors | None] = list(encoder.encode(np.stack([item.pixels for item in prepared])))
            except EncoderError as exc:
                vectors = _one_by_one(prepared, encoder, run, exc)
        run.encoded += len(prepared)
        for item, vector in zip(prepared, vectors, strict=True):
            if vector is None:
                run.in_flight.discard(item.row["id"])
                run.refuse(UnreadableImage(item.row["uri"], "not encodable", "the encoder has no vector for it"))
            else:
                ready.append(_Ready(item.row, vector, encoded=True))
    return ready


def _one_by_one(
    prepared: Sequence[_Prepared], encoder: Encoder, run: _Run, error: EncoderError
) -> list[Vectors | None]:
    """Vectors of a batch that failed, None for each image that fails alone; raises `error` where the encoder is broken.

    It is where it has no vector for any of several images, or for the only one before it ever had one in this run.
    """
    vectors: list[Vectors | None] = []
    for item in prepared:
        try:
            vectors.append(encoder.encode(item.pixels[np.newaxis])[0])
        except EncoderError:
            vectors.append(None)
    if all(vector is None for vector in vectors) and (len(vectors) > 1 or not run.encoded):
        raise error
    return vectors


def _write(batch: Sequence[_Ready], store: IngestStore, run: _Run) -> None:
    now = time.time_ns() // 1_000_000
    rows = [{**ready.row, "ingested_at": now} for ready in batch]
    with run.timed("write"):
        vectors = np.stack([ready.vector for ready in batch])
        run.retry.call(lambda: store.upsert(rows, vectors))
    run.in_flight.difference_update(row["id"] for row in rows)
    encoded = sum(ready.encoded for ready in batch)
    run.count(written=encoded, updated=len(batch) - encoded)
    _log.info("%d rows written, %d so far", len(rows), run.report.written + run.report.updated)


class PruneStore(Protocol):
    """What pruning needs of a store."""

    def scan(self, output_fields: Sequence[str], filter: str = "") -> Iterator[Sequence[Mapping[str, Any]]]: ...
    def delete(self, ids: Sequence[str]) -> int: ...


def prune(
    store: PruneStore, is_gone: Callable[[str], bool], *, confirm: Callable[[int, int], bool] | None = None
) -> int:
    """Delete the rows whose image `is_gone`, by uri; returns how many.

    `confirm` is asked first, with the number of rows to delete and the number looked at; a false answer deletes none.
    """
    looked_at = 0
    gone: list[str] = []
    for rows in store.scan(["id", "uri"]):
        looked_at += len(rows)
        gone += [row["id"] for row in rows if is_gone(row["uri"])]
    if not gone or (confirm is not None and not confirm(len(gone), looked_at)):
        return 0
    return store.delete(gone)
