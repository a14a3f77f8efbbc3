"""Camera RAW is told by its first bytes and its directories, and never a TIFF of another kind taken for it."""

from __future__ import annotations

import struct

import pytest
from pictures import picture
from tiffs import TiffWriter

from imgvec.images.camera import MEDIA_TYPES, raw_kind

PAGE, THUMBNAIL = picture(1, (8, 6)), {254: (4, 1)}
SENSOR = {262: (3, 32803)}
VERSION = {50706: (1, [1, 4, 0, 0])}


def by(make: bytes) -> bytes:
    out = TiffWriter()
    return out.file(out.page(PAGE, {**SENSOR, 271: (2, make)}))


def test_media_types() -> None:
    assert {f"{kind} {media_type}" for kind, media_type in MEDIA_TYPES.items()} == {
        "DNG image/x-adobe-dng", "CR2 image/x-canon-cr2", "CR3 image/x-canon-cr3", "CRW image/x-canon-crw",
        "RAF image/x-fuji-raf", "DCR image/x-kodak-dcr", "MRW image/x-minolta-mrw", "NEF image/x-nikon-nef",
        "ORF image/x-olympus-orf", "RW2 image/x-panasonic-rw2", "PEF image/x-pentax-pef", "SRW image/x-samsung-srw",
        "X3F image/x-sigma-x3f", "ARW image/x-sony-arw",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"FUJIFILMCCD-RAW", "RAF"), (b"FOVb", "X3F"), (b"\0MRM", "MRW"), (b"II\x1a\0\0\0HEAPCCDR", "CRW"),
        (b"\0\0\0\x18ftypcrx ", "CR3"), (b"IIRO", "ORF"), (b"IIRS", "ORF"), (b"MMOR", "ORF"), (b"IIU\0", "RW2"),
        (b"II\x2a\0\x10\0\0\0CR", "CR2"), (b"MM\0\x2a\0\0\0\x10CR", "CR2"),
    ],
)  # fmt: skip
def test_signatures(start: bytes, kind: str) -> None:
    assert raw_kind(start + bytes(30)) == kind
    assert raw_kind(b"x" + start + bytes(30)) is None
    assert raw_kind(start[:-1] + b"x" + bytes(30)) is None


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (b"NIKON CORPORATION\0", "NEF"), (b"SONY\0", "ARW"), (b"Canon\0", "CR2"), (b"PENTAX \0", "PEF"),
        (b"RICOH IMAGING COMPANY, LTD.\0", "PEF"), (b"SAMSUNG\0", "SRW"), (b"Kodak\0", "DCR"),
        (b"EASTMAN KODAK COMPANY\0", "DCR"), (b"Hasselblad\0", "3FR"), (b"Phase One\0", "IIQ"), (b"Leaf\0", "MOS"),
        (b"EPSON\0", "ERF"), (b"Mamiya\0", "MEF"),
        (b"FUJIFILM\0", "RAF"), (b"OLYMPUS IMAGING CORP.\0", "ORF"), (b"Leaf, Ltd.\0", "MOS"), (b"Imgvec\0", "RAW"),
        (b"\0", "RAW"),
    ],
)  # fmt: skip
def test_makers(make: bytes, kind: str) -> None:
    assert raw_kind(by(make)) == kind


@pytest.mark.parametrize(
    ("tags", "is_raw"),
    [
        *(({262: (3, value)}, True) for value in (32803, 34892)),
        *(({259: (3, value)}, True) for value in (32767, 32769, 32770, 34713, 65000)),
        *(({262: (3, value)}, False) for value in (0, 2, 32802, 32804, 34893)),
        *(({259: (3, value)}, False) for value in (1, 7, 32766, 32768, 32771, 32773, 34712, 34714, 65001)),
    ],
)
def test_what_only_a_sensor_s_page_says(tags: dict, is_raw: bool) -> None:
    out = TiffWriter()
    assert raw_kind(out.file(out.page(PAGE, tags))) == ("RAW" if is_raw else None)
    below = TiffWriter()
    child = below.page(PAGE, tags)
    assert raw_kind(below.file(below.page(PAGE, {330: (4, [child])}))) == ("RAW" if is_raw else None)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ({**THUMBNAIL, **VERSION}, None, "DNG"),
        (THUMBNAIL, None, None),
        (VERSION, None, None),
        ({**THUMBNAIL, **VERSION}, {}, None),
        ({**THUMBNAIL, **VERSION}, THUMBNAIL, "DNG"),
        ({**THUMBNAIL, **VERSION}, SENSOR, "DNG"),
        (SENSOR, VERSION, "RAW"),
        ({**SENSOR, **VERSION, 271: (2, b"SONY\0")}, None, "DNG"),
    ],
)
def test_dng(first: dict, second: dict | None, kind: str | None) -> None:
    out = TiffWriter()
    following = 0 if second is None else out.page(PAGE, second)
    assert raw_kind(out.file(out.page(PAGE, first, following))) == kind


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_in_every_kind_of_tiff(big: bool, order: str) -> None:
    start = b"II" if order == "<" else b"MM"
    if big:
        entry = struct.pack(order + "HHQHHI", 262, 3, 1, 32803, 0, 0)
        data = start + struct.pack(order + "HHHQQ", 43, 8, 0, 16, 1) + entry + bytes(8)
    else:
        data = start + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 262, 3, 1, 32803, 0, 0)
    assert raw_kind(data) == "RAW"
    assert raw_kind(data[:2] + struct.pack(order + "H", 44) + data[4:]) is None


@pytest.mark.parametrize("data", [b"", b"II\x2a\0", b"II\x2a\0\x08\0\0\0", b"II\x2a\0\xff\0\0\0" + bytes(20)])
def test_a_tiff_without_a_directory_is_none(data: bytes) -> None:
    assert raw_kind(data) is None
