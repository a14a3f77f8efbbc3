"""Tuning real indexes: against the whole grid, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import numbered

from imgvec import ImageCollection, catalog, scratch_copy
from imgvec.cli import main
from imgvec.indexes import unseen
from imgvec.indexes.exact import nearest
from imgvec.indexes.ladder import grid
from imgvec.indexes.measure import bounded, questions, sampled, shuffled
from imgvec.indexes.options import RecallOptions, TuneOptions
from imgvec.indexes.recall import Estimate, estimate, recalls
from imgvec.indexes.tune import Tuning, tune
from imgvec.options import settled
from imgvec.progress import Telling
from imgvec.vectors import Vectors
from imgvec.verbs.queries import query_vectors, some_of

SILENT = Telling("tune")

ROWS, DIM = 3000, 32
_RNG = np.random.default_rng(5)
_CENTRES = _RNG.standard_normal((60, DIM))


def drawn(number: int) -> Vectors:
    """Unit vectors in overlapping clusters: an index has to look, and has something to find."""
    vectors = _CENTRES[_RNG.integers(0, len(_CENTRES), number)] + 1.1 * _RNG.standard_normal((number, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


VECTORS, FRESH = drawn(ROWS), drawn(1000)


def definition(type_: str, params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "encoder": {"model": "fake"},
        "fields": {"rank": {"type": "INT64", "default": 0}},
        "index": {"cpu": {"type": type_, "params": dict(params)}},
    }


def made(uri: str, type_: str, **params: Any) -> ImageCollection:
    """The collection `tuned` of all rows, with that index."""
    wanted = definition(type_, params)
    collection = ImageCollection.create("tuned", definition=wanted, uri=uri, encoder=FakeEncoder(dim=DIM))
    collection.store.upsert([numbered(n, rank=n) for n in range(ROWS)], VECTORS)
    collection.store.wait_until_indexed(120)
    # a server takes a new index for the rows that it has loaded some seconds later
    collection.store.release()
    collection.store.load()
    return collection


@pytest.fixture(autouse=True)
def few_timed_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is about times."""
    monkeypatch.setattr("imgvec.indexes.tune.CALLS", 20)


@pytest.fixture
def ivf(backend_uri: str) -> Iterator[ImageCollection]:
    with made(backend_uri, "IVF_FLAT", nlist=64) as collection:
        yield collection


@SERVER_BY_NIGHT
def test_the_choice_holds_on_fresh_queries(ivf: ImageCollection) -> None:
    tuned = tune(ivf.store, partial(scratch_copy, ivf), recall=0.9, queries=600)
    assert tuned.params is not None
    assert 1 < tuned.params["nprobe"] < 64
    found = ivf.store.search(FRESH, limit=10, params=tuned.params)
    fresh = recalls(found, nearest(ivf.store, FRESH, limit=10), 10).mean()
    assert fresh >= 0.895
    (choice,) = tuned.choices
    assert choice.chosen is not None
    assert abs(choice.chosen.recall.mean - fresh) < 0.03
    assert choice.chosen.p50_ms <= choice.chosen.p99_ms


def test_what_a_graph_declares_by_stored_rows_holds_on_fresh_queries(
    backend_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen, "_MOST_COPIES", 3)  # each takes a server some seconds
    said: list[str] = []
    with made(backend_uri, "HNSW", M=6, efConstruction=40) as photos:
        store = photos.store
        tuned = tune(store, partial(scratch_copy, photos), recall=0.9, queries=600, on_notice=said.append)
        assert tuned.basis == "left out"
        assert tuned.params is not None
        point = tuned.choices[0].applied
        assert point is not None
        truth = nearest(store, FRESH, limit=10)

        def fresh(params: Mapping[str, Any]) -> Estimate:
            return estimate(recalls(store.search(FRESH, limit=10, params=params), truth, 10), sides=1)

        assert fresh(tuned.params).high >= point.recall.low >= 0.9
        # the rows as they are, searched in the index that holds them, would have taken a cheaper setting that fails
        ids = [row["id"] for rows in store.scan(["id"]) for row in rows][:600]
        stored = questions(store, sampled(store, ids), [""], limit=10, device="cpu", tell=SILENT)
        misled = Tuning(store, stored, settled(RecallOptions, {"recall": 0.9}), SILENT).tuned()
        assert misled.params is not None
        assert misled.params["ef"] < tuned.params["ef"]
        assert fresh(misled.params).high < 0.9
        assert not [name for name in store.link.client.list_collections() if "scratch" in name]
    assert len(said) == 1
    assert "HNSW is built on the 3 copies" in said[0]


