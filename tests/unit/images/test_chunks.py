"""A PNG keeps its pixels whatever its profile and texts hold; what inflates without bounds is refused."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images import decode

NOISE = np.random.default_rng(0).integers(0, 256, 1_300_000, dtype=np.uint8).tobytes()
XMP = b'<x tiff:Orientation="6"/>'


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8))


def png(**options: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", **options)
    return buffer.getvalue()


PNG = png()


def with_chunks(*chunks: bytes, into: bytes = PNG) -> bytes:
    return into[:33] + b"".join(chunks) + into[33:]


def profile(size: int) -> bytes:
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(NOISE[:size]))


def itxt(key: bytes, text: bytes, *, packed: bool = True) -> bytes:
    return chunk(b"iTXt", key + (b"\0\1\0\0\0" + zlib.compress(text) if packed else b"\0\0\0\0\0" + text))


@pytest.mark.parametrize(
    "data",
    [
        with_chunks(profile(1_300_000)),
        with_chunks(profile(1_000), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3 << 20)))),
        with_chunks(itxt(b"workflow", b'{"a":1}' * 200_000)),
        with_chunks(*(chunk(b"tEXt", b"k\0" + bytes(900_000)) for _ in range(80))),
        with_chunks(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 << 20))[:-20])),
        PNG[:-12] + chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(3 << 20))) + PNG[-12:],
        with_chunks(profile(1_300_000), into=png(save_all=True, append_images=[picture().rotate(180)])),
    ],
    ids=["profile", "zTXt", "iTXt", "many tEXt", "broken zTXt", "behind the pixels", "APNG"],
)
def test_large_profiles_and_texts_cost_no_picture(data: bytes) -> None:
    assert np.array_equal(np.asarray(decode(data, uri="x").image), np.asarray(picture()))


@pytest.mark.parametrize("filler", [0, 3_000_000])
@pytest.mark.parametrize(
    "text",
    [
        lambda filler: itxt(b"XML:com.adobe.xmp", XMP + b" " * filler),
        lambda filler: itxt(b"XML:com.adobe.xmp", XMP + b" " * filler, packed=False),
        lambda filler: chunk(
            b"zTXt",
            b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n    26\n" + TURNED.hex().encode() + b"\n" * filler),
        ),
    ],
    ids=["xmp", "plain xmp", "exif"],
)
def test_the_orientation_is_read_from_a_text_of_any_size(text: object, filler: int) -> None:
    assert callable(text)
    decoded = decode(with_chunks(profile(1_300_000), text(filler)), uri="x")
    assert (decoded.width, decoded.height) == (12, 16)


TURNED = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.mark.parametrize(
    "bomb",
    [
        [chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(64 << 20)))],
        [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 << 20)))],
        [itxt(b"k", bytes(64 << 20))],
        [itxt(b"XML:com.adobe.xmp", bytes(64 << 20))],
        [chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes(900_000))) for n in range(80)],
    ],
    ids=["iCCP", "zTXt", "iTXt", "xmp", "many"],
)
def test_what_inflates_without_bounds_is_refused_in_bounded_memory(bomb: list[bytes]) -> None:
    data = with_chunks(*bomb)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImage, match="inflate to 64 MiB or more") as caught:
            decode(data, uri="x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "broken"
    assert peak < 8 << 20


def test_a_file_cut_off_within_a_profile_is_truncated() -> None:
    data = with_chunks(profile(1_300_000))
    for end in (100, 1_000_000, len(data) - 100):
        with pytest.raises(UnreadableImage, match="truncated"):
            decode(data[:end], uri="x")
