"""The stage that makes vectors: batches of pictures, bounded in rows, through the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from imgvec.errors import EncoderError, UnreadableImage
from imgvec.ingest.items import Prepared, Ready, Result
from imgvec.ingest.run import Run
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder, Pixels


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


def encoded(batch: Sequence[Prepared | Ready], encoders: Mapping[str, Encoder], run: Run) -> list[Ready]:
    """The batch with every encoder's vector for every row; a picture of which one view lacks one is refused."""
    left = [(item, dict[str, Vectors]()) for item in batch if isinstance(item, Prepared)]
    ready = [item for item in batch if isinstance(item, Ready)]
    rows = sum(len(item.rows) for item, _ in left)
    for name, encoder in encoders.items():
        found = _of_encoder(name, encoder, [item for item, _ in left], run)
        of_all, left = left, []
        # what one encoder refuses the next need not look at
        for (item, known), vectors in zip(of_all, found, strict=True):
            if vectors is None:
                who = "the encoder" if len(encoders) == 1 else f"the encoder of {name!r}"
                run.refuse(UnreadableImage(item.row["uri"], "not encodable", f"{who} returned no vector for it"))
            else:
                left.append((item, {**known, name: vectors}))
    run.encoded += rows
    return ready + [Ready(item.row, item.rows, known, encoded=True, known=item.known) for item, known in left]


def _of_encoder(name: str, encoder: Encoder, prepared: Sequence[Prepared], run: Run) -> Sequence[Vectors | None]:
    """The (views, dim) vectors of each picture, None for one that the encoder has none for."""
    pictures = [item.pixels[name] for item in prepared if item.rows]
    found: Iterator[Vectors | None] = iter(())
    if pictures:
        with run.timed("encode"):
            try:
                found = iter(_of_each(pictures, _vectors(pictures, encoder)))
            except EncoderError as exc:
                found = iter(_one_by_one(pictures, encoder, run, exc))
    nothing = np.empty((0, encoder.binding.dim), np.float32)
    return [next(found) if item.rows else nothing for item in prepared]


def _vectors(pictures: Sequence[Pixels], encoder: Encoder) -> Vectors:
    """(rows, dim) vectors of all views, in calls that hold no more than the encoder takes at once."""
    pixels = np.concatenate(pictures)
    calls = -(-len(pixels) // encoder.batch_size)
    if calls < 2:
        return encoder.encode(pixels)
    return np.concatenate([encoder.encode(part) for part in np.array_split(pixels, calls)])


def _of_each(pictures: Sequence[Pixels], vectors: Vectors) -> list[Vectors]:
    """The vectors of each picture, of those of all."""
    ends = np.cumsum([len(pixels) for pixels in pictures])
    return np.split(vectors, ends[:-1])


def _one_by_one(pictures: Sequence[Pixels], encoder: Encoder, run: Run, error: EncoderError) -> list[Vectors | None]:
    """Each picture's vectors, of a batch that failed, None where it fails alone; raises `error` where the encoder is
    broken.

    It is where it has none for any of several pictures, or for the only one before it ever had one in this run.
    """
    found: list[Vectors | None] = []
    for pixels in pictures:
        try:
            found.append(_vectors([pixels], encoder))
        except EncoderError:
            found.append(None)
    if all(vectors is None for vectors in found) and (len(found) > 1 or not run.encoded):
        raise error
    return found
