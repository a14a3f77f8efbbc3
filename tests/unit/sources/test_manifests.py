"""Lists, CSV, JSON-lines and Parquet manifests, and what fsspec reads."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import read_source

from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.images import FetchPolicy, UrlReader
from imgvec.sources import Record, load_metadata, record_id

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x").mkdir()
    for name in ("a.jpg", "x/b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def store() -> Iterator[Any]:
    """fsspec's store in memory, empty."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


def only_records(source: object, **options: Any) -> list[Record]:
    found = list(read_source(source, **options))  # type: ignore[arg-type]
    assert all(isinstance(one, Record) for one in found), found
    return found  # type: ignore[return-value]


def refused(source: object, **options: Any) -> list[tuple[str, str]]:
    return [(one.uri, one.reason) for one in read_source(source, **options) if isinstance(one, UnreadableImage)]  # type: ignore[arg-type]


class TestList:
    def test_paths_and_urls(self, folder: Path) -> None:
        lines = [
            "a.jpg",
            "",
            f"{folder}/x/b.jpg",
            "file://" + f"{folder}/a.jpg",
            "https://example.org/c.jpg?x=1",
            " x/b.jpg ",
        ]
        (folder / "list.txt").write_text("\ufeff" + "\r\n".join(lines))
        records = only_records(folder / "list.txt")
        here = str(folder)
        assert [one.uri.replace(here, "") for one in records] == [
            "/a.jpg", "/x/b.jpg", "/a.jpg", "https://example.org/c.jpg?x=1", "/x/b.jpg"
        ]  # fmt: skip
        assert records[0].reader.read(100) == b"a.jpg"
        assert records[0].id == record_id(f"{here}/a.jpg")

    def test_what_cannot_be_read_from_a_list(self, folder: Path) -> None:
        lines = [
            b"none.jpg",
            b"ftp://example.org/a.jpg",
            b"http://u:p@example.org/a.jpg",
            b"caf\xe9.jpg",
            b"nul\0.jpg",
            b"a.jpg",
        ]
        (folder / "list.txt").write_bytes(b"\n".join(lines))
        *found, last = read_source(folder / "list.txt")
        assert isinstance(found[0], Record)
        with pytest.raises(UnreadableImage, match="missing"):
            found[0].reader.read(10)
        assert all(isinstance(one, UnreadableImage) and one.reason == "unusable name" for one in found[1:])
        assert "u:p" not in str(found[2])
        assert last.uri == f"{folder}/a.jpg"

    def test_urls_carry_the_policy(self, folder: Path) -> None:
        (folder / "list.txt").write_text("https://example.org/a.jpg")
        policy = FetchPolicy(("10.0.0.0/8",), 5)
        (record,) = only_records(folder / "list.txt", policy=policy)
        assert pickle.loads(pickle.dumps(record.reader)) == UrlReader("https://example.org/a.jpg", policy)


def test_a_url_alone(folder: Path) -> None:
    (folder / "m.csv").write_text("path,album\nhttps://example.org/a.jpg,cats\n")
    (record,) = only_records("https://example.org/a.jpg", metadata=load_metadata(folder / "m.csv"))
    assert (record.uri, record.metadata) == ("https://example.org/a.jpg", {"album": "cats"})
    assert refused("http://example.org:0/a.jpg") == [("http://example.org:0/a.jpg", "unusable name")]
    with pytest.raises(SourceError, match="download it"):
        read_source("https://example.org/shard.tar?x=1")


