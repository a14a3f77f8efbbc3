"""Camera RAW, by LibRaw: the camera's own full picture where the file holds one, else a development at half its size.

Imported only in a process of its own (`apart.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from io import BytesIO
from typing import Any

import rawpy
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images.camera import MEDIA_TYPES, raw_kind
from imgvec.images.directories import Tiff
from imgvec.images.exif import taken_at

_ORIENTATIONS = {0: 1, 1: 2, 3: 3, 2: 4, 4: 5, 6: 6, 7: 7, 5: 8}
"""EXIF's number for LibRaw's `flip`, a bit each for mirrored, upside down, and rows for columns."""
_HALF, _SAME_SHAPE = 0.95, 0.03
"""A preview is the photo where its sides are at least half the sensor's, and its shape is the sensor's: some have bars
or lie within. Neither is met exactly, as cameras crop some pixels."""
_LEAST_SIDE = 512

Jpeg = Callable[[bytes], tuple[Image.Image, tuple[int, int], int, int | None]]
"""Decodes a JPEG as it lies: the image, its full size, its EXIF orientation and time."""


def developed(
    data: bytes, uri: str, jpeg: Jpeg, check_size: Callable[[int, int], None], min_side: int | None
) -> tuple[Image.Image, tuple[int, int], int, str, int | None]:
    """The picture, the sensor's width and height when upright, the orientation still to be made, media type and time.

    `check_size` is called with the sensor's sides before anything is unpacked. Raises `UnreadableImage`, and what
    LibRaw raises.
    """
    kind = raw_kind(data) or "RAW"
    told = _time(data)
    if _is_cut(data):
        raise UnreadableImage(uri, "truncated", "the sensor's data lie beyond the end of the file")
    try:
        raw = rawpy.imread(BytesIO(data))
    except rawpy.LibRawFileUnsupportedError as exc:
        version = ".".join(map(str, rawpy.libraw_version))
        said = f"camera RAW ({kind}) that LibRaw {version} cannot read; export it as JPEG"
        raise UnreadableImage(uri, "format not allowed", said) from exc
    with raw:
        sizes = raw.sizes
        check_size(sizes.raw_width, sizes.raw_height)
        upright = (sizes.height, sizes.width) if sizes.flip & 4 else (sizes.width, sizes.height)
        media_type = MEDIA_TYPES.get(kind, "image/x-dcraw")
        told = told if told is not None else _camera_time(raw)
        found = _preview(raw, upright, jpeg)
        if found is not None:
            image, orientation, its_time = found
            return image, upright, orientation, media_type, told if told is not None else its_time
        half = min(upright) // 2 >= 2 * (min_side or _LEAST_SIDE)
        pixels = raw.postprocess(half_size=half, use_camera_wb=True, output_bps=8)
        return Image.fromarray(pixels), upright, 1, media_type, told


def _preview(raw: Any, upright: tuple[int, int], jpeg: Jpeg) -> tuple[Image.Image, int, int | None] | None:
    """The largest picture that the camera made itself, if it is as good as a development; and how it lies."""
    try:
        found = raw.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            image, size, own, time = jpeg(found.data)
        else:
            image = Image.fromarray(found.data)
            size, own, time = image.size, 1, None
    except (rawpy.LibRawError, rawpy.NotSupportedError, UnreadableImage, ValueError, TypeError):
        return None
    orientation = _lies(raw.sizes.flip, size, own, upright)
    width, height = (size[1], size[0]) if orientation >= 5 else size
    if width < _HALF * upright[0] / 2 or height < _HALF * upright[1] / 2:
        return None
    if abs(width * upright[1] - height * upright[0]) > _SAME_SHAPE * width * upright[1]:
        return None
    return image, orientation, time


def _lies(flip: int, size: tuple[int, int], own: int, upright: tuple[int, int]) -> int:
    """The orientation of a preview of this size: its own EXIF, or the sensor's where it was not turned already.

    LibRaw writes the sensor's into a preview without EXIF, so where both agree, the shape has the last word.
    """
    sensor = _ORIENTATIONS.get(flip, 1)
    if own not in (1, sensor):
        return own
    sideways = bool(flip & 4) and upright[0] != upright[1] and size[0] != size[1]
    return 1 if sideways and (size[0] > size[1]) == (upright[0] > upright[1]) else sensor


def _is_cut(data: bytes) -> bool:
    """LibRaw fills what is missing with zeros, a photo that ends in black."""
    tiff = Tiff.of(data)
    return tiff is not None and any(page.lies_beyond_the_end() for page in tiff.pages(every=True))


def _time(data: bytes) -> int | None:
    tiff = Tiff.of(data)
    first = tiff.first if tiff is not None else None
    return None if first is None else taken_at(first.details())


def _camera_time(raw: Any) -> int | None:
    """What LibRaw read where it is not a TIFF: the camera's clock, taken as UTC; the epoch is how it says nothing."""
    moment = raw.other.timestamp
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000) if moment.year > 1970 else None
