"""PNG files without the colour profiles and texts that Pillow's reader would stumble over.

Pillow refuses a PNG with a chunk that inflates to more than 1 MiB, or with more than 64 MiB of text, although neither
is needed: editors write profiles of several megabytes, and image generators whole workflows. imgvec reads neither, but
for the two texts in which EXIF and the orientation can stand.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_READ = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")
"""Keys of the texts that Pillow's `getexif` looks at."""

_HARMLESS = 1 << 20
"""Profiles and texts that come to no more than this, inflated and all together, are left where they are."""
MAX_INFLATED = 64 << 20
"""A file whose profiles and texts inflate to this much, all together, was made to do harm."""
_MAX_READ = 16 << 20
"""A text in which EXIF stands is read no further."""
_RATIO = 1032
"""Deflate expands by no more (zlib's technical notes), so small chunks need not be inflated to be judged."""
_STEP = 1 << 20


class _Chunk(NamedTuple):
    name: bytes
    start: int
    """Of the chunk, with its length and name."""
    end: int
    """Behind its checksum."""

    def body(self, data: bytes) -> bytes:
        return data[self.start + 8 : self.end - 4]


class _Text(NamedTuple):
    """A profile or a text, taken apart."""

    key: bytes
    packed: bytes | None
    """What is deflated; None if nothing is."""


def lean_png(data: bytes) -> bytes:
    """`data`, or where its profiles and texts hold more than 1 MiB, a PNG of the same pixels without them.

    Raises `ValueError` if they inflate to 64 MiB, having held no more than a step of it at a time.
    """
    if not data.startswith(_SIGNATURE):
        return data
    found = [chunk for chunk in _chunks(data) if chunk.name in _TEXTS or chunk.name == b"iCCP"]
    if sum((_RATIO if chunk.name != b"tEXt" else 1) * (chunk.end - chunk.start) for chunk in found) <= _HARMLESS:
        return data
    total = inflated = 0
    for chunk in found:
        text = _taken_apart(chunk.name, chunk.body(data))
        total += chunk.end - chunk.start
        if text.packed is not None:
            size = _inflated(text.packed, MAX_INFLATED - inflated)
            inflated += size
            total += size
            if inflated >= MAX_INFLATED:
                raise ValueError(
                    f"its profile and texts inflate to {MAX_INFLATED >> 20} MiB or more, like a decompression bomb"
                )
    if total <= _HARMLESS:
        return data
    parts: list[bytes | memoryview] = []
    at = 0
    for chunk in found:
        parts += [memoryview(data)[at : chunk.start], _kept(chunk, data)]
        at = chunk.end
    return b"".join([*parts, memoryview(data)[at:]])


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Those that are whole; a broken one is for Pillow to say."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data):
            return
        yield _Chunk(data[at + 4 : at + 8], at, end)
        at = end


def _taken_apart(name: bytes, body: bytes) -> _Text:
    """Key and deflated part (PNG specification, 11.3.2.3 and 11.3.3)."""
    key, _, rest = body.partition(b"\0")
    if name == b"tEXt":
        return _Text(key, None)
    if name != b"iTXt":
        return _Text(key, rest[1:])
    packed = rest[2:].split(b"\0", 2)[-1] if rest[:1] == b"\1" else None
    return _Text(key, packed)


def _inflated(packed: bytes, limit: int) -> int:
    """How many bytes `packed` inflates to, as far as it can be; counting ends at `limit`."""
    inflater, size = zlib.decompressobj(), 0
    try:
        while packed and size < limit:
            size += len(inflater.decompress(packed, _STEP))
            packed = inflater.unconsumed_tail
    except zlib.error:  # Pillow passes over it
        pass
    return size


def _kept(chunk: _Chunk, data: bytes) -> bytes:
    """The chunk where it may say something of the orientation, its text no longer deflated; else nothing."""
    if chunk.name not in _TEXTS:
        return b""
    body = chunk.body(data)
    key, packed = _taken_apart(chunk.name, body)
    if key not in _READ:
        return b""
    if packed is None:
        return data[chunk.start : chunk.end] if len(body) <= _MAX_READ else b""
    try:
        text = zlib.decompressobj().decompress(packed, _MAX_READ)
    except zlib.error:
        return b""
    name, between = (b"iTXt", b"\0\0\0\0\0") if chunk.name == b"iTXt" else (b"tEXt", b"\0")
    body = key + between + text
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)
