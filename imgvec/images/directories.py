"""The directories of a TIFF, read in place: which pages there are, and what each says about itself.

Camera RAW of most makers is TIFF: its first directory describes a thumbnail, and the photo lies elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

SUBFILE_TYPE: Final = 254
OLD_SUBFILE_TYPE: Final = 255
WIDTH: Final = 256
HEIGHT: Final = 257
COMPRESSION: Final = 259
PHOTOMETRIC: Final = 262
DESCRIPTION: Final = 270
MAKE: Final = 271
STRIP_OFFSETS: Final = 273
ORIENTATION: Final = 274
STRIP_BYTE_COUNTS: Final = 279
TILE_OFFSETS: Final = 324
TILE_BYTE_COUNTS: Final = 325
SUB_DIRECTORIES: Final = 330
XMP: Final = 700
EXIF: Final = 34665
DNG_VERSION: Final = 50706

_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType (TIFF 6.0, page 36)."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 9: 4, 13: 4, 16: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_MAX_VALUES = 1 << 20
_MAX_ENTRIES = 1024
MAX_DIRECTORIES = 64
"""Directories beyond these are not looked at: what comes first is what is looked for, and a file made to do harm may
have directories without end."""


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a TIFF; its values are read from the file when they are asked for."""

    tiff: Tiff
    offset: int
    entries: dict[int, tuple[int, int, int]]
    """Type, count and place of the values, by tag."""

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Empty where the tag is missing, or is of a type that holds no integers."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        code = _CODES.get(kind)
        if code is None or not 0 < count <= _MAX_VALUES or at + count * _SIZES[kind] > len(self.tiff.data):
            return ()
        return struct.unpack_from(f"{self.tiff.order}{count}{code}", self.tiff.data, at)

    def number(self, tag: int, otherwise: int = 0) -> int:
        found = self.numbers(tag)
        return found[0] if found else otherwise

    def text(self, tag: int) -> str:
        _, count, at = self.entries.get(tag, (0, 0, 0))
        return self.tiff.data[at : at + min(count, 256)].decode("ascii", "replace").strip("\0 ")

    def blob(self, tag: int) -> bytes:
        """The bytes of a text or of what has no type; empty where the tag is missing."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        return self.tiff.data[at : at + min(count, _MAX_VALUES)] if kind in (1, 2, 7) else b""

    @property
    def is_reduced(self) -> bool:
        """Whether it describes a smaller copy of another page, or a mask of one."""
        return bool(self.number(SUBFILE_TYPE) & (_REDUCED | _MASK)) or self.number(OLD_SUBFILE_TYPE) == 2

    def details(self) -> dict[int, Any]:
        """The texts of its EXIF directory by tag, as `exif.taken_at` takes them."""
        exif = self.tiff.directory(self.number(EXIF))
        return {} if exif is None else {tag: exif.text(tag) for tag, (kind, _, _) in exif.entries.items() if kind == 2}

    def lies_beyond_the_end(self) -> bool:
        """Whether strips or tiles of its picture are missing from the file."""
        for offsets, counts in ((STRIP_OFFSETS, STRIP_BYTE_COUNTS), (TILE_OFFSETS, TILE_BYTE_COUNTS)):
            pairs = zip(self.numbers(offsets), self.numbers(counts), strict=False)
            if any(offset + count > len(self.tiff.data) for offset, count in pairs):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Tiff:
    """A TIFF or BigTIFF file in memory."""

    data: bytes
    order: str
    """`<` or `>`, as `struct` has it."""
    big: bool

    @classmethod
    def of(cls, data: bytes) -> Tiff | None:
        """None if `data` does not begin like one; RAW files that are nearly TIFF are taken too."""
        order = {b"II": "<", b"MM": ">"}.get(data[:2])
        if order is None or len(data) < 16:
            return None
        return cls(data, order, data[2:4] in (b"\x2b\0", b"\0\x2b"))

    @property
    def first(self) -> Directory | None:
        return self.directory(self._first)

    @property
    def _first(self) -> int:
        return int(struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, 8 if self.big else 4)[0])

    def pages(self, *, every: bool = False) -> Iterator[Directory]:
        """The directories of the chain, each reduced copy (with `every`, each one) followed by those that it names."""
        seen: set[int] = set()
        at = self._first
        while at not in seen and len(seen) < MAX_DIRECTORIES:
            seen.add(at)
            found = self.directory(at)
            if found is None:
                return
            yield found
            for offset in found.numbers(SUB_DIRECTORIES) if every or found.is_reduced else ():
                if offset in seen or len(seen) >= MAX_DIRECTORIES:
                    continue
                seen.add(offset)
                child = self.directory(offset)
                if child is not None:
                    yield child
            at = self._next(found)

    def directory(self, offset: int) -> Directory | None:
        """None if it is outside the file."""
        head, step = (8, 20) if self.big else (2, 12)
        if not 8 <= offset <= len(self.data) - head:
            return None
        count = int(struct.unpack_from(self.order + ("Q" if self.big else "H"), self.data, offset)[0])
        if count > _MAX_ENTRIES or offset + head + step * count > len(self.data):
            return None
        entries: dict[int, tuple[int, int, int]] = {}
        for at in range(offset + head, offset + head + step * count, step):
            tag, kind = struct.unpack_from(self.order + "HH", self.data, at)
            (values,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, at + 4)
            inline = 8 if self.big else 4
            place = at + step - inline
            if values * _SIZES.get(kind, 8) > inline:
                (place,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, place)
            entries.setdefault(tag, (kind, values, place))
        return Directory(self, offset, entries)

    def beginning_with(self, directory: Directory) -> bytes:
        """The file with `directory` as its first one."""
        at, code = (8, "Q") if self.big else (4, "I")
        offset = struct.pack(self.order + code, directory.offset)
        return b"".join([memoryview(self.data)[:at], offset, memoryview(self.data)[at + len(offset) :]])

    def full_page(self) -> Directory | None:
        """The first page that is a picture of its own; None if there is none."""
        return next((page for page in self.pages() if not page.is_reduced and page.number(WIDTH)), None)

    def _next(self, directory: Directory) -> int:
        head, step, code = (8, 20, "Q") if self.big else (2, 12, "I")
        (count,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), self.data, directory.offset)
        at = directory.offset + head + step * count
        if at + struct.calcsize(code) > len(self.data):
            return 0
        return int(struct.unpack_from(self.order + code, self.data, at)[0])
