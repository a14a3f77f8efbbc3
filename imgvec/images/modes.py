"""Converts every pixel mode of Pillow to 8-bit RGB, on a white background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec.images.depth import bits_of, eight_bits

#: Rows of `_stretch` are done a million pixels at a time, since its float64 would be eight times the image.
_BLOCK = 1 << 20

_LOOSE_ALPHA = frozenset({"BMP", "DIB", "TGA", "ICO", "CUR"})
"""Formats whose fourth channel many programs leave at zero without meaning transparent."""


def to_rgb(image: Image.Image, sixteen_bit: str | int = "auto") -> Image.Image:
    """A new RGB image with empty `info`; `image` stays as it is, except that its pixels are loaded.

    Transparent parts show white; where the alpha of a BMP (or TGA, ICO) is 0 throughout, nobody set it. 16-bit grey
    is made 8-bit as `sixteen_bit` says (`depth.py`), where `convert` would clip at 255. 32-bit integers are taken as
    16-bit grey where they fit, floats as grey from 0 to 1 where they fit; else their finite range is stretched to
    0-255. ICC profiles are not applied: the encoders were trained on pixels as decoded.
    """
    if image.mode.startswith("I;16"):
        rgb = _from_16_bit(image, sixteen_bit).convert("RGB")
    elif image.mode in ("I", "F"):
        rgb = _from_32_bit(image, sixteen_bit).convert("RGB")
    elif image.has_transparency_data and not _has_unset_alpha(image):
        rgb = _on_white(image)
    else:
        rgb = image.convert("RGB")
    # EXIF left here would have the next reader turn the image once more.
    rgb.info = {}
    return rgb


def _from_16_bit(image: Image.Image, sixteen_bit: str | int) -> Image.Image:
    values: NDArray[np.uint16] = np.asarray(image)
    grey = eight_bits(values, bits_of(values, sixteen_bit))
    transparent = image.info.get("transparency")
    if transparent is not None:
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _from_32_bit(image: Image.Image, sixteen_bit: str | int) -> Image.Image:
    values: NDArray[Any] = np.asarray(image)
    low, high = _finite_range(values)
    if image.mode == "I" and low >= 0 and high <= 0xFFFF:
        return Image.fromarray(eight_bits(values, bits_of(values, sixteen_bit)))
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    return Image.fromarray(_stretch(values, low, high))


def _finite_range(values: NDArray[Any]) -> tuple[float, float]:
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError("no pixel has a finite value")
    largest = np.finfo(np.float32).max if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    low = values.min(where=finite, initial=largest)
    return float(low), float(values.max(where=finite, initial=low))


def _stretch(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """`low`…`high` to 0…255, rounded; infinities go to the ends, NaN and an image of one value to black."""
    grey = np.zeros(values.shape, np.uint8)
    rows = max(1, _BLOCK // values.shape[1])
    for top in range(0, len(values) if high > low else 0, rows):
        block = np.nan_to_num(values[top : top + rows].astype(np.float64), nan=low, posinf=high, neginf=low)
        grey[top : top + rows] = np.rint(np.interp(block, (low, high), (0, 255)))
    return grey


def _has_unset_alpha(image: Image.Image) -> bool:
    return image.format in _LOOSE_ALPHA and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _on_white(image: Image.Image) -> Image.Image:
    # Pillow converts premultiplied grey to LA alone.
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba)
    return white
