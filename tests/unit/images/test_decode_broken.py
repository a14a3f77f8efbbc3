"""`decode` on what is broken, odd or made to do harm: an image or `UnreadableImage`, never anything else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images import decode

DATA = os.environ.get("IMGVEC_TEST_DATA")
ROOT = Path(__file__).parents[3]


def encoded(format: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((96, 72)).convert(str(options.pop("mode", "RGB")))
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


FILES = {
    "baseline.jpg": encoded("JPEG"),
    "progressive.jpg": encoded("JPEG", progressive=True),
    "cmyk.jpg": encoded("JPEG", mode="CMYK"),
    "rgb.png": encoded("PNG"),
    "palette.gif": encoded("GIF"),
    "lossy.webp": encoded("WEBP"),
    "lossless.webp": encoded("WEBP", lossless=True),
    "rgb.bmp": encoded("BMP"),
    "raw.tiff": encoded("TIFF"),
    "lzw.tiff": encoded("TIFF", compression="tiff_lzw"),
    "deflate.tiff": encoded("TIFF", compression="tiff_adobe_deflate"),
    "jpeg.tiff": encoded("TIFF", compression="jpeg"),
    "rgb.ppm": encoded("PPM"),
    "rgb.avif": encoded("AVIF"),
    "tiled.jp2": encoded("JPEG2000", tile_size=(32, 32)),
    "tiled.j2k": encoded("JPEG2000", tile_size=(32, 32), no_jp2=True),
}

# What may be cut off without a pixel lost, in bytes: the trailer after the last pixel.
TRAILERS = {"rgb.png": 20, "palette.gif": 2}


def reason_of(data: bytes, **options: int) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, uri="some/image.jpg", **options)
    assert caught.value.uri == "some/image.jpg"
    return caught.value.reason


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused_and_never_padded(name: str) -> None:
    data = FILES[name]
    whole = np.asarray(decode(data, uri=name).image)
    reasons: Counter[str] = Counter()
    for end in range(1, len(data), max(1, len(data) // 400)):
        try:
            seen = np.asarray(decode(data[:end], uri=name).image)
        except UnreadableImage as exc:
            reasons[exc.reason] += 1
        else:
            assert len(data) - end <= TRAILERS.get(name, 0)
            assert np.array_equal(seen, whole)
    assert set(reasons) <= {"truncated", "not an image", "broken"}
    assert reasons["truncated"] > 0.9 * reasons.total(), reasons


def test_empty_and_no_image() -> None:
    assert reason_of(b"") == "empty"
    assert reason_of(b"x") == "not an image"
    assert reason_of(b"Python is no Portable Anymap") == "not an image"
    assert reason_of(bytes(1000)) == "not an image"
    assert reason_of("Grüße".encode() * 100) == "not an image"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"8BPS\0\1" + bytes(20), "PSD"),
        (b"\xd7\xcd\xc6\x9a" + bytes(20), "WMF"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"\0\0\1\0\1\0" + bytes(20), "ICO"),
        (b"qoif" + bytes(20), "QOI"),
    ],
)
def test_formats_that_are_not_allowed(start: bytes, name: str) -> None:
    with pytest.raises(UnreadableImage, match=name) as caught:
        decode(start, uri="x.jpg")
    assert caught.value.reason == "format not allowed"


def test_postscript_never_reaches_ghostscript(tmp_path: Path) -> None:
    """With a `gs` on the path that leaves a trace: Pillow by itself runs it, `decode` does not."""
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/trace\n")
    ghostscript.chmod(0o755)
    eps = tmp_path / "photo.jpg"
    eps.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    code = """
import sys, pathlib
from PIL import Image
from imgvec.errors import UnreadableImage
from imgvec.images import decode
eps, trace = map(pathlib.Path, sys.argv[1:])
try:
    decode(eps.read_bytes(), uri=str(eps))
except UnreadableImage as exc:
    assert exc.reason == "format not allowed", exc
assert not trace.exists()
try:
    Image.open(eps).load()
except Exception:
    pass
assert trace.exists(), "the trap itself does not work"
"""
    _python(code, str(eps), str(tmp_path / "trace"), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})


def test_broken_metadata_neither_costs_the_image_nor_warns(tmp_path: Path) -> None:
    """Pillow warns about each of these; with `-W error` a warning that got through would be an exception."""
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0"
        + b"\x69\x87\x04\0\x01\0\0\0\xf0\xff\0\0"
        + b"\x12\x01\x02\0\xff\xff\0\0\xf0\xff\0\0"
    )
    jpeg = FILES["baseline.jpg"]
    (tmp_path / "exif.jpg").write_bytes(jpeg[:2] + _segment(0xE1, exif) + jpeg[2:])
    (tmp_path / "mpo.jpg").write_bytes(jpeg[:2] + _segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0" + bytes(12)) + jpeg[2:])
    png = FILES["rgb.png"]
    (tmp_path / "apng.png").write_bytes(png[:33] + _chunk(b"acTL", bytes(8)) + png[33:])
    code = """
import sys, pathlib
from imgvec.images import decode
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(decode(path.read_bytes(), uri=str(path)).image.size)
"""
    result = _python(code, str(tmp_path), flags=["-W", "error"])
    assert result.stdout.split("\n") == ["(96, 72)"] * 3 + [""]
    assert result.stderr == ""
    control = """
import sys, pathlib
from PIL import Image
for path in pathlib.Path(sys.argv[1]).iterdir():
    Image.open(path).getexif()
