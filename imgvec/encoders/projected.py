"""An encoder of any kind with a projection behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.encoders.projection import Projection, unit
from imgvec.encoders.protocol import Encoder, HasTokens, Pixels, TakesPrepared, Tokens, Tunable
from imgvec.encoders.turns import Tally
from imgvec.errors import EncoderUnavailable
from imgvec.vectors import Vectors


class ProjectedEncoder:
    """The vectors of `encoder`, projected, and of unit length again. Implements `protocol.Encoder` and `Tunable`.

    `name` is the projection's, which ends in `@` and its digest, and is part of the binding. Raises
    `EncoderUnavailable` where the projection is for vectors of another length, or the encoder has one already.
    """

    def __init__(self, encoder: Encoder, projection: Projection, name: str) -> None:
        self.inner, self.projection = encoder, projection
        bare = encoder.binding
        if bare.projection is not None:
            raise EncoderUnavailable(f"{bare.model} has a projection already: {bare.projection}")
        if projection.width != bare.dim:
            raise EncoderUnavailable(f"{name}: projects {projection.width} dimensions, the model has {bare.dim}")
        self.binding = replace(bare, dim=projection.dim, projection=name)

    @property
    def from_file(self) -> bool:
        """Whether the projection lies in a file of this machine."""
        return Path(str(self.binding.projection)).is_absolute()

    @property
    def supports_text(self) -> bool:
        return self.inner.supports_text

    @property
    def batch_size(self) -> int:
        return self.inner.batch_size

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """As the encoder's own: what it gives can be pickled without the projection."""
        return self.inner.prepare

    def prepare_for(self, images: int | None = None) -> object:
        """As the encoder's own, where it can be tuned."""
        return self.inner.prepare_for(images) if isinstance(self.inner, Tunable) else None

    @property
    def tally(self) -> Tally | None:
        """As the encoder's own, where it has one."""
        return getattr(self.inner, "tally", None)

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) float32."""
        return self._projected(self.inner.encode(pixels))

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) float32."""
        return self._projected(self.inner.encode_images(images))

    def encode_prepared(self, prepared: Sequence[Pixels]) -> Vectors:
        """What `prepare` gave for each image to (n, dim) float32."""
        inner = self.inner
        taken = (
            inner.encode_prepared(prepared) if isinstance(inner, TakesPrepared) else inner.encode(np.stack(prepared))
        )
        return self._projected(taken)

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) float32 in the images' space."""
        return self._projected(self.inner.encode_texts(texts))

    def tokens(self, pixels: Pixels) -> Sequence[Tokens] | None:
        """As the encoder's own; what each patch adds is projected, as the vector is."""
        found = self.inner.tokens(pixels) if isinstance(self.inner, HasTokens) else None
        return None if found is None else [replace(each, parts=self._added(each.parts)) for each in found]

    def _added(self, parts: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """(patches, dim): each patch's part of the projected vector. The mean that a projection takes off is shared."""
        if parts is None:
            return None
        length = np.linalg.norm(parts.mean(axis=0)) if self.inner.binding.normalize else 1.0
        return self.projection(parts / np.float32(length))

    def _projected(self, vectors: Vectors) -> Vectors:
        projected = self.projection(vectors)
        return np.ascontiguousarray(unit(projected, self.binding.model) if self.binding.normalize else projected)
