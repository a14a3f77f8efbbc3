"""`decode` and `as_image` on images that are as they should be, in every format and mode."""

from __future__ import annotations

import io
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from imgvec.errors import QueryError, SettingsError, UnreadableImage
from imgvec.formats import EXTRAS
from imgvec.images import FORMATS, as_image, decode

DATA = os.environ.get("IMGVEC_TEST_DATA")
ORIENTATION = 0x0112


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, uri="x").image)


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Smooth, coloured, and different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - (x + y) / 2], axis=2).astype(np.uint8))


@pytest.mark.parametrize(
    ("format", "options", "media_type", "tolerance"),
    [
        ("JPEG", {"quality": 95}, "image/jpeg", 8),
        ("PNG", {}, "image/png", 0),
        ("WEBP", {"lossless": True}, "image/webp", 0),
        ("GIF", {}, "image/gif", 40),
        ("BMP", {}, "image/bmp", 0),
        ("TIFF", {"compression": "tiff_lzw"}, "image/tiff", 0),
        ("AVIF", {"quality": 95}, "image/avif", 12),
        ("PPM", {}, "image/x-portable-pixmap", 0),
        ("JPEG2000", {}, "image/jp2", 0),
    ],
)
def test_every_allowed_format(format: str, options: dict, media_type: str, tolerance: int) -> None:
    original = photo()
    decoded = decode(encoded(original, format, **options), uri="x")
    assert decoded.image.mode == "RGB"
    assert type(decoded.image) is Image.Image
    assert (decoded.width, decoded.height) == decoded.image.size == original.size
    assert decoded.media_type == media_type
    assert decoded.taken_at is None
    difference = np.abs(np.asarray(decoded.image, np.int16) - np.asarray(original, np.int16))
    assert difference.max() <= tolerance


def test_the_formats_above_are_all_the_formats() -> None:
    mark = next(m for m in test_every_allowed_format.pytestmark if m.name == "parametrize")
    assert {case[0] for case in mark.args[1]} == set(FORMATS) - set(EXTRAS)


def test_first_frame_of_an_animation() -> None:
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        data = encoded(red, format, save_all=True, append_images=[blue])
        assert np.abs(pixels(data).astype(int) - (255, 0, 0)).max() <= 4, format


