"""HEIF, JPEG XL and camera RAW to upright RGB, in the process that `apart.py` starts for them."""

from __future__ import annotations

from dataclasses import fields, replace
from io import BytesIO
from typing import Any

from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images.captions import tiff_caption
from imgvec.images.complete import HeaderStream
from imgvec.images.pixels import Decoded, as_it_lies, check_size, decoded_by, detail_of, reason_of, turned

_LARGEST_STEP = 8


def decode_native(
    data: bytes, *, name: str, max_pixels: int, min_side: int | None
) -> tuple[Image.Image, dict[str, Any]]:
    """The image, smaller than the file where `min_side` allows it, and what is known of it.

    Raises `UnreadableImage`, its uri for the caller to fill in.
    """
    try:
        decoded = turned(*_FORMATS[name](data, max_pixels, min_side))
    except UnreadableImage:
        raise
    except Exception as exc:
        raise UnreadableImage("", reason_of(exc), _short(detail_of(exc))) from exc
    image = decoded.image
    known = {each.name: getattr(decoded, each.name) for each in fields(decoded) if each.name != "image"}
    return image, {**known, "size": image.size}


def _heif(data: bytes, max_pixels: int, min_side: int | None) -> tuple[Decoded, int]:
    """The primary image, turned by libheif as `irot` and `imir` say, which alone count (ISO/IEC 23008-12, 6.5.10)."""
    from pi_heif.as_plugin import HeifImageFile

    with HeifImageFile(BytesIO(data), "") as image:
        check_size(image.size, "", max_pixels)
        return _smaller(as_it_lies(image, None, max_pixels)[0], min_side), 1


def _jxl(data: bytes, max_pixels: int, min_side: int | None) -> tuple[Decoded, int]:
    from imgvec.images import jxl

    check_size(jxl.header(data)[:2], "", max_pixels)
    image = jxl.opened(data)
    seen, orientation = as_it_lies(image, None, max_pixels)
    return _smaller(seen, min_side), orientation


def _raw(data: bytes, max_pixels: int, min_side: int | None) -> tuple[Decoded, int]:
    from imgvec.images import raw

    def jpeg(preview: bytes) -> tuple[Image.Image, tuple[int, int], int, int | None]:
        seen, orientation = decoded_by("JPEG", HeaderStream(preview), "", max_pixels, min_side)
        return seen.image, (seen.width, seen.height), orientation, seen.taken_at

    image, (width, height), orientation, media_type, time = raw.developed(
        data, "", jpeg, lambda *size: check_size(size, "", max_pixels), min_side
    )
    if orientation >= 5:  # `turned` swaps them
        width, height = height, width
    return _smaller(Decoded(image, width, height, media_type, time, tiff_caption(data)), min_side), orientation


_FORMATS = {"HEIF": _heif, "JXL": _jxl, "RAW": _raw}


def _smaller(seen: Decoded, min_side: int | None) -> Decoded:
    """`seen` at 1/2, 1/4 or 1/8, as a JPEG is decoded: less to send, and less to resize."""
    if min_side is None:
        return seen
    step = _LARGEST_STEP
    while step > 1 and min(seen.image.size) // step < 2 * min_side:
        step //= 2
    return replace(seen, image=seen.image.reduce(step)) if step > 1 else seen


def _short(detail: str) -> str:
    """The first sentence; libjxl's plugin says how to build libjxl."""
    return detail.splitlines()[0].split(". Please")[0][:200]
