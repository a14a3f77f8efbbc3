"""Images that a line or a row names, in lists, manifests, Parquet and object stores: what is said, and the bounds."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import read_source

from imgvec.errors import MissingExtra, SourceError, UnreadableImage, UsageError
from imgvec.sources import Notice, PassedOver, Record, Source, load_metadata, record_id, remote
from imgvec.sources.arrow import are_unique
from imgvec.sources.columns import Columns, Fields
from imgvec.sources.passing import Excludes
from imgvec.sources.reading import Reading, name_trouble
from imgvec.sources.remote import ObjectReader
from imgvec.sources.tables import column_of, csv_rows, json_rows

pytestmark = pytest.mark.timeout(60)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(source: object, **options: Any) -> list[tuple[str, str, str]]:
    found = read_source(source, **options)  # type: ignore[arg-type]
    return [(one.uri, one.reason, one.detail) for one in found if isinstance(one, UnreadableImage)]


def notices(source: object, **options: Any) -> list[str]:
    return [one.text for one in read_source(source, **options) if isinstance(one, Notice)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "uri", "reason", "detail"),
    [
        ("ftp://h/a.jpg", "ftp://h/a.jpg", "unusable name", "ftp:// is not supported in lists"),
        ("ftp://me:pw@h/a.jpg", "ftp://h/a.jpg", "unusable name", "ftp:// is not supported in lists"),
        ("a\0.jpg", "a\0.jpg", "unusable name", "it contains NUL"),
        (
            "C:\\x\\a.jpg",
            "C:\\x\\a.jpg",
            "missing",
            "a Windows path; make it relative to the folder of {folder}/l.txt, or use its path on this machine",
        ),
        ("http:///a.jpg", "http:///a.jpg", "unusable name", "it has no host"),
        (
            "http://me:pw@h/a.jpg",
            "http://h/a.jpg",
            "unusable name",
            "a stored URL must not contain a user name or password",
        ),
        (
            "s3://me:pw@b/a.jpg",
            "s3://b/a.jpg",
            "unusable name",
            "a stored address must not contain a password",
        ),
        ("http://h/ .jpg", "http://h/ .jpg", "unusable name", "a URL must not contain spaces or control characters"),
    ],
)  # fmt: skip
def test_what_a_line_may_not_name(line: str, uri: str, reason: str, detail: str, tmp_path: Path) -> None:
    path = written(tmp_path, "l.txt", f"{line}\n")
    assert refused(path) == [(uri, reason, detail.format(folder=tmp_path))]


@pytest.mark.parametrize(
    "name", ["\\ud800.jpg", "http://h/\\ud800.jpg", "memory://b/\\udfff.jpg", "file:///\\ud800.jpg"]
)
def test_a_row_that_names_half_of_a_character_costs_itself_alone(name: str, tmp_path: Path) -> None:
    """JSON can write one, and no file system and no network can have it."""
    path = written(
        tmp_path,
        "m.jsonl",
        f'{{"path": "{name}"}}\n{{"path": "a.jpg", "sku": "\\ud800"}}\n{{"path": "b.jpg", "sku": "b"}}\n',
    )
    assert refused(path, id_column="sku") == [
        (name, "unusable name", "it is not Unicode text"),
        (f"{tmp_path}/a.jpg", "metadata refused", "its id \\ud800 is not Unicode text"),
    ]


@pytest.mark.parametrize("scheme", ["abfs", "abfss", "az", "gcs", "gs", "hf", "memory", "s3", "s3a", "S3"])
def test_stores_that_a_line_may_name(scheme: str, tmp_path: Path) -> None:
    (record,) = read_source(written(tmp_path, "l.txt", f"{scheme}://b/a.jpg\n"))
    assert isinstance(record, Record)
    assert record.reader == ObjectReader(f"{scheme}://b/a.jpg")


def test_lines_that_are_excluded(tmp_path: Path) -> None:
    lines = "http://me@h/x/a.jpg?q=x\nmemory://b/x/a.jpg\nx/a.jpg\nfile://{0}/x/b.jpg\nhttp://h/y/a.jpg?x/\n"
    path = written(tmp_path, "l.txt", lines.format(tmp_path))
    *passed, record = read_source(path, exclude=["x/"])
    uris = ["http://h/x/a.jpg?q=x", "memory://b/x/a.jpg", f"{tmp_path}/x/a.jpg", f"{tmp_path}/x/b.jpg"]
    assert passed == [PassedOver(uri, "excluded") for uri in uris]
    assert isinstance(record, Record)
    assert record.uri == "http://h/y/a.jpg?x/"


class _Broken(io.BytesIO):
    """A file that the disk gives no more of after its first `good` bytes."""

    def __init__(self, good: bytes) -> None:
        super().__init__(good)

    def read1(self, size: int = -1, /) -> bytes:
        if data := super().read1(size):
            return data
        raise OSError("the disk")

    read = read1  # type: ignore[assignment]


@pytest.mark.parametrize(("name", "head"), [("l.txt", b""), ("m.csv", b"path\n"), ("m.jsonl", b"\n")])
def test_what_breaks_off_says_so(name: str, head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, name, b"x")
    line = b'{"path": "a.jpg"}' if name.endswith("jsonl") else b"a.jpg"
    monkeypatch.setattr("imgvec.sources.places._open_file", lambda _: _Broken(head + line + b"\n"))
    stream = read_source(path)
    assert next(stream).uri == f"{tmp_path}/a.jpg"  # type: ignore[union-attr]
    with pytest.raises(SourceError) as caught:
        list(stream)
    assert str(caught.value) == f"{path}: cannot be read any further: the disk"


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "l.txt", b"x")

    def refusing(_: str) -> Any:
        raise PermissionError(13, "not you")

    monkeypatch.setattr("imgvec.sources.places._open_file", refusing)
    with pytest.raises(SourceError) as caught:
        list(read_source(path))
    assert str(caught.value) == f"{path}: cannot be opened: not you"


@pytest.mark.parametrize("name", ["m.jsonl", "m.JSONL", "m.NdJson"])
def test_lines_of_json_whatever_the_case_of_their_ending(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name, '{"path": "a.jpg", "k": 1}\n{"k": 2}\n{"path": 3}\n[1]\n{\n')
    record, *others = read_source(path)
    assert isinstance(record, Record)
    assert (record.uri, record.metadata) == (f"{tmp_path}/a.jpg", {"k": 1})
    no_text = "the row has no string in `uri` or `url` or `path` or `SourceFile` or `file_name`"
    assert [(one.uri, one.reason, one.detail) for one in others if isinstance(one, UnreadableImage)] == [
        (f"{path}:2", "unusable name", no_text),
        (f"{path}:3", "unusable name", no_text),
        (f"{path}:4", "metadata refused", "JSON lines need one object per line"),
        (
            f"{path}:5",
            "metadata refused",
            "not valid JSON: Expecting property name enclosed in double quotes: line 2 column 1 (char 2)",
        ),
    ]


@pytest.mark.parametrize("name", ["m.tsv", "m.TSV"])
def test_a_tsv_whatever_the_case_of_its_ending(name: str, tmp_path: Path) -> None:
    # with another delimiter the header would have a `path` as well
    (record,) = read_source(written(tmp_path, name, "path,x\tpath\na,b.jpg\tc.jpg\n"))
    assert isinstance(record, Record)
    assert (record.uri, record.metadata) == (f"{tmp_path}/c.jpg", {"path,x": "a,b.jpg"})


class TestColumns:
    """Columns that can be no field are said, however few rows have them."""

    SAID = (
        ". Use --map COLUMN=FIELD (mapping= in Python) to store one under another name; "
        "then only mapped columns are stored"
    )

    @staticmethod
    def problem(name: str) -> str | None:
        return f"no {name[0]}" if name.startswith(("x", "y")) else None

    def test_of_a_header_whose_cells_are_empty(self, tmp_path: Path) -> None:
        path = written(tmp_path, "m.csv", "path,xa,k,ya,xb\na.jpg,,1,,\n")
        said = f"ignored columns: 'xa', 'xb' (no x); 'ya' (no y){self.SAID}"
        assert notices(path, field_problem=self.problem) == [said]
        assert notices(path, field_problem=self.problem, id_column="xa", mapping={"k": "k"}) == []

    def test_of_metadata_that_no_image_asks_for(self, tmp_path: Path) -> None:
        written(tmp_path, "a.jpg", b"one")
        metadata = load_metadata({"none.jpg": {"xa": 1, "xid": 2, "k": 3}})
        found = list(read_source(tmp_path, metadata=metadata, field_problem=self.problem, id_column="xid"))
        assert found[0] == Notice(f"ignored columns: 'xa' (no x){self.SAID}")
        assert len(found) == 2

    def test_that_turn_up_late(self, tmp_path: Path) -> None:
        rows = [*('{"path": "a.jpg"}' for _ in range(8)), '{"path": "a.jpg", "xa": 1}', '{"path": "a.jpg"}']
        path = written(tmp_path, "m.jsonl", "\n".join(rows))
        found = list(read_source(path, field_problem=self.problem))
        assert [at for at, one in enumerate(found) if isinstance(one, Notice)] == [8]
        assert all(not one.metadata for one in found if isinstance(one, Record))

    def test_each_is_said_once_in_five_notices_at_most(self, tmp_path: Path) -> None:
        rows = [f'{{"path": "a.jpg", "x{n}": 1}}' for n in range(7)]
        path = written(tmp_path, "m.jsonl", "\n".join(rows))
        said = [f"ignored columns: 'x{n}' (no x){self.SAID}" for n in range(5)]
        assert notices(path, field_problem=self.problem) == said

    @pytest.mark.parametrize(("number", "more"), [(10, ""), (11, " and 1 more"), (1211, " and 1,201 more")])
    def test_no_more_than_ten_are_named(self, number: int, more: str) -> None:
        columns = Fields(Columns(), self.problem)
        columns.look_at([f"x{n}" for n in range(number)])
        named = ", ".join(repr(f"x{n}") for n in range(10))
        assert columns.passed_over(0) == f"ignored columns: {named}{more} (no x){self.SAID}"
        assert columns.passed_over(number) is None
        assert columns.problems == number

    def test_no_more_than_ten_thousand_are_remembered(self) -> None:
        columns = Fields(Columns(), self.problem)
        columns.look_at(f"x{n}" for n in range(10_001))
        assert columns.problems == 10_000
        assert columns.of({"x10000": 1, "x1": 1, "k10000": 1, "k": None}) == {"k10000": 1}

    def test_those_mapped_and_those_never_seen(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError) as caught:
            read_source(tmp_path, mapping={"a": "xa"}, field_problem=self.problem)
        assert str(caught.value) == "--map a=xa: no x; choose another FIELD"
        path = written(tmp_path, "m.csv", "path,a,b\na.jpg,1,\n")
        record, notice = read_source(path, mapping={"a": "k", "b": "l", "c": "m"})
        assert isinstance(record, Record)
        assert record.metadata == {"k": "1"}
        said = "no row has a value in 'b', 'c', given by --map (mapping= in Python): check the spelling"
        assert notice == Notice(said)


def test_a_reading_s_defaults_are_a_source_s(tmp_path: Path) -> None:
    reading, given = Reading(), Source(tmp_path).options
    assert (reading.root, reading.recursive) == (given["root"], given["recursive"]) == (None, True)
    assert (reading.follow_links, reading.name_encoding) == (given["follow_links"], given["name_encoding"])
    assert (reading.follow_links, reading.name_encoding) == (False, None)
    assert (reading.part, reading.metadata, reading.guards.max_bytes) == (None, None, 268_435_456)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ("k", "k"),
        (0, "0"),
        (7, "7"),
        ("é" * 32, "é" * 32),
        ("é" * 32 + "x", "its id has 65 bytes, the limit is 64"),
        ("", "`k` must be a string or an integer"),
        (True, "`k` must be a string or an integer"),
        (1.5, "`k` must be a string or an integer"),
        (None, "`k` must be a string or an integer"),
    ],
)
def test_ids_that_are_given(given: object, outcome: str) -> None:
    item = Reading(columns=Columns(id="k")).record("a", ObjectReader("a"), {}, {"k": given})
    if isinstance(item, UnreadableImage):
        assert (item.uri, item.reason, item.detail) == ("a", "metadata refused", outcome)
    else:
        assert item.id == outcome
    assert Reading(columns=Columns(id="k")).record("a", ObjectReader("a"), {}).id == record_id("a")  # type: ignore[union-attr]


def test_uris_that_cannot_be_stored() -> None:
    assert name_trouble("é" * 2048) is None
    said = ("unusable name", "its path has 4,097 bytes, the limit is 4,096")
    assert name_trouble("é" * 2048 + "x") == said
    assert name_trouble("a\udcff.jpg") == ("unusable name", "it is not UTF-8; rename it")
    said = ("unusable name", "it is not UTF-8; rename it, or give its encoding (--name-encoding)")
    assert name_trouble("s.tar!a\udcff.jpg") == said


class TestTables:
    def test_a_column_as_it_is_written_or_nearly(self) -> None:
        assert column_of(["Path", "path"], ["uri", "path"]) == "path"
        assert column_of(["PATH", "Path"], ["path"]) == "PATH"
        assert column_of([" File-Name"], ["path", "file_name"]) == " File-Name"
        assert column_of(["url", "path"], ["path", "url"]) == "path"
        assert column_of(["paths"], ["path"]) is None

    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (["k,l\n"], "f:1: the header has no column `path` or `uri`, only k, l"),
            ([], "f:1: the header has no column `path` or `uri`, only nothing"),
            (["sep=;\n", "k\n"], "f:2: the header has no column `path` or `uri`, only k"),
            (["path,k,k\n"], "f:1: two columns in the header have the same name"),
            (["path\udcff\n"], "f:1: not UTF-8; save the file as UTF-8"),
            (["path,k\n", "a,1\n", "b,1,2\n"], "f:3: 3 cells, but the header has 2"),
            (["path,k\n", "a\udcff,1\n"], "f:2: not UTF-8; save the file as UTF-8"),
            (["sep=;\n", "path;k\n", "a\udcff;1\n"], "f:3: not UTF-8; save the file as UTF-8"),
        ],
    )
    def test_what_is_wrong_with_a_csv(self, lines: list[str], said: str) -> None:
        with pytest.raises(SourceError) as caught:
            list(csv_rows("f", lines, ["path", "uri"]))
        assert str(caught.value) == said

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("\udcff\udcfe{}", "f:1: not UTF-8; save the file as UTF-8"),
            ('{"a": "\udcff"}', "f:1: not UTF-8; save the file as UTF-8"),
            ("[]", "f:1: JSON lines need one object per line"),
            ("null", "f:1: JSON lines need one object per line"),
            ("{", "f:1: not valid JSON: Expecting property name"),
            ("[" * 100_000, "f:1: not valid JSON: maximum recursion depth exceeded"),
        ],
    )
    def test_what_is_wrong_with_a_line_of_json(self, line: str, said: str) -> None:
        with pytest.raises(SourceError) as caught:
            list(json_rows("f", [line]))
        assert str(caught.value).startswith(said)

    def test_rows_and_their_lines(self) -> None:
        headers: list[list[str]] = []
        lines = ["path, k ,\n", "a,1,\n", "\n", 'b,"x\n', 'y",0\n', "c\n"]
        rows = list(csv_rows("f", lines, ["path"], on_header=headers.append))
        assert headers == [["path", "k"]]
        assert rows == [(2, {"path": "a", "k": "1"}), (5, {"path": "b", "k": "x\ny"}), (6, {"path": "c"})]
        assert list(json_rows("f", ["\n", '{"a": null, "b": 0}\n', " \n", "{}"])) == [(2, {"b": 0}), (4, {})]

    def test_numbers_of_many_digits(self) -> None:
        ((_, row),) = json_rows("f", [f'{{"a": {"9" * 999}, "b": {"9" * 1000}}}'])
        assert row == {"a": 10**999 - 1, "b": 10**1000}


class TestParquet:
    def struct(self, **fields: pa.DataType) -> pa.DataType:
        return pa.struct(list(fields.items()))

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            (pa.struct([("path", pa.string())]), "struct<path: string>"),
            (pa.struct([("path", pa.string()), ("bytes", pa.string())]), "struct<path: string, bytes: string>"),
            (pa.int64(), "int64"),
            (pa.list_(pa.binary()), "list<element: binary>"),
        ],
    )
    def test_a_column_that_holds_no_images(self, kind: pa.DataType, said: str, tmp_path: Path) -> None:
        pq.write_table(pa.table({"image": pa.array([None], kind)}), tmp_path / "t.parquet")
        with pytest.raises(SourceError) as caught:
            list(read_source(tmp_path / "t.parquet"))
        message = str(caught.value)
        assert message.startswith(f"{tmp_path}/t.parquet: the column `image` is {said.partition('<')[0]}")
        assert message.endswith(", but images must be bytes or {bytes, path}")

    @pytest.mark.parametrize("first", ["bytes", "path"])
    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
    def test_columns_that_hold_images(self, first: str, kind: pa.DataType, tmp_path: Path) -> None:
        fields = [("bytes", kind), ("path", pa.string())]
        images = pa.array([{"bytes": b"one", "path": "a.jpg"}], pa.struct(fields if first == "bytes" else fields[::-1]))
        pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet")
        (record,) = read_source(tmp_path / "t.parquet")
        assert isinstance(record, Record)
        assert (record.uri, record.reader.read(9)) == (f"{tmp_path}/t.parquet!a.jpg", b"one")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({}, "which column has the images? Choose from k, l with --image-column for image bytes, or "
                 "with --uri-column for paths or URLs"),
            ({"image_column": "i"}, "no column `i`; it has k, l"),
            ({"uri_column": "u"}, "no column `u`; it has k, l"),
        ],
    )  # fmt: skip
    def test_a_column_that_is_not_there(self, options: dict[str, str], said: str, tmp_path: Path) -> None:
        pq.write_table(pa.table({"k": [1], "l": [2]}), tmp_path / "t.parquet")
        with pytest.raises(SourceError) as caught:
            list(read_source(tmp_path / "t.parquet", **options))  # type: ignore[arg-type]
        assert str(caught.value) == f"{tmp_path}/t.parquet: {said}"

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path, "t.parquet", b"PAR1")
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(MissingExtra) as caught:
            list(read_source(path))
        assert str(caught.value) == f"{path}: Parquet needs pyarrow: pip install 'imgvec[parquet]'"

    def test_what_is_not_parquet(self, tmp_path: Path) -> None:
        path = written(tmp_path, "t.parquet", b"PAR1" + bytes(100))
        with pytest.raises(SourceError) as caught:
            list(read_source(path))
        assert str(caught.value).startswith(f"{path}: not a Parquet file, or damaged: ")
        assert str(caught.value).endswith("; all rows before this point were read")

    @pytest.mark.parametrize(
        ("paths", "unique"),
        [
            (["a", "b"], True),
            (["a", "a"], False),
            (["a", None], False),
            (["a", ""], False),
            ([b"a", b"\xff"], False),
        ],
    )
    def test_paths_as_keys(self, paths: list[Any], unique: bool) -> None:
        column = pa.array(paths)
        if isinstance(paths[0], bytes):
            column = pa.Array.from_buffers(pa.string(), 2, column.buffers())
        assert are_unique([column]) is unique
        assert are_unique([column.slice(0, 1), column.slice(1)]) is unique

    def test_few_rows_are_held_at_a_time(self, tmp_path: Path) -> None:
        number, size = 96, 2**18
        images = pa.array([bytes([n]) * size for n in range(number)], pa.binary())
        pages = {"compression": "none", "use_dictionary": False, "write_batch_size": 4, "data_page_size": 2**20}
        pq.write_table(pa.table({"image": images}), tmp_path / "t.parquet", **pages)
        del images
        before, most = pa.total_allocated_bytes(), 0
        for at, record in enumerate(read_source(tmp_path / "t.parquet")):
            assert isinstance(record, Record)
            assert record.reader.read(size) == bytes([at]) * size
            most = max(most, pa.total_allocated_bytes() - before)
        assert at == number - 1
        assert most < number * size / 2

    def test_rows_that_say_nothing_and_images_at_the_limit(self, tmp_path: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = [{"bytes": bytes(1000), "path": "a"}, {"bytes": bytes(1001), "path": "b"}]
        pq.write_table(pa.table({"image": pa.array(cells, kind)}), tmp_path / "t.parquet")
        said = ("too large", "1,001 bytes, the limit is 1,000")
        path = f"{tmp_path}/t.parquet"
        assert refused(path, max_bytes=1000) == [(f"{path}!b", *said)]
        pq.write_table(pa.table({"path": pa.array(["a.jpg", None, " "])}), path)
        said = ("unusable name", "the row does not say where the image is")
        assert refused(path) == [(f"{path}!1", *said), (f"{path}!2", *said)]


class TestObjects:
    @pytest.fixture
    def store(self) -> Iterator[Any]:
        filesystem = fsspec.filesystem("memory")
        filesystem.store.clear()
        yield filesystem
        filesystem.store.clear()

    @pytest.mark.parametrize(
        ("error", "reason", "detail"),
        [
            (SourceError("needs an fsspec plug-in"), "read failed", "needs an fsspec plug-in"),
            (FileNotFoundError("said"), "missing", ""),
            (PermissionError("not you"), "permission denied", "not you"),
            (IsADirectoryError("said"), "not a regular file", "a folder"),
            (OSError("the net"), "read failed", "the net"),
            (RuntimeError("of a plug-in"), "read failed", "memory://b/a: RuntimeError: of a plug-in"),
        ],
    )
    @pytest.mark.parametrize("when", ["open", "read"])
    def test_what_a_plug_in_says(
        self, error: Exception, reason: str, detail: str, when: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(*_: object) -> Any:
            raise error

        class Opened(io.BytesIO):
            read = failing

        class FileSystem:
            open = failing if when == "open" else lambda *_: Opened()

        monkeypatch.setattr(remote, "_filesystem", lambda _: (FileSystem(), "b/a"))
        with pytest.raises(UnreadableImage) as caught:
            ObjectReader("memory://b/a").read(9)
        assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("memory://b/a", reason, detail)

    def test_an_object_at_the_limit(self, store: Any) -> None:
        store.pipe("/b/a.jpg", bytes(10))
        assert ObjectReader("memory://b/a.jpg").read(10) == bytes(10)
        with pytest.raises(UnreadableImage) as caught:
            ObjectReader("memory://b/a.jpg").read(9)
        assert (caught.value.reason, caught.value.detail) == ("too large", "10 bytes, the limit is 9")

    CHAINED = "{url}: chained and cached addresses are not supported; use the address of the object itself"

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("zip://a::memory://b", CHAINED),
            ("simplecache://a", CHAINED),
            ("data://a", CHAINED),
            ("s3://me:pw@b/a", "s3://b/a: a stored address must not contain a password"),
            ("no://a", "{url}: Protocol not known: no; supported are paths, http(s) and whatever fsspec reads"),
        ],
    )  # fmt: skip
    def test_addresses_that_are_not_read(self, url: str, said: str) -> None:
        with pytest.raises(SourceError) as caught:
            read_source(url)
        assert str(caught.value) == said.format(url=url)

    @pytest.mark.parametrize(
        ("scheme", "hint"),
        [("s3", "pip install 'imgvec[s3]'"), ("s3a", "pip install 'imgvec[s3]'"), ("gs", "pip install 'imgvec[gs]'"),
         ("gcs", "pip install 'imgvec[gs]'"), ("az", "it is not installed")],
    )  # fmt: skip
    def test_without_a_plug_in(self, scheme: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_: str) -> None:
            raise ImportError("it is not installed")

        monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
        with pytest.raises(SourceError if scheme == "az" else MissingExtra) as caught:
            read_source(f"{scheme}://b/a")
        assert str(caught.value) == f"{scheme}://b/a: needs an fsspec plug-in: {hint}"
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(MissingExtra) as caught:
            read_source(f"{scheme}://b/a")
        assert str(caught.value) == f"{scheme}://b/a: needs fsspec: pip install 'imgvec[remote]'"

    def test_nothing_is_there_or_it_cannot_be_listed(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(SourceError) as caught:
            read_source("memory://none")
        assert str(caught.value) == "memory://none: nothing found there; check the address"
        assert refused(["memory://none"]) == [("memory://none", "missing", "")]

        def failing(*_: object) -> bool:
            raise RuntimeError("the net")

        monkeypatch.setattr(type(store), "isfile", failing)
        with pytest.raises(SourceError) as caught:
            read_source("memory://b")
        assert str(caught.value) == "memory://b: cannot list it: memory://b: RuntimeError: the net"

    def walking(self, monkeypatch: pytest.MonkeyPatch, *steps: tuple[str, list[str], list[str]]) -> list[Any]:
        asked: list[Any] = []

        class FileSystem:
            def isfile(self, _: str) -> bool:
                return False

            def walk(self, path: str, maxdepth: int | None) -> Iterator[tuple[str, list[str], list[str]]]:
                asked.append((path, maxdepth))
                for step in steps:
                    yield step
                    asked.append(step[1])

        monkeypatch.setattr(remote, "_filesystem", lambda _: (FileSystem(), "b/top"))
        return asked

    def test_paths_below_a_folder_are_matched_without_its_slashes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.walking(monkeypatch, ("b/top//s", [], ["d.jpg", "e.jpg"]), ("/b/top/", ["raw"], ["f.jpg"]))
        excludes = Excludes.of(["/s/d.jpg", "/f.jpg", "/raw/"])
        assert list(remote.find("s3://b/top", Reading(excludes=excludes))) == [
            PassedOver("s3://b/top//s/d.jpg", "excluded"),
            "s3://b/top//s/e.jpg",
            PassedOver("s3:///b/top/raw", "excluded"),
            PassedOver("s3:///b/top/f.jpg", "excluded"),
        ]

    @pytest.mark.parametrize(("recursive", "depth"), [(True, None), (False, 1)])
    def test_folders_that_are_entered(
        self, recursive: bool, depth: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folders = ["z", "y", ".h", "@eaDir", "raw"]
        asked = self.walking(monkeypatch, ("b/top", folders, ["b.jpg", "a.jpg", ".c.jpg", "d.pdf", ""]))
        found = list(remote.find("s3://b/top", Reading(recursive=recursive, excludes=Excludes.of(["raw/"]))))
        passed = [PassedOver("s3://b/top/@eaDir", "system folder"), PassedOver("s3://b/top/raw", "excluded")]
        assert found == [*(passed if recursive else []), "s3://b/top/a.jpg", "s3://b/top/b.jpg"]
        assert asked == [("b/top", depth), ["y", "z"] if recursive else []]

    def test_what_matches_a_glob(self, store: Any) -> None:
        for name in ("x/b.jpg", "x/a.jpg", "x/.h.jpg", "x/n.pdf", "@eaDir/a.jpg", "raw/a.jpg", "x/y/c.jpg"):
            store.pipe(f"/b/{name}", b"x")
        found = list(remote.find("memory://b/*/*", Reading(excludes=Excludes.of(["/raw/"]))))
        assert found == [
            PassedOver("memory://b/@eaDir/a.jpg", "system folder"),
            PassedOver("memory://b/raw/a.jpg", "excluded"),
            "memory://b/x/a.jpg",
            "memory://b/x/b.jpg",
        ]
        assert list(remote.find("memory://b/x/*", Reading(), every_suffix=True))[-1] == "memory://b/x/n.pdf"
        assert list(remote.find("memory://b/x/a.jpg", Reading())) == ["memory://b/x/a.jpg"]


def test_a_url_of_an_archive_is_not_fetched() -> None:
    with pytest.raises(SourceError) as caught:
        read_source("https://me:pw@h/s.tar?x=1")
    said = "https://h/s.tar?x=1: archives, manifests and lists must be on disk or in an object store: download it"
    assert str(caught.value) == said
