"""What holds images or names them: an archive, a manifest, a list; on disk or behind fsspec."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from imgvec.errors import SourceError
from imgvec.sources import remote
from imgvec.sources.reading import printable


@dataclass(frozen=True, slots=True)
class Place:
    """Such a file, or a folder of a kind of its own, or a URL that a kind of its own reads."""

    where: str
    """Absolute path, or URL."""
    uri: str
    """What the uris of its members begin with: `where`, or the path relative to the root."""

    def __str__(self) -> str:
        return printable(self.where)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, to read and to seek in; raises `SourceError` if it cannot be opened."""
        try:
            file = remote.open_object(self.where) if "://" in self.where else _open_file(self.where)
        except OSError as exc:
            raise SourceError(f"{self}: cannot be opened: {exc.strerror or exc}") from exc
        with file:
            yield file

    def beside(self, name: str) -> str:
        """The path or URL of what this file calls `name`: relative paths start from its folder."""
        if "://" in name:
            return name
        if "://" in self.where:
            return posixpath.join(self.where.rpartition("/")[0], name)
        return os.path.abspath(os.path.join(self.where, "..", os.path.expanduser(name)))  # noqa: PTH100, PTH111, PTH118

    def below(self, path: str) -> str:
        """A path or URL relative to this file's folder where it lies below, or from the root."""
        folder = self.where.rpartition("/")[0] + "/"
        return path.removeprefix(folder).partition("://")[2] or path.removeprefix(folder).lstrip("/")


def _open_file(path: str) -> BinaryIO:
    return cast("BinaryIO", open(path, "rb"))  # noqa: PTH123
