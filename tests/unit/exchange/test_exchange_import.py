"""What an import makes of a row, and which rows it refuses; the store is a dict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.definition import Definition, description
from imgvec.errors import BackendUnavailable, SourceError
from imgvec.exchange import ImportReport, export_vectors, import_vectors, open_source, unbound_binding
from imgvec.filters import FieldType
from imgvec.milvus import codec
from imgvec.sources import record_id
from imgvec.vectors import Vectors

DIM = 4
DEFINITION = Definition.load(
    {
        "encoder": {"model": "fake"},
        "fields": {"album": {"type": "VARCHAR", "default": "none"}, "rating": {"type": "INT8", "required": True}},
    }
)


class DictStore(FakeStore):
    """`failures` calls fail before one succeeds."""

    def __init__(
        self,
        metric_type: str = "COSINE",
        dim: int = DIM,
        vector_type: str = "FLOAT_VECTOR",
        *,
        fields: Mapping[str, FieldType] | None = None,
        failures: int = 0,
    ) -> None:
        super().__init__(dim=dim, metric_type=metric_type, vector_type=vector_type, fields=fields or {})
        self.fields, self.failures = fields or {}, failures

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        if self.failures:
            self.failures -= 1
            raise BackendUnavailable("busy", retryable=True)
        return super().upsert(rows, vectors)


def brought_in(
    tmp_path: Path, vectors: Any, metadata: list[dict[str, Any]], store: DictStore, **options: Any
) -> tuple[ImportReport, list[str]]:
    np.save(tmp_path / "v.npy", np.asarray(vectors, np.float32))
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metadata))
    source = open_source(tmp_path / "v.npy", metadata=tmp_path / "m.jsonl")
    target: Any = SimpleNamespace(name="c", store=store, definition=DEFINITION, binding=unbound_binding(DIM))
    notes: list[str] = []
    return import_vectors(target, source, on_notice=notes.append, **options), notes


def test_a_row_is_what_an_ingest_would_write(tmp_path: Path) -> None:
    store = DictStore(failures=1)
    metadata = [
        {"id": 7, "uri": "http://a/7.jpg", "rating": "3", "album": "x", "width": "640", "shop": "s"},
        {"path": "b.jpg", "rating": 4},
        {"rating": 5},
    ]
    report, _ = brought_in(tmp_path, np.eye(3, DIM), metadata, store)
    assert (report.seen, report.written, report.retries) == (3, 3, 1)
    first, second, third = store.rows.values()
    assert {k: v for k, v in first.items() if k not in ("vector", "ingested_at")} == {
        "id": "7", "uri": "http://a/7.jpg", "content_hash": "", "width": 640, "height": 0, "media_type": "",
        "album": "x", "rating": 3, "shop": "s",
    }  # fmt: skip
    assert first["ingested_at"] > 1.7e12
    assert (second["id"], second["uri"], second["album"]) == (record_id("b.jpg"), "b.jpg", "none")
    assert third["uri"] == f"{tmp_path}/v.npy#2"
    assert third["id"] == record_id(third["uri"])
    np.testing.assert_array_equal([row["vector"] for row in store.rows.values()], np.eye(3, DIM))


def test_refused_rows_are_counted_and_written_down(tmp_path: Path) -> None:
    vectors = np.eye(8, DIM, dtype=np.float32)
    vectors[4:] = vectors[:4]
    vectors[1, 2], vectors[2], vectors[3] = np.nan, 0, [3, 0, 4, 0]
    metadata: list[dict[str, Any]] = [{"id": f"r{i}", "rating": i} for i in range(8)]
    metadata[4]["rating"] = 300
    metadata[5]["id"] = "x" * 65
    metadata[6]["id"] = 1.5
    store = DictStore()
    report, _ = brought_in(tmp_path, vectors, metadata, store, errors=tmp_path / "errors.jsonl")
    assert report.refused == {
        "not finite": 1, "zero length": 1, "not of unit length": 1, "metadata refused": 1, "unusable id": 2,
    }  # fmt: skip
    assert sorted(store.rows) == ["r0", "r7"]
    lines = [json.loads(line) for line in (tmp_path / "errors.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[2] == {
        "row": 3,
        "id": "r3",
        "reason": "not of unit length",
        "detail": "length 5; normalize makes it 1",
    }


def test_vectors_are_made_unit_vectors_where_asked(tmp_path: Path) -> None:
    store = DictStore()
    brought_in(tmp_path, [[3, 0, 4, 0], [0, 1e-3, 0, 0], [3e38] * 4], [{"rating": 1}] * 3, store, normalize=True)
    found = np.array([row["vector"] for row in store.rows.values()])
    np.testing.assert_allclose(found, [[0.6, 0, 0.8, 0], [0, 1, 0, 0], [0.5] * 4], rtol=1e-6)


def test_vectors_of_any_length_are_for_l2(tmp_path: Path) -> None:
    store = DictStore(metric_type="L2")
    report, _ = brought_in(tmp_path, [[3, 0, 4, 0]], [{"rating": 1}], store)
    assert report.written == 1


def test_rows_that_take_another_ones_place_are_told_of(tmp_path: Path) -> None:
    metadata = [{"id": "same", "rating": 1}, {"id": "same", "rating": 2}, {"id": "other", "rating": 3}]
    store = DictStore()
    _, notes = brought_in(tmp_path, np.eye(3, DIM), metadata, store)
    assert notes == ["1 row replaced by later rows with the same id"]
    assert store.rows["same"]["rating"] == 2


def test_vectors_of_another_length_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="vectors of dim 5, but 'c' has dim 4"):
        brought_in(tmp_path, np.eye(3, 5), [{"rating": 1}] * 3, DictStore())


@pytest.mark.parametrize("vector_type", ["BFLOAT16_VECTOR", "INT8_VECTOR"])
@pytest.mark.parametrize("dim", [32, 384])
def test_an_export_of_coarse_vectors_comes_back_bit_for_bit(vector_type: str, dim: int, tmp_path: Path) -> None:
    given = np.random.default_rng(0).standard_normal((200, dim))
    given = (given / np.linalg.norm(given, axis=1, keepdims=True)).astype(np.float32)
    held = [codec.from_row(v, vector_type) for v in codec.to_rows(given, vector_type)]
    if vector_type == "INT8_VECTOR":
        assert np.mean([abs(np.linalg.norm(v) - 1) > 1e-3 for v in held]) > 0.5  # no unit vectors any more
    binding = unbound_binding(dim)
    fields = {"id": FieldType("VARCHAR"), "uri": FieldType("VARCHAR"), "rating": FieldType("INT8")}
    store: Any = DictStore(dim=dim, vector_type=vector_type, fields=fields)
    store.description, store.dynamic = description.write(DEFINITION, binding), True
    rows = [{"id": f"{i:03}", "uri": "u", "rating": 1, "vector": v} for i, v in enumerate(held)]
    store.scan = lambda names, filter="": iter([rows])
    collection: Any = SimpleNamespace(
        name="c", uri="here", store=store, definition=DEFINITION, binding=binding, bindings={"vector": binding}
    )
    export_vectors(collection, tmp_path / "out.parquet")
    report = import_vectors(collection, open_source(tmp_path / "out.parquet"))
    assert report.written == 200
    again = np.array([row["vector"] for row in store.rows.values()])
    back = [codec.from_row(v, vector_type) for v in codec.to_rows(again, vector_type)]
    np.testing.assert_array_equal(back, held)


@pytest.mark.parametrize(
    ("source", "target", "normalize", "says"),
    [
        (None, "COSINE", True, ""),
        ("L2", "L2", False, ""),
        ("L2", "COSINE", False, ""),  # which takes unit vectors only, and refuses others
        ("IP", "COSINE", False, ""),
        ("COSINE", "COSINE", True, ""),
        ("COSINE", "IP", False, ""),
        ("COSINE", "L2", True, ""),
        ("COSINE", "L2", False, "only for vectors of unit length"),
        ("L2", "COSINE", True, "only for vectors of unit length"),
        ("L2", "L2", True, "only for vectors of unit length"),
        ("IP", "L2", False, "only for vectors of unit length"),
        ("IP", "IP", True, "only for vectors of unit length"),
        ("Faiss metric 2", "L2", False, "gives different neighbours from"),
    ],
)
def test_what_is_said_of_metrics_that_differ(
    source: Any, target: str, normalize: bool, says: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", np.eye(DIM, dtype=np.float32))
    read = replace(open_source(tmp_path / "v.npy"), metric_type=source)
    store = DictStore(metric_type=target)
    collection: Any = SimpleNamespace(name="c", store=store, definition=DEFINITION, binding=unbound_binding(DIM))
    notes: list[str] = []
    import_vectors(collection, read, normalize=normalize, on_notice=notes.append)
    assert [says in note for note in notes] == ([True] if says else [])
