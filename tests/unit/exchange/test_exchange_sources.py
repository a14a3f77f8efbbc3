"""Files of vectors: what each format gives, ids and metadata beside them, and what is refused with which words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgvec.errors import MissingExtra, SourceError, UsageError
from imgvec.exchange import VectorSource, open_source

ROWS, DIM = 50, 6
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)


def rows(source: VectorSource, size: int = 7) -> list[dict[str, Any]]:
    return [row for chunk in source.read(size) for row in chunk.rows]


def vectors(source: VectorSource, size: int = 7) -> np.ndarray[Any, Any]:
    chunks = list(source.read(size))
    assert [chunk.first for chunk in chunks] == list(range(0, source.rows, size))
    return np.concatenate([chunk.vectors for chunk in chunks])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_any_number_type(dtype: str, order: Any, tmp_path: Path) -> None:
    given = np.asarray(VECTORS * 20, dtype, order=order)
    np.save(tmp_path / "some.data.npy", given)
    source = open_source(tmp_path / "some.data.npy")
    assert (source.rows, source.dim) == (ROWS, DIM)
    found = vectors(source)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, given.astype(np.float32))


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 3, 4)), np.array([["a", "b"]]), np.zeros((2, 2), complex), np.zeros((3, 0))]
)
def test_npy_of_something_else_is_refused(array: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(SourceError, match=r"vectors must be an \(n, dim\) array"):
        open_source(tmp_path / "v.npy")


def test_npy_that_is_cut_off_or_pickled_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:200])
    np.save(tmp_path / "pickled.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    for name in ("cut.npy", "pickled.npy"):
        with pytest.raises(SourceError, match=r"cannot be read as \.npy"):
            open_source(tmp_path / name)


LISTS = {
    "fixed float": pa.list_(pa.float32(), DIM),
    "float": pa.list_(pa.float32()),
    "double": pa.large_list(pa.float64()),
    "half": pa.list_(pa.float16(), DIM),
}


@pytest.mark.parametrize("kind", LISTS.values(), ids=LISTS.keys())
def test_parquet_lists_of_any_kind(kind: Any, tmp_path: Path) -> None:
    given = VECTORS.astype(np.float16).astype(np.float32)
    lists = [list(v.astype(np.float16)) if kind.value_type == pa.float16() else v.tolist() for v in given]
    table = pa.table({"embedding": pa.array(lists, kind), "album": [f"a{i}" for i in range(ROWS)]})
    for number, start in enumerate((0, 30)):
        pq.write_table(table.slice(start, 30), tmp_path / f"{number}.parquet", row_group_size=8)
    source = open_source(tmp_path)
    assert (source.rows, source.dim) == (ROWS, DIM)
    np.testing.assert_array_equal(np.concatenate([c.vectors for c in source.read(7)]), given)
    assert rows(source)[31] == {"album": "a31"}


def test_parquet_rows_without_a_vector_of_the_length_are_told_of(tmp_path: Path) -> None:
    lists = [[1.0, 2.0], None, [], [3.0], [4.0, None], [5.0, 6.0]]
    pq.write_table(pa.table({"vector": pa.array(lists, pa.list_(pa.float32())), "n": range(6)}), tmp_path / "v.parquet")
    [chunk] = open_source(tmp_path / "v.parquet").chunks()
    assert chunk.problems == {1: "none", 2: "0 elements, not 2", 3: "1 elements, not 2"}
    np.testing.assert_array_equal(chunk.vectors[[0, 4, 5]], [[1, 2], [4, np.nan], [5, 6]])
    fixed = pa.array([[1.0, 2.0], None, [5.0, 6.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"vector": fixed}), tmp_path / "f.parquet")
    [chunk] = open_source(tmp_path / "f.parquet").chunks()
    assert chunk.problems == {1: "none"}
    np.testing.assert_array_equal(chunk.vectors[[0, 2]], [[1, 2], [5, 6]])


def test_which_parquet_column_has_the_vectors(tmp_path: Path) -> None:
    two = pa.table({"a": [[1.0, 2.0]], "b": [[3.0, 4.0, 5.0]], "text": ["x"]})
    pq.write_table(two, tmp_path / "v.parquet")
    assert open_source(tmp_path / "v.parquet", vector_column="b").dim == 3
    for column in ("vector", "text"):
        with pytest.raises(SourceError, match=r"name the column.*a \(list<element: double>\)"):
            open_source(tmp_path / "v.parquet", vector_column=column)


@pytest.mark.parametrize("said", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_a_parquet_file_whose_note_of_its_origin_is_damaged(said: str, tmp_path: Path) -> None:
    table = pa.table({"vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32()))})
    pq.write_table(table.replace_schema_metadata({b"imgvec": said.encode("latin-1")}), tmp_path / "v.parquet")
    source = open_source(tmp_path / "v.parquet")
    assert (source.rows, source.dim, dict(source.further), bool(source.description)) == (1, 2, {}, bool(said))


def test_ids_and_metadata_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    tags = [f"t;{i}" for i in range(ROWS)]
    (tmp_path / "m.csv").write_text("key;tags\n" + "".join(f'k{i};"{tag}"\n' for i, tag in enumerate(tags)))
    (tmp_path / "m.jsonl").write_text(
        "".join(json.dumps({"key": f"k{i}", "n": i, "o": None}) + "\n" for i in range(ROWS))
    )
    pq.write_table(pa.table({"key": [f"k{i}" for i in range(ROWS)], "n": range(ROWS)}), tmp_path / "m.parquet")
    (tmp_path / "ids.txt").write_text("".join(f"i{i}\n" for i in range(ROWS)))
    np.save(tmp_path / "ids.npy", np.arange(ROWS) * 3)
    (tmp_path / "ids.csv").write_text("id,more\n" + "".join(f"i{i},x\n" for i in range(ROWS)))

    def read(**options: Any) -> dict[str, Any]:
        return rows(open_source(tmp_path / "v.npy", **options))[33]

    assert read(metadata=tmp_path / "m.csv") == {"key": "k33", "tags": "t;33"}
    assert read(metadata=tmp_path / "m.csv", ids="key") == {"id": "k33", "tags": "t;33"}
    assert read(metadata=tmp_path / "m.jsonl") == {"key": "k33", "n": 33}
    assert read(metadata=tmp_path / "m.parquet", ids="key") == {"id": "k33", "n": 33}
    assert read(ids=str(tmp_path / "ids.txt")) == {"id": "i33"}
    assert read(ids=str(tmp_path / "ids.npy")) == {"id": 99}
    assert read(ids=str(tmp_path / "ids.csv"), metadata=tmp_path / "m.parquet") == {"id": "i33", "key": "k33", "n": 33}
    with pytest.raises(SourceError, match="nowhere is neither a file nor a column"):
        read(ids="nowhere")


def test_a_file_beside_has_a_row_for_each_vector(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    (tmp_path / "ids.txt").write_text("a\nb\n")
    with pytest.raises(SourceError, match="50 vectors, but the file beside it has 2 rows"):
        open_source(tmp_path / "v.npy", ids=str(tmp_path / "ids.txt"))
    (tmp_path / "m.csv").write_text("album\n" + "x\n" * 51)
    with pytest.raises(SourceError, match="51 rows"):
        open_source(tmp_path / "v.npy", metadata=tmp_path / "m.csv")
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "v.npy", metadata=tmp_path / "nothing.csv")


@pytest.mark.parametrize("metric", ["angular", "dot", "euclidean"])
def test_annoy(metric: Any, tmp_path: Path) -> None:
    annoy = pytest.importorskip("annoy", reason="the extra `annoy` is not installed")
    index = annoy.AnnoyIndex(DIM, metric)
    for i, vector in enumerate(VECTORS):
        index.add_item(2 * i, vector)
    index.build(3)
    index.save(str(tmp_path / "items.ann"))
    source = open_source(tmp_path / "items.ann", dim=DIM, metric=metric)
    assert (source.rows, source.metric_type) == (2 * ROWS - 1, {"angular": "COSINE", "dot": "IP"}.get(metric, "L2"))
    np.testing.assert_array_equal(vectors(source)[::2], VECTORS)
    assert not vectors(source)[1::2].any()
    assert [row["id"] for row in rows(source)] == list(range(2 * ROWS - 1))
    for dim in (DIM - 1, DIM + 1, 1):
        with pytest.raises(SourceError, match=f"not an Annoy file of dimension {dim}"):
            open_source(tmp_path / "items.ann", dim=dim, metric=metric)
    with pytest.raises(UsageError, match="give --dim and --metric"):
        open_source(tmp_path / "items.ann")


def test_what_is_no_file_of_vectors(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + b"x" * 100)
    for name, says in (
        ("notes.txt", "is not .npy, Parquet, a Faiss index"),
        ("empty", r"contains no \*.parquet files"),
        ("broken.parquet", "is not a Parquet file, or is damaged"),
        ("nothing.npy", "cannot be read"),
    ):
        with pytest.raises(SourceError, match=says):
            open_source(tmp_path / name)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("faiss", "annoy", "pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    for head, extra in ((b"IxF2", "faiss"), (b"PAR1", "parquet"), (b"\1\0\0\0", "annoy")):
        (tmp_path / "v").write_bytes(head)
        with pytest.raises(MissingExtra, match=rf"pip install 'imgvec\[{extra}\]'"):
            open_source(tmp_path / "v", dim=DIM, metric="dot")
