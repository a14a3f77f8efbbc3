"""One image to ingest: its name, a reader for its bytes, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from imgvec.errors import UnreadableImage
from imgvec.images.readers import Reader


@dataclass(frozen=True, slots=True)
class Record:
    """One image to ingest."""

    id: str
    """Primary key: `record_id(uri)`, or the id that the source gives."""
    uri: str
    reader: Reader
    metadata: Mapping[str, Any]
    """Fields of the metadata file's row, as they stand there; empty if there is no row."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something in the source that could be or contain an image, and is skipped on purpose."""

    uri: str
    why: str
    """One of `PASSED_OVER`."""


LINK, TAKEN, DANGLING, SYSTEM, EXCLUDED = (
    "symbolic link",  # not followed
    "taken already",  # a link to what the source has by itself, or has from another link
    "dangling link",
    "system folder",  # thumbnails, recycle bins and the like, of a NAS or of an operating system
    "excluded",
)
PASSED_OVER = (LINK, TAKEN, DANGLING, SYSTEM, EXCLUDED)
"""Every reason to pass over something; stable enough to count by."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice about the source for the user; each text is shown once."""

    text: str


GIVEN = "given://"
"""How the uris of pictures begin that were given and not kept."""


def is_given(uri: str) -> bool:
    """Whether the uri is of a picture that was given and not kept."""
    return uri.startswith(GIVEN)


@dataclass(frozen=True, slots=True)
class Again:
    """A record whose id was already used earlier in the source."""

    id: str
    uri: str
    same: bool
    """Whether it is the earlier one once more: the same uri with the same metadata, and where the uri is made of the
    id, with the same bytes."""
    first: str | None = None
    """The earlier one's uri; None if it came too long ago to be remembered."""

    def refusal(self, first: str | None) -> UnreadableImage:
        """Why it is not taken; `first` is the earlier one's uri, as far as it is known."""
        if first == self.uri:
            other = "another picture or different metadata" if is_given(self.uri) else "different metadata"
            detail = f"{first} is already in the source with {other}; keep one of them"
        else:
            other = first or "an image"
            detail = f"its id {self.id!r} is already used by {other}; ids must be unique"
        return UnreadableImage(self.uri, "given twice", detail)


Found = Record | UnreadableImage | PassedOver | Notice
"""What a source gives."""
Item = Found | Again
"""What a run over a source comes across."""


def record_id(uri: str) -> str:
    """The primary key of an image: 32 hex digits of blake2b over the canonical uri in UTF-8."""
    return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