def test_a_phone_s_mpo_is_a_jpeg() -> None:
    decoded = decode(encoded(photo(), "MPO", save_all=True, append_images=[photo(32, 24)]), uri="x")
    assert decoded.media_type == "image/jpeg"
    assert decoded.image.size == (64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation(format: str, orientation: int) -> None:
    upright = photo()
    # the transposition that a camera's sensor made, undone by the one that EXIF names
    stored = upright.transpose(
        {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }[orientation]
    ) if orientation > 1 else upright  # fmt: skip
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format == "WEBP" else {"quality": 95} if format in ("JPEG", "AVIF") else {}
    data = encoded(stored, format, exif=exif, **options)
    decoded = decode(data, uri="x")
    assert (decoded.width, decoded.height) == decoded.image.size == (64, 48)
    assert np.abs(np.asarray(decoded.image, np.int16) - np.asarray(upright, np.int16)).max() <= 12
    # no format is left that would turn the image a second time
    assert decoded.image.info == {}
    assert ORIENTATION not in decoded.image.getexif()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_nonsense_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert np.array_equal(pixels(encoded(photo(), "PNG", exif=exif)), np.asarray(photo()))


@pytest.mark.skipif(not DATA, reason="IMGVEC_TEST_DATA is not set")
@pytest.mark.parametrize("scene", ["Landscape", "Portrait"])
def test_orientation_of_real_photos(scene: str) -> None:
    decoded = [
        decode(Path(DATA or "", "exif_orientation", f"{scene}_{n}.jpg").read_bytes(), uri=str(n)) for n in range(9)
    ]
    assert len({(one.width, one.height) for one in decoded}) == 1
    small = [np.asarray(one.image.resize((32, 32), Image.Resampling.BOX), np.float32) for one in decoded]
    for n in range(1, 9):
        assert np.abs(small[n] - small[0]).mean() < 6, n
    # and the same measure tells a photo that is not upright
    assert np.abs(small[0][::-1] - small[0]).mean() > 20


def test_large_jpeg_is_decoded_smaller_but_not_too_small() -> None:
    data = encoded(photo(1600, 1200), "JPEG")
    for min_side, expected in [(75, (200, 150)), (100, (400, 300)), (300, (800, 600)), (301, (1600, 1200))]:
        decoded = decode(data, uri="x", min_side=min_side)
        assert decoded.image.size == expected
        assert min(decoded.image.size) >= 2 * min_side
        assert (decoded.width, decoded.height) == (1600, 1200)
    assert decode(data, uri="x").image.size == (1600, 1200)


def test_full_size_is_said_upright_when_decoded_smaller() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    decoded = decode(encoded(photo(1600, 1200), "JPEG", exif=exif), uri="x", min_side=75)
    assert (decoded.width, decoded.height) == (1200, 1600)
    assert decoded.image.size == (150, 200)


def test_cmyk_jpeg_is_decoded_smaller_in_the_right_colours() -> None:
    original = photo(1600, 1200).convert("CMYK")
    decoded = decode(encoded(original, "JPEG", quality=95), uri="x", min_side=75).image
    expected = original.convert("RGB").resize(decoded.size, Image.Resampling.BOX)
    assert decoded.size == (200, 150)
    assert np.abs(np.asarray(decoded, np.int16) - np.asarray(expected, np.int16)).max() <= 12


def test_too_many_pixels_is_seen_in_the_header() -> None:
    png = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    png[16:24] = (9000).to_bytes(4) + (9000).to_bytes(4)
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4)
    with pytest.raises(UnreadableImage, match=r"81,000,000 pixels.*50,000,000.*IMGVEC_MAX_PIXELS") as caught:
        decode(bytes(png), uri="x")
    assert caught.value.reason == "too many pixels"
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(bytes(png), uri="x", max_pixels=81_000_000)


def test_the_limit_itself_is_allowed() -> None:
    data = encoded(photo(10, 10), "PNG")
    assert decode(data, uri="x", max_pixels=100).image.size == (10, 10)
    with pytest.raises(UnreadableImage, match="too many pixels"):
        decode(data, uri="x", max_pixels=99)


