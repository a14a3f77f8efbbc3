"""Every pixel mode of Pillow becomes the RGB that a person sees."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from imgvec.images import DecodePolicy, decode
from imgvec.images.modes import to_rgb

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def rgb(image: Image.Image) -> np.ndarray:
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    assert converted is not image
    assert converted.info == {}
    return np.asarray(converted)


def through_file(image: Image.Image, format: str, **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return np.asarray(decode(buffer.getvalue(), uri="x").image)


def test_rgb_is_copied_exactly() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(rgb(Image.fromarray(array)), array)


@pytest.mark.parametrize(
    "mode", ["L", "1", "P", "RGBX", "HSV", "YCbCr", "CMYK", "LAB", "LA", "La", "PA", "RGBA", "RGBa"]
)
@pytest.mark.parametrize("colour", ["black", "white"])
def test_black_and_white_are_black_and_white(mode: str, colour: str) -> None:
    opaque = Image.new("RGBA", (3, 2), colour)
    steps = {"La": ["LA"], "PA": ["P"], "1": ["L"], "LAB": ["RGB"], "HSV": ["RGB"]}.get(mode, [])
    image = opaque
    for step in [*steps, mode]:
        image = image.convert(step)
    assert image.mode == mode
    expected = 0 if colour == "black" else 255
    assert np.abs(rgb(image).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("name", ["red", "green", "blue", "orange"])
def test_colours_survive_every_colour_space(name: str) -> None:
    colour = Image.new("RGB", (2, 2), name)
    expected = np.asarray(colour).astype(int)
    for mode in ("HSV", "YCbCr", "CMYK", "P", "RGBX"):
        converted = colour.convert(mode, palette=Image.Palette.ADAPTIVE)
        assert np.abs(rgb(converted) - expected).max() <= 3, mode
    profile = ImageCms.createProfile
    lab = ImageCms.profileToProfile(colour, profile("sRGB"), profile("LAB"), outputMode="LAB")
    assert np.abs(rgb(lab) - expected).max() <= 24  # LAB in 8 bits is coarse where sRGB is dark


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_transparent_shows_white_and_half_transparent_half(mode: str) -> None:
    bands = "LA" if mode in ("LA", "La") else "RGBA"
    for alpha, expected in [(0, 255), (128, 127), (255, 0)]:
        colour = (0, alpha) if bands == "LA" else (0, 0, 0, alpha)
        image = Image.new(bands, (2, 2), colour)
        if mode == "PA":
            image = Image.new("PA", (2, 2), (0, alpha))
            image.putpalette([0, 0, 0])
        elif mode != bands:
            image = image.convert(mode)
        assert np.abs(rgb(image).astype(int) - expected).max() <= 1, alpha


def test_palette_with_a_transparent_entry_and_with_alpha_of_its_own() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putdata([0, 1])
    assert through_file(palette, "PNG", transparency=0).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert through_file(palette, "GIF", transparency=0).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    assert through_file(palette, "PNG", transparency=bytes([0, 255])).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    own = Image.new("P", (2, 1))
    own.putpalette([0, 0, 0, 0, 255, 0, 0, 255], "RGBA")
    own.putdata([0, 1])
    assert rgb(own).tolist() == [[[255, 255, 255], [255, 0, 0]]]


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (7, 8, 9)), ("1", 0), ("I;16", 40_000)])
def test_transparent_colour_of_png(mode: str, key: int | tuple[int, int, int]) -> None:
    image = Image.new(mode, (2, 1), key)
    other = {"L": 200, "RGB": (7, 8, 200), "1": 255, "I;16": 40_001}[mode]
    image.putpixel((1, 0), other)
    converted = through_file(image, "PNG", transparency=key)
    assert converted[0, 0].tolist() == [255, 255, 255]
    kept = {"L": [200] * 3, "RGB": [7, 8, 200], "1": [255] * 3, "I;16": [156] * 3}[mode]
    assert converted[0, 1].tolist() == kept


def _png(depth: int, colour: int, key: bytes, row: bytes, width: int) -> bytes:
    """A PNG of one row, by the specification: Pillow writes neither 2 or 4 bit grey nor 16-bit colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)

    header = width.to_bytes(4) + (1).to_bytes(4) + bytes([depth, colour, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"tRNS", key), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def test_transparent_colour_of_png_is_in_the_file_s_depth() -> None:
    four_bit = decode(_png(4, 0, bytes([0, 5]), bytes([0x5A]), 2), uri="x").image
    assert np.asarray(four_bit)[0, :, 0].tolist() == [255, 170]
    two_bit = decode(_png(2, 0, bytes([0, 1]), bytes([0b01_10_00_00]), 2), uri="x").image
    assert np.asarray(two_bit)[0, :, 0].tolist() == [255, 170]
    black, other = bytes([0x12, 0x34] * 3), bytes([0x34, 0x12] * 3)
    sixteen_bit = decode(_png(16, 2, black, black + other, 2), uri="x", policy=DecodePolicy(sixteen_bit="full")).image
    assert np.asarray(sixteen_bit)[0].tolist() == [[255] * 3, [0x34] * 3]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_not_clipped(format: str) -> None:
    seen = through_file(Image.fromarray(RAMP), format)
    assert np.array_equal(seen[..., 0], seen[..., 2])
    assert np.abs(seen[..., 0] - RAMP / 257).max() <= 1
    assert np.unique(seen).size == 256


def test_big_endian_16_bit_tiff() -> None:
    data = RAMP.astype(">u2").tobytes()
    tags = {256: 256, 257: 256, 258: 16, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 256, 279: len(data)}
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    tiff = b"MM\x00\x2a" + struct.pack(">IH", 8, len(tags)) + entries + bytes(4) + data
    with Image.open(io.BytesIO(tiff)) as opened:
        assert opened.mode == "I;16B"
    assert np.abs(np.asarray(decode(tiff, uri="x").image)[..., 0] - RAMP / 257).max() <= 1


def test_32_bit_integers_are_16_bit_where_they_fit_and_stretched_else() -> None:
    fits = rgb(Image.fromarray(RAMP.astype(np.int32)))
    assert np.abs(fits[..., 0] - RAMP / 257).max() <= 1
    wide = (RAMP.astype(np.int64) * 60_000 - 2_000_000_000).astype(np.int32)
    assert np.abs(rgb(Image.fromarray(wide))[..., 0] - RAMP / 257).max() <= 1


def test_floats() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    assert np.abs(rgb(Image.fromarray(ramp))[..., 0] - expected).max() <= 1
    assert np.abs(rgb(Image.fromarray(ramp * 1e30 - 5e29))[..., 0] - expected).max() <= 1
    assert rgb(Image.fromarray(ramp / 2)).max() in (127, 128)
    assert np.abs(through_file(Image.fromarray(ramp), "TIFF")[..., 0] - expected).max() <= 1


def test_floats_that_are_no_numbers() -> None:
    odd = np.array([[np.nan, -np.inf, 0.0, 0.5, 1.0, np.inf]], np.float32)
    assert rgb(Image.fromarray(odd))[0, :, 0].tolist() in ([0, 0, 0, 128, 255, 255], [0, 0, 0, 127, 255, 255])
    far = np.array([[np.finfo(np.float32).min, 0, np.finfo(np.float32).max]], np.float32)
    assert rgb(Image.fromarray(far))[0, :, 0].tolist() in ([0, 128, 255], [0, 127, 255])
    assert rgb(Image.fromarray(np.full((2, 2), 7.0, np.float32))).tolist() == np.zeros((2, 2, 3)).tolist()
    with pytest.raises(ValueError, match="no pixel"):
        to_rgb(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


def test_stretching_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.random.default_rng(0).normal(size=(37, 11)).astype(np.float32))
    whole = rgb(image)
    monkeypatch.setattr("imgvec.images.modes._BLOCK", 25)
    assert np.array_equal(rgb(image), whole)


def test_cmyk_jpeg_has_adobe_s_inversion() -> None:
    for colour in ("red", "white", "black", "blue"):
        original = Image.new("RGB", (16, 16), colour)
        seen = through_file(original.convert("CMYK"), "JPEG", quality=95)
        assert np.abs(seen.astype(int) - np.asarray(original)).max() <= 6, colour


def bmp(colours: Image.Image) -> np.ndarray:
    """Through a BMP of 32 bits a pixel whose header has a mask for alpha, as many programs write it."""
    pixels = colours.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, *colours.size, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
    head = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(pixels), 0, 0, 14 + len(info))
    return np.asarray(decode(head + info + pixels, uri="x").image)


@pytest.mark.parametrize("alpha", [0, 255])
def test_a_bmp_of_which_nobody_set_the_alpha_is_opaque(alpha: int) -> None:
    colours = Image.new("RGBA", (4, 3), (10, 20, 30, alpha))
    colours.putpixel((1, 1), (200, 100, 50, alpha))
    assert np.array_equal(bmp(colours), np.asarray(colours)[:, :, :3])
    # where alpha means what it says, such a picture shows nothing
    assert (through_file(colours, "PNG") == 255).all() == (alpha == 0)


def test_a_bmp_with_an_alpha_that_somebody_set_shows_white_where_it_is_0() -> None:
    colours = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    colours.putpixel((1, 0), (200, 100, 50, 255))
    assert bmp(colours).tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),  # from 0 to 1 as it is
        ([0.2, 0.4], [51, 102]),
        ([0.0, 0.75, 1.5], [0, 128, 255]),  # a wider range is stretched
        ([-0.5, 0.0, 0.5], [0, 128, 255]),
        ([0.0, 1.0, 255.0], [0, 1, 255]),
    ],
)
def test_floats_from_0_to_1_are_grey_and_others_are_stretched(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert np.abs(rgb(image)[0, :, 0].astype(int) - expected).max() <= 1
