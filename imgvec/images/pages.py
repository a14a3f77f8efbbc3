"""Chooses among several pictures in a file: the first full page of a TIFF, the first frame that is not blank."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images.captions import tiff_caption
from imgvec.images.directories import ORIENTATION, Tiff
from imgvec.images.exif import UPRIGHT, taken_at

_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_FRAMES = 100
"""No more frames than these are looked at for one that is not blank."""


class Told(NamedTuple):
    """What a file's first directory says of the picture that lies elsewhere in it, where that says nothing itself."""

    orientation: int | None = None
    taken_at: int | None = None
    caption: str = ""


def full_page(data: bytes, uri: str) -> tuple[bytes, Told]:
    """A TIFF whose first page is a picture of its own: `data`, or the same with its first full page in front.

    A page that is marked as a reduced copy or a mask of another (NewSubfileType, SubfileType) is passed over; the
    full one may follow it or be named by it. Raises `UnreadableImage` if no page is full.
    """
    tiff = Tiff.of(data)
    first = tiff.first if tiff is not None else None
    if tiff is None or first is None or not first.is_reduced:
        return data, Told()
    page = tiff.full_page()
    if page is None:
        raise UnreadableImage(
            uri, "format not allowed", "a TIFF with only reduced copies and no page with the picture itself"
        )
    own = ORIENTATION in page.entries
    orientation = first.number(ORIENTATION)
    return tiff.beginning_with(page), Told(
        orientation if not own and orientation in UPRIGHT else None, taken_at(first.details()), tiff_caption(data)
    )


def shown(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image], max_pixels: int) -> Image.Image:
    """The loaded `image` by `to_rgb`; of an animation that begins with a blank frame, the first that is not.

    Blank is what has one colour throughout, transparent parts being white. A hundred frames are looked at, and no more
    pixels than `max_pixels`; where all are blank, or a later frame is broken, it is the first. `image` is left at the
    frame at which it was.
    """
    first = to_rgb(image)
    if image.format not in _ANIMATED or not _is_blank(first):
        return first
    at = image.tell()
    frames = min(_FRAMES, max_pixels // (image.width * image.height))
    try:
        for frame in range(at + 1, at + frames):
            image.seek(frame)
            image.load()
            if not _is_blank(later := to_rgb(image)):
                return later
    except Exception:  # noqa: BLE001 - no more frames, or a decoder that was fed with broken bytes
        return first
    finally:
        with suppress(Exception):
            image.seek(at)
    return first


def _is_blank(rgb: Image.Image) -> bool:
    return all(low == high for low, high in rgb.getextrema())  # type: ignore[misc]
