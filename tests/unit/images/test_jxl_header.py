"""JPEG XL before anything is decoded: boxes, header and EXIF, written by hand."""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

if find_spec("pillow_jxl") is None:
    if os.environ.get("IMGVEC_REQUIRE_ALL") == "1":
        pytest.fail("pillow-jxl-plugin (extra `jxl`) is missing (IMGVEC_REQUIRE_ALL=1)", pytrace=False)
    pytest.skip("pillow-jxl-plugin (extra `jxl`) is missing", allow_module_level=True)

from imgvec.images import jxl

ORIENTATION = 0x0112


def stream(*fields: tuple[int, int]) -> bytes:
    """A codestream that begins with these numbers, each of so many bits, the least significant bit first."""
    value = at = 0
    for number, bits in fields:
        value |= number << at
        at += bits
    return b"\xff\x0a" + value.to_bytes((at + 7) // 8 + 4, "little")


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4) + kind + content


PLAIN = [(1, 1)]
SQUARE = [(1, 1), (0, 5), (1, 3)]
"""8 x 8 pixels."""


class TestHeader:
    @pytest.mark.parametrize("eighths", [1, 2, 31, 32])
    def test_small_sides(self, eighths: int) -> None:
        fields = [(1, 1), (eighths - 1, 5), (0, 3), (32 - eighths, 5), *PLAIN]
        assert jxl.header(stream(*fields)) == (8 * (33 - eighths), 8 * eighths, 1)

    @pytest.mark.parametrize(("choice", "bits"), [(0, 9), (1, 13), (2, 18), (3, 30)])
    def test_large_sides(self, choice: int, bits: int) -> None:
        largest = 1 << bits
        fields = [(0, 1), (choice, 2), (largest - 1, bits), (0, 3), (choice, 2), (largest // 2, bits), *PLAIN]
        assert jxl.header(stream(*fields)) == (largest // 2 + 1, largest, 1)

    @pytest.mark.parametrize(("ratio", "width"), [(1, 240), (2, 288), (3, 320), (4, 360), (5, 426), (6, 300), (7, 480)])
    def test_widths_by_their_ratio(self, ratio: int, width: int) -> None:
        assert jxl.header(stream((0, 1), (0, 2), (239, 9), (ratio, 3), *PLAIN)) == (width, 240, 1)

    def test_orientation(self) -> None:
        assert jxl.header(stream(*SQUARE, (1, 1))) == (8, 8, 1)
        assert jxl.header(stream(*SQUARE, (0, 1), (0, 1), (5, 3))) == (8, 8, 1)
        assert jxl.header(stream(*SQUARE, (1, 1), (1, 1), (5, 3))) == (8, 8, 1)
        for orientation in range(1, 9):
            assert jxl.header(stream(*SQUARE, (0, 1), (1, 1), (orientation - 1, 3))) == (8, 8, orientation)

    def test_one_that_ends_too_early(self) -> None:
        with pytest.raises(EOFError, match="the header is truncated"):
            jxl.header(b"\xff\x0a")
        for length in (0, 1):
            with pytest.raises(EOFError, match="truncated"):
                jxl.header(b"\xff\x0a\0\0\0"[: 2 + length])
        bits = jxl._Bits(b"\x0f")
        assert (bits.take(3), bits.take(5)) == (7, 1)
        with pytest.raises(EOFError):
            bits.take(1)
        assert bits.take(0) == 0

    def test_no_more_than_the_header_is_looked_at(self) -> None:
        assert jxl._codestream(b"\xff\x0a" + bytes(100)) == b"\xff\x0a" + bytes(62)


class TestBoxes:
    def test_kind_start_and_end(self) -> None:
        long = (1).to_bytes(4) + b"long" + (20).to_bytes(8) + b"1234"
        data = box(b"one ", b"abc") + long + box(b"two ", b"") + box(b"last", b"defg")
        found = list(jxl._boxes(data))
        assert found == [(b"one ", 8, 11), (b"long", 27, 31), (b"two ", 39, 39), (b"last", 47, 51)]
        assert [data[start:end] for _, start, end in found] == [b"abc", b"1234", b"", b"defg"]

    @pytest.mark.parametrize("size", [0, 2, 7])
    def test_the_last_box_of_the_file(self, size: int) -> None:
        data = box(b"one ", b"abc") + size.to_bytes(4) + b"rest" + bytes(16)
        [_, (kind, start, end)] = jxl._boxes(data)
        assert (kind, start, end) == (b"rest", 19, 35 if size == 0 else 11 + size)

    def test_one_of_64_bits_that_is_smaller_than_its_head(self) -> None:
        data = (1).to_bytes(4) + b"long" + (15).to_bytes(8) + box(b"next", b"")
        assert list(jxl._boxes(data)) == [(b"long", 16, 15)]
        assert len(list(jxl._boxes((1).to_bytes(4) + b"long" + (16).to_bytes(8) + box(b"next", b"")))) == 2

    def test_one_that_is_cut(self) -> None:
        assert list(jxl._boxes(box(b"one ", b"abc")[:-1])) == [(b"one ", 8, 10)]
        assert list(jxl._boxes(box(b"one ", b"")[:-1])) == []
        assert list(jxl._boxes(b"")) == []

    @pytest.mark.parametrize(("kind", "number"), [(b"jxlc", b""), (b"jxlp", b"\0\0\0\x01")])
    def test_the_codestream_in_its_box(self, kind: bytes, number: bytes) -> None:
        codestream = stream(*SQUARE, *PLAIN) + bytes(100)
        data = box(b"JXL ", b"\r\n\x87\n") + box(b"Exif", b"jxlc") + box(kind, number + codestream)
        assert jxl._codestream(data) == codestream[:64]
        assert jxl.header(data) == (8, 8, 1)

    def test_none_in_it(self) -> None:
        with pytest.raises(EOFError, match="no codestream in it: truncated"):
            jxl._codestream(box(b"JXL ", b"\r\n\x87\n") + box(b"Exif", b""))


TIFF = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


class TestPackedExif:
    @pytest.mark.parametrize("tiff", [TIFF, b"II" + TIFF[2:4][::-1] + TIFF[4:]])
    @pytest.mark.parametrize("before", [b"", b"\0\0\0\0", b"\0\0\0\x06Exif\0\0"])
    def test_it_is_unpacked(self, before: bytes, tiff: bytes) -> None:
        brotli = pytest.importorskip("brotli")
        data = box(b"JXL ", b"\r\n\x87\n") + box(b"brob", b"xml " + brotli.compress(b"x"))
        data += box(b"brob", b"Exif" + brotli.compress(before + tiff)) + box(b"jxlc", b"x")
        assert jxl._packed_exif(data) == tiff

    def test_none_in_it(self) -> None:
        assert jxl._packed_exif(box(b"Exif", TIFF) + box(b"brob", b"xml ") + box(b"jxlc", b"Exif")) is None


class TestOrientation:
    def settled(self, *, exif: int | None, codestream: int, jpeg: bool) -> int | None:
        image = Image.new("RGB", (2, 1))
        if exif is not None:
            image.getexif()[ORIENTATION] = exif
        image.jpeg = jpeg  # type: ignore[attr-defined]
        fields = [*SQUARE, (0, 1), (1, 1), (codestream - 1, 3)]
        jxl._settle_orientation(image, stream(*fields))
        found = image.getexif().get(ORIENTATION)
        return None if found is None else int(found)

    @pytest.mark.parametrize(
        ("exif", "codestream", "jpeg", "left"),
        [
            # pixels of a JPEG lie as they lie in it: EXIF counts, and the codestream where that says nothing
            (6, 6, True, 6), (6, 1, True, 6), (1, 6, True, 1), (None, 6, True, 6), (None, 1, True, None),
            # others are upright already where the codestream says how they lie
            (6, 6, False, 1), (None, 6, False, 1), (6, 1, False, 6), (None, 1, False, None), (1, 8, False, 1),
        ],
    )  # fmt: skip
    def test_whose_word_counts(self, exif: int | None, codestream: int, jpeg: bool, left: int | None) -> None:
        assert self.settled(exif=exif, codestream=codestream, jpeg=jpeg) == left

    @pytest.mark.parametrize(("own", "kept"), [(None, TIFF), (b"own", b"own")])
    def test_packed_exif_is_taken_where_there_is_no_other(
        self, own: bytes | None, kept: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jxl, "_packed_exif", lambda data: TIFF)
        image = SimpleNamespace(info={} if own is None else {"exif": own}, jpeg=False, getexif=dict)
        jxl._settle_orientation(image, stream(*SQUARE, *PLAIN))
        assert image.info == {"exif": kept}

    def test_without_any_none_is_made_up(self) -> None:
        image = SimpleNamespace(info={}, jpeg=True, getexif=dict)
        jxl._settle_orientation(image, stream(*SQUARE, *PLAIN))
        assert image.info == {}


def saved(**options: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(buffer, "JXL", lossless=True, **options)
    return buffer.getvalue()


def test_it_is_opened_with_its_exif() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for packed in (False, True):
        image = jxl.opened(saved(exif=exif.tobytes(), compress_metadata=packed))
        assert (image.size, image.getexif()[ORIENTATION], image.getpixel((0, 0))) == ((16, 8), 6, (255, 0, 0))


def test_exif_that_cannot_be_read_costs_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: object, data: bytes) -> None:
        raise SyntaxError

    monkeypatch.setattr(jxl, "_settle_orientation", broken)
    assert jxl.opened(saved()).size == (16, 8)


def test_no_more_than_four_threads_decode() -> None:
    from pillow_jxl import JpegXLImagePlugin

    assert JpegXLImagePlugin.DECODE_THREADS == 4
