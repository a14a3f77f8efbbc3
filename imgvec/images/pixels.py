"""Decodes one file with one decoder: to RGB as stored in the file, and then upright."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from imgvec.errors import Reason, UnreadableImage
from imgvec.images.captions import read_caption
from imgvec.images.complete import HeaderStream, lacks_strips
from imgvec.images.depth import deepened, is_wide, reopening, told_bits
from imgvec.images.exif import UPRIGHT, read_exif
from imgvec.images.modes import to_rgb
from imgvec.images.pages import shown

# Pillow tells of broken metadata (corrupt EXIF, malformed MPO and APNG) by warnings on stderr: once for ever a
# line of Pillow, for one image of thousands, and not saying which. `catch_warnings` swaps the filters of the
# whole process and is not safe in threads, hence this one filter, as narrow as it can be; it leaves Pillow's
# DecompressionBombWarning and DeprecationWarning to the application.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.\w+ImagePlugin")

# What decoders say when the bytes end before the pixels do; the class is OSError, ValueError or EOFError.
_TRUNCATED = re.compile(
    r"truncated|not enough image data|reached EOF|end of file|insufficient input|input/output error", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as people see it: upright RGB."""

    image: Image.Image
    """Upright, RGB, 8 bit, on white, without `info`; smaller than in the file if `min_side` allows it."""
    width: int
    """Of the upright image in the file, in pixels."""
    height: int
    media_type: str
    """`image/jpeg`, …; empty for an image that never was a file."""
    taken_at: int | None
    """When the photo was taken, in Unix milliseconds."""
    caption: str = ""
    """What the file says of it (`captions.py`)."""


def decoded_by(
    name: str, stream: HeaderStream, uri: str, max_pixels: int, min_side: int | None, sixteen_bit: str | int = "auto"
) -> tuple[Decoded, int]:
    """The image as it lies in the file, and its EXIF orientation."""
    # Not Image.open, which calls the factory too, and checks a cap of its own, made of a global and a warning.
    with Image.OPEN[name][0](stream, "") as image:
        stream.in_header = False
        check_image(image, uri, max_pixels)
        if lacks_strips(image, stream.getbuffer().nbytes):
            raise UnreadableImage(uri, "truncated", "strips or tiles lie beyond the end of the file")
        size = None
        if min_side is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
            size = image.size
            image.draft(None, (2 * min_side, 2 * min_side))
        return as_it_lies(image, size, max_pixels, sixteen_bit)


def as_it_lies(
    image: Image.Image, size: tuple[int, int] | None, max_pixels: int, sixteen_bit: str | int = "auto"
) -> tuple[Decoded, int]:
    """The image as it lies in the file, which has `size` pixels there if it has not its own, and its orientation."""
    reopen = reopening(image) if is_wide(image) else None
    sixteen_bit = told_bits(image) or sixteen_bit
    if isinstance(image, PngImagePlugin.PngImageFile):
        _scale_png_key(image)
    image.load()
    media_type = image.get_format_mimetype() if isinstance(image, ImageFile.ImageFile) else None
    # An MPO is a JPEG with more pictures behind it, as phones make them.
    media_type = "image/jpeg" if media_type == "image/mpo" else media_type or ""
    # after loading: PNG may have its EXIF and its texts behind the pixels
    (orientation, taken_at), caption = read_exif(image), read_caption(image)
    deep = image if reopen is None else deepened(image, reopen, sixteen_bit)
    seen = shown(image, partial(to_rgb, sixteen_bit=sixteen_bit), max_pixels) if deep is image else to_rgb(deep)
    return Decoded(seen, *(size or seen.size), media_type, taken_at, caption), orientation


def turned(seen: Decoded, orientation: int) -> Decoded:
    """`seen`, upright; a step by itself so that the decoder's own memory is free by now."""
    if orientation not in UPRIGHT:
        return seen
    image = seen.image.transpose(UPRIGHT[orientation])
    width, height = (seen.height, seen.width) if orientation >= 5 else (seen.width, seen.height)
    return replace(seen, image=image, width=width, height=height)


def check_image(image: Image.Image, uri: str, max_pixels: int) -> None:
    """Refuse by the header, before any pixel is decoded."""
    if 0 in image.size:
        raise UnreadableImage(uri, "broken", f"{image.width} x {image.height} pixels")
    areas = {"": image.size}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # libtiff decodes a whole tile however little of it the image needs.
        areas["tiles of "] = (
            image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0),
            image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0),
        )
    for what, size in areas.items():
        check_size(size, uri, max_pixels, what)


def check_size(size: tuple[int, int], uri: str, max_pixels: int, what: str = "") -> None:
    """Raise `UnreadableImage` if the image has too many pixels."""
    width, height = size
    if width * height > max_pixels:
        pixels = f"{what}{width} x {height} = {width * height:,} pixels"
        raise UnreadableImage(uri, "too many pixels", f"{pixels}, the limit is {max_pixels:,}; raise IMGVEC_MAX_PIXELS")


def _scale_png_key(image: PngImagePlugin.PngImageFile) -> None:
    """Bring a PNG's transparent colour to the depth of the pixels that Pillow will hold; it keeps the file's."""
    key = image.info.get("transparency")
    if key is None or not image.tile:
        return
    match image.tile[0].args:
        case "L;2":
            image.info["transparency"] = key * 85
        case "L;4":
            image.info["transparency"] = key * 17
        case "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in key)


def reason_of(exc: Exception) -> Reason:
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"  # Pillow's own cap, for sizes that only its decoders find out
    return "truncated" if _TRUNCATED.search(str(exc)) else "broken"


def detail_of(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
