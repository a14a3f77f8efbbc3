"""Symbolic links below a folder, where they are followed."""

from __future__ import annotations

import os
from collections.abc import Callable

from imgvec.sources.seen import Seen, hash64


class Links:
    """What links lead to, each thing once: so that no walk goes round in circles, and no image is taken twice.

    What lies in the source, where the walk comes by itself, is taken under its own path; what lies elsewhere under that
    of the first link that leads there.
    """

    def __init__(self, folder: str, comes_by: Callable[[str, bool], bool]) -> None:
        """`comes_by` says whether the walk of `folder` takes this path below it, which may be a folder's."""
        self._folder = os.path.realpath(folder)
        self._comes_by = comes_by
        self._seen = Seen()

    def is_new(self, path: str, status: os.stat_result, *, is_folder: bool) -> bool:
        """Whether the file or folder that `path` leads to is to be taken here; asked once for each `path`."""
        real = os.path.realpath(path)
        if real == self._folder:
            return False
        prefix = self._folder.rstrip("/") + "/"
        if real.startswith(prefix) and self._comes_by(real.removeprefix(prefix), is_folder):
            return False
        return self._seen.claim(hash64(str(status.st_dev), str(status.st_ino))) is None
