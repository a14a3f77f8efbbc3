"""TIFF and DNG files written by hand: the directories that cameras write and no library here does."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

Tags = Mapping[int, tuple[int, Any]]
"""Type and values by tag: a number, numbers, pairs of them for rationals, or bytes."""

_CODES = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B", 10: "i"}


class TiffWriter:
    """A little-endian TIFF: pictures and directories are put one by one, and the first directory last."""

    def __init__(self) -> None:
        self._body = bytearray()

    def put(self, data: bytes) -> int:
        """Where `data` lies in the file."""
        at = 8 + len(self._body)
        self._body += data + bytes(len(data) % 2)
        return at

    def directory(self, tags: Tags, following: int = 0) -> int:
        """Where a directory of these tags lies, after which comes the one at `following`."""
        entries, tail = b"", b""
        after = 8 + len(self._body) + 2 + 12 * len(tags) + 4
        for tag, (kind, given) in sorted(tags.items()):
            if isinstance(given, bytes):
                raw, count = given, len(given)
            else:
                values = list(np.ravel(given))
                raw = struct.pack(f"<{len(values)}{_CODES[kind]}", *values)
                count = len(values) // (2 if kind in (5, 10) else 1)
            place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", after + len(tail))
            tail += raw + bytes(len(raw) % 2) if len(raw) > 4 else b""
            entries += struct.pack("<HHI", tag, kind, count) + place
        return self.put(struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + tail)

    def page(self, image: Image.Image, tags: Tags | None = None, following: int = 0) -> int:
        """An RGB picture, uncompressed, and its directory."""
        return self.directory({**self.picture(image), **(tags or {})}, following)

    def picture(self, image: Image.Image) -> dict[int, tuple[int, Any]]:
        """The tags of an RGB picture, uncompressed, whose pixels are put now."""
        pixels = image.convert("RGB").tobytes()
        described = {256: image.width, 257: image.height, 262: 2, 277: 3, 278: image.height, 284: 1, 259: 1}
        return {
            **{tag: (4, value) for tag, value in described.items()},
            258: (3, [8, 8, 8]),
            273: (4, self.put(pixels)),
            279: (4, len(pixels)),
        }

    def file(self, first: int) -> bytes:
        return b"II\x2a\0" + struct.pack("<I", first) + bytes(self._body)


def dng(
    scene: Image.Image,
    *,
    orientation: int = 1,
    preview: bytes | None = None,
    taken: bytes = b"2024:05:01 10:11:12\0",
    more: Sequence[tuple[int, tuple[int, Any]]] = (),
) -> bytes:
    """A DNG of the sides of `scene`: an RGGB mosaic of 12 bits in 16, linear as a sensor's, as it lies in the camera.

    Its first directory is a thumbnail an eighth as wide; `preview`, a JPEG, lies beside the mosaic.
    """
    out = TiffWriter()
    rgb = np.asarray(scene.convert("RGB"))
    linear = ((rgb / 255) ** 2.2 * 4095).astype("<u2")
    mosaic = np.empty(rgb.shape[:2], "<u2")
    for top, left, colour in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[top::2, left::2] = linear[top::2, left::2, colour]
    raw = {
        254: (4, 0), 256: (4, scene.width), 257: (4, scene.height), 258: (3, 16), 259: (3, 1), 262: (3, 32803),
        273: (4, out.put(mosaic.tobytes())), 277: (3, 1), 278: (4, scene.height), 279: (4, mosaic.nbytes), 284: (3, 1),
        33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2]), 50714: (3, 0), 50717: (3, 4095),
    }  # fmt: skip
    children = [out.directory(raw)]
    if preview is not None:
        width, height = Image.open(io.BytesIO(preview)).size
        children.append(
            out.directory({
                254: (4, 1), 256: (4, width), 257: (4, height), 258: (3, [8, 8, 8]), 259: (3, 7), 262: (3, 6),
                273: (4, out.put(preview)), 277: (3, 3), 278: (4, height), 279: (4, len(preview)), 284: (3, 1),
            })
        )  # fmt: skip
    exif = out.directory({36867: (2, taken), 36881: (2, b"+02:00\0")})
    thumbnail = scene.resize((scene.width // 8, scene.height // 8))
    to_xyz = [(32405, 10000), (-15371, 10000), (-4985, 10000), (-9693, 10000), (18760, 10000), (416, 10000),
              (556, 10000), (-2040, 10000), (10572, 10000)]  # fmt: skip
    first = {
        254: (4, 1), **out.picture(thumbnail), 271: (2, b"Imgvec\0"), 272: (2, b"Imgvec Test\0"),
        274: (3, orientation), 330: (4, children), 34665: (4, exif), 50706: (1, [1, 4, 0, 0]), 50707: (1, [1, 1, 0, 0]),
        50708: (2, b"Imgvec Test\0"), 50721: (10, to_xyz), 50728: (5, [(1, 1)] * 3), 50778: (3, 21), **dict(more),
    }  # fmt: skip
    return out.file(out.directory(first))
