"""Readers for the bytes of one image: from a file, or already in memory; see `fetch` for URLs."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

from imgvec.errors import Reason, UnreadableImage

# Opening must neither wait (a FIFO without a writer) nor be led elsewhere (a symbolic link put there after listing).
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Reader(Protocol):
    """Reads the bytes of one image. Readers are picklable, so that a record can go to another process."""

    def read(self, max_bytes: int) -> bytes:
        """The whole file; raises `UnreadableImage`, with reason `too large` where it has more than `max_bytes`."""
        ...


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


def content_hash(data: bytes) -> str:
    """32 hex digits of blake2b over the file's bytes; an image whose hash is stored already is not decoded again."""
    return blake2b(data, digest_size=16).hexdigest()


def path_trouble(exc: OSError | ValueError) -> tuple[Reason, str]:
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
            return "not a regular file", "a socket or a missing device"
    return "read failed", why


def describe_mode(mode: int) -> str:
    """The kind of file behind `st_mode`, in words."""
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
