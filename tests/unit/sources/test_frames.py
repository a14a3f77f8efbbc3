"""Rows of tables, batch by batch, and what is said of one that Python cannot hold."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgvec.errors import MissingExtra, SourceError
from imgvec.sources.frames import Table, arrow_rows, frame_rows, parquet_rows

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
FAR = pa.array([0, 4_000_000, 1], pa.int32()).cast(pa.date32())
"""A date of the year 12921 in the second row."""


class Batches:
    """An Arrow table that tells how many rows are asked for at once."""

    columns = ("path",)

    def __init__(self) -> None:
        self.asked: list[int] = []

    def to_batches(self, rows: int) -> Iterator[Any]:
        self.asked.append(rows)
        table = pa.table({"path": [f"{n}" for n in range(5)]})
        yield from table.to_batches(2)


def test_a_thousand_rows_at_a_time() -> None:
    table = Batches()
    assert isinstance(table, Table)
    assert list(frame_rows(table, ["path"])) == [(n + 1, {"path": f"{n}"}) for n in range(5)]
    assert table.asked == [1000]


def test_a_thousand_rows_of_parquet_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def rows(batch: Any) -> list[Any]:
        sizes.append(batch.num_rows)
        return arrow_rows(batch)

    monkeypatch.setattr("imgvec.sources.frames.arrow_rows", rows)
    pq.write_table(pa.table({"path": [f"{n}" for n in range(2001)], "__index_level_0__": [0] * 2001}), tmp_path / "a")
    found = list(parquet_rows(tmp_path / "a"))
    assert found == [(n + 1, {"path": f"{n}"}) for n in range(2001)]
    assert sizes == [1000, 1000, 1]


def test_a_row_that_python_cannot_hold_costs_itself_alone(tmp_path: Path) -> None:
    table = pa.table({"path": ["a", "b", "c"], "day": FAR})
    for rows in (arrow_rows(table), [row for _, row in frame_rows(table, ["path"])]):
        assert isinstance(rows[0], dict)
        assert isinstance(rows[2], dict)
        assert (rows[0]["path"], rows[2]["path"]) == ("a", "c")
        assert isinstance(rows[1], str)
        assert rows[1].startswith("`day` cannot be read: ")
        assert "out of range" in rows[1]
    pq.write_table(table, tmp_path / "a")
    assert [type(row) for _, row in parquet_rows(tmp_path / "a")] == [dict, str, dict]


class Column:
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def __getitem__(self, index: int) -> Column:
        return self

    def as_py(self) -> int:
        if self.error:
            raise self.error
        return 5


class Batch:
    num_rows = 1

    def __init__(self, error: Exception, of_row: Exception | None) -> None:
        self.error, self.columns = error, [Column(of_row)]
        self.schema = type("Schema", (), {"names": ["day"]})

    def to_pylist(self) -> list[Any]:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("why"), OverflowError("why")])
def test_whatever_arrow_raises_for_it(error: Exception) -> None:
    assert arrow_rows(Batch(error, error)) == ["`day` cannot be read: why"]
    assert arrow_rows(Batch(error, None)) == [{"day": 5}]
    with pytest.raises(MemoryError):
        arrow_rows(Batch(MemoryError(), None))
    with pytest.raises(MemoryError):
        arrow_rows(Batch(error, MemoryError()))


@pytest.mark.parametrize("content", [b"no Parquet at all", b"PAR1PAR1"])
def test_what_is_not_parquet(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.parquet: not a Parquet file, or damaged: ."):
        list(parquet_rows(tmp_path / "a.parquet"))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing: not a Parquet file, or damaged: .*missing"):
        list(parquet_rows(tmp_path / "missing"))


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"a: Parquet needs pyarrow: pip install 'imgvec\[parquet\]'"):
        list(parquet_rows(tmp_path / "a"))


def test_what_is_no_table() -> None:
    class Sheet:
        columns = ("path",)

    with pytest.raises(SourceError) as caught:
        list(frame_rows(Sheet(), ["path"]))
    assert str(caught.value) == "a Sheet is not metadata: use a data frame, a file, or a mapping from path to fields"


class TestPandas:
    def rows(self, frame: Any) -> list[Any]:
        return list(frame_rows(frame, ["path", "uri"]))

    def test_an_index_that_is_named_as_a_path_is_a_column(self) -> None:
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"n": [1, 2]}, index=["a", "b"])
        assert self.rows(frame) == [(1, {"n": 1}), (2, {"n": 2})]
        assert self.rows(frame.rename_axis("path")) == [(1, {"path": "a", "n": 1}), (2, {"path": "b", "n": 2})]
        assert self.rows(frame.rename_axis("other")) == [(1, {"n": 1}), (2, {"n": 2})]
        two = frame.set_index("n", append=True)
        two.index.names = [None, "uri"]
        assert [sorted(row, key=str) for _, row in self.rows(two)] == [["level_0", "uri"]] * 2

    def test_columns_are_called_by_texts(self) -> None:
        pd = pytest.importorskip("pandas")
        assert self.rows(pd.DataFrame({"path": ["a"], 5: [6]})) == [(1, {"path": "a", "5": 6})]


def test_polars() -> None:
    pl = pytest.importorskip("polars")
    assert list(frame_rows(pl.DataFrame({"path": ["a", "b"]}), ["path"])) == [(1, {"path": "a"}), (2, {"path": "b"})]
