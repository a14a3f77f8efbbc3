"""Uploaded pictures as files: named by their content, never by what a stranger calls them, and in bounded space."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from imgvec.collection import ImageCollection
from imgvec.errors import ImgvecError, SourceError
from imgvec.images import content_hash
from imgvec.serving.job import Upload
from imgvec.serving.logs import log
from imgvec.serving.problems import Problem
from imgvec.sources import Keeper, record_id

_BLOCK = 4096
"""Bytes that a file takes up at least, and by which it grows: else a disk could be filled by tiny ones."""
_COUNTED_SECONDS = 60.0
"""How long the space is known that files take up, but for what was kept here since: others may remove or add some."""


class Uploads:
    """A folder of uploaded files that together take up so much `space` at most, in bytes; 0 is any.

    No folder takes none.
    """

    def __init__(self, folder: Path | None, space: int) -> None:
        self._folder, self._space = folder, space
        self.lock = threading.RLock()
        """Held while uploads become files and a job, and while files that became nothing are removed."""
        self._taken, self._counted_at = 0, -math.inf

    @property
    def are_kept(self) -> bool:
        """Whether there is a folder for them."""
        return self._folder is not None

    def check_room(self) -> None:
        """Raises `Problem` where nothing can be kept, whatever it is."""
        if self._folder is None:
            raise Problem(501, "no-upload-dir", "this server takes no uploads: it was started without --upload-dir")
        with self.lock:
            self._check(1)

    def keep_all(self, files: Sequence[BinaryIO]) -> list[Upload]:
        """A file for each, in their order; all of them or none. Raises `Problem`."""
        assert self._folder is not None
        keeper, kept = Keeper(str(self._folder)), list[Upload]()
        with self.lock:
            try:
                for file in files:
                    data = file.read()
                    hashed = content_hash(data)
                    is_new = not keeper.path(hashed).exists()
                    size = _blocks(len(data)) if is_new else 0
                    if is_new:
                        self._check(size)
                    kept.append(Upload(keeper.keep(data), hashed, is_new))
                    self._taken += size
            except SourceError as exc:
                self.remove(kept)
                log.exception("an upload cannot be kept")
                raise Problem(507, "upload-not-kept", "the upload cannot be kept here") from exc
            except Problem:
                self.remove(kept)
                raise
        return kept

    def clear(self, uploads: Iterable[str], collections: Mapping[str, ImageCollection]) -> None:
        """Remove the files of these uris that have become no picture of any of the collections."""
        ids = {record_id(uri): uri for uri in uploads}
        try:
            for collection in collections.values():
                for id_ in [id_ for id_ in ids if collection.pictures.has_any([id_])]:
                    del ids[id_]
        except ImgvecError:  # whether they are is not known, so they stay
            return
        self._remove(ids.values())

    def remove(self, kept: Iterable[Upload]) -> None:
        """Remove those that were not there before."""
        self._remove(each.uri for each in kept if each.is_new)

    def _remove(self, uris: Iterable[str]) -> None:
        with self.lock:
            for uri in uris:
                with suppress(OSError):
                    size = Path(uri).stat().st_size
                    Path(uri).unlink()
                    self._taken -= _blocks(size)

    def _check(self, size: int) -> None:
        """Raises `Problem` where there is no space for a file that takes up so much."""
        if not self._space:
            return
        if time.monotonic() - self._counted_at > _COUNTED_SECONDS:
            self._taken, self._counted_at = _taken(str(self._folder)), time.monotonic()
        if self._taken + size > self._space:
            raise Problem(
                507,
                "uploads-full",
                f"uploads may take up {self._space:,} bytes here, and these are taken: whoever runs the server can "
                "remove some of --upload-dir, or allow more by --upload-space",
            )


def _taken(folder: str) -> int:
    """The bytes that the files of a `Keeper` take up, and what it left behind when it was killed."""
    found = 0
    with suppress(OSError), os.scandir(folder) as parts:
        for part in parts:
            if len(part.name) != 2 or not part.is_dir(follow_symlinks=False):  # somebody else's
                continue
            with suppress(OSError), os.scandir(part.path) as files:
                for file in files:
                    with suppress(OSError):  # it has just gone
                        found += _blocks(file.stat(follow_symlinks=False).st_size)
    return found


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
