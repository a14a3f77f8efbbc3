"""The sections of a definition other than its fields: encoder, images, vector, index."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imgvec import catalog
from imgvec.catalog import IndexType
from imgvec.errors import DefinitionError


class Section(BaseModel):
    # strict: a YAML string where a number belongs is a mistake to show, not to guess at
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EncoderSection(Section):
    """Which encoder makes the vectors; what is left out follows the model family's convention."""

    model: str = Field(min_length=1)
    revision: str | None = None
    fallback: str | None = None
    """Taken when a collection is created and `model` cannot be reached."""
    layer: int | None = None
    pooling: Literal["cls", "mean", "pooler", "features"] | None = None
    image_size: int | None = Field(default=None, ge=16, le=4096)
    projection: str | None = Field(default=None, min_length=1)
    """A file, which the collection then keeps; `shipped:NAME`; `none` for none, whatever the purpose."""
    purpose: Literal["copies", "classes"] | None = None
    """How pictures become square, and which map is behind the encoder: imgvec/encoders/purposes.py. None is
    `copies` where rows are parts of pictures, else `classes`."""


class ImagesSection(Section):
    """How pictures are read, rows' and queries' alike."""

    sixteen_bit: Literal["auto", "full"] | Annotated[int, Field(ge=8, le=16)] = "auto"
    """Channels of 16 bits to 8: `auto` by the bits that each picture's values use (the least of 8, 10, 12, 14 and 16
    that holds the largest), `full` by the high byte, a number by so many bits."""

    @field_validator("sixteen_bit", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value in ("auto", "full") or (type(value) is int and 8 <= value <= 16):
            return value
        raise ValueError(f"{value!r} is not auto, full, or a number of bits from 8 to 16")


MOST_CROPS = 10
"""On a side of a grid: the smallest crops are then 2/11 of the picture's sides."""


MOST_FACES = 256
"""Rows of a picture: a search for pictures then looks at as many times its limit, and Milvus gives 16,384 at most."""


MOST_REGIONS = 64
"""Rows of a picture beside its whole."""


class ViewsSection(Section):
    """The parts of a picture that become rows: crops beside the whole of it, or the faces in it."""

    regions: int | None = Field(default=None, ge=1, le=MOST_REGIONS)
    """At most so many crops, chosen for each picture by what stands out in it."""

    grid: tuple[int, ...] | None = None
    """For each n, n x n crops that half overlap; a number is taken for a list of one, and the order does not matter."""
    faces: int | None = Field(default=None, ge=1, le=MOST_FACES)
    """At most so many faces of a picture, the largest; then its whole is not a row, and the encoder is one of faces."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(each is not None for each in (self.grid, self.regions, self.faces)) != 1:
            raise ValueError("is either regions, grid or faces")
        return self

    @field_validator("grid", mode="before")
    @classmethod
    def _ascending(cls, value: Any) -> Any:
        given = [value] if type(value) is int else value
        if (
            not isinstance(given, list | tuple)
            or not given
            or not all(type(n) is int and 2 <= n <= MOST_CROPS for n in given)
            or len({*given}) < len(given)
        ):
            raise ValueError(f"{value!r} is not a number from 2 to {MOST_CROPS}, or a list of different ones")
        return tuple(sorted(given))

    @property
    def most(self) -> int:
        """Rows that a picture has at most."""
        return self.faces or 1 + (self.regions or sum(n * n for n in self.grid or ()))

    @property
    def passes(self) -> int:
        """How often an encoder looks at a picture at most: once for each row, and once to find regions."""
        return self.most + (self.regions is not None)


class VectorSection(Section):
    type: Literal["FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR", "INT8_VECTOR"] = "FLOAT_VECTOR"
    metric_type: Literal["COSINE", "IP", "L2"] = "COSINE"


class IndexSection(Section):
    """One vector index: its type, how it is built, and how it is searched unless a search says otherwise."""

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return catalog.index_type(value).name
        except DefinitionError as exc:
            raise ValueError(exc.problem) from exc

    @property
    def kind(self) -> IndexType:
        return catalog.INDEX_TYPES[self.type]


class IndexChoice(Section):
    """The index for a backend without a GPU, and the one for a backend with."""

    cpu: IndexSection = IndexSection(type="HNSW", params={"M": 16, "efConstruction": 200}, search={"ef": 64})
    gpu: IndexSection | None = None
