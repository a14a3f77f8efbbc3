"""Scales 16 bits per channel to 8, by the bits that the values use.

Cameras, microscopes and scanners put 10, 12 or 14 bits in files that can only say 16: by the high byte alone such a
picture is nearly black. What a picture uses is the least of 8, 10, 12, 14 and 16 bits that holds its largest value, in
any colour channel. So a picture is at most four times brighter than it was stored, unless its values stay below 1/16 of
the range (4,096), where by the high byte nobody would see more than sixteen shades. A picture that really is that dark
is brightened: the definition's `images: {sixteen_bit: full}` keeps it as it is, and a number says the bits for all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

FULL = 16
_DEPTHS = (8, 10, 12, 14, FULL)
_BITS_PER_SAMPLE = 258
# libtiff gives the machine's own order, which Pillow calls N
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_WIDE = frozenset({"RGB", "RGBX", "RGBA", "LA", "R", "G", "B", "A"})
"""Raw modes of colour whose channels Pillow halves; not premultiplied ones and CMYK, whose halves say nothing alone."""

Reopen = Callable[[], ImageFile.ImageFile]


def bits_of(values: NDArray[Any], sixteen_bit: str | int) -> int:
    """How many bits non-negative integers below 65,536 are taken to have: what `sixteen_bit` says, or what they use."""
    if sixteen_bit == "full":
        return FULL
    if isinstance(sixteen_bit, int):
        return sixteen_bit
    largest = int(values.max(initial=0))
    return next((bits for bits in _DEPTHS if largest < 1 << bits), FULL)


def eight_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """The highest 8 of so many bits; what has more is white."""
    eight: NDArray[np.uint8] = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    return eight


def told_bits(image: Image.Image) -> int | None:
    """The bits that the file itself says its 16-bit grey has when loaded; None if it can only say 16.

    For an image that is not loaded yet.
    """
    if image.format in ("HEIF", "JXL", "JPEG2000"):
        return FULL  # their decoders scale by the precision that stands in the file
    if image.format == "PPM" and isinstance(image, ImageFile.ImageFile) and image.tile:
        args = image.tile[0].args
        # Pillow scales by the maximum that the header names
        return FULL if isinstance(args, tuple) and args[-1] != 65535 else None
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (FULL,))[0]
        return bits if 8 < bits < FULL else None
    return None


def reopening(image: Image.Image) -> Reopen | None:
    """How to read an opened file once more; None for what is not a file, or was loaded and closed."""
    file = getattr(image, "fp", None)
    if not isinstance(image, ImageFile.ImageFile) or file is None or not image.tile or not hasattr(file, "seek"):
        return None
    at = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(at)
    factory = type(image)
    return lambda: factory(BytesIO(data), "")


def is_wide(image: Image.Image) -> bool:
    """Whether `image`, not loaded yet, has colour of 16 bits a channel, of which Pillow keeps the high byte."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return False
    if image.format == "PPM":
        return image.mode == "RGB" and told_bits(image) is None and image.tile[0].codec_name == "ppm"
    mend_planes(image)
    name, _, depth = _raw_mode(image.tile[0]).partition(";")
    return depth[:2] == "16" and name in _WIDE


def mend_planes(image: ImageFile.ImageFile) -> None:
    """Have 16-bit planes of an uncompressed TIFF read as such: Pillow takes each for one of 8 bits, and shows noise."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or len(_raw_mode(image.tile[0])) > 1:
        return
    if image.tag_v2.get(_BITS_PER_SAMPLE, (8,))[0] != FULL or image.mode not in ("RGB", "RGBA"):
        return
    order = "L" if image.tag_v2.prefix == b"II" else "B"
    image.tile = [_with_raw_mode(tile, f"{_raw_mode(tile)};16{order}") for tile in image.tile]


def deepened(image: Image.Image, reopen: Reopen, sixteen_bit: str | int) -> Image.Image:
    """8-bit colour of a loaded image whose file `is_wide`: itself where its values use all 16 bits.

    The low bytes come from decoding the file once more as if its bytes were in the other order.
    """
    if sixteen_bit == "full":
        return image
    high = np.asarray(image)
    # 15 or 16 bits; in a PPM these bytes are rounded
    if sixteen_bit == "auto" and high[:, :, :3].max() >= (1 << 6) + (image.format == "PPM"):
        return image
    with reopen() as again:
        key = again.info.get("transparency")
        values = _values(again, high)
    colours = 1 if values.shape[2] == 2 else 3
    colour = values[:, :, :colours]
    bits = bits_of(colour, sixteen_bit)
    seen = eight_bits(np.repeat(colour, 3, axis=2) if colours == 1 else colour, bits)
    if isinstance(key, tuple):
        alpha = np.where((colour == key).all(axis=2), 0, 255).astype(np.uint8)
    elif values.shape[2] > colours:
        channel = values[:, :, -1]
        # alpha has the colours' bits, or all
        alpha = eight_bits(channel, bits if channel.max(initial=0) < 1 << bits else FULL)
    else:
        return Image.fromarray(seen)
    return Image.fromarray(np.dstack([seen, alpha]))


def _values(image: ImageFile.ImageFile, high: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """(H, W, channels) of the file's own values; grey with alpha has two channels."""
    if image.format == "PPM":
        assert image.fp is not None
        image.fp.seek(image.tile[0].offset)
        raw = image.fp.read(2 * 3 * image.width * image.height)
        return np.frombuffer(raw, ">u2").reshape(image.height, image.width, 3).astype(np.uint16)
    mend_planes(image)
    if _raw_mode(image.tile[0]) == "LA;16B":
        # as long as four channels of 8 bits: the bytes of both, one after another
        image.tile = [_with_raw_mode(tile, "RGBA") for tile in image.tile]
        image.load()
        halves = np.asarray(image)
        return _joined(halves[:, :, 0::2], halves[:, :, 1::2])
    image.tile = [_with_raw_mode(tile, _raw_mode(tile)[:-1] + _OTHER_BYTE[_raw_mode(tile)[-1]]) for tile in image.tile]
    image.load()
    return _joined(high, np.asarray(image))


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    values = high.astype(np.uint16)
    values <<= 8
    values |= low
    return values


def _raw_mode(tile: Any) -> str:
    args = tile.args
    return str(args[0] if isinstance(args, tuple) else args)


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    args = tile.args
    return tile._replace(args=(raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode)
