"""The pictures among the forms, in batches for the encoder: the next are made while it works on the batch before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from imgvec.encoders.protocol import TakesPrepared
from imgvec.errors import QueryError, SourceError, UnreadableImage
from imgvec.search.failing import Noting
from imgvec.search.forms import Crop, Form, ImageBytes, ImageFile, Pixels
from imgvec.search.stages import Stages
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder

PIXELS_AT_ONCE = 2**26
"""Of decoded pictures that wait for the encoder, at 3 bytes each; those that are being decoded come on top."""
_WAITING = 2
"""Pictures that are decoded ahead, for each thread, where they wait in their own size."""
_FIRST = 4
"""The first of several batches is a quarter of a whole one: nothing is encoded while it is decoded."""

Made: TypeAlias = Any
"""A picture as the encoder takes it, or why it cannot be had."""


def encoded(
    pictures: Mapping[int, Form],
    opened: Callable[[Form], Image.Image],
    encoder: Encoder,
    stages: Stages,
    noting: Noting,
    *,
    threads: int,
) -> Iterator[tuple[list[int], Vectors]]:
    """The vectors of pictures with their numbers, in their order, as many at once as the encoder takes.

    `opened` gives the upright picture of a form. What it raises is told to `noting`, and the picture left out.
    """
    encode: Callable[[Sequence[Made]], Vectors] = encoder.encode_images
    prepare: Callable[[Image.Image], Made] | None = None
    if isinstance(encoder, TakesPrepared):
        prepare, encode = encoder.prepare, encoder.encode_prepared

    def made(picture: Form) -> Made:
        try:
            image = opened(picture)
            return prepare(image) if prepare else image
        except (QueryError, UnreadableImage, SourceError) as exc:
            return exc

    most = encoder.batch_size
    coming: Generator[tuple[int, Made]] = ((number, made(picture)) for number, picture in pictures.items())
    if len(pictures) > 1:
        most = most if len(pictures) <= most else max(1, most // _FIRST)
        # of the size as it is by then: an encoder that is asked about many pictures may change it
        coming = _in_threads(made, pictures, threads, lambda: encoder.batch_size if prepare else _WAITING * threads)
    numbers, images, pixels = list[int](), list[Made](), 0
    with closing(coming):
        while (following := _next(coming, stages)) is not None:
            number, image = following
            if isinstance(image, Exception):
                with noting(number):
                    raise image
            else:
                numbers.append(number)
                images.append(image)
                pixels += image.size // 3 if isinstance(image, np.ndarray) else image.width * image.height
            if len(images) == most or pixels >= PIXELS_AT_ONCE:
                with stages("encode"):
                    vectors = encode(images)
                yield numbers, vectors
                numbers, images, pixels, most = [], [], 0, encoder.batch_size
    if images:
        with stages("encode"):
            vectors = encode(images)
        yield numbers, vectors


def _next(coming: Iterator[tuple[int, Made]], stages: Stages) -> tuple[int, Made] | None:
    with stages("decode"):
        return next(coming, None)


def _in_threads(
    made: Callable[[Form], Made], pictures: Mapping[int, Form], threads: int, ahead: Callable[[], int]
) -> Generator[tuple[int, Made]]:
    """What is made of each picture, in their order; `ahead()` of them are under way or wait.

    Any thread opens files, and their crops. An image in memory is its caller's, who may have given it twice, so no two
    threads may open it: one at a time. A stored picture is looked up by who asks, since what ends a call that nobody
    waits for any more knows that thread alone.
    """
    pool = ThreadPoolExecutor(min(threads, len(pictures)), "imgvec-decode")
    waiting = deque[tuple[int, Callable[[], Made]]]()
    one_by_one = threading.Lock()

    def alone(picture: Form) -> Made:
        with one_by_one:
            return made(picture)

    def begun(picture: Form) -> Callable[[], Made]:
        origin = _origin(picture)
        if isinstance(origin, ImageFile | ImageBytes | Pixels):
            return pool.submit(alone if isinstance(origin, Pixels) else made, picture).result
        return partial(made, picture)

    try:
        for number, picture in pictures.items():
            waiting.append((number, begun(picture)))
            if len(waiting) > ahead():
                first, result = waiting.popleft()
                yield first, result()
        while waiting:
            first, result = waiting.popleft()
            yield first, result()
    finally:
        pool.shutdown(cancel_futures=True)


def _origin(picture: Form) -> Form:
    """What a crop is cut out of in the end, or the picture itself."""
    while isinstance(picture, Crop):
        picture = picture.form
    return picture
