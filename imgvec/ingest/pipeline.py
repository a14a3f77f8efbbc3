"""The whole pipeline: the stages, put together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from typing_extensions import Unpack

from imgvec.encoders.protocol import Tunable
from imgvec.ingest.claims import claimed
from imgvec.ingest.decoding import Decoder, under_way
from imgvec.ingest.encoding import batches, encoded
from imgvec.ingest.items import Ready, Result, RowFields
from imgvec.ingest.journal import Pictures, ViewedPictures
from imgvec.ingest.looking import looked, looker
from imgvec.ingest.options import Resources, RunOptions, Views
from imgvec.ingest.reading import LOOKUPS_AHEAD, changed, loaded
from imgvec.ingest.repeated import Files, unrepeated
from imgvec.ingest.run import Run
from imgvec.options import settled
from imgvec.report import IngestReport
from imgvec.rows import VECTOR
from imgvec.sources import Item
from imgvec.store import Writes
from imgvec.threads import Ahead, Writer
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
    encoders: Mapping[str, Encoder],
    row_fields: RowFields,
    resources: Resources,
    views: Views | None = None,
    files: Files | None = None,
    **options: Unpack[RunOptions],
) -> IngestReport:
    """Ingest `records`; returns what became of each. With `views` each has a row for each of these.

    `encoders` has one for each vector, `vector` and any further ones: each prepares the one decoded picture in its own
    way, and all vectors go to the store in one call.

    A refused image is counted, written to the JSON-lines file `errors` (uri, reason, detail), and passed over; with
    `strict` the first one is raised, after what was encoded before it is written. `on_progress` gets a `Progress` at
    most ten times a second, `on_notice` gets notices about the source, from any thread, one call at a time. Setting
    `stop` ends the run after the current batch. With decoding processes, an image that kills its decoder is refused.
    Raises the store's and the encoder's errors; what was acknowledged before stays.
    """
    chosen, encoder = settled(RunOptions, options), encoders[VECTOR]
    further = [name for name in encoders if name != VECTOR]
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
        pictures = (
            Pictures(store, further)
            if views is None
            else ViewedPictures(store, views.journal, views.expand.most, further, views.expand.own_fields)
        )
        a_write = max(1, WRITE_ROWS // pictures.most)
        writer: Writer[Ready] = Writer(lambda batch: _write(batch, pictures, run), a_write, WRITE_SECONDS)
        stack.enter_context(writer)

        read = loaded(claimed(records), readers, threads, run, resources.max_bytes)
        to_decode = changed(read, pictures, row_fields, lookups, run)
        if files is not None and chosen["on_duplicate"] != "keep":
            to_decode = unrepeated(to_decode, files, chosen["on_duplicate"], run)
        look = None if views is None else looker(views.expand, encoders)
        decoder = Decoder(
            {name: each.prepare for name, each in encoders.items()},
            row_fields,
            resources.max_pixels,
            max(each.binding.image_size for each in encoders.values()),
            resources.decoding,
            None if views is None else views.expand,
            look is not None,
        )
        opened = under_way(to_decode, decoders, decoder, run)
        if look is None:
            decoded = cast(
                "Iterator[Callable[[], Result]]", opened
            )  # without a look each is prepared where it is opened
        else:
            decoded = looked(opened, stack.enter_context(_pool("imgvec-look", threads)), look, run)
        depth = -(-2 * encoder.batch_size // pictures.most) + threads
        ahead = stack.enter_context(Ahead(decoded, depth, stopped))
        # the first to run on the way out: whatever waits then, for Milvus or for room, waits no longer
        stack.callback(closing.set)
        tuned_at = TUNE_AFTER
        for batch in batches(ahead, encoder, a_write, run):
            ready = encoded(batch, encoders, run)
            with run.timed("blocked"):
                writer.put(ready)
            if run.encoded >= tuned_at:
                # as many again as there were so far: a guess that is right within a factor of two, whatever the source
                for each in encoders.values():
                    if isinstance(each, Tunable):
                        with run.timed("tune"):
                            each.prepare_for(run.encoded)
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


def _write(batch: Sequence[Ready], pictures: Pictures, run: Run) -> None:
    with run.timed("write"):
        pictures.write(batch, run.retry.call)
    encoded = sum(ready.encoded for ready in batch)
    run.count(written=encoded, updated=len(batch) - encoded)
    _log.info("%d pictures written, %d so far", len(batch), run.report.written + run.report.updated)
