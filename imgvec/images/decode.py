"""Decodes one untrusted image file to upright 8-bit RGB, or raises `UnreadableImage`.

Everything that Pillow raises is translated here. `decode` is thread-safe and changes no state of Pillow's, and what
applications are used to changing there (`Image.MAX_IMAGE_PIXELS`, `ImageFile.LOAD_TRUNCATED_IMAGES`) never changes
its answer silently.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from imgvec.errors import QueryError, Reason, SettingsError, UnreadableImage
from imgvec.formats import EXTRAS, FORMATS
from imgvec.images.apart import decoded_apart
from imgvec.images.chunks import lean_png
from imgvec.images.complete import HeaderStream, damaged_chunk, is_cut
from imgvec.images.pages import Told, full_page
from imgvec.images.pixels import Decoded, as_it_lies, check_image, decoded_by, detail_of, reason_of, turned
from imgvec.images.recognise import recognised

MAX_PIXELS = 50_000_000


Picture: TypeAlias = bytes | bytearray | memoryview | Image.Image | NDArray[Any]
"""The bytes of an image file, a PIL image, or an array that `as_image` takes."""


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """How files are decoded."""

    formats: tuple[str, ...] = FORMATS
    """Those that are decoded at all, by the names of `imgvec.formats`."""
    sixteen_bit: str | int = "auto"
    """How 16-bit channels become 8-bit (`depth.py`): `auto` by the bits that the values use, `full` by the high byte,
    a number from 8 to 16 by so many bits."""


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
    the block averages of the scaled DCT are not a good filter, and the resize that follows needs room to be one. So are
    HEIF, JPEG XL and camera RAW, which are decoded in a process of their own (`apart.py`).

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
        raise UnreadableImage(uri, "truncated", "the file ends too early")
    if damage := damaged_chunk(data):
        raise UnreadableImage(uri, "broken", damage)
    if name in EXTRAS:
        image, known = decoded_apart(name, data, uri=uri, max_pixels=max_pixels, min_side=min_side)
        return Decoded(image, **known)
    told = Told()
    if name == "TIFF":
        data, told = full_page(data, uri)
    try:
        stream = HeaderStream(lean_png(data))
    except ValueError as exc:
        raise UnreadableImage(uri, "broken", str(exc)) from exc
    try:
        seen, orientation = decoded_by(name, stream, uri, max_pixels, min_side, policy.sixteen_bit)
        if seen.taken_at is None:
            seen = replace(seen, taken_at=told.taken_at)
        if not seen.caption:
            seen = replace(seen, caption=told.caption)
        return turned(seen, told.orientation or orientation)
    except UnreadableImage:
        raise
    except Exception as exc:
        # This is the boundary: decoders fed with broken bytes raise about every class that there is.
        reason: Reason = "truncated" if stream.ran_out and stream.in_header else reason_of(exc)
        raise UnreadableImage(uri, reason, detail_of(exc)) from exc


def as_image(
    image: Image.Image | NDArray[Any],
    *,
    uri: str = "<image>",
    max_pixels: int = MAX_PIXELS,
    policy: DecodePolicy | None = None,
) -> Decoded:
    """A PIL image or an array as `decode` would have it: the pixels of an opened file are those of its bytes.

    Arrays are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or float from 0 to 1; anything else is
    a `QueryError`. The image is left as it is, except that an opened file is loaded. Raises `UnreadableImage`
    where that fails. Of 16-bit colour that was loaded before, Pillow has kept the high bytes, and they are what counts.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not isinstance(image, Image.Image):
        raise QueryError(f"an image must be a PIL image or a NumPy array, not {type(image).__name__}")
    try:
        check_image(image, uri, max_pixels)
        return turned(*as_it_lies(image, image.size, max_pixels, (policy or DecodePolicy()).sixteen_bit))
    except UnreadableImage:
        raise
    except Exception as exc:
        raise UnreadableImage(uri, reason_of(exc), detail_of(exc)) from exc


def as_png(
    image: Image.Image | NDArray[Any],
    *,
    uri: str = "<image>",
    max_pixels: int = MAX_PIXELS,
    policy: DecodePolicy | None = None,
) -> bytes:
    """The pixels of `as_image` as the bytes of a PNG file; raises as that does."""
    data = io.BytesIO()
    upright = as_image(image, uri=uri, max_pixels=max_pixels, policy=policy).image
    upright.save(data, "PNG", compress_level=1)  # these bytes are read back at once more often than kept
    return data.getvalue()


def _from_array(array: NDArray[Any]) -> Image.Image:
    accepted = "accepted are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4), uint8 or float from 0 to 1"
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; channels come last: array.transpose(1, 2, 0)" if channels_first else ""
        raise QueryError(f"an array of shape {array.shape} is not an image: {accepted}{hint}")
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise QueryError(f"a float array is not an image unless its values are from 0 to 1: {accepted}")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise QueryError(f"an array of {array.dtype} is not an image: {accepted}")
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)
