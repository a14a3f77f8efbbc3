"""Names in archives that do not say how they are encoded."""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from records import gone_from, read_source

from imgvec.errors import UnreadableImage, UsageError
from imgvec.sources import Notice, Record
from imgvec.sources.spellings import ENCODINGS


def legacy(path: Path, *names: bytes, extra: bytes = b"") -> Path:
    """A zip whose names are these bytes, without the flag that says UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo(f"{number:02}".ljust(len(name), "x"))
            info.extra = extra
            archive.writestr(info, b"pixels")
    data = path.read_bytes()
    for number, name in enumerate(names):
        data = data.replace(f"{number:02}".ljust(len(name), "x").encode(), name)
    path.write_bytes(data)
    return path


def read(path: Path, **options: Any) -> tuple[list[str], list[str]]:
    items = list(read_source(path, **options))
    assert all(isinstance(one, Record | Notice) for one in items), items
    return (
        [one.uri.partition("!")[2] for one in items if isinstance(one, Record)],
        [one.text for one in items if isinstance(one, Notice)],
    )


NAMES = [("cp932", "写真/表.jpg"), ("gbk", "照片/中.jpg"), ("cp949", "사진.jpg"), ("cp866", "фото.jpg"),
         ("cp1251", "фото.jpg"),
         ("cp850", "Zürich.jpg"), ("cp1252", "Zürich.jpg"), ("big5", "相片.jpg")]  # fmt: skip


@pytest.mark.parametrize(("encoding", "name"), NAMES)
def test_the_notice_shows_the_name_and_the_option_reads_it(tmp_path: Path, encoding: str, name: str) -> None:
    path = legacy(tmp_path / "z.zip", name.encode(encoding), b"plain.jpg")
    _, (notice,) = read(path)
    assert f"{name!r} in {encoding}" in notice
    assert "--name-encoding" in notice
    names, said = read(path, name_encoding=encoding)
    assert (set(names), said) == ({name, "plain.jpg"}, [])
    assert {one.reader.read(99) for one in read_source(path, name_encoding=encoding) if isinstance(one, Record)} == {
        b"pixels"
    }
    # whatever they were stored under then: a prune without the option deletes nothing that is there
    is_gone = gone_from(path)
    assert not any(is_gone(f"{path}!{one}") for one in (*names, *read(path)[0]))
    assert is_gone(f"{path}!{name}x")


def test_utf_8_without_its_flag(tmp_path: Path) -> None:
    path = legacy(tmp_path / "z.zip", "Zürich.jpg".encode(), "写真.jpg".encode())
    assert read(path) == (["Zürich.jpg", "写真.jpg"], [])


def test_the_field_that_info_zip_adds(tmp_path: Path) -> None:
    raw, name = "写真.jpg".encode("cp932"), "写真.jpg".encode()
    for checksum, expected in ((zlib.crc32(raw), "写真.jpg"), (1, raw.decode("cp437"))):
        body = b"\x01" + struct.pack("<L", checksum) + name
        path = legacy(tmp_path / "z.zip", raw, extra=struct.pack("<HH", 0x7075, len(body)) + body)
        assert read(path)[0] == [expected]


def test_names_that_the_encoding_does_not_fit_are_said(tmp_path: Path) -> None:
    path = legacy(tmp_path / "z.zip", "Zürich.jpg".encode("cp1252"))
    names, (notice,) = read(path, name_encoding="utf-8")
    assert names == ["Zⁿrich.jpg"]
    assert "not valid utf-8" in notice


def test_tars(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="cp932") as archive:
        header = tarfile.TarInfo("写真.jpg")
        header.size = 1
        archive.addfile(header, BytesIO(b"x"))
    (refused,) = read_source(path)
    assert isinstance(refused, UnreadableImage)
    assert "--name-encoding" in refused.detail
    assert read(path, name_encoding="cp932") == (["写真.jpg"], [])
    assert not gone_from(path)(f"{path}!写真.jpg")


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "utf-16", "idna"])
def test_what_is_no_encoding_of_names(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(UsageError, match="--name-encoding"):
        read_source(tmp_path, name_encoding=encoding)


def test_every_encoding_is_python_s() -> None:
    assert all("a/b.jpg".encode(one) == b"a/b.jpg" for one in ENCODINGS)
