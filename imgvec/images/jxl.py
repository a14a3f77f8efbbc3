"""JPEG XL, by libjxl; imported only in a process of its own (`apart.py`), since its plugin decodes as it opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import ImageFile
from pillow_jxl import JpegXLImagePlugin

JpegXLImagePlugin.DECODE_THREADS = 4  # as for HEIF; one a processor is too many where several images are decoded

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the number in the header (ISO/IEC 18181-1, A.2)."""


_TIFF = (b"II\x2a\0", b"MM\0\x2a")


class _Bits:
    """Numbers of a codestream, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError("the header is truncated")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value


def header(data: bytes) -> tuple[int, int, int]:
    """Width and height as they lie in the codestream, and its orientation as EXIF counts it; no pixel is decoded.

    Raises `EOFError` and `ValueError`.
    """
    bits = _Bits(_codestream(data)[2:32])
    small = bits.take(1)

    def side() -> int:
        if small:
            return 8 * (bits.take(5) + 1)
        return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1

    height = side()
    ratio = bits.take(3)
    width = side() if ratio == 0 else height * _RATIOS[ratio - 1][0] // _RATIOS[ratio - 1][1]
    plain = bits.take(1) or not bits.take(1)
    return width, height, 1 if plain else bits.take(3) + 1


def opened(data: bytes) -> ImageFile.ImageFile:
    """The picture, decoded; upright already where the codestream says how it lies, which its EXIF must not repeat.

    Where it says nothing, EXIF is followed: so write programs that know only EXIF, and so does a JPEG that was packed
    into JPEG XL without loss, whose pixels come as they lie in the JPEG.
    """
    image: ImageFile.ImageFile = JpegXLImagePlugin.JXLImageFile(BytesIO(data), "")
    with suppress(Exception):  # EXIF that cannot be read costs what it says, never the picture
        _settle_orientation(image, data)
    return image


def _settle_orientation(image: Any, data: bytes) -> None:
    if "exif" not in image.info and (packed := _packed_exif(data)):
        image.info["exif"] = packed
    orientation = header(data)[2]
    exif = image.getexif()
    from_jpeg = bool(image.jpeg)
    if from_jpeg and 0x0112 not in exif and orientation != 1:
        exif[0x0112] = orientation
    elif not from_jpeg and orientation != 1:
        exif[0x0112] = 1


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, taken out of its box if there is one."""
    if data[:2] == b"\xff\x0a":
        return data[:64]
    for kind, start, _ in _boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            start += 4 if kind == b"jxlp" else 0
            return data[start : start + 64]
    raise EOFError("no codestream in it: truncated")


def _packed_exif(data: bytes) -> bytes | None:
    """EXIF in a Brotli-compressed box, as libjxl's own encoder writes it; its plugin reads only uncompressed boxes."""
    for kind, start, end in _boxes(data):
        if kind == b"brob" and data[start : start + 4] == b"Exif":
            import brotli

            box: bytes = brotli.decompress(data[start + 4 : end])
            # where TIFF's header lies should stand before it, and does not always
            return box if box[:4] in _TIFF else box[4 + int.from_bytes(box[:4]) :]
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box (ISO/IEC 18181-2, 9)."""
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        yield kind, at + head, min(at + size, len(data)) if size else len(data)
        if size < head:
            return
        at += size