@pytest.mark.parametrize("kind", ["m.csv", "m.tsv", "m.jsonl", "m.ndjson", "m.parquet"])
class TestManifest:
    def written(self, path: Path, rows: list[dict[str, Any]]) -> Path:
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix in (".csv", ".tsv"):
            delimiter = "," if path.suffix == ".csv" else "\t"
            lines = [list(rows[0]), *([str(row[name] or "") for name in rows[0]] for row in rows)]
            path.write_text("".join(delimiter.join(line) + "\n" for line in lines))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def test_columns_are_fields(self, folder: Path, kind: str) -> None:
        rows = [
            {"file_name": "a.jpg", "album": "cats", "tag": None},
            {"file_name": "x/b.jpg", "album": "dogs", "tag": "t"},
        ]
        records = only_records(self.written(folder / kind, rows))
        assert [(one.uri, one.metadata) for one in records] == [
            (f"{folder}/a.jpg", {"album": "cats"}),
            (f"{folder}/x/b.jpg", {"album": "dogs", "tag": "t"}),
        ]
        assert records[1].reader.read(100) == b"x/b.jpg"

    def test_named_columns(self, folder: Path, kind: str) -> None:
        rows = [
            {"url": "no", "where": "a.jpg", "sku": "s-1", "label": "cats"},
            {"url": "", "where": "x/b.jpg", "sku": "s-2", "label": "d"},
        ]
        path = self.written(folder / kind, rows)
        records = only_records(path, uri_column="where", id_column="sku", mapping={"label": "album", "sku": "sku"})
        assert [(one.id, one.metadata) for one in records] == [
            ("s-1", {"album": "cats", "sku": "s-1"}),
            ("s-2", {"album": "d", "sku": "s-2"}),
        ]
        parts = [only_records(path, uri_column="where", id_column="sku", part=(rank, 2)) for rank in range(2)]
        assert sorted(one.id for part in parts for one in part) == ["s-1", "s-2"]

    def test_a_column_that_is_not_there(self, folder: Path, kind: str) -> None:
        path = self.written(folder / kind, [{"path": "a.jpg"}])
        if "json" in kind:  # which have no header: each row is asked
            assert refused(path, uri_column="nowhere") == [(f"{path}:1", "unusable name")]
        else:
            with pytest.raises(SourceError, match="no column `nowhere`"):
                list(read_source(path, uri_column="nowhere"))

    def test_rows_without_an_image_or_an_id(self, folder: Path, kind: str) -> None:
        rows = [
            {"path": "", "id": "1"},
            {"path": "a.jpg", "id": ""},
            {"path": "x/b.jpg", "id": "ä" * 33},
            {"path": "a.jpg", "id": "k"},
        ]
        found = list(read_source(self.written(folder / kind, rows), id_column="id"))
        assert [one.reason if isinstance(one, UnreadableImage) else one.id for one in found] == [
            "unusable name", "metadata refused", "metadata refused", "k"
        ]  # fmt: skip

    def test_the_metadata_file_adds(self, folder: Path, kind: str) -> None:
        path = self.written(folder / kind, [{"path": "a.jpg", "album": "cats", "n": "1"}])
        (record,) = only_records(path, metadata=load_metadata({f"{folder}/a.jpg": {"album": "dogs"}}))
        assert record.metadata == {"album": "dogs", "n": "1"}

    def test_outside_the_root(self, folder: Path, kind: str) -> None:
        path = self.written(folder / "x" / kind, [{"path": "b.jpg"}, {"path": "../a.jpg"}])
        assert [one.uri for one in only_records(path, root=folder)] == ["x/b.jpg", "a.jpg"]
        stream = read_source(path, root=folder / "x")
        assert next(stream).uri == "b.jpg"
        with pytest.raises(SourceError, match="outside the root"):
            next(stream)


@pytest.mark.parametrize(
    ("name", "text", "broken"),
    [
        ("m.csv", "path,n\na.jpg,1\nb.jpg,1,2,3\n,1,2,3\nx/b.jpg,2\n1,2,3\n", [3, 4, 6]),
        ("m.jsonl", '{"path": "a.jpg"}\n{"path": \n[1]\n{"path": "x/b.jpg"}\n' + "[" * 100_000, [2, 3, 5]),
    ],
)
def test_a_broken_line_costs_itself_alone(folder: Path, name: str, text: str, broken: list[int]) -> None:
    (folder / name).write_text(text)
    found = list(read_source(folder / name))
    assert [one.uri for one in found if isinstance(one, Record)] == [f"{folder}/a.jpg", f"{folder}/x/b.jpg"]
    assert refused(folder / name) == [(f"{folder / name}:{line}", "metadata refused") for line in broken]
    assert isinstance(found[1], UnreadableImage)  # in its place


def test_what_ends_a_manifest_comes_after_the_rows_before_it(folder: Path) -> None:
    (folder / "m.csv").write_text('path,n\na.jpg,1\nb.jpg,"' + "x\n" * 9_000_000)
    stream = read_source(folder / "m.csv")
    assert next(stream).uri == f"{folder}/a.jpg"
    with pytest.raises(SourceError, match=r"m\.csv:3: .*a quote not closed"):
        next(stream)


