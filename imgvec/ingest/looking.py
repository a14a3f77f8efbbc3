"""The stage that makes views by what the encoder says of a picture's patches: once a picture, before it is encoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING

import numpy as np

from imgvec.encoders.protocol import HasTokens
from imgvec.errors import EncoderError, QueryError
from imgvec.images.squares import seen
from imgvec.ingest.decoding import prepared
from imgvec.ingest.expand import Looks
from imgvec.ingest.items import Opened, Prepared, Result
from imgvec.ingest.run import Run
from imgvec.rows import VECTOR

if TYPE_CHECKING:
    import PIL.Image

    from imgvec.encoders.protocol import Encoder, Pixels, Tokens
    from imgvec.images.squares import Seen
    from imgvec.ingest.expand import Expander

Finished = Callable[[], Result | Opened]

RAMP = 512
"""Pixels of the longer side of what shows where an encoder looks: its own resize and crop follow the proportions."""


class Looker:
    """Opened pictures to prepared ones, with the views of `expand` by the tokens of the encoder of `vector`.

    For several threads: what they ask for while the encoder is busy goes through it together. A model without a grid of
    patches says so for the first picture, and is not asked again: views are then those that `expand` makes by itself.
    """

    def __init__(self, expand: Expander, looks: Looks, encoders: Mapping[str, Encoder], says: HasTokens) -> None:
        self._expand, self._looks, self._says = expand, looks, says
        self._batch_size, self._model = encoders[VECTOR].batch_size, encoders[VECTOR].binding.model
        self._prepare = {name: each.prepare for name, each in encoders.items()}
        self._blind = False
        self._busy, self._lock = threading.Lock(), threading.Lock()
        self._asked: list[tuple[Pixels, Future[Tokens | None]]] = []

    def __call__(self, picture: Opened) -> Prepared:
        """The picture with its views."""
        row, image = picture.row, picture.image
        tokens = None if self._blind else self._tokens(self._prepare[VECTOR](image))
        if tokens is None:
            views = self._expand(image, row["width"], row["height"])
        else:
            where = _seen(image.size, self._prepare[VECTOR])
            views = self._looks.of_tokens(image, row["width"], row["height"], tokens, where)
        return prepared(row, views, self._prepare, picture.known)

    def _tokens(self, pixels: Pixels) -> Tokens | None:
        mine: Future[Tokens | None] = Future()
        with self._lock:
            self._asked.append((pixels, mine))
        with self._busy:
            while not mine.done():
                with self._lock:
                    some = self._asked[: self._batch_size]
                    del self._asked[: len(some)]
                self._ask(some)
        return mine.result()

    def _ask(self, some: Sequence[tuple[Pixels, Future[Tokens | None]]]) -> None:
        """Settle these."""
        try:
            found = self._says.tokens(np.stack([pixels for pixels, _ in some]))
        except BaseException as exc:  # noqa: BLE001  raised where it was asked for
            error = exc
            if isinstance(exc, RuntimeError):  # torch's, of memory above all
                error = EncoderError(f"{self._model}: cannot look at a picture: {str(exc).splitlines()[0]}")
            for _, future in some:
                future.set_exception(error)
            return
        self._blind = found is None
        for (_, future), tokens in zip(some, [None] * len(some) if found is None else found, strict=True):
            future.set_result(tokens)


def looker(expand: Expander, encoders: Mapping[str, Encoder]) -> Looker | None:
    """What makes the views of `expand` by what the encoder of `vector` says; None where either cannot."""
    says = encoders[VECTOR]
    return Looker(expand, expand, encoders, says) if isinstance(expand, Looks) and isinstance(says, HasTokens) else None


def looked(decoding: Iterable[Finished], pool: Executor, look: Looker, run: Run) -> Iterator[Callable[[], Result]]:
    """Looking under way in the threads of `pool`, in the order of what is decoded; each is called for its result."""
    for finished in decoding:
        yield pool.submit(_looked, finished, look, run).result


def _looked(finished: Finished, look: Looker, run: Run) -> Result:
    result = finished()
    if not isinstance(result, Opened):
        return result
    start = time.perf_counter()
    made = look(result)
    run.spent("look", time.perf_counter() - start)
    return made


def _seen(size: tuple[int, int], prepare: Callable[[PIL.Image.Image], Pixels]) -> Seen | None:
    """What the encoder sees of an image of that size, in its pixels; None where that cannot be told: then all of it."""
    scale = max(1.0, max(size) / RAMP)
    small = max(1, round(size[0] / scale)), max(1, round(size[1] / scale))
    try:
        left, top, right, bottom = seen(small, prepare)
    except QueryError:
        return None
    across, down = size[0] / small[0], size[1] / small[1]
    return left * across, top * down, right * across, bottom * down
