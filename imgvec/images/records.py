"""One image to ingest: what it is called, how its bytes are had, what is known about it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from imgvec.errors import UnreadableImage

# Opening must neither wait (a FIFO without a writer) nor be led elsewhere (a symbolic link put there after listing).
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Reader(Protocol):
    """How the bytes of one image are had. Readers are picklable, so that a record can go to another process."""

    def read(self, max_bytes: int) -> bytes:
        """The whole file; raises `UnreadableImage`, with reason `too large` where it has more than `max_bytes`."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One image to ingest."""

    id: str
    """Primary key: `record_id(uri)`, or the id that the source gives."""
    uri: str
    reader: Reader
    metadata: Mapping[str, Any]
    """Fields of the metadata file's row, as they stand there; empty where there is no row."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something of the source that could be an image, or hold some, and is left out on purpose."""

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
    """What a person should know about the source; each text is told once."""

    text: str


@dataclass(frozen=True, slots=True)
class Again:
    """A record whose id an earlier one of the source has."""

    id: str
    uri: str
    same: bool
    """Whether it is the earlier one once more: the same uri with the same metadata."""
    first: str | None = None
    """The earlier one's uri; None where it came too long ago to be remembered."""

    def refusal(self, first: str | None) -> UnreadableImage:
        """Why it is not taken; `first` is the earlier one's uri, as far as it is known."""
        if first == self.uri:
            detail = f"{first} stands in the source before, with other metadata; keep one of the two"
        else:
            other = first or "an image"
            detail = f"its id {self.id!r} is that of {other}, which comes first; give each an id of its own"
        return UnreadableImage(self.uri, "given twice", detail)


@dataclass(frozen=True, slots=True)
class FileReader:
    """A regular file at `path`, called `uri` in errors; a symbolic link is refused."""

    path: str | os.PathLike[str]
    uri: str

    def read(self, max_bytes: int) -> bytes:
        """The file's bytes, from a single open: what is hashed and what is decoded cannot differ.

        Raises `UnreadableImage`: missing, not a regular file, permission denied, read failed, empty, too large.
        """
        try:
            with open(self.path, "rb", opener=_open_once) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise UnreadableImage(self.uri, "not a regular file", describe_mode(status.st_mode))
                data = file.read(min(status.st_size, max_bytes) + 1)
                if status.st_size < len(data) <= max_bytes:  # it grows: go on to what is its end now
                    data += file.read(max_bytes + 1 - len(data))
        except (OSError, ValueError) as exc:
            raise UnreadableImage(self.uri, *path_trouble(exc)) from exc
        if not data:
            raise UnreadableImage(self.uri, "empty")
        if len(data) > max_bytes:
            raise UnreadableImage(
                self.uri, "too large", f"{max(status.st_size, len(data)):,} bytes, the limit is {max_bytes:,}"
            )
        return data


@dataclass(frozen=True, slots=True)
class BytesReader:
    """Bytes that were read already, because an archive is read once, from its start to its end."""

    data: bytes
    uri: str

    def read(self, max_bytes: int) -> bytes:
        """Raises `UnreadableImage`: empty, too large."""
        if not self.data:
            raise UnreadableImage(self.uri, "empty")
        if len(self.data) > max_bytes:
            raise UnreadableImage(self.uri, "too large", f"{len(self.data):,} bytes, the limit is {max_bytes:,}")
        return self.data


Found = Record | UnreadableImage | PassedOver | Notice
"""What a source gives."""
Item = Found | Again
"""What a run over a source comes across."""


def record_id(uri: str) -> str:
    """The primary key of an image: 32 hex digits of blake2b over the canonical uri in UTF-8."""
    return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def content_hash(data: bytes) -> str:
    """32 hex digits of blake2b over the file's bytes; an image whose hash is stored already is not decoded again."""
    return blake2b(data, digest_size=16).hexdigest()


def path_trouble(exc: OSError | ValueError) -> tuple[str, str]:
    """What the operating system said about a path, as reason and detail of an `UnreadableImage`."""
    why = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    match exc:
        case FileNotFoundError() | NotADirectoryError():
            return "missing", why
        case PermissionError():
            return "permission denied", why
        case IsADirectoryError():
            return "not a regular file", "a directory"
        case OSError(errno=errno.ENAMETOOLONG) | ValueError():  # a NUL is a ValueError
            return "unusable name", why
        case OSError(errno=errno.ELOOP):
            return "not a regular file", "a symbolic link"
        case OSError(errno=errno.ENXIO):
            return "not a regular file", "a socket, or a device that is not there"
    return "read failed", why


def describe_mode(mode: int) -> str:
    """The kind of file behind `st_mode`, for a person."""
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
        stat.S_IFLNK: "a symbolic link",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def _open_once(path: str, _flags: int) -> int:
    return os.open(path, _OPEN_FLAGS)
