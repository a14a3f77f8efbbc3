"""The interface of every encoder, and its identity as remembered by a collection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.vectors import Vectors

Pixels = NDArray[np.uint8]
Purpose: TypeAlias = Literal["copies", "classes"]
"""What a collection is for (`purposes.py`)."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The identity of an encoder: two encoders with equal bindings give equal vectors, up to rounding.

    Stored in the description of the Milvus collection, so that a collection remembers what made its vectors.
    """

    model: str
    """Hugging Face repo id, local directory, or `PREFIX:NAME` (`registry.py`)."""
    revision: str | None
    """The commit that was loaded, where the source has commits."""
    fingerprint: str
    """32 hex digits over the weights and the preprocessing parameters."""
    layer: int | None
    """Which hidden layer is read, counted from 1; negative from the end; None the last, after its final norm."""
    pooling: str
    """`cls`, `mean`, `pooler` or `features`."""
    image_size: int
    """Side in pixels of the square that the model sees."""
    dim: int
    normalize: bool = True
    projection: str | None = None
    """The linear projection behind the encoder (`projection.py`), if there is one: `FILE@DIGEST`, or
    `learned:projection@DIGEST` where the collection keeps it, or `shipped:NAME@DIGEST`."""
    fit: str | None = None
    """`resize` where the whole picture becomes the square, and not the crop of the model's own processor."""

    @property
    def projection_digest(self) -> str | None:
        """Which projection it is, wherever it is kept."""
        return None if self.projection is None else self.projection.rpartition("@")[2]

    @property
    def keeps_projection(self) -> bool:
        """Whether the projection is kept with the collection."""
        return self.projection is not None and self.projection.startswith("learned:")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Binding:
        """Read a stored binding; ignores keys added by later versions of imgvec."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What to load; `None` leaves the choice to the model's family (`families.py`)."""

    model: str
    """Hugging Face repo id, local directory, or `PREFIX:NAME` (`registry.py`)."""
    revision: str | None = None
    layer: int | None = None
    pooling: str | None = None
    image_size: int | None = None
    projection: str | None = None
    """A projection file (`projection.py`), or `shipped:NAME`; with `@DIGEST` after it, it must have that digest. `none`
    for none, whatever the purpose."""
    purpose: Purpose | None = None
    """Chooses the fit, and the projection that is shipped for the model, where these are not given."""
    fit: str | None = None
    """`resize` makes the whole picture the square, `resize if known` where the model's processor is known to be one
    that can; None is as that processor does."""

    @classmethod
    def from_binding(cls, binding: Binding) -> EncoderSpec:
        """The spec from which the remembered encoder can be loaded."""
        return cls(
            model=binding.model,
            revision=binding.revision,
            layer=binding.layer,
            pooling=binding.pooling,
            image_size=binding.image_size,
            projection=binding.projection,
            fit=binding.fit,
        )


@runtime_checkable
class Encoder(Protocol):
    """Images or texts in, unit vectors out.

    `prepare` is the slow half of preprocessing (resize and crop), runs on the CPU and is thread-safe. `encode` uses the
    accelerator; threads that call it take turns, queries (`encode_images`, `encode_texts`) before batches (`encode`).
    Vectors are (n, dim) float32, C-contiguous, finite, each of unit length (L2 norm within 1e-3 of 1) unless the
    binding is not normalised, in the order of the input; no input gives shape (0, dim).
    """

    @property
    def binding(self) -> Binding: ...

    @property
    def supports_text(self) -> bool: ...

    @property
    def batch_size(self) -> int:
        """How many images to pass to one call of `encode` for good speed on this device."""
        ...

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An upright RGB image to (3, image_size, image_size) uint8, resized and cropped as the processor does."""
        ...

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) vectors; rescaling and normalisation happen here."""
        ...

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) vectors: `prepare`, then `encode` in batches of `batch_size`."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) vectors in the images' space; raises `QueryError` if `supports_text` is false."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """An encoder that can be tuned for a long run; see `HuggingFaceEncoder.prepare_for`."""

    def prepare_for(self, images: int | None = None) -> object:
        """Choose how to run this many images; `batch_size` may change."""
        ...


@runtime_checkable
class TakesPrepared(Protocol):
    """An encoder that takes a query's images prepared, so that `prepare` can run beside the pass before."""

    def encode_prepared(self, prepared: Sequence[Pixels]) -> Vectors:
        """As `encode_images`, of what `prepare` gives for each image."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Tokens:
    """What an encoder says of the patches of one picture."""

    grid: tuple[int, int]
    """Rows and columns of patches."""
    patches: NDArray[np.float32]
    """(layers, rows · columns, width): each patch, in several layers of the model."""
    parts: NDArray[np.float32] | None = None
    """(rows · columns, dim): what each patch adds to the picture's vector, which is their mean, brought to unit length
    where the encoder's vectors are; None where the vector is not a sum over patches."""


@runtime_checkable
class HasTokens(Protocol):
    """An encoder that can also say something of each patch of a picture."""

    def tokens(self, pixels: Pixels) -> Sequence[Tokens] | None:
        """Of (n, 3, image_size, image_size) uint8; None where its model has no grid of patches."""
        ...
