"""Bytes of one image file, from anyone, to upright 8-bit RGB or `UnreadableImage`.

Everything that Pillow raises is translated here. `decode` is thread-safe and changes no state of Pillow's, and what
applications are used to changing there (`Image.MAX_IMAGE_PIXELS`, `ImageFile.LOAD_TRUNCATED_IMAGES`) never changes
its answer silently.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from imgvec.errors import QueryError, SettingsError, UnreadableImage
from imgvec.formats import FORMATS
from imgvec.images.chunks import lean_png
from imgvec.images.complete import HeaderStream, damaged_chunk, is_cut, lacks_strips
from imgvec.images.exif import UPRIGHT, read_exif
from imgvec.images.modes import to_rgb
from imgvec.images.pages import Told, full_page, shown
from imgvec.images.recognise import recognised

MAX_PIXELS = 50_000_000

# Pillow tells of broken metadata (corrupt EXIF, malformed MPO and APNG) by warnings on stderr: once for ever a
# line of Pillow, for one image of thousands, and not saying which. `catch_warnings` swaps the filters of the
# whole process and is not safe in threads, hence this one filter, as narrow as it can be; it leaves Pillow's
# DecompressionBombWarning and DeprecationWarning to the application.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.\w+ImagePlugin")

# What Pillow's decoders say when the bytes end before the pixels do; the class is OSError, ValueError or EOFError.
_TRUNCATED = re.compile(r"truncated|not enough image data|reached EOF", re.IGNORECASE)

_Factory = Callable[[IO[bytes], str], ImageFile.ImageFile]


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as people see it."""

    image: Image.Image
    """Upright, RGB, 8 bit, on white, without `info`; smaller than the file says where `min_side` allowed it."""
    width: int
    """Of the upright image in the file, in pixels."""
    height: int
    media_type: str
    """`image/jpeg`, …; empty for an image that never was a file."""
    taken_at: int | None
    """When the photo was taken, in Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """How files are decoded."""

    formats: tuple[str, ...] = FORMATS
    """Those that are decoded at all, by the names of `imgvec.formats`."""


def decode(
    data: bytes,
    *,
    uri: str,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
    policy: DecodePolicy | None = None,
) -> Decoded:
    """Decode an image file: the first full page of a TIFF, the first frame of an animation that is not blank.

    `min_side` is the side in pixels that the image will be made small to. A large JPEG is then decoded at 1/2, 1/4
    or 1/8 of its size, which is several times faster, as long as the short side stays at least twice `min_side`:
    the block averages of the scaled DCT are no good filter, and the resize that follows needs room to be one.

    Raises `UnreadableImage` whatever is wrong with `data`, and `SettingsError` while Pillow is told to pad
    truncated images. Memory at its peak is two to four times the image at 4 bytes a pixel, five for WebP and JPEG 2000.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise SettingsError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so Pillow would pad truncated images; "
            "set it to False"
        )
    if not data:
        raise UnreadableImage(uri, "empty")
    policy = policy or DecodePolicy()
    name = recognised(data, uri, policy.formats)
    if is_cut(data):
        raise UnreadableImage(uri, "truncated", "the file is shorter than it says")
    if damage := damaged_chunk(data):
        raise UnreadableImage(uri, "broken", damage)
    told = Told()
    if name == "TIFF":
        data, told = full_page(data, uri)
    try:
        stream = HeaderStream(lean_png(data))
    except ValueError as exc:
        raise UnreadableImage(uri, "broken", str(exc)) from exc
    try:
        seen, orientation = _decoded(Image.OPEN[name][0], stream, uri, max_pixels, min_side)
        if seen.taken_at is None:
            seen = replace(seen, taken_at=told.taken_at)
        return _turned(seen, told.orientation or orientation)
    except UnreadableImage:
        raise
    except Exception as exc:
        # This is the boundary: decoders fed with broken bytes raise about every class that there is.
        reason = "truncated" if stream.ran_out and stream.in_header else _reason(exc)
        raise UnreadableImage(uri, reason, _detail(exc)) from exc


