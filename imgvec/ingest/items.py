"""What goes through the pipeline, and what it needs of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from imgvec.errors import UnreadableImage
from imgvec.sources import Record
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Pixels

Row = dict[str, Any]


class RowFields(Protocol):
    """`Definition.row_fields`: metadata as a row's fields, `ValueError` where it does not fit."""

    def __call__(
        self, metadata: Mapping[str, Any], *, taken_at: int | None = None, only_given: bool = False
    ) -> Row: ...


@dataclass(frozen=True, slots=True)
class Image:
    """One image on its way: its bytes, and the row so far."""

    record: Record
    data: bytes
    row: Row
    given: Row
    """The fields that the metadata itself gives, which a stored row must agree with."""
    settled: frozenset[str] = frozenset()
    """Fields with a stored value that did not come from the former picture: this one's does not replace it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row whose pixels are to encode."""

    row: Row
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Ready:
    """A row to write with its vector: just `encoded`, or the one that was stored."""

    row: Row
    vector: Vectors
    encoded: bool


Result = Prepared | Ready | UnreadableImage