def test_a_quote_that_nobody_closed_ends_a_manifest(folder: Path) -> None:
    (folder / "m.csv").write_text('path,n\na.jpg,"of\ntwo lines"\nx/b.jpg,"2\nc.jpg,3\n')
    stream = read_source(folder / "m.csv")
    assert next(stream).uri == f"{folder}/a.jpg"
    with pytest.raises(SourceError, match=r"m\.csv:4: a quote opened in this row is never closed"):
        next(stream)


def test_a_last_row_without_a_line_end(folder: Path) -> None:
    (folder / "m.csv").write_text('path,n\na.jpg,1\nx/b.jpg,"2"')
    assert [one.uri for one in read_source(folder / "m.csv")] == [f"{folder}/a.jpg", f"{folder}/x/b.jpg"]


@pytest.mark.parametrize(
    ("name", "lines", "why"),
    [
        ("m.csv", [b"path,n", b"a.jpg,1", b"b.jpg,1,2,3", b"x/b.jpg,2"], "4 cells, but the header has 2"),
        ("m.csv", [b"path,n", b"a.jpg,1", b"caf\xe9.jpg,1", b"x/b.jpg,2"], "not UTF-8; save the file as UTF-8"),
        ("m.jsonl", [b"", b'{"path": "a.jpg"}', b'{"path": ', b'{"path": "x/b.jpg"}'], "not valid JSON"),
        ("m.jsonl", [b"", b'{"path": "a.jpg"}', b"[" * 100_000, b'{"path": "x/b.jpg"}'], "not valid JSON"),
        ("m.jsonl", [b"", b'{"path": "a.jpg"}', b"[]", b'{"path": "x/b.jpg"}'], "one object per line"),
        ("m.jsonl", [b"", b'{"path": "a.jpg"}', b'{"path": "\xe9"}', b'{"path": "x/b.jpg"}'], "not UTF-8"),
    ],
)
def test_a_line_that_cannot_be_read_costs_itself_alone(folder: Path, name: str, lines: list[bytes], why: str) -> None:
    (folder / name).write_bytes(b"\n".join(lines))
    first, refused, last = read_source(folder / name)
    assert [first.uri, last.uri] == [f"{folder}/a.jpg", f"{folder}/x/b.jpg"]
    assert isinstance(refused, UnreadableImage)
    assert (refused.uri, refused.reason) == (f"{folder}/{name}:3", "metadata refused")
    assert why in refused.detail


def test_a_file_that_is_not_utf_8_from_its_start_is_refused_as_a_whole(folder: Path) -> None:
    for name, data in (
        ("m.csv", "pfad,größe,path\n1,2,a.jpg\n".encode("cp1252")),
        ("m.csv", "path,n\na.jpg,1\n".encode("utf-16")),
        ("m.jsonl", '{"path": "a.jpg"}\n'.encode("utf-16")),
    ):
        (folder / name).write_bytes(data)
        with pytest.raises(SourceError, match=r":1: not UTF-8; save the file as UTF-8"):
            list(read_source(folder / name))


@pytest.mark.slow
def test_a_header_that_no_table_has_is_refused(folder: Path) -> None:
    for text in (f"path,{'x' * 20_000_000}\na.jpg,1\n", "\0,\0\n"):
        (folder / "m.csv").write_text(text)
        with pytest.raises(SourceError, match=r"m\.csv:1: the header has no column"):
            list(read_source(folder / "m.csv"))
        with pytest.raises(SourceError, match=r"m\.csv:1: the header has no column"):
            load_metadata(folder / "m.csv")


def test_an_empty_file_of_json_lines_is_metadata_without_rows(folder: Path) -> None:
    (folder / "m.jsonl").write_text("")
    assert len(load_metadata(folder / "m.jsonl")) == 0


