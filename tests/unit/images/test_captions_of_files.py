"""What a file says of its picture in words."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from imgvec.images import decode
from imgvec.images.captions import LONGEST, tiff_caption

DESCRIPTION, XP_TITLE, XP_COMMENT, XP_KEYWORDS, USER_COMMENT = 0x010E, 0x9C9B, 0x9C9C, 0x9C9E, 0x9286
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Red &amp; blue</rdf:li><rdf:li xml:lang="de">Rot</rdf:li></rdf:Alt>
</dc:title><dc:description><rdf:Alt><rdf:li xml:lang="x-default">A dress</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>silk</rdf:li><rdf:li>été</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def caption(format: str = "JPEG", tags: dict[int, Any] | None = None, **options: Any) -> str:
    """What is read of a picture that was saved with these EXIF tags, and so."""
    exif = Image.Exif()
    for tag, value in (tags or {}).items():
        if tag == USER_COMMENT:
            exif.get_ifd(0x8769)[tag] = value
            exif[0x8769] = exif.get_ifd(0x8769)
        else:
            exif[tag] = value
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format, exif=exif, **options)
    return decode(buffer.getvalue(), uri="x").caption


def windows(text: str) -> bytes:
    return f"{text}\0".encode("utf-16-le")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_carries_exif(format: str) -> None:
    assert caption(format, {DESCRIPTION: "A red dress"}) == "A red dress"
    assert caption(format) == ""


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({DESCRIPTION: "A dress", XP_TITLE: windows("Été"), XP_KEYWORDS: windows("sea;red")}, "Été; A dress; sea; red"),
        ({DESCRIPTION: "Café".encode()}, "Café"),  # phones write UTF-8 where the standard wants ASCII
        ({DESCRIPTION: "Café".encode("latin-1")}, "Café"),
        ({DESCRIPTION: "the same", XP_TITLE: windows("The Same")}, "The Same"),
        ({DESCRIPTION: "  two\n lines\t\x07 "}, "two lines"),
        ({XP_COMMENT: windows("said")}, "said"),
        ({DESCRIPTION: "می\u200cخواهم\u200b ❤".encode()}, "می\u200cخواهم ❤"),
        ({DESCRIPTION: "OLYMPUS DIGITAL CAMERA         "}, ""),
        ({DESCRIPTION: "SONY DSC", USER_COMMENT: b"ASCII\0\0\0at the sea"}, "at the sea"),
        ({USER_COMMENT: b"UNICODE\0" + "été".encode("utf-16-le")}, "été"),
        ({USER_COMMENT: b"UNICODE\0" + "été".encode("utf-16-be")}, "été"),
        ({USER_COMMENT: b"UNICODE\0" + "\ufeff海".encode("utf-16-be")}, "海"),
        ({USER_COMMENT: b"JIS\0\0\0\0\0" + "海".encode("iso2022_jp")}, "海"),
        ({USER_COMMENT: b"\0" * 8 + b"plain"}, "plain"),
        ({USER_COMMENT: b"\0" * 64}, ""),
        ({DESCRIPTION: "word " * LONGEST}, ("word " * (LONGEST // 5)).strip()),
    ],
)  # fmt: skip
def test_exif(tags: dict[int, Any], expected: str) -> None:
    assert caption(tags=tags) == expected


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_xmp(format: str) -> None:
    options: dict[str, Any] = {"xmp": XMP.encode()}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
    elif format == "TIFF":
        options = {"tiffinfo": TiffImagePlugin.ImageFileDirectory_v2()}
        options["tiffinfo"][700] = XMP.encode()
    if format == "TIFF":
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, format, **options)
        assert decode(buffer.getvalue(), uri="x").caption == "Red & blue; A dress; silk; été"
    else:
        assert caption(format, **options) == "Red & blue; A dress; silk; été"


def iptc(*datasets: tuple[int, int, bytes]) -> bytes:
    """The APP13 segment of a JPEG."""
    data = b"".join(bytes([0x1C, one, two]) + len(text).to_bytes(2, "big") + text for one, two, text in datasets)
    block = b"8BIM\x04\x04\0\0" + len(data).to_bytes(4, "big") + data + b"\0" * (len(data) % 2)
    segment = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment


def test_iptc() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    said = iptc(
        (2, 120, "À la mer".encode()), (2, 25, b"sea"), (2, 25, b"night"), (2, 80, b"the author"), (2, 5, b"Trip")
    )
    data = buffer.getvalue()
    assert decode(data[:2] + said + data[2:], uri="x").caption == "Trip; À la mer; sea; night"
    cut = iptc((2, 120, b"whole"))[:-1] + b"\x1c"
    assert decode(data[:2] + cut + data[2:], uri="x").caption in ("", "whol\x1c", "whol")


def test_texts_of_png() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "A title")
    info.add_text("Author", "Somebody")
    info.add_itxt("Description", "été")
    assert caption("PNG", pnginfo=info) == "A title; été"


def test_a_directory_of_a_tiff() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[DESCRIPTION], tags[700] = "A scan", XMP.encode()
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TIFF", tiffinfo=tags)
    assert tiff_caption(buffer.getvalue()) == "Red & blue; A scan; A dress; silk; été"


@pytest.mark.parametrize(
    "packet",
    ["<dc:title>" * 100_000, "<dc:title>" + "<rdf:li " * 100_000 + "</dc:title>", "<dc:title><rdf:li>" + "x" * 900_000],
)
def test_a_hostile_packet_is_looked_at_once(packet: str) -> None:
    # by an expression whose work grows by the square, this would not end within the test's time
    assert caption("WEBP", xmp=packet.encode()) == ""


@pytest.mark.parametrize("tags", [{XP_TITLE: 7}, {USER_COMMENT: b""}, {XP_COMMENT: b"\0\xd8x"}])
def test_nonsense_costs_nothing(tags: dict[int, Any]) -> None:
    assert caption(tags=tags) == ""
