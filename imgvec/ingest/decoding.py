"""The stage that turns bytes into pixels, in threads or processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from imgvec.errors import UnreadableImage
from imgvec.images import Decoded, DecodePolicy, decode
from imgvec.ingest.expand import Expander, View, rows_of
from imgvec.ingest.items import Image, Opened, Prepared, Result, Row, RowFields
from imgvec.ingest.run import Run
from imgvec.rows import FROM_IMAGE, ViewCounts
from imgvec.sources import Record, name_words
from imgvec.workers import WorkerDiedError, Workers

if TYPE_CHECKING:
    import PIL.Image

    from imgvec.encoders.protocol import Pixels


@dataclass(frozen=True, slots=True)
class Decoder:
    """Bytes to the pixels of a picture's views; picklable, so that it can run in another process."""

    prepare: Mapping[str, Callable[[PIL.Image.Image], Pixels]]
    """Each encoder's own, by the vector's name."""
    row_fields: RowFields
    max_pixels: int
    min_side: int
    """Of the encoder that looks at the most pixels: all see the same picture."""
    policy: DecodePolicy
    expand: Expander | None = None
    """Makes the views; None for the whole picture alone."""
    looks: bool = False
    """Whether the encoder looks at the picture first: then it is opened here, and its views are made later."""

    def __call__(self, image: Image) -> tuple[Result | Opened, float]:
        """What became of the image, and the seconds that it took."""
        start = time.perf_counter()
        try:
            decoded = decode(
                image.data,
                uri=image.record.uri,
                max_pixels=self.max_pixels,
                min_side=self.min_side if self.expand is None else self.expand.least_side(self.min_side),
                policy=self.policy,
            )
        except UnreadableImage as exc:
            # a new one: the traceback of this would keep the file's bytes for as long as the refusal lives
            return UnreadableImage(exc.uri, exc.reason, exc.detail), time.perf_counter() - start
        from_image = self._from_image(image, decoded)
        row = {
            **image.row,
            **from_image,
            **({FROM_IMAGE: " ".join(sorted(from_image))} if from_image else {}),
            "width": decoded.width,
            "height": decoded.height,
            "media_type": decoded.media_type,
        }
        made: Prepared | Opened
        if self.expand is None:
            pixels = {name: prepare(decoded.image)[np.newaxis] for name, prepare in self.prepare.items()}
            made = Prepared(row, [row], pixels, image.known)
        elif self.looks:
            made = Opened(row, _bounded(decoded.image, self.expand.least_side(self.min_side)), image.known)
        else:
            made = prepared(row, self.expand(decoded.image, row["width"], row["height"]), self.prepare, image.known)
        return made, time.perf_counter() - start

    def _from_image(self, image: Image, decoded: Decoded) -> Row:
        """The fields whose value comes from the picture itself, or from its name."""
        metadata = image.record.metadata
        without = self.row_fields(metadata)
        own = self.row_fields(
            metadata,
            taken_at=decoded.taken_at,
            caption=decoded.caption,
            file_name=name_words(image.record.uri),
        )
        return {name: value for name, value in own.items() if value != without[name] and name not in image.settled}


def prepared(
    row: Row, views: Sequence[View], prepare: Mapping[str, Callable[[PIL.Image.Image], Pixels]], known: ViewCounts
) -> Prepared:
    """A picture with these views, each prepared for each encoder."""
    if not views:
        return Prepared(row, [], {}, known)
    pixels = {name: np.stack([each(view.image) for view in views]) for name, each in prepare.items()}
    return Prepared(row, rows_of(row, views), pixels, known)


def _bounded(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    """The image itself, or made smaller by a whole factor to no less than `side` on its shorter side: many wait."""
    factor = min(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def under_way(
    images: Iterable[Image | Result], pool: Workers, decoder: Decoder, run: Run
) -> Iterator[Callable[[], Result | Opened]]:
    """Decoding under way, in the order of the images; each is called for its result."""
    for image in images:
        if isinstance(image, Image):
            run.decoding.take(len(image.data), run.stopped)
            yield partial(_decoded, image.record, len(image.data), pool.submit(decoder, image), run)
        else:
            yield partial(_itself, image)


def _decoded(record: Record, size: int, future: Future[tuple[Result | Opened, float]], run: Run) -> Result | Opened:
    result: Result | Opened
    try:
        result, seconds = future.result()
    except WorkerDiedError:
        result, seconds = UnreadableImage(record.uri, "broken", "it crashed the process that decoded it"), 0.0
    run.spent("decode", seconds)
    run.decoding.give_back(size)
    return result


def _itself(result: Result) -> Result:
    return result
