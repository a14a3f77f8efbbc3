"""Lists: a text file with one image per line."""

from __future__ import annotations

import io
from collections.abc import Iterator

from imgvec.errors import SourceError
from imgvec.sources.kinds import Kind
from imgvec.sources.named import read_named
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.records import Found

_LINE_CHARACTERS = 64 * 2**10


def read_list(place: Place, reading: Reading) -> Iterator[Found]:
    """The images that the lines name: paths (relative ones start from the list's folder), http(s) URLs, objects.

    Blank lines are passed over. Raises `SourceError` if the list cannot be read.
    """
    with place.opened() as file:
        # names that are not UTF-8 are each refused when their turn comes
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape")
        try:
            while line := lines.readline(_LINE_CHARACTERS):
                if line.strip():
                    yield read_named(line, place, reading, {})
        except OSError as exc:
            raise SourceError(f"{place}: cannot be read any further: {exc}") from exc


KIND = Kind(name="list", read=read_list, endings=(".txt",))