@SERVER_BY_NIGHT
def test_what_a_small_copy_teaches_is_carried_over(backend_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of collections with more rows than are copied."""
    monkeypatch.setattr(unseen, "COPIED", 1500)
    with made(backend_uri, "HNSW", M=6, efConstruction=40) as photos:
        tuned = tune(photos.store, partial(scratch_copy, photos), recall=0.85, queries=600)
        assert tuned.basis == "carried over"
        assert tuned.params is not None
        point = tuned.choices[0].applied
        assert point is not None
        found = photos.store.search(FRESH, limit=10, params=tuned.params)
        fresh = estimate(recalls(found, nearest(photos.store, FRESH, limit=10), 10), sides=1)
        assert fresh.high >= point.recall.low >= 0.85
        assert fresh.mean < 0.95


@pytest.mark.parametrize(("type_", "params"), [("IVF_FLAT", {"nlist": 64}), ("HNSW", {"M": 8, "efConstruction": 40})])
def test_it_chooses_as_the_whole_grid_does(lite_uri: str, type_: str, params: dict[str, Any]) -> None:
    with made(lite_uri, type_, **params) as collection:
        store, target = collection.store, 0.85
        tuned = tune(store, partial(scratch_copy, collection), recall=target, queries=FRESH[:200])
        wanted = shuffled(FRESH[:200], 0)
        (asked,) = questions(store, wanted, [""], limit=10, device="cpu", tell=SILENT)
        cells = grid(catalog.INDEX_TYPES[type_], params, rows=ROWS, limit=10)
        assert tuned.grid == len(cells)

        def passes(setting: Mapping[str, Any]) -> bool:
            halves = (asked.recall(setting, "choice"), asked.recall(setting, "held out"))
            return all(bounded(values, 0.95).low >= target for values in halves)

        every = [cells.setting((i, 0)) for i in range(len(cells.first))]
        assert tuned.params == next(filter(passes, every))
        assert tuned.searches <= 16


def imgvec(uri: str, *words: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["--uri", uri, "index", "tune", "-c", "tuned", *map(str, words)])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def test_what_is_applied_is_what_the_next_client_searches_with(ivf: ImageCollection, tmp_path: Path) -> None:
    uri = ivf.uri
    ivf.close()
    page = tmp_path / "tuned.html"
    said = imgvec(
        uri, "--recall", 0.9, "--sample", 500, "--where", "rank < 300", "--apply", "--plot", page, "-o", "json"
    )
    data = json.loads(said.stdout)
    assert [choice["rows"] for choice in data["choices"]] == [ROWS, 300]
    assert all(choice["applied"]["recall"]["low"] >= 0.9 for choice in data["choices"])
    assert page.read_text().count("<circle") > 4
    with ImageCollection.open("tuned", uri=uri) as again:
        assert dict(again.search_defaults.params) == data["params"]
        assert again.search_defaults.source == "chosen"
        assert again.search_defaults.about["recall"] == 0.9


def test_types_are_compared_on_a_copy_and_the_winner_is_built(lite_uri: str) -> None:
    made(lite_uri, "IVF_FLAT", nlist=64).close()
    said = imgvec(lite_uri, "--recall", 0.9, "--sample", 400, "--types", "HNSW,FLAT", "--apply", "--yes", "-o", "json")
    ranking = json.loads(said.stdout)["ranking"]
    assert {each["type"] for each in ranking} == {"HNSW", "FLAT"}
    assert all(each["build_seconds"] > 0 and each["memory_bytes"] > ROWS * DIM * 4 - 1 for each in ranking)
    with ImageCollection.open("tuned", uri=lite_uri) as again:
        assert again.store.index.type == ranking[0]["type"]
        assert again.count() == ROWS
        assert not [name for name in again.store.link.client.list_collections() if "scratch" in name]


def test_what_is_not_reached_is_exit_status_1_and_nothing_is_applied(lite_uri: str) -> None:
    made(lite_uri, "HNSW", M=2, efConstruction=2).close()
    said = imgvec(lite_uri, "--recall", 0.97, "--sample", 600, "--apply", status=1)
    assert "no setting of HNSW reaches recall@10 of 0.97: the best seen is 0." in said.stderr
    with ImageCollection.open("tuned", uri=lite_uri) as again:
        assert again.search_defaults.source != "chosen"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--plot", "x.pdf"], ".html or .png"),
        (["--plot", "/nonexistent/x.html"], "no such folder"),
        (["--types", "GPU_CAGRA"], "has no GPU_CAGRA index"),
        (["--types", "HNSWW"], "'HNSWW' is not an index type"),
        (["--where", "rank > 5000"], "no row of 'tuned' matches rank > 5000"),
        (["--where", "colour == 1"], "colour"),
        (["--queries", "SHORT.npy"], "an (n, 32) array of floats is needed"),
        (["--queries", "FEW.npy"], "5 queries cannot show a recall"),
        (["--queries", "/nonexistent"], "no such file or folder"),
    ],
)
def test_what_cannot_be_is_one_line(lite_uri: str, tmp_path: Path, words: list[str], says: str) -> None:
    made(lite_uri, "IVF_FLAT", nlist=64).close()
    np.save(tmp_path / "SHORT.npy", VECTORS[:50, :8])
    np.save(tmp_path / "FEW.npy", VECTORS[:5])
    said = imgvec(lite_uri, *[tmp_path / word if ".npy" in word else word for word in words], status=1)
    assert says in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_vectors_of_a_file_are_queries(ivf: ImageCollection, tmp_path: Path) -> None:
    ivf.close()
    np.save(tmp_path / "queries.npy", FRESH.astype(np.float64))
    out = imgvec(ivf.uri, "--recall", 0.9, "--queries", tmp_path / "queries.npy", "--sample", 400).stdout
    assert "nprobe" in out
    assert "instead of 64 for the whole grid" in out


def test_queries_of_a_sorted_file_are_drawn_by_chance(lite_uri: str, tmp_path: Path) -> None:
    with made(lite_uri, "FLAT") as photos:
        few = np.repeat(np.eye(2, DIM, dtype=np.float32), 500, axis=0)
        np.save(tmp_path / "sorted.npy", few)
        chosen = query_vectors(photos, tmp_path / "sorted.npy", settled(TuneOptions, {"sample": 100}))
        assert 30 < chosen[:, 0].sum() < 70
    assert sorted(some_of(range(50), 100)) == list(range(50))
    assert 30 < sum(each < 500 for each in some_of(range(1000), 100)) < 70


def test_images_of_a_folder_are_queries(lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(lite_uri, "IVF_FLAT", nlist=64).close()
    (pictures / "broken.jpg").write_bytes(b"no picture")
    monkeypatch.setattr("imgvec.loading.loaded_encoder", lambda *_: FakeEncoder(dim=DIM))
    said = imgvec(lite_uri, "--recall", 0.4, "--queries", pictures, "-o", "json")
    assert json.loads(said.stdout)["queries"] == [10, 10]
    assert "broken.jpg cannot be used as a query" in said.stderr


def test_an_empty_collection_has_nothing_to_tune(lite_uri: str) -> None:
    wanted = definition("IVF_FLAT", {"nlist": 64})
    ImageCollection.create("tuned", definition=wanted, uri=lite_uri, encoder=FakeEncoder(dim=DIM)).close()
    assert "has no rows" in imgvec(lite_uri, status=1).stderr
