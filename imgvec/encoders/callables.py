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

from imgvec.encoders.foreign import ForeignEncoder, answer_of
from imgvec.encoders.protocol import Binding, Pixels
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.errors import EncoderError, EncoderUnavailable

PREFIX = "callable:"

Fit = Literal["crop", "squash"]


class CallableEncoder(ForeignEncoder):
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
        model = name if ":" in name else PREFIX + name
        grey = np.full((1, image_size, image_size, 3), 128, np.uint8)
        seen = answer_of(model, function, grey, 1, dim).shape[1]  # its vector may well have no direction
        identity = [model, version, seen, image_size, fit, normalize]
        binding = Binding(
            model=model,
            revision=version,
            fingerprint=hashlib.blake2b(json.dumps(identity).encode(), digest_size=16).hexdigest(),
            layer=None,
            pooling="none",
            image_size=image_size,
            dim=seen,
            normalize=normalize,
        )
        super().__init__(
            lambda pixels: function(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))),
            partial(_square, image_size, fit),
            binding,
            batch_size=batch_size,
            texts=texts,
            no_text="has no text side; pass `texts` to the CallableEncoder",
        )


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
