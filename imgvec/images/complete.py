"""Checks that a file is complete and undamaged, which Pillow's decoders do not always notice."""

from __future__ import annotations

import zlib
from io import BytesIO

from PIL import ImageFile, TiffImagePlugin

_PNG = b"\x89PNG\r\n\x1a\n"
_CODESTREAM, _END_OF_CODESTREAM = b"\xff\x4f\xff\x51", b"\xff\xd9"


class HeaderStream(BytesIO):
    """A file in memory that remembers whether its header ran out of bytes, until `in_header` is unset."""

    in_header = True
    ran_out = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.in_header and size is not None and len(data) < size:
            self.ran_out = True
        return data


def is_cut(data: bytes) -> bool:
    """Whether a container is shorter than it says.

    OpenJPEG leaves the tiles black that a JPEG 2000 file lost; WebP and AVIF decoders call any damage by one name.
    """
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data[4:8] in (b"ftyp", b"jP  ", b"JXL ") and _end_of_boxes(data) > len(data):
        return True
    # No coded data holds a word from FF90 up, so a marker that is not there was cut off (ISO/IEC 15444-1, A.1).
    is_jpeg2000 = data[4:8] == b"jP  " or data[:4] == _CODESTREAM
    return is_jpeg2000 and data.find(_END_OF_CODESTREAM, max(data.find(_CODESTREAM), 0)) < 0


def damaged_chunk(data: bytes) -> str | None:
    """What is wrong with the pixels of a PNG by its own checksums; None if they fit, or it is another format.

    Every viewer refuses such a file (PNG 3rd edition, 13.1). Pillow reads neither the sums of IDAT nor, once it has
    all rows, zlib's own: damaged bytes would come out as another picture. What is cut off is for the decoder to say.
    """
    if not data.startswith(_PNG):
        return None
    view, at = memoryview(data), len(_PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4])
        if end + 4 > len(data):
            return None
        kind = bytes(view[at + 4 : at + 8])
        if kind == b"IDAT" and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return f"the checksum of the IDAT chunk at byte {at:,} is wrong"
        if kind == b"IEND":
            return None
        at = end + 4
    return None


def lacks_strips(image: ImageFile.ImageFile, size: int) -> bool:
    """Whether compressed strips or tiles of a TIFF lie beyond its `size` in bytes; libtiff fails on any such."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or image.tag_v2.get(TiffImagePlugin.COMPRESSION, 1) == 1:
        return False
    tags = image.tag_v2
    offsets = tags.get(TiffImagePlugin.STRIPOFFSETS) or tags.get(TiffImagePlugin.TILEOFFSETS) or ()
    counts = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS) or ()
    return any(offset + count > size for offset, count in zip(offsets, counts, strict=False))


_BOXES = frozenset(
    kind.encode()
    for kind in (
        *(
            "ftyp",
            "styp",
            "meta",
            "mdat",
            "idat",
            "free",
            "skip",
            "wide",
            "uuid",
            "moov",
            "moof",
            "mfra",
            "pdin",
            "sidx",
        ),
        *(
            "jP  ",
            "jp2h",
            "jp2c",
            "jp2i",
            "xml ",
            "uinf",
            "rreq",
            "JXL ",
            "jxll",
            "jxlc",
            "jxlp",
            "jxli",
            "jbrd",
            "jhgm",
        ),
        *("Exif", "brob", "jumb"),
    )
)
"""Top-level boxes of ISO base media files, JPEG 2000 (ISO/IEC 15444-1, I) and JPEG XL (ISO/IEC 18181-2)."""


def _end_of_boxes(data: bytes) -> int:
    """Where the last top-level box of an ISO base media or JP2 file ends, by its own word."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:  # the size did not fit, and follows in 64 bits
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:  # 0: to the end of the file; else a broken box, which is for the decoder to say
            return len(data)
        if at and data[at + 4 : at + 8] not in _BOXES:
            return at  # not a box but a trailer, as some phones write one behind the picture
        at += size
    return at
