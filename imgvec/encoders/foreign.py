"""Models that another runtime computes: what every encoder owes, around a function from pixels to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from imgvec.encoders.protocol import Binding, Pixels
from imgvec.encoders.turns import Tally, Turns
from imgvec.errors import EncoderError, ImgvecError, QueryError
from imgvec.vectors import Vectors, has_direction


class ForeignEncoder:
    """A function as an encoder. Implements `protocol.Encoder`.

    `images` gets (n, 3, image_size, image_size) uint8 pixels, C-contiguous, at most `batch_size`, and returns n
    vectors: anything NumPy reads as an (n, dim) array of finite numbers; `texts` gets at most `batch_size` strings.
    Only one thread calls either at a time, and queries take priority over batches. What they return is checked, and
    scaled to unit length if the binding is normalised.
    """

    def __init__(
        self,
        images: Callable[[Pixels], ArrayLike],
        prepare: Callable[[Image.Image], Pixels],
        binding: Binding,
        *,
        batch_size: int,
        texts: Callable[[Sequence[str]], ArrayLike] | None = None,
        no_text: str = "has no text side",
    ) -> None:
        self._images, self._texts, self._no_text = images, texts, no_text
        self._prepare = prepare
        self._turns = Turns()
        self.binding = binding
        self.batch_size = batch_size

    @property
    def supports_text(self) -> bool:
        return self._texts is not None

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An upright RGB image to (3, image_size, image_size) uint8; thread-safe, pickled without the model."""
        return self._prepare

    @property
    def tally(self) -> Tally:
        """How it has worked."""
        return self._turns.tally

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) float32 vectors."""
        side = self.binding.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, side, side):
            raise EncoderError(f"expected (n, 3, {side}, {side}) uint8 pixels, not {pixels.shape} {pixels.dtype}")
        parts = []
        for start in range(0, len(pixels), self.batch_size):
            batch = list(pixels[start : start + self.batch_size])
            with self._turns.turn(items=len(batch)):
                parts.append(self._pictures(batch))
        return self._joined(parts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) float32 vectors: a query, which goes before batches of `encode`."""
        starts = range(0, len(images), self.batch_size)
        batches = [images[start : start + starts.step] for start in starts]
        return self._joined(
            [
                self._turns.shared([self.prepare(image) for image in batch], self._pictures, self.batch_size)
                for batch in batches
            ]
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) float32 vectors in the images' space; raises `QueryError` for empty ones."""
        if self._texts is None:
            raise QueryError(f"{self.binding.model}: {self._no_text}")
        for position, text in enumerate(texts):
            if not text.strip():
                raise QueryError(f"text {position} is empty")
        starts = range(0, len(texts), self.batch_size)
        return self._joined(
            [self._turns.shared(texts[start : start + starts.step], self._words, self.batch_size) for start in starts]
        )

    def _pictures(self, prepared: list[Pixels]) -> Vectors:
        return self._vectors(self._images, np.stack(prepared), len(prepared))

    def _words(self, texts: list[str]) -> Vectors:
        assert self._texts is not None
        return self._vectors(self._texts, texts, len(texts))

    def _vectors(self, function: Callable[[Any], ArrayLike], given: object, count: int) -> Vectors:
        """The function's output, checked, and normalised if requested."""
        model, normalize = self.binding.model, self.binding.normalize
        vectors = answer_of(model, function, given, count, self.binding.dim)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = np.flatnonzero(~(has_direction(norms) if normalize else np.isfinite(norms)))
        if wrong.size:
            where = wrong[:10].tolist()
            raise EncoderError(f"{model}: vectors at {where} are zero or not finite")
        return vectors / norms if normalize else vectors

    def _joined(self, parts: Sequence[Vectors]) -> Vectors:
        return np.ascontiguousarray(np.concatenate(parts)) if parts else np.empty((0, self.binding.dim), np.float32)


def answer_of(
    model: str, function: Callable[[Any], ArrayLike], given: object, count: int, dim: int | None = None
) -> Vectors:
    """What the function returns, as (count, dim) float32; raises `EncoderError` if it fails or returns anything else.

    Without a `dim` any is taken.
    """
    try:
        answer = np.asarray(function(given))
    except ImgvecError:
        raise
    except Exception as exc:  # whatever the function raises
        line = f"{type(exc).__name__}: {exc}".splitlines()[0][:300]
        raise EncoderError(f"{model}: the function failed: {line}") from exc
    wanted = dim or (answer.shape[1] if answer.ndim == 2 else 0)
    if answer.dtype.kind not in "fiu" or answer.shape != (count, wanted) or wanted == 0:
        raise EncoderError(
            f"{model}: the function returned {answer.dtype} of shape {answer.shape}, not numbers of shape "
            f"({count}, {dim or 'dim'})"
        )
    return answer.astype(np.float32)
