"""Whether a file is all there, by its own word, to the byte."""

from __future__ import annotations

import io
import zlib

import pytest
from PIL import Image, TiffImagePlugin

from imgvec.images.complete import HeaderStream, damaged_chunk, is_cut, lacks_strips

START = b"\0\0\0\x10ftypheic\0\0\0\0"


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4) + kind + content


class TestHeaderStream:
    @pytest.mark.parametrize(("size", "short"), [(2, False), (3, False), (4, True), (-1, False), (None, False)])
    def test_a_header_that_runs_out_is_remembered(self, size: int | None, short: bool) -> None:
        stream = HeaderStream(b"abc")
        assert stream.read(size) == (b"ab" if size == 2 else b"abc")
        assert stream.ran_out is short

    def test_pixels_that_run_out_are_not(self) -> None:
        stream = HeaderStream(b"abc")
        stream.in_header = False
        for size in (2, 2, None, -1):
            stream.read(size)
        assert stream.ran_out is False

    def test_all_is_read_where_no_size_is_named(self) -> None:
        assert HeaderStream(b"abc").read() == b"abc"


class TestIsCut:
    @pytest.mark.parametrize(("size", "cut"), [(3, False), (4, False), (5, True), (0x100, True)])
    def test_riff(self, size: int, cut: bool) -> None:
        assert is_cut(b"RIFF" + size.to_bytes(4, "little") + b"WEBP") is cut

    @pytest.mark.parametrize(
        "kind",
        "ftyp styp meta mdat idat free skip wide uuid moov moof mfra pdin sidx jp2h jp2i xml  uinf rreq jxll jxlc jxlp"
        " jxli jbrd jhgm Exif brob jumb".replace("xml  ", "xml_ ").split(),
    )
    def test_every_box_must_be_there(self, kind: str) -> None:
        data = START + box(kind.replace("_", " ").encode(), b"12345")
        assert not is_cut(data)
        assert is_cut(data[:-1])
        assert is_cut(data[:-5])
        assert not is_cut(data[:-6])  # seven bytes are not a box

    @pytest.mark.parametrize("kind", [b"jP  ", b"JXL ", b"jp2c"])
    def test_boxes_of_other_formats(self, kind: bytes) -> None:
        data = START + box(kind, b"12345")
        assert not is_cut(data)
        assert is_cut(data[:-1])

    @pytest.mark.parametrize("kind", [b"ftyp", b"JXL "])
    def test_by_the_first_box(self, kind: bytes) -> None:
        assert is_cut(box(kind, b"1234")[:-1])
        assert not is_cut(box(kind, b"1234"))
        assert not is_cut(box(b"moov", b"1234")[:-1])  # no image begins so

    def test_a_box_of_no_known_kind_is_a_trailer_and_the_first_is_not(self) -> None:
        assert not is_cut(START + box(b"SEFT", bytes(9))[:-1])
        assert not is_cut(START + box(b"mdat", b"12") + box(b"", bytes(9))[:9])
        assert not is_cut(START + box(b"\0\0\0\0", bytes(9))[:-1])

    @pytest.mark.parametrize(("size", "cut"), [(16, False), (20, False), (21, True), (1 << 40, True), (7, False)])
    def test_sizes_of_64_bits(self, size: int, cut: bool) -> None:
        data = START + (1).to_bytes(4) + b"mdat" + size.to_bytes(8) + b"1234"
        assert is_cut(data) is cut

    @pytest.mark.parametrize("size", [0, 2, 7])
    def test_to_the_end_of_the_file_and_broken_sizes(self, size: int) -> None:
        assert not is_cut(START + size.to_bytes(4) + b"mdat" + bytes(20))
        # and what comes behind it is not a box
        assert not is_cut(START + size.to_bytes(4) + b"mdat" + bytes(4) + box(b"free", b"123")[:-1])

    def test_the_smallest_box(self) -> None:
        assert not is_cut(START + box(b"free"))
        assert is_cut(START + box(b"free") + box(b"free", b"1")[:-1])

    def test_a_second_box_after_a_long_one(self) -> None:
        long = (1).to_bytes(4) + b"mdat" + (20).to_bytes(8) + b"1234"
        assert is_cut(START + long + box(b"free", b"123")[:-1])

    JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"

    @pytest.mark.parametrize("stream", [b"\xff\x4f\xff\x51ab\xff\xd9", b"\xff\x4f\xff\x51\xff\xd9"])
    def test_the_end_of_a_jpeg_2000(self, stream: bytes) -> None:
        for head in (b"", self.JP2):
            behind = b"" if not head else (0).to_bytes(4) + b"jp2c"
            assert not is_cut(head + behind + stream)
            assert not is_cut(head + behind + stream + b"more")
            assert is_cut(head + behind + stream[:-1])
            assert is_cut(head + behind + stream[:-2])
        # an end that stands before the codestream is none
        assert is_cut(self.JP2 + box(b"xml ", b"\xff\xd9") + (0).to_bytes(4) + b"jp2c" + stream[:-2])
        # where no codestream is found, anywhere
        assert not is_cut(self.JP2 + b"\0\0\0\0jp2c\xff\xd9")

    def test_others_have_no_end_to_look_for(self) -> None:
        for data in (b"", b"\xff\xd8\xff\xe0" + bytes(20), START, b"\xff\x4f\xff\x52" + bytes(20)):
            assert not is_cut(data)


