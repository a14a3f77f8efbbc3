"""The stage that makes vectors: batches of pictures, bounded in rows, through the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from imgvec.errors import EncoderError, UnreadableImage
from imgvec.ingest.items import Prepared, Ready, Result
from imgvec.ingest.run import Run
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder


def batches(
    decoding: Iterable[Callable[[], Result]], encoder: Encoder, most: int, run: Run
) -> Iterator[list[Prepared | Ready]]:
    """Batches whose rows to encode are as many as the encoder takes at once, with the pictures that come ready among
    them; refusals are counted here.

    No batch holds more than `most` pictures. One whose views are more than the encoder takes is a batch of its own.
    """
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
        rows = len(result.rows) if isinstance(result, Prepared) else 0
        if to_encode and to_encode + rows > encoder.batch_size:
            yield batch
            batch, to_encode = [], 0
        batch.append(result)
        to_encode += rows
        if to_encode >= encoder.batch_size or len(batch) == most:
            yield batch
            batch, to_encode = [], 0
    if batch:
        yield batch


def encoded(batch: Sequence[Prepared | Ready], encoder: Encoder, run: Run) -> list[Ready]:
    """The batch with a vector for every row; a picture of which one view has none is refused."""
    prepared = [item for item in batch if isinstance(item, Prepared)]
    ready = [item for item in batch if isinstance(item, Ready)]
    rows = sum(len(item.rows) for item in prepared)
    if rows:
        with run.timed("encode"):
            try:
                found: Sequence[Vectors | None] = _of_each(prepared, _vectors(prepared, encoder))
            except EncoderError as exc:
                found = _one_by_one(prepared, encoder, run, exc)
        run.encoded += rows
    else:
        found = [np.empty((0, encoder.binding.dim), np.float32)] * len(prepared)
    for item, vectors in zip(prepared, found, strict=True):
        if vectors is None:
            run.refuse(UnreadableImage(item.row["uri"], "not encodable", "the encoder returned no vector for it"))
        else:
            ready.append(Ready(item.row, item.rows, vectors, encoded=True, known=item.known))
    return ready


def _vectors(prepared: Sequence[Prepared], encoder: Encoder) -> Vectors:
    """(rows, dim) vectors of all views, in calls that hold no more than the encoder takes at once."""
    pixels = np.concatenate([item.pixels for item in prepared])
    calls = -(-len(pixels) // encoder.batch_size)
    if calls < 2:
        return encoder.encode(pixels)
    return np.concatenate([encoder.encode(part) for part in np.array_split(pixels, calls)])


def _of_each(prepared: Sequence[Prepared], vectors: Vectors) -> list[Vectors]:
    """The vectors of each picture, of those of all."""
    ends = np.cumsum([len(item.rows) for item in prepared])
    return np.split(vectors, ends[:-1])


def _one_by_one(prepared: Sequence[Prepared], encoder: Encoder, run: Run, error: EncoderError) -> list[Vectors | None]:
    """Each picture's vectors, of a batch that failed, None where it fails alone; raises `error` where the encoder is
    broken.

    It is where it has none for any of several pictures, or for the only one before it ever had one in this run.
    """
    found: list[Vectors | None] = []
    for item in prepared:
        try:
            found.append(_vectors([item], encoder))
        except EncoderError:
            found.append(None)
    if all(vectors is None for vectors in found) and (len(found) > 1 or not run.encoded):
        raise error
    return found
