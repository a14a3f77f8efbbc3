"""Keeps pictures given as bytes in a folder, by content hash."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgvec.errors import SourceError
from imgvec.images.readers import content_hash


@dataclass(frozen=True, slots=True)
class Keeper:
    """A folder of kept images, in folders by the first two of the 32 digits: `ab/abcdef…`."""

    folder: str
    """Absolute."""

    def path(self, hashed: str) -> Path:
        """Where what has this content hash is kept, whether it is or not."""
        return Path(self.folder) / hashed[:2] / hashed

    def keep(self, data: bytes) -> str:
        """The absolute path of the file that holds `data`; written once, whole or not at all, and never again.

        Raises `SourceError` if it cannot be written, or something else has the name.
        """
        path = self.path(content_hash(data))
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                _written(path, data)
            if path.stat().st_size != len(data) or not path.is_file():
                raise SourceError(f"{path}: the content does not match its name; move it away")
        except OSError as exc:
            raise SourceError(f"{path}: cannot keep an image there: {exc.strerror or exc}") from exc
        except ValueError as exc:  # a NUL, or half of a pair of UTF-16
            raise SourceError(f"{self.folder!r}: cannot keep an image there: {exc}") from exc
        return str(path)


def _written(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # unlike a rename, a link overwrites nothing that another process has put there meanwhile
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