class TestDamagedChunk:
    def chunk(self, name: bytes, body: bytes, wrong: int = 0) -> bytes:
        return len(body).to_bytes(4) + name + body + (zlib.crc32(name + body) ^ wrong).to_bytes(4)

    PNG = b"\x89PNG\r\n\x1a\n"

    def test_the_sums_of_the_pixels_and_only_theirs(self) -> None:
        good, bad = self.chunk(b"IDAT", b"pixels"), self.chunk(b"IDAT", b"pixels", 1)
        end = self.chunk(b"IEND", b"")
        assert damaged_chunk(self.PNG + good + good + end) is None
        assert damaged_chunk(self.PNG + self.chunk(b"tEXt", b"k\0x", 1) + good + end) is None
        assert damaged_chunk(self.PNG + bad + end) == "the checksum of the IDAT chunk at byte 8 is wrong"
        filler = self.chunk(b"tEXt", bytes(2000))
        said = "the checksum of the IDAT chunk at byte 2,038 is wrong"
        assert damaged_chunk(self.PNG + filler + good + bad + end) == said
        assert damaged_chunk(self.PNG + bad) is not None  # at the very end of the file

    def test_what_lies_behind_the_end_or_is_cut_off_is_not_looked_at(self) -> None:
        good, bad = self.chunk(b"IDAT", b"pixels"), self.chunk(b"IDAT", b"pixels", 1)
        assert damaged_chunk(self.PNG + good + self.chunk(b"IEND", b"") + bad) is None
        for length in range(1, len(bad)):
            assert damaged_chunk(self.PNG + good + bad[:length]) is None

    def test_an_empty_chunk_at_the_end(self) -> None:
        assert damaged_chunk(self.PNG + self.chunk(b"IDAT", b"", 1)) is not None

    def test_other_formats(self) -> None:
        assert damaged_chunk(b"x" + self.PNG + self.chunk(b"IDAT", b"pixels", 1)) is None


def tiff(compression: str | None) -> TiffImagePlugin.TiffImageFile:
    buffer = io.BytesIO()
    Image.new("L", (16, 16), 7).save(buffer, "TIFF", compression=compression)
    opened = Image.open(buffer)
    assert isinstance(opened, TiffImagePlugin.TiffImageFile)
    return opened


class TestLacksStrips:
    STRIPS, TILES = (273, 279), (324, 325)

    @pytest.mark.parametrize("tags", [STRIPS, TILES])
    @pytest.mark.parametrize(
        ("offsets", "counts", "lacks"),
        [
            ((8, 20), (5, 80), False), ((8, 20), (5, 81), True), ((95, 20), (6, 1), True), ((), (), False),
            ((8, 20), (5,), False), ((8,), (5, 99), False), ((8, 99), (5,), False),
        ],
    )  # fmt: skip
    def test_beyond_the_end(
        self, tags: tuple[int, int], offsets: tuple[int, ...], counts: tuple[int, ...], lacks: bool
    ) -> None:
        image = tiff("tiff_lzw")
        for tag in (*self.STRIPS, *self.TILES):
            if tag in image.tag_v2:
                del image.tag_v2[tag]
        image.tag_v2[tags[0]], image.tag_v2[tags[1]] = offsets, counts
        assert lacks_strips(image, 100) is lacks

    def test_a_tiff_that_names_none(self) -> None:
        image = tiff("tiff_lzw")
        for tag in self.STRIPS:
            del image.tag_v2[tag]
        assert lacks_strips(image, 0) is False

    def test_of_what_is_not_compressed_the_decoder_says_it(self) -> None:
        image = tiff(None)
        assert lacks_strips(image, 0) is False
        del image.tag_v2[259]
        assert lacks_strips(image, 0) is False
        assert lacks_strips(tiff("tiff_lzw"), 0) is True

    def test_other_formats_have_none(self) -> None:
        buffer = io.BytesIO()
        Image.new("L", (4, 4)).save(buffer, "PNG")
        with Image.open(buffer) as image:
            assert lacks_strips(image, 0) is False  # type: ignore[arg-type]
