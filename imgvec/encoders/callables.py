"""Any function from pixels to vectors as an encoder.

from imgvec import CallableEncoder, ImageCollection

def mean_colour(pixels):  # (n, 64, 64, 3) uint8, RGB
    return pixels.mean(axis=(1, 2))

encoder = CallableEncoder(mean_colour, name="mean-colour", version="1", image_size=64)
photos = ImageCollection.create("photos", encoder=encoder)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from imgvec.encoders.protocol import Binding, Pixels
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.turns import Turns
from imgvec.errors import EncoderError, EncoderUnavailable, ImgvecError, QueryError
from imgvec.vectors import Vectors, has_direction

PREFIX = "callable:"

Fit = Literal["crop", "squash"]


class CallableEncoder:
    """A function as an encoder. Implements `protocol.Encoder`.

    `function` gets (n, image_size, image_size, 3) uint8 pixels, RGB and C-contiguous, at most `batch_size` images, and
    returns n vectors: anything that NumPy reads as an (n, dim) array of finite numbers. It gets arrays of one size
    rather than PIL images, because decoding threads and processes prepare them at a bounded size; channels come last,
    as in Keras, OpenCV and scikit-image. Only one thread calls it at a time, and queries take priority over batches.

    `name` and `version` are its identity, which the collection remembers: change the version whenever the same picture
    would get a different vector. Open its collections with `encoder=`. If the name begins with the prefix of an entry
    point in the group `imgvec.encoders` ("shape:small"), they open by themselves.

    The function is called once with a grey picture to find its dim, which must equal `dim` if that is given. `fit` says
    how a picture becomes a square: `crop` scales the shorter edge and takes the middle, `squash` scales both edges.
    `texts` adds a text side: a function from strings to (n, dim) vectors in the same space. `normalize` scales vectors
    to unit length, as the metrics COSINE and IP need. Raises `EncoderError`, also if the dim is wrong.
    """

    def __init__(
        self,
        function: Callable[[NDArray[np.uint8]], ArrayLike],
        *,
        name: str,
        version: str,
        dim: int | None = None,
        image_size: int = 224,
        fit: Fit = "crop",
        texts: Callable[[Sequence[str]], ArrayLike] | None = None,
        normalize: bool = True,
        batch_size: int = 32,
    ) -> None:
        if not name.strip() or not version.strip():
            raise EncoderError("a CallableEncoder needs a name and a version, by which the collection identifies it")
        if image_size < 1 or batch_size < 1 or (dim is not None and dim < 1):
            raise EncoderError("image_size, batch_size and dim must be positive")
        self._function, self._texts, self._fit = function, texts, fit
        self._turns = Turns()
        self.batch_size = batch_size
        self._model = name if ":" in name else PREFIX + name
        self._dim, self._side, self._normalize = dim, image_size, normalize
        grey = np.full((1, image_size, image_size, 3), 128, np.uint8)
        seen = self._answer(function, grey, 1).shape[1]  # its vector may well have no direction
        identity = [self._model, version, seen, image_size, fit, normalize]
        self.binding = Binding(
            model=self._model,
            revision=version,
            fingerprint=hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest(),
            layer=None,
            pooling="none",
            image_size=image_size,
            dim=seen,
            normalize=normalize,
        )
        self._dim = seen

    @property
    def supports_text(self) -> bool:
        return self._texts is not None

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An upright RGB image to (3, image_size, image_size) uint8; thread-safe, pickled without the function."""
        return partial(_square, self._side, self._fit)

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) float32 vectors."""
        side = self._side
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, side, side):
            raise EncoderError(f"expected (n, 3, {side}, {side}) uint8 pixels, not {pixels.shape} {pixels.dtype}")
        parts = []
        for start in range(0, len(pixels), self.batch_size):
            with self._turns.turn():
                parts.append(self._images(list(pixels[start : start + self.batch_size])))
        return self._joined(parts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) float32 vectors: a query, which goes before batches of `encode`."""
        starts = range(0, len(images), self.batch_size)
        batches = [images[start : start + starts.step] for start in starts]
        return self._joined(
            [
                self._turns.shared([self.prepare(image) for image in batch], self._images, self.batch_size)
                for batch in batches
            ]
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) float32 vectors in the images' space; raises `QueryError` for empty ones."""
        if self._texts is None:
            raise QueryError(f"{self._model}: has no text side; pass `texts` to the CallableEncoder")
        for position, text in enumerate(texts):
            if not text.strip():
                raise QueryError(f"text {position} is empty")
        starts = range(0, len(texts), self.batch_size)
        return self._joined(
            [self._turns.shared(texts[start : start + starts.step], self._words, self.batch_size) for start in starts]
        )

    def _images(self, prepared: list[Pixels]) -> Vectors:
        pixels = np.ascontiguousarray(np.stack(prepared).transpose(0, 2, 3, 1))
        return self._vectors(self._function, pixels, len(prepared))

    def _words(self, texts: list[str]) -> Vectors:
        assert self._texts is not None
        return self._vectors(self._texts, texts, len(texts))

    def _vectors(self, function: Callable[[Any], ArrayLike], given: object, count: int) -> Vectors:
        """The function's output, checked, and normalised if requested."""
        vectors = self._answer(function, given, count)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        wrong = np.flatnonzero(~(has_direction(norms) if self._normalize else np.isfinite(norms)))
        if wrong.size:
            where = wrong[:10].tolist()
            raise EncoderError(f"{self._model}: vectors at {where} are zero or not finite")
        return vectors / norms if self._normalize else vectors

    def _answer(self, function: Callable[[Any], ArrayLike], given: object, count: int) -> Vectors:
        try:
            answer = np.asarray(function(given))
        except ImgvecError:
            raise
        except Exception as exc:  # whatever the function raises
            line = f"{type(exc).__name__}: {exc}".splitlines()[0][:300]
            raise EncoderError(f"{self._model}: the function failed: {line}") from exc
        dim = self._dim or (answer.shape[1] if answer.ndim == 2 else 0)
        if answer.dtype.kind not in "fiu" or answer.shape != (count, dim) or dim == 0:
            raise EncoderError(
                f"{self._model}: the function returned {answer.dtype} of shape {answer.shape}, not numbers of shape "
                f"({count}, {self._dim or 'dim'})"
            )
        return answer.astype(np.float32)

    def _joined(self, parts: Sequence[Vectors]) -> Vectors:
        return np.ascontiguousarray(np.concatenate(parts)) if parts else np.empty((0, self.binding.dim), np.float32)


def _square(side: int, fit: Fit, image: Image.Image) -> Pixels:
    """(3, side, side) uint8, by Pillow's bicubic filter."""
    image = image.convert("RGB")
    box = None
    if fit == "crop":
        edge = min(image.size)
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        box = (left, top, left + edge, top + edge)
    scaled = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(scaled).transpose(2, 0, 1))


def _not_here(request: EncoderRequest) -> CallableEncoder:
    raise EncoderUnavailable(
        f"{request.spec.model}: a function defined in a program: open the collection there with "
        f"encoder=CallableEncoder(…), or let a package register it through an entry point in the group "
        f"imgvec.encoders"
    )


def _described(request: EncoderRequest) -> dict[str, Any]:
    return {"model": request.spec.model, "revision": request.spec.revision, "family": "a function defined in a program"}


KIND = EncoderKind(load=_not_here, describe=_described)
