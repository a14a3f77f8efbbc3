"""What each file is by its first bytes, and what is said of those that are not read."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pictures import picture
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.formats import EXTRAS, FORMATS, TRUSTED
from imgvec.images import recognise
from imgvec.images.recognise import recognised

HTTP_SVG = b"<svg xmlns='http://www.w3.org/2000/svg'>"


def refused(data: bytes, uri: str = "some/file", formats: Any = FORMATS) -> tuple[str, str]:
    with pytest.raises(UnreadableImage) as caught:
        recognised(data, uri, formats)
    assert caught.value.uri == uri
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("PDF", b"%PDF-"), ("OpenEXR", b"\x76\x2f\x31\x01"), ("Radiance HDR", b"#?RADIANCE"),
        ("Radiance HDR", b"#?RGBE"), ("JPEG XR", b"II\xbc\x01"), ("JPEG XR", b"II\xbc\x00"), ("DjVu", b"AT&TFORM"),
        ("XCF (GIMP)", b"gimp xcf "), ("BPG", b"BPG\xfb"), ("FLIF", b"FLIF"), ("farbfeld", b"farbfeld"),
        ("KTX", b"\xabKTX "), ("DICOM", b"\n" * 128 + b"DICM"),
        ("video", b"RIFF\n\n\n\nAVI "), ("video", b"\x1a\x45\xdf\xa3"), ("video", b"\0\0\1\xba"),
        ("video", b"\0\0\1\xb3"), ("video", b"FLV\1"), ("video", b"\x30\x26\xb2\x75\x8e\x66\xcf"),
        *(("video", b"\0\0\0\n" + kind) for kind in (b"moov", b"mdat", b"wide", b"pnot")),
        *(
            ("video", b"\0\0\0\nftyp" + brand)
            for brand in (
                b"qt  ", b"isom", b"iso5", b"mp41", b"M4V", b"avc1", b"3gp", b"3g2", b"3gs", b"MSNV", b"dash",
                b"mmp4", b"F4V", b"f4v",
            )
        ),
    ],
)  # fmt: skip
def test_formats_that_no_decoder_knows(name: str, start: bytes) -> None:
    reason, detail = refused(start + b"\0" * 40)
    assert reason == "format not allowed"
    assert detail.startswith("a video" if name == "video" else name)
    assert refused(b"?" + start + b"\0" * 40)[0] == "not an image"
    assert refused(start[:-1] + b"?" + b"\0" * 40)[0] == "not an image"


@pytest.mark.parametrize(
    "start",
    [
        HTTP_SVG, b"<SVG\n", b"<svg:svg ", b" \n<svg>", b"\xef\xbb\xbf<svg>", b"<?xml version='1.0'?><svg>",
        b"<!-- a -- b -->\n<!---->\n<svg>", b"<!DOCTYPE svg>\n<svg>", b"<!doctype svg [ <!ENTITY a 'b'> ] >\n<svg>",
        b"<?xml a?><!-- b --><?xml-stylesheet href='c'?><svg>",
    ],
)  # fmt: skip
def test_drawings(start: bytes) -> None:
    assert refused(start)[1].startswith("SVG is a drawing")


@pytest.mark.parametrize("start", [b"<svgz>", b"<svg", b"x<svg>", b"<!-- <svg> ", b"<!doctypesvg><svg>", b"<sv:svg>"])
def test_what_is_not_a_drawing(start: bytes) -> None:
    assert refused(start)[0] == "not an image"


def test_a_drawing_begins_within_the_first_4096_bytes() -> None:
    assert refused(b" " * 4091 + b"<svg>")[1].startswith("SVG")
    assert refused(b" " * 4092 + b"<svg>")[0] == "not an image"


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"<!doctype html>", "a web page"), (b"<!DOCTYPE HTML>", "a web page"), (b"<HTML>", "a web page"),
        (b"\xef\xbb\xbf <head>", "a web page"), (b"\n<body>", "a web page"), (b"<?xml version='1.0'?><a/>", "XML"),
        (b"\xef\xbb\xbf\n<?xml?><a/>", "XML"), (b'{ "a": 1}', "JSON"), (b'\xef\xbb\xbf\n{"a": 1}', "JSON"),
        (b"PK\3\4", "a zip archive"), (b"\x1f\x8b\x08", "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"), (b"{}", ""), (b"PK", ""),
        (b"nothing", ""), (b" " * 4087 + b"<!doctype html>", ""), (b" " * 4092 + b"<html>", ""),
        (b" " * 4091 + b"<html>", "a web page"),
    ],
)  # fmt: skip
def test_what_lies_about_under_the_names_of_images(start: bytes, what: str) -> None:
    assert refused(start) == ("not an image", what)
    if what:
        assert refused(b"?" + start)[1] == ""


class TestHeif:
    def found(self, data: bytes) -> str | None:
        return recognise._ours(data)

    @pytest.mark.parametrize("brand", "heic heix heim heis hevc hevx hevm hevs mif1 msf1".split())
    def test_brands(self, brand: str) -> None:
        data = b"\0\0\0\x18ftyp" + brand.encode() + b"\0\0\0\0" + b"xxxxyyyy"
        assert self.found(data) == "HEIF"
        assert self.found(data[:8] + b"xxxx\0\0\0\0yyyy" + brand.encode()) == "HEIF"
        assert self.found(data[:8] + b"xxxx\0\0\0\0yyyyx" + brand.encode()) is None
        assert self.found(data[:4] + b"FTYP" + data[8:]) is None

    @pytest.mark.parametrize("brand", [b"avif", b"avis"])
    def test_av1_is_not(self, brand: bytes) -> None:
        assert self.found(b"\0\0\0\x18ftypmif1\0\0\0\0heic" + brand) is None
        assert self.found(b"\0\0\0\x18ftypmif1\0\0\0\0heicxxxx") == "HEIF"

    def test_brands_lie_in_the_box_and_its_first_256_bytes(self) -> None:
        assert self.found(b"\0\0\0\x10ftypxxxx\0\0\0\0heic") is None
        assert self.found(b"\0\0\0\x14ftypxxxx\0\0\0\0heic") == "HEIF"
        long = b"\0\0\2\0ftyp" + b"xxxx" * 61
        assert len(long) == 252
        assert self.found(long + b"heic") == "HEIF"
        assert self.found(long + b"yyyyheic") is None
        assert self.found(b"\0\0\0\x18ftyp\n\n\n\n\0\0\0\0heicxxxx") == "HEIF"

    def test_jpeg_xl_and_raw(self) -> None:
        assert self.found(b"\xff\x0a") == "JXL"
        assert self.found(b"\0\0\0\x0cJXL \r\n\x87\n") == "JXL"
        assert self.found(b"\0\0\0\x0cJXL \r\n\x87") is None
        assert self.found(b"\xff\x0b") is None
        assert self.found(b"FUJIFILMCCD-RAW") == "RAW"


class TestTga:
    def header(self, mapped: int = 0, kind: int = 2, depth: int = 24, width: int = 1, height: int = 1) -> bytes:
        sides = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        return bytes([0, mapped, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]) + sides + bytes([depth, 0]) + b"x"

    def found(self, data: bytes, uri: str = "a.tga") -> str | None:
        return recognise._unsigned(data, uri)

    def test_by_its_footer(self) -> None:
        assert self.found(b"anything TRUEVISION-XFILE.\0", "x") == "TGA"
        for data in (b"TRUEVISION-XFILE.", b"TRUEVISION-XFILE.\0\0", b"TRUEVISION-XFILF.\0"):
            assert self.found(data, "x") is None

    @pytest.mark.parametrize("ending", ["tga", "vda", "icb", "vst", "TGA"])
    def test_by_its_name_and_header(self, ending: str) -> None:
        assert self.found(self.header(), f"a.{ending}") == "TGA"
        assert self.found(self.header(), f"a{ending}") is None

    def test_what_a_header_can_be(self) -> None:
        assert [n for n in range(256) if self.found(self.header(mapped=n))] == [0, 1]
        assert [n for n in range(256) if self.found(self.header(kind=n))] == [1, 2, 3, 9, 10, 11]
        assert [n for n in range(256) if self.found(self.header(depth=n))] == [8, 15, 16, 24, 32]
        for width, height in ((0, 1), (1, 0), (0, 0)):
            assert self.found(self.header(width=width, height=height)) is None
        for width, height in ((256, 1), (1, 256), (255, 255), (65535, 65535)):
            assert self.found(self.header(width=width, height=height)) == "TGA"
        assert self.found(self.header()[:18]) is None

    def test_a_packed_drawing_by_its_name(self) -> None:
        assert self.found(b"\x1f\x8b\x08", "a.SVGZ") == "SVG"
        assert self.found(b"\x1f\x8b\x08", "a.gz") is None
        assert self.found(b"\x1f\x8c\x08", "a.svgz") is None


class TestWhyNot:
    @pytest.mark.parametrize(
        ("name", "data", "says"),
        [
            ("GIF", b"", "GIF is not on the allow-list: IMGVEC_FORMATS"),
            ("TGA", b"", "TGA is not on the allow-list: IMGVEC_FORMATS=+TGA allows it, for files you trust"),
            ("JXL", b"", "JPEG XL is not on the allow-list: IMGVEC_FORMATS (and pip install 'imgvec[jxl]')"),
            ("HEIF", b"", "HEIF (HEIC) is not on the allow-list: IMGVEC_FORMATS (and pip install 'imgvec[heif]')"),
            ("FLIF", b"", "FLIF is a format that imgvec does not read; convert it to PNG or JPEG"),
        ],
    )  # fmt: skip
    def test_what_to_do(self, name: str, data: bytes, says: str) -> None:
        assert recognise._why_not(name, data) == says

    def test_what_is_never_read(self) -> None:
        assert recognise._why_not("video", b"").startswith("a video is not a picture")
        assert recognise._why_not("SVG", b"").startswith("SVG is a drawing")

    @pytest.mark.parametrize(
        ("data", "name", "library", "says"),
        [
            (b"\xff\x0a", "JXL", "pillow_jxl", "JPEG XL: pip install 'imgvec[jxl]' to read it"),
            (b"\0\0\0\x10ftypheic\0\0\0\0", "HEIF", "pi_heif", "HEIF (HEIC): pip install 'imgvec[heif]' to read it"),
            (b"FOVb", "RAW", "rawpy", "camera RAW (X3F): pip install 'imgvec[raw]' to read it"),
        ],
    )
    def test_an_extra_that_is_missing(
        self, data: bytes, name: str, library: str, says: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert name in EXTRAS
        monkeypatch.setattr(recognise, "find_spec", lambda asked: None if asked == library else 1)
        assert refused(data) == ("format not allowed", says)
        monkeypatch.setattr(recognise, "find_spec", lambda asked: 1 if asked == library else None)
        assert recognised(data, "x", FORMATS) == name
        assert refused(data, formats=("PNG",))[1] == recognise._why_not(name, data)


def saved(format: str) -> bytes:
    buffer = io.BytesIO()
    picture(1).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", [name for name in FORMATS if name not in EXTRAS])
def test_formats_that_are_read(format: str) -> None:
    assert recognised(saved(format), "x", FORMATS) == format
    assert (
        refused(saved(format), formats=())[1] == f"{recognise.title(format)} is not on the allow-list: IMGVEC_FORMATS"
    )


class TestAccepts:
    @pytest.mark.parametrize("kind", [*b"123456f"])
    def test_portable_anymaps(self, kind: int) -> None:
        assert recognise._accepts("PPM", b"P" + bytes([kind]) + b"\n1 1")
        assert not recognise._accepts("PPM", b"P" + bytes([kind]) + b"x1 1")
        assert not recognise._accepts("PPM", b"Q" + bytes([kind]) + b"\n1 1")

    def test_other_kinds_of_them(self) -> None:
        assert recognise._accepts("PPM", b"P0CMYK\n")
        assert not recognise._accepts("PPM", b"Py\n")
        assert not recognise._accepts("PPM", b"P0\n")

    def test_unknown_and_short(self) -> None:
        assert not recognise._accepts("NONE", b"x" * 16)
        for error in (IndexError, __import__("struct").error):
            Image.OPEN["SHORT"] = (None, self.raising(error))  # type: ignore[assignment]
            try:
                assert recognise._accepts("SHORT", b"") is False
            finally:
                del Image.OPEN["SHORT"]

    def raising(self, error: type[Exception]) -> Any:
        def accept(prefix: bytes) -> bool:
            raise error

        return accept

    def test_sixteen_bytes_are_shown(self) -> None:
        seen: list[bytes] = []
        Image.OPEN["SHOWN"] = (None, lambda prefix: seen.append(prefix))  # type: ignore[assignment,func-returns-value]
        try:
            recognise._accepts("SHOWN", bytes(range(20)))
        finally:
            del Image.OPEN["SHOWN"]
        assert seen == [bytes(range(16))]

    def test_an_empty_cursor_is_the_header_of_a_tga(self) -> None:
        Image.init()
        assert not recognise._accepts("CUR", b"\0\0\2\0\0\0" + bytes(20))
        assert recognise._accepts("CUR", b"\0\0\2\0\1\0" + bytes(20))
        assert recognise._accepts("ICO", b"\0\0\1\0\0\0" + bytes(20))


def test_a_pillow_without_a_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    factory, accept = Image.OPEN["PNG"]
    data = saved("PNG")
    monkeypatch.setitem(Image.OPEN, "PNG", (factory, lambda prefix: "no PNG" if accept(prefix) else False))  # type: ignore[misc]
    assert refused(data) == ("format not allowed", "PNG; this Pillow was built without support for it")


def test_formats_that_are_read_on_request_are_known_by_name() -> None:
    assert recognised(saved("QOI"), "x", (*FORMATS, *TRUSTED)) == "QOI"
