"""Bytes of one image file, from anyone, to upright 8-bit RGB or `UnreadableImage`.

Everything that Pillow raises is translated here. `decode` is thread-safe and changes no state of Pillow's, and what
applications are used to changing there (`Image.MAX_IMAGE_PIXELS`, `ImageFile.LOAD_TRUNCATED_IMAGES`) never changes
its answer silently.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import (  # noqa: F401 - importing a plugin registers its format in Image.OPEN
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from imgvec.errors import QueryError, SettingsError, UnreadableImage
from imgvec.images.exif import UPRIGHT, read_exif
from imgvec.images.modes import to_rgb

#: Formats that are decoded, by Pillow's names. Each is known by its first bytes, says its size before any pixel is
#: decoded, and is decoded by a library that is fuzzed. So not here: EPS, PDF and WMF (run by other programs), TGA (no
#: signature, random bytes pass for one), ICO, ICNS and PSD (images inside images, of sizes that the header does not
#: say), QOI (decoded in Python, a second a megapixel), and formats of scientists and game makers.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")

MAX_PIXELS = 50_000_000

# Pillow tells of broken metadata (corrupt EXIF, malformed MPO and APNG) by warnings on stderr: once for ever a
# line of Pillow, for one image of thousands, and not saying which. `catch_warnings` swaps the filters of the
# whole process and is not safe in threads, hence this one filter, as narrow as it can be; it leaves Pillow's
# DecompressionBombWarning and DeprecationWarning to the application.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(Tiff|Jpeg|Png)ImagePlugin")

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


def decode(data: bytes, *, uri: str, max_pixels: int = MAX_PIXELS, min_side: int | None = None) -> Decoded:
    """Decode an image file, the first frame of an animation.

    `min_side` is the side in pixels that the image will be made small to. A large JPEG is then decoded at 1/2, 1/4
    or 1/8 of its size, which is several times faster, as long as the short side stays at least twice `min_side`:
    the block averages of the scaled DCT are no good filter, and the resize that follows needs room to be one.

    Raises `UnreadableImage` whatever is wrong with `data`, and `SettingsError` while Pillow is told to pad
    truncated images. Memory stays below four times the upright image, 4 bytes a pixel.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise SettingsError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so Pillow would pad truncated images; "
            "set it to False"
        )
    if not data:
        raise UnreadableImage(uri, "empty")
    factory = _factory(data, uri)
    stream = BytesIO(data)
    try:
        # Not Image.open, which is these two lines and a cap of its own, made of a global and a warning.
        with factory(stream, "") as image:
            _check_size(image, uri, max_pixels)
            _scale_png_key(image)
            width, height = image.size
            if min_side is not None and isinstance(image, JpegImagePlugin.JpegImageFile):
                image.draft(None, (2 * min_side, 2 * min_side))
            return _upright(image, width, height)
    except UnreadableImage:
        raise
    except Exception as exc:
        # This is the boundary: decoders fed with broken bytes raise about every class that there is.
        raise UnreadableImage(uri, _reason(exc, data, stream), _detail(exc)) from exc


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
        width, height = image.size
        return _upright(image, width, height)
    except UnreadableImage:
        raise
    except Exception as exc:
        raise UnreadableImage(uri, _reason(exc), _detail(exc)) from exc


def _upright(image: Image.Image, width: int, height: int) -> Decoded:
    image.load()
    media_type = image.get_format_mimetype() if isinstance(image, ImageFile.ImageFile) else None
    orientation, taken_at = read_exif(image)  # after loading: PNG may have its EXIF behind the pixels
    rgb = to_rgb(image)
    if orientation in UPRIGHT:
        rgb = rgb.transpose(UPRIGHT[orientation])
        if orientation >= 5:
            width, height = height, width
    # An MPO is a JPEG with more pictures behind it, as phones make them.
    media_type = "image/jpeg" if media_type == "image/mpo" else media_type
    return Decoded(rgb, width, height, media_type or "", taken_at)


def _factory(data: bytes, uri: str) -> _Factory:
    prefix = data[:16]
    if _is_heif(data):
        raise UnreadableImage(uri, "format not allowed", "HEIF; convert it to JPEG")
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        verdict = accept is not None and accept(prefix)
        if isinstance(verdict, str):
            raise UnreadableImage(uri, "format not allowed", f"{name}; this Pillow was built without it")
        if verdict:
            return factory
    Image.init()  # registers every plugin; none but its test of the first bytes is called
    for name, (_, accept) in list(Image.OPEN.items()):
        try:
            known = accept is not None and accept(prefix)
        except (IndexError, struct.error):  # fewer bytes than the test looks at
            continue
        if known:
            raise UnreadableImage(uri, "format not allowed", f"{name}; allowed are {', '.join(FORMATS)}")
    raise UnreadableImage(uri, "not an image")


def _is_heif(data: bytes) -> bool:
    """ISO base media with HEVC images and no AV1 (ISO/IEC 23008-12); Pillow's AVIF plugin takes `mif1` for its own."""
    if data[4:8] != b"ftyp":
        return False
    brands = re.findall(b"(?s)....", data[8 : min(int.from_bytes(data[:4]), 256)])
    return not {b"avif", b"avis"} & set(brands) and bool({b"heic", b"heix", b"hevc", b"mif1", b"msf1"} & set(brands))


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


_TRUNCATED = re.compile(r"truncat|not enough|unexpected end|end of file|EOF|only got \d+", re.IGNORECASE)


def _reason(exc: Exception, data: bytes = b"", stream: BytesIO | None = None) -> str:
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "too many pixels"  # Pillow's own cap, for sizes that only its decoders find out
    ran_out = isinstance(exc.__cause__ or exc, EOFError | IndexError | struct.error)
    if ran_out and stream is not None and not stream.closed and stream.tell() >= len(data):
        return "truncated"
    riff_is_short = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" if riff_is_short or _TRUNCATED.search(str(exc)) else "broken"


def _detail(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