"""
    assert "Warning" in _python(control, str(tmp_path)).stderr


def test_a_tile_larger_than_the_limit_is_refused_before_it_is_inflated() -> None:
    """16 x 16 pixels in one tile of 30000 x 30000, deflated: libtiff would inflate all of it."""
    with pytest.raises(UnreadableImage, match="tiles of 30000 x 30000"):
        decode(_tiff(zlib.compress(bytes(1 << 20)), {322: 30_000, 323: 30_000}, 324, 325), uri="x")


def test_compressed_strips_beyond_the_end_are_truncation() -> None:
    """Where the directory comes first, a cut TIFF has a whole header."""
    tiff = _tiff(zlib.compress(os.urandom(256)), {278: 16}, 273, 279)
    assert decode(tiff, uri="x").image.size == (16, 16)
    assert reason_of(tiff[:-1]) == "truncated"


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_a_chunk_that_inflates_to_much_is_refused(chunk: bytes) -> None:
    png = FILES["rgb.png"]
    bomb = _chunk(chunk, b"name\0\0" + zlib.compress(bytes(64 << 20)))
    assert reason_of(png[:33] + bomb + png[33:]) == "broken"


def test_a_png_whose_pixels_do_not_fit_their_checksum_is_refused() -> None:
    """Pillow takes neither of the two sums for its business, so each of these is a picture to it."""
    png, pictures = FILES["rgb.png"], 0
    start = png.index(b"IDAT") + 4
    length = int.from_bytes(png[start - 8 : start - 4])
    for at in range(start + 2, start + length, 5):
        damaged = png[:at] + bytes([png[at] ^ 0x10]) + png[at + 1 :]
        with contextlib.suppress(OSError, SyntaxError):
            Image.open(io.BytesIO(damaged)).load()
            pictures += 1
        assert reason_of(damaged) == "broken"
    assert pictures > 0
    # what stands behind the end, and a chunk that no pixel is in, tells nothing of the pixels
    assert decode(png + _chunk(b"IDAT", b"x")[:-1] + b"x", uri="x").image.size == (96, 72)


def test_later_frames_are_not_looked_at() -> None:
    """A GIF of 1000 frames, 999 of them broken: what is not decoded costs neither time nor memory."""
    buffer = io.BytesIO()
    Image.new("P", (100, 100)).save(buffer, "GIF")
    gif = buffer.getvalue()
    frame = gif[gif.index(b"\x2c") : -1]
    assert decode(gif[:-1] + frame[:15] * 999, uri="x").image.size == (100, 100)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", *sorted({data[:12] for data in FILES.values()})]))
def test_random_bytes_are_refused_or_decoded(data: bytes, start: bytes) -> None:
    _decoded_or_refused(start + data)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.randoms(use_true_random=False))
@pytest.mark.slow
def test_mutated_files_are_refused_or_decoded(name: str, chance: random.Random) -> None:
    data = bytearray(FILES[name])
    for _ in range(chance.choice([1, 1, 2, 5, 30])):
        # half of the changes in the header, where lengths and offsets are
        at = chance.randrange(min(len(data), 200) if chance.random() < 0.5 else len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            case 2:
                del data[at : at + chance.randrange(1, 20)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 20))
    _decoded_or_refused(bytes(data))


def _decoded_or_refused(data: bytes) -> None:
    try:
        decoded = decode(data, uri="x", max_pixels=1_000_000)
    except UnreadableImage:
        return  # whose constructor lets no other reason through than the known ones
    assert decoded.image.mode == "RGB"
    assert decoded.width * decoded.height <= 1_000_000


@pytest.mark.skipif(not DATA, reason="IMGVEC_TEST_DATA is not set")
@pytest.mark.slow
def test_hostile_files_within_bounds_of_time_and_memory() -> None:
    code = """
import collections, json, pathlib, resource, sys, time
from imgvec.errors import UnreadableImage
from imgvec.images import decode
reasons, slowest = collections.Counter(), 0
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    if path.is_file():
        start = time.perf_counter()
        try:
            decode(path.read_bytes(), uri=str(path))
            reasons["decoded"] += 1
        except UnreadableImage as exc:
            reasons[exc.reason] += 1
        slowest = max(slowest, time.perf_counter() - start)
print(json.dumps([reasons, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 10)]))
"""
    result = _python(code, str(Path(DATA or "", "hostile")), flags=["-W", "error"])
    reasons, slowest, mebibytes = json.loads(result.stdout)
    print(reasons, f"slowest {slowest:.3f} s, peak {mebibytes:.0f} MiB")
    assert sum(reasons.values()) > 600
    assert reasons["decoded"] > 100
    assert slowest < 5
    assert mebibytes < 2048


def _python(code: str, *arguments: str, flags: list[str] | None = None, env: dict[str, str] | None = None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, *(flags or []), "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return result


def _segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2) + data


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4)


def _tiff(data: bytes, tags: dict[int, int], offset: int, count: int) -> bytes:
    """A grey, deflated TIFF of 16 x 16 pixels, its directory first; `offset` and `count` are the tags of `data`."""
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, count: len(data), **tags}
    tags[offset] = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"MM\0\x2a" + struct.pack(">IH", 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("name", ["rgb.avif", "tiled.jp2", "rgb.jpg", "lossy.webp", "rgb.png", "palette.gif"])
@pytest.mark.parametrize("trailer", [b"SEFH junk SEFT", bytes(100), b"\n", b"\0\0\0\x10free" + bytes(8)])
def test_what_lies_behind_the_picture_is_not_a_cut(name: str, trailer: bytes) -> None:
    """Some phones write data of their own there."""
    whole = FILES.get(name) or FILES["baseline.jpg"]
    seen = decode(whole + trailer, uri="x").image
    assert seen.tobytes() == decode(whole, uri="x").image.tobytes()
