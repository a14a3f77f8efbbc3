"""Which names of a zip are read again, and the field that says them in UTF-8 (APPNOTE 4.6.9)."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from pathlib import Path
from zipfile import ZipInfo

import pytest

from imgvec.sources import load_metadata
from imgvec.sources.spellings import _unicode_path, zip_spellings

RAW = "写真.jpg".encode("cp932")


def field(body: bytes, kind: int = 0x7075) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def said(name: bytes, version: int = 1, raw: bytes = RAW) -> bytes:
    return struct.pack("<BL", version, zlib.crc32(raw)) + name


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (field(said(b"a.jpg")), "a.jpg"),
        (field(said("写".encode())), "写"),
        (field(said(b"x")), "x"),
        (field(b"") + field(said(b"a.jpg")), "a.jpg"),
        (field(b"\x01", 0x5455) + field(said(b"a.jpg")), "a.jpg"),
        (field(b"\x01" * 9, 0x5455) + field(said(b"a.jpg")), "a.jpg"),
        (field(b"\x03" * 9, 0x7875) + field(said(b"a.jpg")), "a.jpg"),
        (field(said(b"a.jpg"), 0x5455), None),
        (field(said(b"a.jpg", version=2)), None),
        (field(said(b"")), None),
        (field(b"\x01"), None),
        (field(said(b"a.jpg", raw=b"another")), None),
        (field(said(b"\xff.jpg")), None),
        (b"", None),
        (b"\x75\x70\x00", None),
    ],
)
def test_the_field(extra: bytes, name: str | None) -> None:
    assert _unicode_path(extra, RAW) == name


def info(name: str, *, flag: bool = False) -> ZipInfo:
    found = ZipInfo(name)
    found.flag_bits = 0x800 if flag else 0
    return found


def test_names_that_say_utf_8_and_ascii_ones_are_left_as_they_are() -> None:
    infos = [info("é.jpg", flag=True), info("a.jpg"), info(RAW.decode("cp437")), info("b.jpg", flag=True)]
    assert zip_spellings(infos, "cp932") == ({2: "写真.jpg"}, None)
    names, told = zip_spellings(infos, None)
    assert names == {}
    assert told is not None
    assert told.startswith("1 name without a declared encoding, read as cp437; the first is ")
    assert "'写真.jpg' in cp932" in told
    assert zip_spellings([info("é.jpg", flag=True), info("a.jpg")], None) == ({}, None)


def test_a_row_that_names_the_other_file_exactly_but_for_its_slashes(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    (tmp_path / "sub").mkdir()
    for name in (composed, apart):
        (tmp_path / "sub" / name).write_bytes(name.encode())
    if len(list((tmp_path / "sub").iterdir())) < 2:
        pytest.skip("this file system takes NFC and NFD for one name")
    (tmp_path / "a.csv").write_text(f"path,n\nsub\\{composed},1\n", encoding="utf-8")
    path = f"{tmp_path}/sub/{apart}"
    assert load_metadata(tmp_path / "a.csv").lookup(path, path, folder=str(tmp_path)) == {}