def test_a_row_of_parquet_that_python_cannot_hold_costs_itself_alone(folder: Path) -> None:
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in range(4)))
    latin = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"a\xe9b")])
    for column in (pa.array([0, 2**60, 1], pa.timestamp("us")), pa.array([0, 2**30, 1], pa.date32()), latin):
        pq.write_table(pa.table({"path": ["a.jpg", "c.jpg", "x/b.jpg"], "odd": column}), folder / "m.parquet")
        first, refused, last = read_source(folder / "m.parquet")
        assert [first.uri, last.uri] == [f"{folder}/a.jpg", f"{folder}/x/b.jpg"]
        assert isinstance(refused, UnreadableImage)
        assert (refused.uri, refused.reason) == (f"{folder}/m.parquet!1", "metadata refused")
        assert "`odd` cannot be read" in refused.detail
        for table, place in (
            (folder / "m.parquet", f"{folder}/m.parquet:2"),
            (pa.table({"path": ["a.jpg", "c.jpg", "x/b.jpg"], "odd": column}), "metadata:2"),
        ):
            known = load_metadata(table)
            [refused] = known.refused
            assert (refused.uri, refused.reason, len(known)) == (place, "metadata refused", 2)
            assert "`odd` cannot be read" in refused.detail


class TestParquetImages:
    def written(self, path: Path, images: pa.Array, **columns: list[Any]) -> Path:
        pq.write_table(pa.table({"image": images, **columns}), path, row_group_size=3)
        return path

    def structs(self, *pairs: tuple[bytes | None, str | None]) -> pa.Array:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        return pa.array([{"bytes": data, "path": path} for data, path in pairs], kind)

    def test_as_hugging_face_writes_them(self, tmp_path: Path) -> None:
        images = self.structs(*((f"data{n}".encode(), f"{n}.jpg") for n in range(8)))
        path = self.written(tmp_path / "t.parquet", images, label=list(range(8)))
        records = only_records(path)
        assert [one.uri for one in records] == [f"{path}!{n}.jpg" for n in range(8)]
        assert [one.reader.read(100) for one in records] == [f"data{n}".encode() for n in range(8)]
        assert [one.metadata for one in records] == [{"label": n} for n in range(8)]
        assert [one.uri for one in only_records(path, root=tmp_path)] == [f"t.parquet!{n}.jpg" for n in range(8)]

    @pytest.mark.parametrize("paths", [["a.jpg", "a.jpg", "b.jpg"], ["a.jpg", None, "b.jpg"], [None, None, None]])
    def test_rows_are_numbered_where_paths_are_no_keys(self, tmp_path: Path, paths: list[str | None]) -> None:
        path = self.written(tmp_path / "t.parquet", self.structs(*((b"x", one) for one in paths)))
        assert [one.uri for one in only_records(path)] == [f"{path}!{n}" for n in range(3)]

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
    def test_bytes_alone(self, tmp_path: Path, kind: pa.DataType) -> None:
        path = self.written(tmp_path / "t.parquet", pa.array([b"one", b"", None], kind), name=["x", "y", "z"])
        records = only_records(path)
        assert records[0].reader.read(10) == b"one"
        for one in records[1:]:
            with pytest.raises(UnreadableImage, match="empty"):
                one.reader.read(10)
        named = only_records(path, image_column="image", uri_column="name")
        assert [one.uri for one in named] == [f"{path}!{key}" for key in "xyz"]

    def test_a_path_without_bytes_is_a_file(self, folder: Path) -> None:
        path = self.written(folder / "t.parquet", self.structs((None, "a.jpg"), (b"held", "h.jpg")))
        first, second = only_records(path)
        assert (first.uri, first.reader.read(10)) == (f"{folder}/a.jpg", b"a.jpg")
        assert (second.uri, second.reader.read(10)) == (f"{path}!h.jpg", b"held")

    def test_caps_parts_and_metadata(self, tmp_path: Path) -> None:
        images = self.structs(*((b"x" * n, f"{n}.jpg") for n in range(1, 41)))
        path = self.written(tmp_path / "t.parquet", images)
        assert refused(path, max_bytes=38) == [(f"{path}!{n}.jpg", "too large") for n in (39, 40)]
        parts = [only_records(path, part=(rank, 2)) for rank in range(2)]
        assert sorted(one.uri for part in parts for one in part) == sorted(one.uri for one in only_records(path))
        assert all(parts)
        (first, *_) = only_records(path, metadata=load_metadata({"1.jpg": {"a": 1}}))
        assert first.metadata == {"a": 1}

    def test_no_such_column_or_type(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "t.parquet", pa.array([1, 2]), photo=[b"x", b"y"])
        for options, says in (
            ({}, "images must be bytes"),
            ({"image_column": "foto"}, "no column `foto`; it has image, photo"),
            ({"uri_column": "url"}, "no column `url`"),
        ):
            with pytest.raises(SourceError, match=says):
                next(read_source(path, **options))  # type: ignore[arg-type]
        assert len(only_records(path, image_column="photo")) == 2
        pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
        with pytest.raises(SourceError, match="--image-column"):
            next(read_source(tmp_path / "x.parquet"))

    def test_broken(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "t.parquet", self.structs(*((b"x" * 500, f"{n}") for n in range(50))))
        data = path.read_bytes()
        for broken in (b"", b"pixels" * 100, data[: len(data) // 2], data[:-10]):
            path.write_bytes(broken)
            with pytest.raises(SourceError, match="Parquet file, or damaged"):
                list(read_source(path))


class TestObjects:
    def test_object_folder_and_glob(self, store: Any) -> None:
        for name in ("a.jpg", "x/b.jpg", "x/.hidden.jpg", "notes.txt", ".git/c.jpg"):
            store.pipe(f"/photos/{name}", name.encode())
        assert [one.uri for one in only_records("memory://photos/a.jpg")] == ["memory://photos/a.jpg"]
        records = only_records("memory://photos")
        assert [one.uri for one in records] == ["memory://photos/a.jpg", "memory://photos/x/b.jpg"]
        assert pickle.loads(pickle.dumps(records[1])).reader.read(100) == b"x/b.jpg"
        assert [one.uri for one in only_records("memory://photos/**/*.jpg")][-1] == "memory://photos/x/b.jpg"
        assert len(only_records("memory://photos", recursive=False)) == 1
        with pytest.raises(SourceError, match="nothing found there"):
            read_source("memory://nowhere")
        assert refused(["memory://nowhere", "memory://photos"]) == [("memory://nowhere", "missing")]

    def test_archives_manifests_and_lists(self, store: Any, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            (tmp_path / "1.jpg").write_bytes(b"one")
            archive.add(tmp_path / "1.jpg", "1.jpg")
        store.pipe("/d/s-0.tar", (tmp_path / "s.tar").read_bytes())
        store.pipe("/d/a.jpg", b"a")
        store.pipe("/d/list.txt", b"a.jpg\nmemory://d/a.jpg\nsftp://host/a.jpg\n")
        store.pipe("/d/m.csv", b"url,album\na.jpg,cats\n")
        assert [one.uri for one in only_records("memory://d/s-*.tar")] == ["memory://d/s-0.tar!1.jpg"]
        assert [one.uri for one in only_records("memory://d/s-{0..0}.tar")] == ["memory://d/s-0.tar!1.jpg"]
        assert refused("memory://d/list.txt") == [("sftp://host/a.jpg", "unusable name")]
        (record,) = only_records("memory://d/m.csv")
        assert (record.uri, record.metadata, record.reader.read(9)) == ("memory://d/a.jpg", {"album": "cats"}, b"a")

    def test_refusals(self, store: Any) -> None:
        store.pipe("/d/a.jpg", b"pixels")
        store.pipe("/d/e.jpg", b"")
        big, empty = only_records("memory://d")
        with pytest.raises(UnreadableImage, match="too large"):
            big.reader.read(3)
        store.rm("/d/a.jpg")
        with pytest.raises(UnreadableImage, match="missing"):
            big.reader.read(10)
        with pytest.raises(UnreadableImage, match="empty"):
            empty.reader.read(10)

    @pytest.mark.parametrize(
        "url",
        [
            "simplecache::memory://d/a.jpg",
            "nonsense://x/a.jpg",
            "zip://a::http://127.0.0.1/x.zip",
            "local://etc/passwd",
            "sftp://me:hunter2@example.org/a.jpg",
        ],
    )
    def test_addresses_that_are_not_read(self, store: Any, url: str) -> None:
        with pytest.raises(SourceError) as caught:
            read_source(url)
        assert "hunter2" not in str(caught.value)

    def test_without_the_plug_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(url: str) -> None:
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
        with pytest.raises(MissingExtra, match=r"imgvec\[s3\]"):
            read_source("s3://bucket/a.jpg")
