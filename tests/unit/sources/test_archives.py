"""Tar, WebDataset shards and zip: the same images as in a folder, and nothing that an archive must not do."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from records import gone_from, read_source

from imgvec.errors import SourceError, UnreadableImage, UsageError
from imgvec.sources import PassedOver, Record, load_metadata, record_id

pytestmark = pytest.mark.timeout(60)

Item = Record | UnreadableImage


def add(archive: tarfile.TarFile, name: str, data: bytes = b"pixels", **attributes: object) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for attribute, value in attributes.items():
        setattr(header, attribute, value)
    archive.addfile(header, io.BytesIO(data))


def tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            add(archive, name, data)
    return path


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def names(stream: Iterator[Item]) -> list[str]:
    """Members; refusals with their reason behind a `:`."""
    found = (item for item in stream if not isinstance(item, PassedOver))
    return [item.uri.rpartition("!")[2] + ("" if isinstance(item, Record) else f":{item.reason}") for item in found]


def contents(stream: Iterator[Item]) -> dict[str, tuple[bytes, object]]:
    return {
        item.uri.rpartition("!")[2]: (item.reader.read(10**6), item.metadata)
        for item in stream
        if isinstance(item, Record)
    }


MEMBERS = {
    "b/2.jpg": b"two",
    "a.jpg": b"one",
    "b/notes.md": b"-",
    ".hidden.jpg": b"-",
    "__MACOSX/._a.jpg": b"-",
    "x": b"x",
}


@pytest.mark.parametrize("kind", ["t.tar", "t.tar.gz", "t.tgz", "t.tar.bz2", "t.tar.xz", "T.TAR", "z.zip"])
def test_members_are_records(tmp_path: Path, kind: str) -> None:
    compression = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(kind.rpartition(".")[2], "w")
    path = zipped(tmp_path / kind, MEMBERS) if kind == "z.zip" else tar(tmp_path / kind, MEMBERS, compression)
    records = list(read_source(path))
    assert sorted(names(iter(records))) == ["a.jpg", "b/2.jpg", "x"]
    one = next(record for record in records if record.uri.endswith("!a.jpg"))
    assert isinstance(one, Record)
    assert one.uri == f"{path}!a.jpg"
    assert one.id == record_id(one.uri)
    assert pickle.loads(pickle.dumps(one)).reader.read(100) == b"one"
    assert {record.uri for record in read_source(path, root=tmp_path) if isinstance(record, Record)} == {
        f"{kind}!{name}" for name in ("a.jpg", "b/2.jpg", "x")
    }


@pytest.mark.parametrize("make", [tar, zipped])
class TestSidecars:
    def path(self, tmp_path: Path, make: object) -> Path:
        return tmp_path / ("s.tar" if make is tar else "s.zip")

    def test_wherever_they_stand_in_the_sample(self, tmp_path: Path, make: object) -> None:
        members = {
            "x/0001.jpg": b"one",
            "x/0001.json": json.dumps({"album": "cats", "n": 3, "none": None}).encode(),
            "x/0001.txt": b"a cat\n",
            "x/0002.txt": b"two dogs",
            "x/0002.left.jpg": b"left",
            "x/0002.right.jpg": b"right",
            "x/0003.jpg": b"three",
            "y/0003.txt": b"of another folder",
        }
        found = contents(read_source(make(self.path(tmp_path, make), members)))  # type: ignore[operator]
        assert found == {
            "x/0001.jpg": (b"one", {"caption": "a cat", "album": "cats", "n": 3}),
            "x/0002.left.jpg": (b"left", {"caption": "two dogs"}),
            "x/0002.right.jpg": (b"right", {"caption": "two dogs"}),
            "x/0003.jpg": (b"three", {}),
        }

    def test_mapped_and_with_ids(self, tmp_path: Path, make: object) -> None:
        members = {"1.jpg": b"one", "1.json": b'{"key": "k1", "width": 3, "text": "cat"}', "2.jpg": b"two"}
        path = make(self.path(tmp_path, make), members)  # type: ignore[operator]
        first, second = read_source(path, id_column="key", mapping={"text": "title"})
        assert isinstance(first, Record)
        assert (first.id, first.metadata) == ("k1", {"title": "cat"})
        assert isinstance(second, UnreadableImage)
        assert second.reason == "metadata refused"

    @pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff", b"[" * 100_000])
    def test_a_broken_one_refuses_its_images(self, tmp_path: Path, make: object, text: bytes) -> None:
        members = {"1.json": text, "1.jpg": b"one", "2.jpg": b"two"}
        path = make(self.path(tmp_path, make), members)  # type: ignore[operator]
        assert names(read_source(path)) == ["1.jpg:metadata refused", "2.jpg"]

    def test_the_metadata_file_names_members(self, tmp_path: Path, make: object) -> None:
        path = make(
            self.path(tmp_path, make), {"x/1.jpg": b"1", "x/2.jpg": b"2", "x/3.jpg": b"3", "x/3.json": b'{"a":0}'}
        )  # type: ignore[operator]
        table = tmp_path / "m.csv"
        table.write_text(f"path,a\nx/1.jpg,1\n{path}!x/2.jpg,2\n{path.name}!x/3.jpg,3\nnone.jpg,4\n")
        metadata = load_metadata(table)
        assert [value for _, value in contents(read_source(path, metadata=metadata)).values()] == [
            {"a": "1"}, {"a": "2"}, {"a": "3"}
        ]  # fmt: skip
        assert metadata.unused == ["none.jpg"]


def test_tar_refuses_what_leads_elsewhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name in ("../up.jpg", "/abs.jpg", "a/../../b.jpg", "./ok.jpg", "caf\udce9.jpg"):
            add(archive, name)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            add(archive, f"kind{kind.decode()}.jpg", b"", type=kind, linkname="/etc/passwd")
        add(archive, "link", b"", type=tarfile.SYMTYPE, linkname="ok.jpg")
        add(archive, "folder.jpg", b"", type=tarfile.DIRTYPE)
        add(archive, "ok.jpg", b"again")
        add(archive, "empty.jpg", b"")
    *found, empty = read_source(tmp_path / "t.tar")
    assert names(iter(found)) == [
        "../up.jpg:unusable name", "/abs.jpg:unusable name", "a/../../b.jpg:unusable name", "ok.jpg",
        "caf\\xe9.jpg:unusable name", *(f"kind{n}.jpg:not a regular file" for n in "2163"), "ok.jpg:unusable name",
    ]  # fmt: skip
    assert isinstance(empty, Record)
    with pytest.raises(UnreadableImage, match="empty"):
        empty.reader.read(10)


def test_zip_refuses_what_leads_elsewhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for name in ("../up.jpg", "/abs.jpg", "ok.jpg"):
            archive.writestr(name, b"pixels")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("ok.jpg", b"again")
        link = zipfile.ZipInfo("sym.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("method.jpg", b"pixels" * 100, zipfile.ZIP_LZMA)
    assert sorted(names(read_source(tmp_path / "z.zip"))) == [
        "../up.jpg:unusable name", "/abs.jpg:unusable name", "method.jpg:read failed", "ok.jpg", "ok.jpg:unusable name",
        "sym.jpg:not a regular file",
    ]  # fmt: skip


def test_zip_encrypted_and_damaged_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"a.jpg": b"pixels" * 9, "b.jpg": b"pixels" * 9})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1  # the first member's flag: encrypted
    second = data.index(b"PK\x03\x04", 4)
    data[second + 30 + len("b.jpg") + 3] ^= 0xFF
    path.write_bytes(data)
    assert names(read_source(path)) == ["a.jpg:permission denied", "b.jpg:read failed"]


@pytest.mark.parametrize("kind", ["t.tar", "t.tar.gz", "z.zip"])
def test_a_member_over_the_cap_is_not_read(tmp_path: Path, kind: str) -> None:
    members = {"a.jpg": b"a", "big.jpg": bytes(40 * 2**20), "c.jpg": b"c"}
    path = (
        zipped(tmp_path / kind, members)
        if kind == "z.zip"
        else tar(tmp_path / kind, members, "w:gz" if "gz" in kind else "w")
    )
    tracemalloc.start()
    assert names(read_source(path, max_bytes=10**6)) == ["a.jpg", "big.jpg:too large", "c.jpg"]
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_a_zip_bomb_below_the_cap(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"bomb.bmp": bytes(60 * 10**6), "a.jpg": b"a"})
    assert names(read_source(path)) == ["a.jpg", "bomb.bmp:too large"]


def test_a_gzip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.sources.tars._FREE_BYTES", 2**20)
    path = tar(tmp_path / "t.tar.gz", {"a.jpg": b"a", "bomb.bmp": bytes(60 * 10**6), "b.jpg": b"b"}, "w:gz")
    stream = read_source(path, max_bytes=10**6)
    assert next(stream).uri.endswith("a.jpg")
    assert next(stream).uri.endswith("bomb.bmp")
    with pytest.raises(SourceError, match=r"after 2 images .*200-fold"):
        next(stream)


def test_a_header_that_asks_for_memory(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", {"a.jpg": b"a"})
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    data = path.read_bytes()
    path.write_bytes(data[:1024] + header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    stream = read_source(path)
    assert next(stream).uri.endswith("a.jpg")
    with pytest.raises(SourceError, match="a header of 1,099,511,627,776 bytes"):
        next(stream)


class TestBroken:
    MEMBERS: ClassVar = {f"{n}.jpg": bytes([n]) * 3000 for n in range(6)}

    def read(self, path: Path) -> tuple[list[str], str]:
        """The members before the error, and what it says."""
        found: list[str] = []
        stream = (item.uri.rpartition("!")[2] for item in read_source(path))
        with pytest.raises(SourceError) as caught:
            found.extend(stream)
        return found, str(caught.value)

    @pytest.mark.parametrize(
        ("size", "whole"),
        [
            (3584 * 3 + 512 + 100, 3),  # in a member
            (3584 * 3 + 100, 3),  # in a header
            (3584 * 3, 3),  # between two members
            (3584 * 3 - 10, 3),  # in the padding after one
            (100, 0),
            (0, 0),
        ],
    )
    def test_cut_off_tar(self, tmp_path: Path, size: int, whole: int) -> None:
        path = tar(tmp_path / "t.tar", self.MEMBERS)
        path.write_bytes(path.read_bytes()[:size])
        found, said = self.read(path)
        assert found == list(self.MEMBERS)[:whole]
        assert f"after {whole} images" in said
        assert "same command" in said

    @pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
    def test_cut_off_compressed_tar(self, tmp_path: Path, mode: str) -> None:
        path = tar(tmp_path / f"t.tar.{mode}", self.MEMBERS, f"w:{mode}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        _, said = self.read(path)
        assert "damaged or truncated after" in said

    def test_a_damaged_header_is_no_end(self, tmp_path: Path) -> None:
        path = tar(tmp_path / "t.tar", self.MEMBERS)
        data = bytearray(path.read_bytes())
        data[3584 * 2 + 5] ^= 0xFF
        path.write_bytes(data)
        found, _ = self.read(path)
        assert found == ["0.jpg", "1.jpg"]

    def test_damaged_gzip(self, tmp_path: Path) -> None:
        path = tar(tmp_path / "t.tar.gz", self.MEMBERS, "w:gz")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        assert "damaged or truncated after" in self.read(path)[1]

    def test_no_archive_at_all(self, tmp_path: Path) -> None:
        for name in ("a.tar", "a.tar.gz", "a.zip"):
            (tmp_path / name).write_bytes(b"pixels" * 1000)
            assert self.read(tmp_path / name)[0] == []

    def test_cut_off_zip(self, tmp_path: Path) -> None:
        path = zipped(tmp_path / "z.zip", self.MEMBERS)
        path.write_bytes(path.read_bytes()[:-30])
        found, said = self.read(path)
        assert (found, "nothing was read" in said) == ([], True)

    def test_a_zip_of_no_sense(self, tmp_path: Path) -> None:
        # an end record that promises a directory elsewhere
        (tmp_path / "z.zip").write_bytes(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 10**6, 10**6, 0))
        assert self.read(tmp_path / "z.zip")[0] == []


def test_an_empty_tar_holds_nothing(tmp_path: Path) -> None:
    assert list(read_source(tar(tmp_path / "t.tar", {}))) == []


class TestSeveral:
    def test_globs_braces_and_iterables(self, tmp_path: Path) -> None:
        for n in range(3):
            tar(tmp_path / f"shard-{n:03}.tar", {f"{n}.jpg": b"x"})
        (tmp_path / "alone.jpg").write_bytes(b"x")
        everything = ["0.jpg", "1.jpg", "2.jpg"]
        assert names(read_source(f"{tmp_path}/shard-*.tar")) == everything
        assert names(read_source(f"{tmp_path}/**/*.tar")) == everything
        assert names(read_source(f"{tmp_path}/shard-{{000..002}}.tar")) == everything
        assert names(read_source(f"{tmp_path}/shard-{{002,000}}.tar")) == ["2.jpg", "0.jpg"]
        assert names(read_source([f"{tmp_path}/shard-{{000..001}}.tar", tmp_path / "shard-002.tar"])) == everything
        assert len(names(read_source(f"{tmp_path}/shard-{{000..003}}.tar"))) == 4  # the fourth is refused as missing
        assert [one.uri for one in read_source(tmp_path)] == [f"{tmp_path}/alone.jpg"]
        with pytest.raises(SourceError, match="no image matches"):
            read_source(f"{tmp_path}/none-*.tar")
        with pytest.raises(SourceError, match="no such file"):
            read_source(f"{tmp_path}/none.tar")

    @pytest.mark.parametrize("kind", ["folder", "t.tar", "z.zip"])
    def test_parts_are_disjoint_and_whole(self, tmp_path: Path, kind: str) -> None:
        members = {f"{n:03}.jpg": b"x" for n in range(300)}
        path = tmp_path / kind
        if kind == "folder":
            path.mkdir()
            for name in members:
                (path / name).write_bytes(b"x")
        else:
            (zipped if kind == "z.zip" else tar)(path, members)
        whole = [one.uri for one in read_source(path)]
        parts = [[one.uri for one in read_source(path, part=(rank, 3))] for rank in range(3)]
        assert sorted(uri for part in parts for uri in part) == sorted(whole)
        assert all(len(part) > 50 for part in parts)  # by chance: 100, with a deviation of 8
        assert parts[1] == [uri for uri in whole if int(record_id(record_id(uri)), 16) % 3 == 1]
        with pytest.raises(UsageError, match="rank"):
            read_source(path, part=(3, 3))


class TestGone:
    @pytest.mark.parametrize("make", [tar, zipped])
    def test_only_of_an_archive_that_is_there_and_whole(self, tmp_path: Path, make: object) -> None:
        name = "a.tar" if make is tar else "a.zip"
        path = make(tmp_path / name, {"x/1.jpg": b"1", "./2.jpg": b"2"})  # type: ignore[operator]
        for source in (path, [path], f"{tmp_path}/*.{name[2:]}", f"{tmp_path}/{{a,b}}.{name[2:]}"):
            is_gone = gone_from(source)
            assert not is_gone(f"{path}!x/1.jpg")
            assert not is_gone(f"{path}!2.jpg")
            assert is_gone(f"{path}!3.jpg")
            assert not is_gone(f"{tmp_path}/b{path.suffix}!3.jpg")
        assert gone_from(path, root=tmp_path)(f"{name}!3.jpg")
        make(path, {"x/1.jpg": b"1", "3.jpg": b"3"})  # type: ignore[operator]
        assert not gone_from(path)(f"{path}!3.jpg")
        assert gone_from(path)(f"{path}!2.jpg")
        # a source that never opens archives says nothing about their members
        assert not gone_from(tmp_path)(f"{path}!3.jpg")

    def test_unknown_is_not_gone(self, tmp_path: Path) -> None:
        cut = tar(tmp_path / "cut.tar", {"1.jpg": b"1" * 3000, "2.jpg": b"2" * 3000})
        cut.write_bytes(cut.read_bytes()[:4000])
        (tmp_path / "list.txt").write_text("gone.jpg\nhttps://example.org/a.jpg\n")
        is_gone = gone_from([cut, tmp_path / "away.tar", tmp_path / "t.parquet", tmp_path / "list.txt"])
        assert not is_gone(f"{cut}!2.jpg")
        assert not is_gone(f"{tmp_path}/away.tar!1.jpg")
        assert not is_gone(f"{tmp_path}/t.parquet!1.jpg")
        assert not is_gone(f"{tmp_path}/gone.jpg")
        for url in ("https://example.org/a.jpg", "s3://bucket/a.jpg", "s3://bucket/a.tar!1.jpg"):
            assert not gone_from(url)(url)
