"""Edited copies of a picture, as people make them, whose original a search must still find."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL import Image, ImageOps

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


def thumbnail(image: Image.Image, side: int = 160) -> bytes:
    """The image within `side` by `side` pixels, as the bytes of a JPEG file."""
    small = image.copy()
    small.thumbnail((side, side))
    return _jpeg(small, quality=80)
