"""Vectors in and out of a real collection: the same neighbours after a move, and an export that comes back equal."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import numbered

from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.errors import BackendUnavailable, EncoderMismatch, EncoderUnavailable, SourceError, TargetError, UsageError
from imgvec.exchange import export_vectors, import_vectors, open_source

ROWS, DIM, K = 600, 24, 10
_random = np.random.default_rng(0)
VECTORS = _random.standard_normal((ROWS, DIM)).astype(np.float32)
UNIT = (VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)).astype(np.float32)
QUERIES = _random.standard_normal((20, DIM)).astype(np.float32)
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)
IDS = _random.permutation(100_000)[:ROWS].astype(np.int64)

FIELDS = {
    "album": {"type": "VARCHAR", "max_length": 64, "default": "none"},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 16, "default": []},
    "rating": {"type": "INT8", "default": -1},
    "price": {"type": "FLOAT", "default": 0.0},
    "sold": {"type": "BOOL", "default": False},
    "more": {"type": "JSON", "default": {}},
}
FLAT = {"cpu": {"type": "FLAT"}}
DEFINITION = {"encoder": {"model": "fake"}, "fields": FIELDS, "index": FLAT}


def imgvec(*words: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def nearest(vectors: Any, ids: Any, metric: str) -> list[list[str]]:
    """The ids of the K nearest to each query, by exact search."""
    products = QUERIES.astype(np.float64) @ vectors.astype(np.float64).T
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    closeness = {"IP": products, "COSINE": products / norms, "L2": 2 * products - norms**2}[metric]
    return [[str(ids[i]) for i in row] for row in np.argsort(-closeness, axis=1, kind="stable")[:, :K]]


def stored(collection: ImageCollection) -> dict[str, dict[str, Any]]:
    return {
        row["id"]: {k: v.tolist() if k == "vector" else v for k, v in row.items()}
        for page in collection.store.scan(["*", "vector"])
        for row in page
    }


def npy(folder: Path) -> tuple[Path, list[str]]:
    np.save(folder / "v.npy", UNIT.astype(np.float64))
    np.save(folder / "ids.npy", IDS)
    return folder / "v.npy", ["--ids", str(folder / "ids.npy")]


def parquet(folder: Path) -> tuple[Path, list[str]]:
    pq.write_table(pa.table({"sku": IDS, "vector": list(UNIT), "album": ["a"] * ROWS}), folder / "v.parquet")
    return folder / "v.parquet", ["--ids", "sku"]


def faiss_index(kind: str, vectors: Any, *, inner_product: bool = False) -> Callable[[Path], tuple[Path, list[str]]]:
    def write(folder: Path) -> tuple[Path, list[str]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            faiss = pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
        index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT if inner_product else faiss.METRIC_L2)
        index.train(vectors)
        index.add_with_ids(vectors, IDS)
        faiss.serialize_index(index).tofile(folder / "v.faiss")
        # what is promised below of NumPy is true of the index itself
        if hasattr(index, "nprobe"):
            index.nprobe = index.nlist
        found = [[str(id_) for id_ in row] for row in index.search(QUERIES, K)[1]]
        assert found == nearest(vectors, IDS, "IP" if inner_product else "L2")
        return folder / "v.faiss", []

    return write


def annoy_file(folder: Path) -> tuple[Path, list[str]]:
    annoy = pytest.importorskip("annoy", reason="the extra `annoy` is not installed")
    index = annoy.AnnoyIndex(DIM, "angular")
    for i, vector in enumerate(VECTORS):
        index.add_item(i, vector)
    index.build(5)
    index.save(str(folder / "v.ann"))
    return folder / "v.ann", ["--dim", str(DIM), "--metric", "angular", "--normalize"]


SOURCES = [
    pytest.param(npy, UNIT, IDS, "COSINE", id="npy"),
    pytest.param(parquet, UNIT, IDS, "COSINE", id="parquet"),
    pytest.param(faiss_index("IDMap,Flat", VECTORS), VECTORS, IDS, "L2", id="faiss flat"),
    pytest.param(faiss_index("IVF16,Flat", UNIT, inner_product=True), UNIT, IDS, "IP", id="faiss ivf"),
    pytest.param(annoy_file, VECTORS, np.arange(ROWS), "COSINE", id="annoy"),
]


def move_over(source: Any, vectors: Any, ids: Any, metric: str, uri: str, folder: Path) -> None:
    """One command makes the collection; its neighbours are those of the file, by ids that are kept."""
    path, options = source(folder)
    (folder / "flat.yaml").write_text(json.dumps({"encoder": {"model": "fake"}, "index": FLAT}))
    command = ["--uri", uri, "collections", "import", "-c", "moved", path, *options]
    out = imgvec(*command, "--create", "--definition", folder / "flat.yaml").stdout
    assert "moved: 600 rows imported" in out
    assert imgvec(*command, "-o", "json").stdout  # again, into the collection that is there now: nothing is doubled
    before = nearest(vectors, ids, metric)
    with ImageCollection.open("moved", uri=uri) as moved:
        assert (moved.count(), moved.store.metric_type) == (ROWS, metric)
        rows = stored(moved)
        held = np.array([row["vector"] for row in rows.values()])
        assert nearest(held, list(rows), metric) == before
        assert [[hit.id for hit in hits] for hits in moved.search_many(list(QUERIES), limit=K)] == before


@pytest.mark.parametrize(("source", "vectors", "ids", "metric"), SOURCES)
def test_neighbours_are_the_same_after_the_move(
    source: Any, vectors: Any, ids: Any, metric: str, lite_uri: str, tmp_path: Path
) -> None:
    move_over(source, vectors, ids, metric, lite_uri, tmp_path)


@pytest.mark.server
@pytest.mark.parametrize(("source", "vectors", "ids", "metric"), SOURCES[2:3])
def test_neighbours_are_the_same_on_a_server(
    source: Any, vectors: Any, ids: Any, metric: str, server_uri: str, tmp_path: Path
) -> None:
    try:
        move_over(source, vectors, ids, metric, server_uri, tmp_path)
    finally:
        imgvec("--uri", server_uri, "collections", "drop", "moved", "--yes")


def filled(uri: str, name: str = "from", rows: int = 300) -> ImageCollection:
    made = ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=FakeEncoder(dim=DIM))
    written = [
        {
            "id": f'{i:03} "é☃\\',
            "uri": f"/a/{i}.jpg",
            "content_hash": "c" * 32,
            "width": i,
            "height": 2,
            "media_type": "x",
            "ingested_at": 1_700_000_000_000 + i,
            "album": f'a,"{i % 7}\n' if i % 5 else "",
            "tags": ["a", "ü;"][: i % 3],
            "rating": i % 100,
            "price": float(np.float32(i / 10)),
            "sold": bool(i % 2),
            "more": {"deep": [i, None, "\\"]},
            **({"place": f"p{i}", "empty": ""} if i % 2 else {}),
        }
        for i in range(rows)
    ]
    made.store.upsert(written, UNIT[:rows])
    return made


@pytest.mark.parametrize("target", ["out.parquet", "out"])
def test_an_export_comes_back_equal(target: str, backend_uri: str, tmp_path: Path) -> None:
    path = tmp_path / target
    with filled(backend_uri) as collection:
        report = export_vectors(collection, path, part_bytes=10_000)
        assert (report.rows, report.resumed) == (300, 0)
        if target == "out.parquet":
            assert report.files == (path,)
            assert sorted(tmp_path.glob("out*")) == [path]  # no format is left beside it
            table = pq.read_table(path)
            assert str(table.schema.field("vector").type) == f"fixed_size_list<element: float>[{DIM}]"
            assert table.column("id").to_pylist() == sorted(table.column("id").to_pylist())
        before = stored(collection)
    imgvec("--uri", backend_uri, "collections", "import", "-c", "to", path, "--create")
    with ImageCollection.open("to", uri=backend_uri) as copy:
        assert stored(copy) == before
        assert copy.binding == collection.binding
        assert copy.definition == collection.definition


def test_dates_of_an_export_are_milliseconds_whatever_they_look_like(lite_uri: str, tmp_path: Path) -> None:
    """In another definition too, where a number that a person wrote would be read as a date or refused."""
    dates = [-86_400_000, 0, 20_240_601, 1_209_600_000, 8_835_955_200_000, 1_717_200_000_000]
    fields = {"taken_at": {"type": "INT64", "format": "unix_ms", "default": 0}}
    wider = {**fields, "extra": {"type": "INT64", "default": 7}}
    encoder = FakeEncoder(dim=DIM)
    made = {
        name: ImageCollection.create(name, definition={**DEFINITION, "fields": each}, uri=lite_uri, encoder=encoder)
        for name, each in (("narrow", fields), ("wide", wider))
    }
    rows = [numbered(i, taken_at=ms) for i, ms in enumerate(dates)]
    made["narrow"].store.upsert(rows, UNIT[: len(dates)])
    export_vectors(made["narrow"], tmp_path / "e.parquet")
    report = import_vectors(made["wide"], open_source(tmp_path / "e.parquet"))
    assert (report.written, report.refused) == (len(dates), {})
    found = made["wide"].get([row["id"] for row in rows])
    assert [found[row["id"]]["taken_at"] for row in rows] == dates
    for each in made.values():
        each.close()


def test_npy_comes_back_with_its_ids_and_fields(lite_uri: str, tmp_path: Path) -> None:
    with filled(lite_uri) as collection:
        before = stored(collection)
        report = export_vectors(collection, tmp_path / "v.npy")
        assert [path.name for path in report.files] == ["v.npy", "v.ids.csv"]
        assert np.load(tmp_path / "v.npy").tolist() == [row["vector"] for row in before.values()]
        collection.store.delete(list(before))
        import_vectors(collection, open_source(tmp_path / "v.npy"))
        after = stored(collection)
    # CSV has no empty text: what it leaves out is a field's default
    for row in before.values():
        row["album"] = row["album"] or "none"
        row.pop("empty", None)
    assert after == before


def test_an_export_with_a_filter_and_one_without_rows(lite_uri: str, tmp_path: Path) -> None:
    filled(lite_uri).close()
    command = ["--uri", lite_uri, "collections", "export", "-c", "from"]
    out = imgvec(
        *command, tmp_path / "some.parquet", "--where", "rating < 10", "--eq", "sold=true", "-o", "json"
    ).stdout
    assert json.loads(out) == {"rows": 15, "resumed": 0, "files": [str(tmp_path / "some.parquet")]}
    assert set(pq.read_table(tmp_path / "some.parquet").column("sold").to_pylist()) == {True}
    for name in ("none.parquet", "none.npy", "none"):
        assert "0 rows exported" in imgvec(*command, tmp_path / name, "--where", "rating == 101").stdout
        assert (
            "0 rows imported"
            in imgvec("--uri", lite_uri, "collections", "import", "-c", "from", tmp_path / name).stdout
        )


class Stopping:
    """A collection whose reads break off after so many pages."""

    def __init__(self, collection: ImageCollection, pages: int, *, retryable: bool) -> None:
        self._collection, self._pages, self._retryable = collection, pages, retryable
        self.name, self.uri, self.store = collection.name, collection.uri, self
        self.scans = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection.store, name)

    def scan(self, output_fields: Any, filter: str = "") -> Any:
        self.scans += 1
        yield from islice(self._collection.store.scan(output_fields, filter, batch_size=40), self._pages)
        if self._pages and self.scans < 5:
            raise BackendUnavailable("gone", retryable=self._retryable)


@pytest.mark.parametrize("target", ["out", "out.parquet", "out.npy"])
def test_a_stopped_export_goes_on(target: str, lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.exchange.exporting.GROUP_BYTES", 1)
    with filled(lite_uri) as collection:
        path = tmp_path / target
        export_vectors(collection, tmp_path / "whole.parquet")
        stopping: Any = Stopping(collection, 3, retryable=False)
        with pytest.raises(BackendUnavailable):
            export_vectors(stopping, path, part_bytes=1)
        if target == "out":
            with pytest.raises(SourceError, match="unfinished export"):
                open_source(path)
        # another one does not go on here
        with pytest.raises(TargetError, match="started with a different filter"):
            export_vectors(collection, path, where="rating > 5")
        with filled(lite_uri, "other", 5) as other, pytest.raises(TargetError, match="a different collection"):
            export_vectors(other, path)
        report = export_vectors(collection, path, part_bytes=1)
        assert (report.rows, report.resumed) == (300, 120)
        found, whole = open_source(path), open_source(tmp_path / "whole.parquet")
        for one, two in zip(found.read(1), whole.read(1), strict=True):
            np.testing.assert_array_equal(one.vectors, two.vectors)
            assert one.rows[0]["id"] == two.rows[0]["id"]
        with pytest.raises(TargetError, match="already"):
            export_vectors(collection, path)


def test_an_export_outlives_a_backend_that_is_away_for_a_moment(lite_uri: str, tmp_path: Path) -> None:
    with filled(lite_uri) as collection:
        breaking: Any = Stopping(collection, 2, retryable=True)
        report = export_vectors(breaking, tmp_path / "out.parquet", retry_seconds=30)
        assert (report.rows, breaking.scans) == (300, 5)
        assert pq.read_table(tmp_path / "out.parquet").column("id").to_pylist() == list(stored(collection))


def test_an_export_of_another_encoder_is_refused(lite_uri: str, tmp_path: Path) -> None:
    with filled(lite_uri) as collection:
        export_vectors(collection, tmp_path / "out.parquet")
    with (
        ImageCollection.create("b", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder(dim=DIM, seed=1)) as other,
        pytest.raises(EncoderMismatch),
    ):
        import_vectors(other, open_source(tmp_path / "out.parquet"))


def test_other_peoples_files_are_left_alone(lite_uri: str, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "000001.parquet").write_text("x")
    (tmp_path / "theirs.npy").write_text("x")
    with filled(lite_uri, rows=5) as collection:
        for name, error, says in (
            ("theirs", TargetError, "other files"),
            ("theirs.npy", TargetError, "already"),
            ("out.csv", UsageError, "the target must be"),
        ):
            with pytest.raises(error, match=says):
                export_vectors(collection, tmp_path / name)
    assert sorted(path.name for path in tmp_path.rglob("*") if "lite.db" not in str(path)) == [
        "000001.parquet", "theirs", "theirs.npy",
    ]  # fmt: skip


def test_an_export_is_not_joined_with_another_database_s(
    lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are `./imgvec.db`, in folders of their own."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    with filled("imgvec.db", rows=5) as collection, pytest.raises(RuntimeError, match="stop"):
        export_vectors(collection, tmp_path / "out.parquet", on_progress=stop)
    monkeypatch.chdir(tmp_path / "b")
    with filled("imgvec.db", rows=5) as collection, pytest.raises(TargetError, match="uri"):
        export_vectors(collection, tmp_path / "out.parquet")


def stop(_: int) -> None:
    raise RuntimeError("stop")


def test_a_table_of_one_s_own_is_not_written_over(lite_uri: str, tmp_path: Path) -> None:
    (tmp_path / "out.ids.csv").write_text("mine")
    with filled(lite_uri, rows=5) as collection, pytest.raises(TargetError, match=r"out\.ids\.csv already exists"):
        export_vectors(collection, tmp_path / "out.npy")
    assert (tmp_path / "out.ids.csv").read_text() == "mine"


def test_a_folder_of_two_collections_exports_is_refused(lite_uri: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with filled(lite_uri, name, rows=5) as collection:
            export_vectors(collection, tmp_path / f"{name}.parquet")
    table = pq.read_table(tmp_path / "two.parquet")
    (tmp_path / "both").mkdir()
    (tmp_path / "one.parquet").rename(tmp_path / "both" / "1.parquet")
    pq.write_table(table.replace_schema_metadata({b"imgvec": b"{}"}), tmp_path / "both" / "2.parquet")
    with pytest.raises(SourceError, match=r"2\.parquet and .* come from different collections"):
        open_source(tmp_path / "both")


def test_a_collection_without_an_encoder(lite_uri: str) -> None:
    assert "dim 24" in imgvec("--uri", lite_uri, "collections", "create", "mine", "--dim", DIM).stdout
    with ImageCollection.open("mine", uri=lite_uri) as mine:
        assert mine.store.dim == DIM
        with pytest.raises(EncoderUnavailable, match="has no encoder because its vectors were made elsewhere"):
            mine.search(b"an image")


def test_import_says_what_it_refused(lite_uri: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS[:5])
    imgvec("--uri", lite_uri, "collections", "create", "mine", "--dim", DIM)
    command = ["--uri", lite_uri, "collections", "import", "-c", "mine", tmp_path / "v.npy"]
    said = imgvec(*command, status=1).stdout
    assert "refused, not of unit length: 5" in said
    assert "--errors FILE" in said
    listed = tmp_path / "errors.jsonl"
    assert "--errors FILE" not in imgvec(*command, "--errors", listed, status=1).stdout
    assert "normalize makes it 1" in listed.read_text()
    assert json.loads(imgvec(*command, "--normalize", "-o", "json").stdout)["written"] == 5
    assert "there is no collection" in imgvec(*command[:4], "-c", "other", tmp_path / "v.npy", status=1).stderr
