"""Of several pictures in a file the one that people mean: never a thumbnail, never a blank frame."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from pictures import picture
from PIL import Image, TiffImagePlugin
from tiffs import TiffWriter, dng

from imgvec.errors import UnreadableImage
from imgvec.images import Decoded, as_image, decode

BIG, SMALL = picture(1, (64, 48)), picture(2, (16, 12))
REDUCED, MASK = {254: (4, 1)}, {254: (4, 4)}


def pixels(decoded: Decoded) -> np.ndarray:
    return np.asarray(decoded.image)


def is_big(decoded: Decoded) -> bool:
    return (decoded.width, decoded.height) == BIG.size and np.array_equal(pixels(decoded), np.asarray(BIG))


class TestTiff:
    @pytest.mark.parametrize("mark", [REDUCED, MASK, {254: (4, 3)}, {255: (3, 2)}])
    def test_a_reduced_copy_before_the_page_is_passed_over(self, mark: dict) -> None:
        out = TiffWriter()
        data = out.file(out.page(SMALL, mark, following=out.page(BIG)))
        assert is_big(decode(data, uri="x"))

    def test_two_reduced_copies_and_a_second_full_page(self) -> None:
        out = TiffWriter()
        last = out.page(picture(3))
        data = out.file(out.page(SMALL, REDUCED, following=out.page(SMALL, REDUCED, following=out.page(BIG, {}, last))))
        assert is_big(decode(data, uri="x"))

    def test_a_page_that_the_reduced_copy_names(self) -> None:
        out = TiffWriter()
        children = [out.page(SMALL, REDUCED), out.page(BIG)]
        assert is_big(decode(out.file(out.page(SMALL, {**REDUCED, 330: (4, children)})), uri="x"))

    def test_a_pyramid_below_a_full_page_changes_nothing(self) -> None:
        out = TiffWriter()
        assert is_big(decode(out.file(out.page(BIG, {330: (4, [out.page(SMALL, REDUCED)])})), uri="x"))

    def test_as_other_programs_write_them(self) -> None:
        reduced = TiffImagePlugin.ImageFileDirectory_v2()
        reduced[254] = 1
        for big_tiff in (False, True):
            buffer = io.BytesIO()
            SMALL.save(buffer, "TIFF", tiffinfo=reduced, save_all=True, append_images=[BIG], big_tiff=big_tiff)
            # Pillow writes the tag to every page: only the first keeps it
            data = bytearray(buffer.getvalue())
            entry = struct.pack("<HHQ" if big_tiff else "<HHI", 254, 4, 1)
            at = data.index(entry, data.index(entry) + 1)
            data[at + len(entry)] = 0
            assert is_big(decode(bytes(data), uri="x")), big_tiff

    @pytest.mark.parametrize(("own", "expected"), [({}, (48, 64)), ({274: (3, 1)}, (64, 48))])
    def test_orientation_and_time_of_the_reduced_copy_hold_where_the_page_says_nothing(
        self, own: dict, expected: tuple[int, int]
    ) -> None:
        out = TiffWriter()
        exif = out.directory({36867: (2, b"2024:05:01 10:11:12\0")})
        first = out.page(SMALL, {**REDUCED, 274: (3, 6), 34665: (4, exif)}, following=out.page(BIG, own))
        decoded = decode(out.file(first), uri="x")
        assert (decoded.width, decoded.height) == decoded.image.size == expected
        assert decoded.taken_at == 1_714_558_272_000

    def test_nothing_but_reduced_copies_is_refused(self) -> None:
        out = TiffWriter()
        data = out.file(out.page(SMALL, REDUCED, following=out.page(SMALL, MASK)))
        with pytest.raises(UnreadableImage, match="only reduced copies") as caught:
            decode(data, uri="x")
        assert caught.value.reason == "format not allowed"

    def test_directories_in_a_circle_end(self) -> None:
        out = TiffWriter()
        at = out.page(SMALL, {**REDUCED, 330: (4, [8, 9, 10])})
        data = bytearray(out.file(at))
        entries = struct.unpack_from("<H", data, at)[0]
        struct.pack_into("<I", data, at + 2 + 12 * entries, at)
        with pytest.raises(UnreadableImage, match="reduced copies"):
            decode(bytes(data), uri="x")


class TestCameraRaw:
    """Its first page is a thumbnail, which must never become the photo."""

    @pytest.fixture(autouse=True)
    def _no_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("imgvec.images.recognise.find_spec", lambda name: None)

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (dng(BIG), "DNG"),
            (dng(BIG, more=[(271, (2, b"NIKON CORPORATION\0")), (50706, (1, b""))]), "DNG"),
            (b"II\x2a\0\x10\0\0\0CR\2\0" + bytes(32), "CR2"),
            (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3"),
            (b"FUJIFILMCCD-RAW 0201" + bytes(80), "RAF"),
            (b"IIRO\x08\0\0\0" + bytes(32), "ORF"),
            (b"IIU\0\x18\0\0\0" + bytes(32), "RW2"),
            (b"FOVb" + bytes(64), "X3F"),
            (b"\0MRM" + bytes(64), "MRW"),
            (b"II\x1a\0\0\0HEAPCCDR" + bytes(32), "CRW"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_is_called_by_its_name(self, data: bytes, kind: str) -> None:
        with pytest.raises(UnreadableImage, match=rf"camera RAW \({kind}\): pip install 'imgvec\[raw\]'") as caught:
            decode(data, uri="x")
        assert caught.value.reason == "format not allowed"

    @pytest.mark.parametrize(
        ("make", "kind"),
        [(b"NIKON CORPORATION\0", "NEF"), (b"SONY\0", "ARW"), (b"PENTAX \0", "PEF"), (b"Nobody\0", "RAW")],
    )
    def test_of_a_maker_that_writes_tiff(self, make: bytes, kind: str) -> None:
        for page in ({262: (3, 32803)}, {259: (3, 34713)}):
            out = TiffWriter()
            sensor = out.page(BIG, page)
            data = out.file(out.page(SMALL, {**REDUCED, 271: (2, make), 330: (4, [sensor])}))
            with pytest.raises(UnreadableImage, match=rf"camera RAW \({kind}\)"):
                decode(data, uri="x")

    def test_a_thumbnail_with_dng_s_version_and_no_other_page(self) -> None:
        out = TiffWriter()
        with pytest.raises(UnreadableImage, match=r"camera RAW \(DNG\)"):
            decode(out.file(out.page(SMALL, {**REDUCED, 50706: (1, [1, 4, 0, 0])})), uri="x")

    def test_a_tiff_that_was_made_of_a_dng_is_a_tiff(self) -> None:
        out = TiffWriter()
        assert is_big(decode(out.file(out.page(BIG, {50706: (1, [1, 4, 0, 0]), 271: (2, b"Maker\0")})), uri="x"))


BLANK = Image.new("RGB", (64, 48), "white")


def animation(format: str, *frames: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    lossless = {"lossless": True} if format == "WEBP" else {"quality": 100, "subsampling": "4:4:4"}
    frames[0].save(
        buffer,
        format,
        save_all=True,
        append_images=frames[1:],
        **({} if format in ("GIF", "PNG") else lossless),
        **options,
    )
    return buffer.getvalue()


class TestAnimation:
    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
    @pytest.mark.parametrize("colour", ["white", "black"])
    def test_the_first_frame_that_is_not_blank(self, format: str, colour: str) -> None:
        data = animation(format, Image.new("RGB", BIG.size, colour), BIG, BIG.rotate(180), duration=100)
        decoded = decode(data, uri="x")
        assert decoded.image.size == BIG.size
        assert np.abs(pixels(decoded).astype(int) - np.asarray(BIG)).mean() < 8

    def test_a_frame_of_which_all_is_transparent_is_blank(self) -> None:
        nothing = Image.new("P", BIG.size, 0)
        drawn = BIG.convert("P", palette=Image.Palette.ADAPTIVE, colors=255)
        buffer = io.BytesIO()
        nothing.save(buffer, "GIF", save_all=True, append_images=[drawn], transparency=0, disposal=2)
        assert np.abs(pixels(decode(buffer.getvalue(), uri="x")).astype(int) - np.asarray(BIG)).mean() < 8

    def test_a_first_frame_that_shows_something_is_taken(self) -> None:
        for format in ("GIF", "PNG"):
            seen = pixels(decode(animation(format, BIG, SMALL.resize(BIG.size)), uri="x")).astype(int)
            assert np.abs(seen - np.asarray(BIG)).mean() < 8

    def test_nothing_but_blank_frames_is_the_first_of_them(self) -> None:
        data = animation("PNG", Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue"))
        assert pixels(decode(data, uri="x"))[0, 0].tolist() == [255, 0, 0]

    def test_a_broken_later_frame_costs_nothing(self) -> None:
        data = animation("GIF", BLANK, BIG)
        assert (pixels(decode(data[: -len(data) // 3] + b"\0" * 64, uri="x")) == 255).all()

    def test_no_more_pixels_than_the_limit_are_looked_at(self) -> None:
        data = animation("PNG", *(Image.new("RGB", BIG.size, (n, n, n)) for n in range(5)), BIG)
        area = BIG.width * BIG.height
        assert pixels(decode(data, uri="x", max_pixels=5 * area)).max() == 0
        assert is_big(decode(data, uri="x", max_pixels=6 * area))

    def test_an_opened_file_stays_at_its_frame(self) -> None:
        data = animation("PNG", BLANK, BIG)
        opened = Image.open(io.BytesIO(data))
        assert is_big(as_image(opened))
        assert opened.tell() == 0
        assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(BLANK))

    def test_pages_of_a_document_are_no_animation(self) -> None:
        assert (pixels(decode(animation("TIFF", BLANK, BIG), uri="x")) == 255).all()
