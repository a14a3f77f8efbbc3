"""What goes through the pipeline, a picture at a time, and what it needs of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from imgvec.errors import UnreadableImage
from imgvec.rows import ViewCounts
from imgvec.sources import Record
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    import PIL.Image

    from imgvec.encoders.protocol import Pixels

Row = dict[str, Any]
VectorsByName = Mapping[str, Vectors]
"""`vector`, and what further vectors the collection has."""


class RowFields(Protocol):
    """`Definition.row_fields`: metadata as a row's fields, `ValueError` where it does not fit."""

    def __call__(
        self,
        metadata: Mapping[str, Any],
        *,
        taken_at: int | None = None,
        caption: str = "",
        file_name: str = "",
        only_given: bool = False,
    ) -> Row: ...


@dataclass(frozen=True, slots=True)
class Image:
    """One image on its way: its bytes, and what its rows have in common so far."""

    record: Record
    data: bytes
    row: Row
    given: Row
    """The fields that the metadata itself gives, which a stored row must agree with."""
    settled: frozenset[str] = frozenset()
    """Fields with a stored value that did not come from the former picture: this one's does not replace it."""
    known: ViewCounts = field(default_factory=dict)
    """The views that the journal knows of the picture, whole or torn; empty where there is no journal."""
    is_new: bool = True
    """False where there is a picture of its id already, in whatever state."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A picture whose views are still to be made."""

    row: Row
    """What its rows have in common; `id` is the picture's."""
    image: PIL.Image.Image
    """Upright RGB; it may be smaller than the picture."""
    known: ViewCounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture whose views are to encode."""

    row: Row
    """What its rows have in common; `id` is the picture's."""
    rows: Sequence[Row]
    """One a view."""
    pixels: Mapping[str, Pixels]
    """(views, 3, side, side) for each vector's encoder, by the vector's name, in the order of `rows`; empty without."""
    known: ViewCounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture whose rows are to write with their vectors: just `encoded`, or those that were stored."""

    row: Row
    rows: Sequence[Row]
    vectors: VectorsByName
    """(views, dim) each, in the order of `rows`."""
    encoded: bool
    known: ViewCounts = field(default_factory=dict)


Result = Prepared | Ready | UnreadableImage
