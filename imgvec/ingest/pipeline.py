"""The whole pipeline, and its last stages: encode and write."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import Unpack

from imgvec.encoders.protocol import Tunable
from imgvec.errors import EncoderError, UnreadableImage
from imgvec.ingest.claims import claimed
from imgvec.ingest.decoding import Decoder, under_way
from imgvec.ingest.items import Prepared, Ready, Result, RowFields
from imgvec.ingest.options import Resources, RunOptions
from imgvec.ingest.reading import LOOKUPS_AHEAD, changed, loaded
from imgvec.ingest.run import Run
from imgvec.options import settled
from imgvec.report import IngestReport
from imgvec.sources import Item
from imgvec.store import Writes
from imgvec.threads import Ahead, Writer
from imgvec.vectors import Vectors
from imgvec.workers import workers

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

_log = logging.getLogger(__name__)

WRITE_ROWS = 512
"""Rows sent in one call, at most; what a crash costs is encoding them again."""
WRITE_SECONDS = 1.0
"""A slow encoder's rows are not held back longer than this."""
TUNE_AFTER = 1000
"""Images after which a run is long enough for the encoder to look for its fastest way; again after each fourfold."""


def ingest(
    records: Iterable[Item],
    store: Writes,
    encoder: Encoder,
    row_fields: RowFields,
    resources: Resources,
    **options: Unpack[RunOptions],
) -> IngestReport:
    """Ingest `records`; returns what became of each.

    A refused image is counted, written to the JSON-lines file `errors` (uri, reason, detail), and passed over; with
    `strict` the first one is raised, after what was encoded before it is written. `on_progress` gets a `Progress` at
    most ten times a second, `on_notice` gets notices about the source, from any thread, one call at a time. Setting
    `stop` ends the run after the current batch. With decoding processes, an image that kills its decoder is refused.
    Raises the store's and the encoder's errors; what was acknowledged before stays.
    """
    chosen = settled(RunOptions, options)
    errors, stop, threads = chosen["errors"], chosen["stop"], resources.threads
    closing = threading.Event()

    def stopped() -> bool:
        return closing.is_set() or (stop is not None and stop.is_set())

    with ExitStack() as stack:
        log = stack.enter_context(Path(errors).open("w", encoding="utf-8")) if errors is not None else None
        run = Run(chosen["strict"], log, chosen["on_progress"], resources.retry_seconds, stopped, chosen["on_notice"])
        # read threads wait for storage, decode threads for the processor: two pools, so that neither holds up the other
        readers = stack.enter_context(_pool("imgvec-read", threads))
        decoders = workers(threads, resources.processes)
        stack.callback(decoders.shutdown, cancel_futures=True)
        lookups = stack.enter_context(_pool("imgvec-lookup", LOOKUPS_AHEAD))
        writer: Writer[Ready] = Writer(lambda batch: _write(batch, store, run), WRITE_ROWS, WRITE_SECONDS)
        stack.enter_context(writer)

        read = loaded(claimed(records), readers, threads, run, resources.max_bytes)
        to_decode = changed(read, store, row_fields, lookups, run)
        decoder = Decoder(
            encoder.prepare, row_fields, resources.max_pixels, encoder.binding.image_size, resources.decoding
        )
        decoded = under_way(to_decode, decoders, decoder, run)
        ahead = stack.enter_context(Ahead(decoded, 2 * encoder.batch_size + threads, stopped))
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


@contextmanager
def _pool(name: str, threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(decoding: Iterable[Callable[[], Result]], encoder: Encoder, run: Run) -> Iterator[list[Prepared | Ready]]:
    """Batches of the encoder's size to encode, with the rows that come ready among them; refusals are counted here."""
    batch: list[Prepared | Ready] = []
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
        to_encode += isinstance(result, Prepared)
        if to_encode >= encoder.batch_size or len(batch) == WRITE_ROWS:
            yield batch
            batch, to_encode = [], 0
    if batch:
        yield batch


def _encoded(batch: Sequence[Prepared | Ready], encoder: Encoder, run: Run) -> list[Ready]:
    """The batch with a vector for every row."""
    prepared = [item for item in batch if isinstance(item, Prepared)]
    ready = [item for item in batch if isinstance(item, Ready)]
    if prepared:
        with run.timed("encode"):
            try:
                vectors: Sequence[Vectors | None] = list(encoder.encode(np.stack([item.pixels for item in prepared])))
            except EncoderError as exc:
                vectors = _one_by_one(prepared, encoder, run, exc)
        run.encoded += len(prepared)
        for item, vector in zip(prepared, vectors, strict=True):
            if vector is None:
                run.refuse(UnreadableImage(item.row["uri"], "not encodable", "the encoder returned no vector for it"))
            else:
                ready.append(Ready(item.row, vector, encoded=True))
    return ready


def _one_by_one(prepared: Sequence[Prepared], encoder: Encoder, run: Run, error: EncoderError) -> list[Vectors | None]:
    """Vectors of a batch that failed, None for each image that fails alone; raises `error` if the encoder is broken.

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


def _write(batch: Sequence[Ready], store: Writes, run: Run) -> None:
    now = time.time_ns() // 1_000_000
    rows = [{**ready.row, "ingested_at": now} for ready in batch]
    with run.timed("write"):
        vectors = np.stack([ready.vector for ready in batch])
        run.retry.call(lambda: store.upsert(rows, vectors))
    encoded = sum(ready.encoded for ready in batch)
    run.count(written=encoded, updated=len(batch) - encoded)
    _log.info("%d rows written, %d so far", len(rows), run.report.written + run.report.updated)
