"""Columns of manifests, keys of sidecars, rows of metadata: which become fields, and what is said of the others."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import read_source

from imgvec.definition import field_problem
from imgvec.errors import UsageError
from imgvec.sources import Notice, Record, load_metadata

ROWS = [
    {"path": "a.jpg", "id": "1", "width": "160", "Album Title": "x", "timestamp": "5", "album": "cats"},
    {"path": "b.jpg", "id": "2", "width": "", "Album Title": "y", "timestamp": "6", "album": "dogs"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    return tmp_path


def written(folder: Path, kind: str) -> Path:
    path = folder / kind
    if path.suffix == ".csv":
        path.write_text("".join(",".join(row) + "\n" for row in [list(ROWS[0]), *(list(r.values()) for r in ROWS)]))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({k: v or None for k, v in row.items()}) + "\n" for row in ROWS))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        with tarfile.open(path, "w") as archive:
            for row in ROWS:
                side = json.dumps({k: v for k, v in row.items() if k != "path"}).encode()
                for name, data in ((row["path"], b"x"), (row["path"].replace("jpg", "json"), side)):
                    header = tarfile.TarInfo(name)
                    header.size = len(data)
                    archive.addfile(header, io.BytesIO(data))
    return path


def read(source: Any, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The records' metadata, and what was said."""
    items = list(read_source(source, field_problem=field_problem, **options))
    assert all(isinstance(item, Record | Notice) for item in items), items
    return (
        [dict(item.metadata) for item in items if isinstance(item, Record)],
        [item.text for item in items if isinstance(item, Notice)],
    )


@pytest.mark.parametrize("kind", ["m.csv", "m.jsonl", "m.parquet", "m.tar", "metadata"])
class TestColumnsThatCannotBeFields:
    def given(self, folder: Path, kind: str, **options: Any) -> dict[str, Any]:
        if kind == "metadata":
            return {"source": folder, "metadata": load_metadata(written(folder, "m.csv")), **options}
        return {"source": written(folder, kind), **options}

    def test_are_passed_over_with_one_notice(self, folder: Path, kind: str) -> None:
        rows, said = read(**self.given(folder, kind))
        assert rows == [{"album": "cats"}, {"album": "dogs"}]
        (notice,) = said
        assert "'id', 'width' (filled in by imgvec)" in notice
        assert "'Album Title' (a field name is" in notice
        assert "'timestamp' (a reserved word in Milvus)" in notice
        assert "--map COLUMN=FIELD" in notice

    def test_are_stored_under_another_name(self, folder: Path, kind: str) -> None:
        mapping = {"Album Title": "album_title", "width": "original_width", "album": "album"}
        rows, said = read(**self.given(folder, kind, mapping=mapping))
        assert rows[0] == {"album_title": "x", "original_width": "160", "album": "cats"}
        assert {**rows[1], "original_width": ""} == {"album_title": "y", "original_width": "", "album": "dogs"}
        assert said == []

    def test_a_mapped_column_that_no_row_has_is_said(self, folder: Path, kind: str) -> None:
        rows, (notice,) = read(**self.given(folder, kind, mapping={"albun": "album", "album": "shelf"}))
        assert rows == [{"shelf": "cats"}, {"shelf": "dogs"}]
        assert "no row has a value in 'albun'" in notice

    def test_a_field_that_cannot_be_is_an_error_before_anything_is_read(self, folder: Path, kind: str) -> None:
        for column, name in (("album", "width"), ("album", "Album Title"), ("album", "timestamp")):
            with pytest.raises(UsageError, match=f"--map {column}={name}: .*choose another FIELD"):
                read(**self.given(folder, kind, mapping={column: name}))


def test_the_id_column_is_not_passed_over(folder: Path) -> None:
    items = list(read_source(written(folder, "m.csv"), id_column="id", field_problem=field_problem))
    assert [item.id for item in items if isinstance(item, Record)] == ["1", "2"]
    (notice,) = (item.text for item in items if isinstance(item, Notice))
    assert "'id'" not in notice


def test_keys_that_turn_up_later_are_said_when_they_do(folder: Path) -> None:
    (folder / "m.jsonl").write_text('{"path": "a.jpg", "width": 1}\n{"path": "b.jpg", "width": 1, "height": 2}\n')
    _, said = read(folder / "m.jsonl")
    assert len(said) == 2
    assert "'width'" in said[0]
    assert "'height'" in said[1]
    assert "'width'" not in said[1]


def test_names_without_end_are_not_all_remembered(folder: Path) -> None:
    lines = (json.dumps({"path": "a.jpg", **{f"k {n} {m}": 1 for m in range(500)}, "ok": n}) for n in range(30))
    (folder / "m.jsonl").write_text("\n".join(lines))
    rows, said = read(folder / "m.jsonl")
    assert rows == [{"ok": n} for n in range(30)]
    assert len(said) == 5
    assert "and 490 more" in said[0]
    assert max(map(len, said)) < 1000


@pytest.mark.parametrize(
    "header", ["Path", "PATH", "file_name", "File Name", "filename", "SourceFile", "sourcefile", "URL", "uri"]
)
@pytest.mark.parametrize("sep", ["", "sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_headers_as_programs_write_them(folder: Path, header: str, sep: str) -> None:
    text = f"{sep}{header};Album\na.jpg;cats\nb.jpg;dogs\n"
    (folder / "m.csv").write_text(text)
    expected = [{"Album": "cats"}, {"Album": "dogs"}]
    assert read([folder / "a.jpg", folder / "b.jpg"], metadata=load_metadata(folder / "m.csv")) == (expected, [])
    assert read(folder / "m.csv") == (expected, [])


def test_the_file_s_path_goes_before_its_bare_name(folder: Path) -> None:
    (folder / "x").mkdir()
    (folder / "a.jpg").rename(folder / "x" / "a.jpg")
    (folder / "m.csv").write_text("SourceFile,FileName,Make\n./x/a.jpg,a.jpg,Canon\n")
    items = [item for item in read_source(folder / "m.csv") if isinstance(item, Record)]
    assert [(item.uri, item.metadata) for item in items] == [
        (f"{folder}/x/a.jpg", {"FileName": "a.jpg", "Make": "Canon"})
    ]


def test_lines_are_counted_past_the_line_that_names_the_separator(folder: Path) -> None:
    (folder / "m.csv").write_text("sep=,\npath,n\na.jpg,1\nb.jpg,1,2\n")
    [refused] = load_metadata(folder / "m.csv").refused
    assert (refused.uri, refused.detail) == (f"{folder}/m.csv:4", "3 cells, but the header has 2")


def test_a_long_cell_is_a_cell(folder: Path) -> None:
    (folder / "m.csv").write_text(f"path,note\na.jpg,{'x' * 300_000}\nb.jpg,y\n")
    rows, _ = read(folder / "m.csv")
    assert [len(row["note"]) for row in rows] == [300_000, 1]
    assert len(load_metadata(folder / "m.csv")) == 2