def as_image(image: Image.Image | NDArray[Any], *, uri: str = "<image>", max_pixels: int = MAX_PIXELS) -> Decoded:
    """A PIL image or an array as `decode` would have it: the pixels of an opened file are those of its bytes.

    Arrays are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or float from 0 to 1; anything else is
    a `QueryError`. The image is left as it is, except that an opened file is loaded. Raises `UnreadableImage`
    where that fails.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not isinstance(image, Image.Image):
        raise QueryError(f"an image is a PIL image or a NumPy array, not {type(image).__name__}")
    try:
        _check_size(image, uri, max_pixels)
        return _turned(*_seen(image, image.size, max_pixels))
    except UnreadableImage:
        raise
    except Exception as exc:
        raise UnreadableImage(uri, _reason(exc), _detail(exc)) from exc


def _decoded(
    factory: _Factory, stream: HeaderStream, uri: str, max_pixels: int, min_side: int | None
) -> tuple[Decoded, int]:
    # Not Image.open, which calls the factory too, and checks a cap of its own, made of a global and a warning.
    with factory(stream, "") as image:
        stream.in_header = False
        _check_size(image, uri, max_pixels)
        if lacks_strips(image, stream.getbuffer().nbytes):
            raise UnreadableImage(uri, "truncated", "strips or tiles lie beyond the end of the file")
        _scale_png_key(image)
        size = None
        if min_side is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
            size = image.size
            image.draft(None, (2 * min_side, 2 * min_side))
        return _seen(image, size, max_pixels)


def _seen(image: Image.Image, size: tuple[int, int] | None, max_pixels: int) -> tuple[Decoded, int]:
    """The image as it lies in the file, which has `size` pixels there if it has not its own, and its orientation."""
    image.load()
    media_type = image.get_format_mimetype() if isinstance(image, ImageFile.ImageFile) else None
    # An MPO is a JPEG with more pictures behind it, as phones make them.
    media_type = "image/jpeg" if media_type == "image/mpo" else media_type or ""
    orientation, taken_at = read_exif(image)  # after loading: PNG may have its EXIF behind the pixels
    seen = shown(image, to_rgb, max_pixels)
    return Decoded(seen, *(size or seen.size), media_type, taken_at), orientation


def _turned(seen: Decoded, orientation: int) -> Decoded:
    """`seen`, upright; a step by itself so that the decoder's own memory is free by now."""
    if orientation not in UPRIGHT:
        return seen
    image = seen.image.transpose(UPRIGHT[orientation])
    width, height = (seen.height, seen.width) if orientation >= 5 else (seen.width, seen.height)
    return replace(seen, image=image, width=width, height=height)


def _check_size(image: Image.Image, uri: str, max_pixels: int) -> None:
    """Refuse by the header, before any pixel is decoded."""
    areas = {"": image.size}
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # libtiff decodes a whole tile however little of it the image needs.
        areas["tiles of "] = (
            image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0),
            image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0),
        )
    for what, (width, height) in areas.items():
        if width * height > max_pixels:
            pixels = f"{what}{width} x {height} = {width * height:,} pixels"
            raise UnreadableImage(
                uri, "too many pixels", f"{pixels}, the limit is {max_pixels:,}; raise IMGVEC_MAX_PIXELS"
            )


def _scale_png_key(image: ImageFile.ImageFile) -> None:
    """Bring a PNG's transparent colour to the depth of the pixels that Pillow will hold; it keeps the file's."""
    key = image.info.get("transparency")
    if key is None or not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return
    match image.tile[0].args:
        case "L;2":
            image.info["transparency"] = key * 85
        case "L;4":
            image.info["transparency"] = key * 17
        case "RGB;16B":
            image.info["transparency"] = tuple(value >> 8 for value in key)


def _from_array(array: NDArray[Any]) -> Image.Image:
    accepted = "accepted are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4), uint8 or float from 0 to 1"
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; channels come last: array.transpose(1, 2, 0)" if channels_first else ""
        raise QueryError(f"an array of shape {array.shape} is no image: {accepted}{hint}")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise QueryError(f"a float array is no image unless its values are from 0 to 1: {accepted}")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise QueryError(f"an array of {array.dtype} is no image: {accepted}")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _reason(exc: Exception) -> str:
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"  # Pillow's own cap, for sizes that only its decoders find out
    return "truncated" if _TRUNCATED.search(str(exc)) else "broken"


def _detail(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
