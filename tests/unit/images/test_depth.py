"""16 bits a channel to 8: by what the values use, unless the collection says otherwise."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiffs import TiffWriter

from imgvec.images import DecodePolicy, as_image, decode

X, Y = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48))
SCENE = np.stack([X, Y, 1 - (X + Y) / 2], axis=2)
EIGHT = np.rint(SCENE * 255).astype(int)
GREY, GREY_ALPHA, RGB, RGBA = 0, 4, 2, 6
"""Colour types of PNG."""


def png(values: np.ndarray, colour: int, *, key: tuple[int, ...] = ()) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)

    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    transparent = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b""
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + transparent + pixels + chunk(b"IEND", b"")


def tiff(values: np.ndarray, *, planes: bool = False, deflated: bool = False) -> bytes:
    out = TiffWriter()
    channels = values.shape[2]
    parts = [values[:, :, n] for n in range(channels)] if planes else [values]
    data = [part.astype("<u2").tobytes() for part in parts]
    data = [zlib.compress(part) for part in data] if deflated else data
    tags = {
        256: (4, values.shape[1]), 257: (4, values.shape[0]), 258: (3, [16] * channels), 259: (3, 8 if deflated else 1),
        262: (3, 2 if channels >= 3 else 1), 273: (4, [out.put(part) for part in data]), 277: (3, channels),
        278: (4, values.shape[0]), 279: (4, [len(part) for part in data]), 284: (3, 2 if planes else 1),
    }  # fmt: skip
    return out.file(out.directory({**tags, **({338: (3, 2)} if channels in (2, 4) else {})}))


def scene(bits: int) -> np.ndarray:
    return np.rint(SCENE * ((1 << bits) - 1)).astype(int)


def opaque(bits: int) -> np.ndarray:
    return np.full((48, 64, 1), (1 << bits) - 1)


FILES = {
    "PNG": lambda bits: png(scene(bits), RGB),
    "PNG, alpha": lambda bits: png(np.dstack([scene(bits), opaque(bits)]), RGBA),
    "PNG, alpha of 16 bits": lambda bits: png(np.dstack([scene(bits), opaque(16)]), RGBA),
    "PNG, grey": lambda bits: png(scene(bits)[:, :, :1], GREY),
    "PNG, grey and alpha": lambda bits: png(np.dstack([scene(bits)[:, :, :1], opaque(bits)]), GREY_ALPHA),
    "TIFF": lambda bits: tiff(scene(bits)),
    "TIFF, planes": lambda bits: tiff(scene(bits), planes=True),
    "TIFF, deflated": lambda bits: tiff(scene(bits), deflated=True),
    "TIFF, alpha": lambda bits: tiff(np.dstack([scene(bits), opaque(bits)])),
    "TIFF, grey": lambda bits: tiff(scene(bits)[:, :, :1]),
    "PPM": lambda bits: b"P6 64 48 65535\n" + scene(bits).astype(">u2").tobytes(),
    "PGM": lambda bits: b"P5 64 48 65535\n" + scene(bits)[:, :, 0].astype(">u2").tobytes(),
}


def error(seen: Image.Image, name: str) -> int:
    expected = EIGHT[:, :, :1] if "grey" in name or name == "PGM" else EIGHT
    return int(np.abs(np.asarray(seen).astype(int) - expected).max())


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_scaled_by_the_bits_that_it_uses(name: str, bits: int) -> None:
    data = FILES[name](bits)
    assert error(decode(data, uri="x").image, name) <= 1
    assert error(as_image(Image.open(io.BytesIO(data))).image, name) <= 1
    # the collection may know better
    assert error(decode(data, uri="x", policy=DecodePolicy(sixteen_bit=bits)).image, name) <= 1
    if "alpha" not in name:
        by_high_byte = decode(data, uri="x", policy=DecodePolicy(sixteen_bit="full")).image
        assert abs(np.asarray(by_high_byte).max() - ((1 << bits) - 1 >> 8)) <= 1


@pytest.mark.parametrize(
    ("largest", "seen"),
    [(255, 255), (256, 64), (1023, 255), (1024, 64), (4095, 255), (4096, 64), (16383, 255), (16384, 64), (65535, 255)],
)
def test_the_least_depth_that_holds_the_largest_value(largest: int, seen: int) -> None:
    values = np.zeros((2, 2, 3), int)
    values[0, 0, 1] = largest
    assert np.asarray(decode(png(values, RGB), uri="x").image).max() == seen
    assert np.asarray(decode(png(values[:, :, 1:2], GREY), uri="x").image).max() == seen
    assert np.asarray(as_image(Image.fromarray(values[:, :, 1].astype(np.uint16))).image).max() == seen


def test_what_has_more_bits_than_the_collection_says_is_white() -> None:
    policy = DecodePolicy(sixteen_bit=12)
    assert (np.asarray(decode(png(np.full((2, 2, 3), 5000), RGB), uri="x", policy=policy).image) == 255).all()
    assert (np.asarray(decode(png(np.full((2, 2, 1), 5000), GREY), uri="x", policy=policy).image) == 255).all()


def test_a_file_that_says_its_depth_is_believed_however_dark() -> None:
    """The maximum of a PGM, the precision of a JPEG 2000 and the 12 bits of a TIFF stand in their headers."""
    dark = np.full((4, 4), 200)
    pgm = b"P5 4 4 4095\n" + dark.astype(">u2").tobytes()
    assert np.abs(np.asarray(decode(pgm, uri="x").image).astype(int) - 200 / 4095 * 255).max() <= 1
    buffer = io.BytesIO()
    Image.fromarray(dark.astype(np.uint16)).save(buffer, "JPEG2000")
    assert np.asarray(decode(buffer.getvalue(), uri="x").image).max() == 0
    out = TiffWriter()
    packed = bytes([0x0C, 0x80, 0xC8] * 2) * 4
    tags = {256: 4, 257: 4, 258: 12, 259: 1, 262: 1, 273: out.put(packed), 277: 1, 278: 4, 279: len(packed)}
    data = out.file(out.directory({tag: (4, value) for tag, value in tags.items()}))
    assert set(np.asarray(decode(data, uri="x").image).flat) == {200 >> 4}


def test_a_transparent_colour_is_that_of_the_file() -> None:
    values = np.array([[[1000, 2000, 3000], [1000, 2000, 3001]]])
    seen = np.asarray(decode(png(values, RGB, key=(1000, 2000, 3000)), uri="x").image)
    assert seen[0].tolist() == [[255, 255, 255], [1000 >> 4, 2000 >> 4, 3001 >> 4]]