@pytest.mark.parametrize("cap", [None, 1, 10])
def test_pillow_s_own_cap_changes_nothing(monkeypatch: pytest.MonkeyPatch, cap: int | None) -> None:
    data = encoded(photo(), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", cap)
    assert decode(data, uri="x").image.size == (64, 48)
    with pytest.raises(UnreadableImage, match="IMGVEC_MAX_PIXELS"):
        decode(data, uri="x", max_pixels=100)


def test_padding_of_truncated_images_is_refused_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(SettingsError, match="LOAD_TRUNCATED_IMAGES"):
        decode(encoded(photo(), "JPEG"), uri="x")


def test_threads_decode_the_same() -> None:
    files = [encoded(photo(200 + n, 150), format) for n in range(6) for format in ("JPEG", "PNG", "TIFF", "WEBP")]
    alone = [pixels(data) for data in files]
    start = threading.Barrier(8)

    def all_of_them(_: int) -> bool:
        start.wait()
        return all(np.array_equal(pixels(data), one) for data, one in zip(files, alone, strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(all_of_them, range(8)))


class TestAsImage:
    @pytest.mark.parametrize("loaded", [False, True])
    @pytest.mark.parametrize(
        ("mode", "format", "options"),
        [
            ("RGB", "JPEG", {}),
            ("CMYK", "JPEG", {}),
            ("RGB", "TIFF", {}),
            ("RGBA", "PNG", {}),
            ("P", "PNG", {"transparency": 3}),
            ("I;16", "PNG", {}),
            ("RGB", "GIF", {}),
        ],
    )
    def test_an_opened_file_is_what_its_bytes_are(self, mode: str, format: str, options: dict, loaded: bool) -> None:
        exif = {} if format == "GIF" else {"exif": _turned_exif()}
        image = photo().convert("L").convert(mode) if mode == "I;16" else photo().convert(mode)
        data = encoded(image, format, **options, **exif)
        opened = Image.open(io.BytesIO(data))
        if loaded:
            opened.load()
        seen, decoded = as_image(opened), decode(data, uri="x")
        assert np.array_equal(np.asarray(seen.image), np.asarray(decoded.image))
        assert (seen.width, seen.height, seen.media_type) == (decoded.width, decoded.height, decoded.media_type)

    def test_the_caller_s_image_stays_as_it_was(self) -> None:
        image = photo().convert("RGBA")
        image.info["exif"] = _turned_exif().tobytes()
        before, info = image.tobytes(), dict(image.info)
        seen = as_image(image)
        seen.image.paste("black", (0, 0, *seen.image.size))
        assert (image.mode, image.size, image.tobytes(), image.info) == ("RGBA", (64, 48), before, info)

    def test_the_result_shares_no_pixels_with_an_rgb_image(self) -> None:
        image = photo()
        as_image(image).image.putpixel((0, 0), (1, 2, 3))
        assert image.getpixel((0, 0)) != (1, 2, 3)

    def test_arrays(self) -> None:
        grey = np.asarray(photo().convert("L"))
        rgb = np.asarray(photo())
        rgba = np.dstack([rgb, np.full(grey.shape, 255, np.uint8)])
        assert np.array_equal(np.asarray(as_image(rgb).image), rgb)
        assert np.array_equal(np.asarray(as_image(rgba).image), rgb)
        assert np.array_equal(np.asarray(as_image(grey).image), np.dstack([grey] * 3))
        assert np.array_equal(np.asarray(as_image(grey[:, :, None]).image), np.dstack([grey] * 3))
        assert np.array_equal(np.asarray(as_image((rgb / 255).astype(np.float32)).image), rgb)
        assert np.array_equal(np.asarray(as_image(rgb[::2, ::-1]).image), rgb[::2, ::-1])
        assert as_image(rgb).media_type == ""

    def test_transparent_array_shows_white(self) -> None:
        assert np.array_equal(np.asarray(as_image(np.zeros((2, 2, 4), np.uint8)).image), np.full((2, 2, 3), 255))

    def test_an_image_without_pixels_is_broken(self) -> None:
        """Pillow makes them, and what resizes them divides by zero."""
        with pytest.raises(UnreadableImage, match="0 x 5 pixels") as raised:
            as_image(Image.new("RGB", (0, 5)))
        assert raised.value.reason == "broken"

    @pytest.mark.parametrize(
        ("array", "says"),
        [
            (np.zeros((3, 8, 9), np.uint8), "transpose"),
            (np.zeros((8, 9, 2), np.uint8), "accepted are"),
            (np.zeros((8,), np.uint8), "accepted are"),
            (np.zeros((2, 8, 9, 3), np.uint8), "accepted are"),
            (np.zeros((0, 8, 3), np.uint8), "accepted are"),
            (np.zeros((8, 9, 3), np.int64), "int64"),
            (np.zeros((8, 9, 3), bool), "bool"),
            (np.full((8, 9, 3), 255.0), "from 0 to 1"),
            (np.full((8, 9, 3), -0.1), "from 0 to 1"),
            (np.full((8, 9, 3), np.nan), "from 0 to 1"),
        ],
    )
    def test_other_arrays_are_no_query(self, array: np.ndarray, says: str) -> None:
        with pytest.raises(QueryError, match=says):
            as_image(array)

    def test_something_else_is_no_query(self) -> None:
        with pytest.raises(QueryError, match="not list"):
            as_image([[1, 2], [3, 4]])

    def test_truncated_and_closed_files_are_refused(self) -> None:
        data = encoded(photo(), "JPEG")
        with pytest.raises(UnreadableImage, match="<image>: truncated"):
            as_image(Image.open(io.BytesIO(data[:-100])))
        closed = Image.open(io.BytesIO(data))
        closed.close()
        with pytest.raises(UnreadableImage, match="broken"):
            as_image(closed)

    def test_too_many_pixels(self) -> None:
        with pytest.raises(UnreadableImage, match="too many pixels"):
            as_image(photo(), max_pixels=100)


def _turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif
