"""Edited copies of a picture, as people make them, whose original a search must still find."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageDraw, ImageOps

_ORIENTATION = 0x0112  # EXIF tag


def _jpeg(image: Image.Image, *, quality: int = 90, exif: Image.Exif | None = None) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, **({"exif": exif} if exif else {}))
    return data.getvalue()


def _crop(image: Image.Image) -> bytes:
    """The middle, 70 % of each side."""
    width, height = image.size
    return _jpeg(image.crop((round(width * 0.15), round(height * 0.15), round(width * 0.85), round(height * 0.85))))


def _rotated(image: Image.Image) -> bytes:
    """Turned a quarter, with the EXIF orientation that turns it back, as a camera held upright writes it."""
    exif = Image.Exif()
    exif[_ORIENTATION] = 6  # the viewer turns it 90 degrees clockwise
    return _jpeg(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


EDITS: Mapping[str, Callable[[Image.Image], bytes]] = MappingProxyType(
    {
        "crop": _crop,
        "flip": lambda image: _jpeg(ImageOps.mirror(image)),
        "jpeg quality 10": lambda image: _jpeg(image, quality=10),
        "grey": lambda image: _jpeg(ImageOps.grayscale(image).convert("RGB")),
        "exif rotation": _rotated,
    }
)
"""Each edit: an upright RGB image to the bytes of a JPEG file."""


def thumbnail(image: Image.Image, side: int = 160, box: tuple[int, int, int, int] | None = None) -> bytes:
    """The image within `side` by `side` pixels, as the bytes of a JPEG file; `box`, in its pixels, is drawn on it."""
    small = image.copy()
    small.thumbnail((side, side))
    if box is not None:
        across, down = small.width / image.width, small.height / image.height
        left, top = round(box[0] * across), round(box[1] * down)
        right, bottom = max(left, round(box[2] * across) - 1), max(top, round(box[3] * down) - 1)
        draw = ImageDraw.Draw(small)
        draw.rectangle((left, top, right, bottom), outline=(0, 0, 0), width=3)
        draw.rectangle((left, top, right, bottom), outline=(255, 214, 10), width=2)
    return _jpeg(small, quality=80)
