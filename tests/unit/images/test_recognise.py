"""A file that is not read is called by its name, with what to do."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from pictures import picture
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.formats import FORMATS, TRUSTED, allow_list
from imgvec.images import DecodePolicy, decode
from imgvec.images.camera import MEDIA_TYPES


def saved(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(1).save(buffer, format, **options)
    return buffer.getvalue()


def refused(data: bytes, uri: str = "x", policy: DecodePolicy | None = None) -> tuple[str, str]:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, uri=uri, policy=policy)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", "SVG is a drawing"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n<svg>", "SVG is a drawing"),
        (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x.dtd'><svg >", "SVG is a drawing"),
        (b'<!DOCTYPE svg PUBLIC "x" "y" [ <!ENTITY ns "http:"> ]>\n<svg xmlns="&ns;">', "SVG is a drawing"),
        (b"%PDF-1.7\n", "PDF is a document"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video is not a picture"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0qt  ", "a video is not a picture"),
        (b"\x1a\x45\xdf\xa3" + bytes(20), "a video is not a picture"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video is not a picture"),
        (b"8BPS\0\1" + bytes(20), r"PSD is not on the allow-list: IMGVEC_FORMATS=\+PSD"),
        (b"DDS \x7c\0\0\0" + bytes(120), r"DDS is not on the allow-list: IMGVEC_FORMATS=\+DDS"),
        (b"\0\0\1\0\1\0" + bytes(20), r"ICO is not on the allow-list: IMGVEC_FORMATS=\+ICO"),
        (b"\x76\x2f\x31\x01" + bytes(20), "OpenEXR is a format that imgvec does not read"),
        (b"\xff\x0a" + bytes(20), r"JPEG XL: pip install 'imgvec\[jxl\]'"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), r"JPEG XL: pip install 'imgvec\[jxl\]'"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"HEIF \(HEIC\): pip install 'imgvec\[heif\]'"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", r"HEIF \(HEIC\): pip install 'imgvec\[heif\]'"),
    ],
)  # fmt: skip
def test_by_its_first_bytes(monkeypatch: pytest.MonkeyPatch, start: bytes, says: str) -> None:
    monkeypatch.setattr("imgvec.images.recognise.find_spec", lambda name: None)
    reason, detail = refused(start)
    assert reason == "format not allowed"
    assert re.search(says, detail)


def test_a_file_of_nothing_but_comments_is_read_once() -> None:
    assert refused(b"<!-- -->" * 500) == ("not an image", "")


def test_tga_has_no_signature_and_is_called_by_its_name() -> None:
    data = saved("TGA")
    assert refused(data)[1].startswith("TGA is not on the allow-list")  # the footer
    assert refused(data[:-26], "old.tga")[1].startswith("TGA is not on the allow-list")
    assert refused(data[:-26], "old.jpg")[0] == "not an image"
    assert refused(b"nonsense" * 10, "old.tga") == ("not an image", "")


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <html lang=de>", "a web page"),
        (b'{"error": "no such image"}', "JSON"),
        (b"PK\3\4", "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"hello", ""),
    ],
)
def test_what_is_no_picture_is_said_where_it_is_known(start: bytes, what: str) -> None:
    assert refused(start) == ("not an image", what)


def test_a_list_that_is_narrower() -> None:
    policy = DecodePolicy(formats=allow_list("-GIF"))
    assert refused(saved("GIF"), policy=policy) == (
        "format not allowed",
        "GIF is not on the allow-list: IMGVEC_FORMATS",
    )
    assert decode(saved("PNG"), uri="x", policy=policy).width == 64
    only = DecodePolicy(formats=allow_list("jpg, png"))
    assert only.formats == ("JPEG", "PNG")
    assert refused(saved("TIFF"), policy=only)[1] == "TIFF is not on the allow-list: IMGVEC_FORMATS"


@pytest.mark.parametrize("format", ["TGA", "ICO", "DDS", "PCX", "SGI", "QOI", "DIB", "ICNS"])
def test_a_list_that_is_wider(format: str, tmp_path: Path) -> None:
    data = saved(format, **({"sizes": [(64, 48)]} if format == "ICO" else {}))
    decoded = decode(data, uri=f"x.{format.lower()}", policy=DecodePolicy(formats=allow_list(f"+{format}")))
    assert decoded.width >= decoded.image.width > 0
    assert decoded.media_type.startswith("image/") or decoded.media_type == ""


def test_the_size_of_an_icon_is_that_of_its_picture() -> None:
    """The directory of an ICO may say another one than the PNG in it has."""
    data = bytearray(saved("ICO", sizes=[(64, 48)]))
    data[6:8] = bytes([32, 24])
    policy = DecodePolicy(formats=allow_list("+ICO"))
    assert decode(bytes(data), uri="x", policy=policy).width == 64
    assert refused_pixels(bytes(data), policy) == "too many pixels"


def refused_pixels(data: bytes, policy: DecodePolicy) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, uri="x", policy=policy, max_pixels=1000)
    return caught.value.reason


class TestAllowList:
    def test_words(self) -> None:
        assert allow_list("") == allow_list(()) == FORMATS
        assert allow_list("+tga, -gif") == (*(name for name in FORMATS if name != "GIF"), "TGA")
        assert allow_list("jpeg,jpeg,JPG") == ("JPEG",)
        assert allow_list("heic,dng,jpeg xl,jp2") == ("HEIF", "RAW", "JXL", "JPEG2000")
        assert set(allow_list(",".join(f"+{name}" for name in TRUSTED))) == {*FORMATS, *TRUSTED}

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("JPEG,+TGA", "not both"),
            ("JPGE", "unknown format 'JPGE'; known: JPEG, .* and on request BLP"),
            ("+EPS", "another program; it cannot be allowed"),
            ("SVG", "drawing.*cannot be allowed"),
            (",".join(f"-{name}" for name in FORMATS), "no format is left"),
            ("+", "unknown format ''"),
        ],
    )
    def test_what_it_cannot_be(self, given: str, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            allow_list(given)


def test_a_pillow_that_lacks_a_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    factory, _ = Image.OPEN["WEBP"]
    monkeypatch.setitem(
        Image.OPEN, "WEBP", (factory, lambda prefix: "no WEBP here" if prefix[8:12] == b"WEBP" else False)
    )
    assert refused(saved("WEBP")) == ("format not allowed", "WEBP; this Pillow was built without support for it")


@pytest.mark.parametrize(
    ("at", "value", "is_tga"),
    [
        (0, 0, True), (1, 2, False), (2, 0, False), (2, 4, False), (2, 11, True), (16, 8, True), (16, 12, False),
        (12, 0, False), (14, 0, False),
    ],
)  # fmt: skip
def test_a_header_that_can_be_a_tga_s(at: int, value: int, is_tga: bool) -> None:
    data = bytearray(saved("TGA")[:-26])
    assert (data[12:14], data[14:16]) == (b"\x40\0", b"\x30\0")
    data[at] = value
    reason, detail = refused(bytes(data), "OLD.TGA")
    assert (reason == "format not allowed" and detail.startswith("TGA")) is is_tga


def test_media_types_of_camera_raw() -> None:
    # as shared-mime-info builds them: the maker, and the files' usual ending
    for kind, media_type in MEDIA_TYPES.items():
        assert re.fullmatch(rf"image/x-[a-z]{{4,}}-{kind.lower()}", media_type), kind
    assert len(set(MEDIA_TYPES.values())) == len(MEDIA_TYPES) == 14
