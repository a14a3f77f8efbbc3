"""Index work and evaluation by each of several vectors: what is done by one leaves the others alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import numbered

import imgvec
from imgvec import ImageCollection, VectorQuery
from imgvec.cli import main
from imgvec.errors import DefinitionError, QueryError
from imgvec.indexes import unseen
from imgvec.indexes.recall import estimate
from imgvec.indexes.scores import true_scores
from imgvec.rows import VECTOR
from imgvec.vectors import Vectors

ROWS, LIMIT = 2000, 10
DIMS = {"vector": 32, "texture": 24}
METRICS = {"vector": "COSINE", "texture": "L2"}
LABELS = 8
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"label": {"type": "INT64", "default": 0}},
    "index": {"cpu": {"type": "HNSW", "params": {"M": 16, "efConstruction": 100}}},
    "vectors": {
        "texture": {
            "encoder": {"model": "fake"},
            "vector": {"metric_type": "L2"},
            "index": {"cpu": {"type": "IVF_FLAT", "params": {"nlist": 64}}},
        }
    },
}
_RNG = np.random.default_rng(11)
_CENTRES = {name: _RNG.standard_normal((40, dim)) for name, dim in DIMS.items()}


def drawn(name: str, number: int) -> tuple[Vectors, Vectors]:
    """Vectors of that name in overlapping clusters, and the number of the cluster that each is of."""
    which = _RNG.integers(0, len(_CENTRES[name]), number)
    vectors = _CENTRES[name][which] + 1.1 * _RNG.standard_normal((number, DIMS[name]))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), which


STORED = {name: drawn(name, ROWS) for name in DIMS}
OUTSIDE = {name: drawn(name, 1000)[0] for name in DIMS}


def encoders() -> dict[str, Any]:
    return {"encoder": FakeEncoder(dim=32), "encoders": {"texture": FakeEncoder(dim=24, seed=5, image_size=48)}}


@pytest.fixture
def trip(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    monkeypatch.setattr("imgvec.indexes.tune.CALLS", 20)
    monkeypatch.setattr(unseen, "_MOST_COPIES", 2)
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, **encoders()) as collection:
        # the label is what `texture` tells and `vector` does not
        labels = (STORED["texture"][1] % LABELS).tolist()
        rows = [numbered(number, label=label) for number, label in enumerate(labels)]
        collection.store.upsert(rows, STORED["vector"][0], {"texture": STORED["texture"][0]})
        collection.store.wait_until_indexed(120)
        # as long as it is not loaded again, rows are searched without an index
        collection.store.release()
        collection.store.load()
        yield collection


def recall(trip: ImageCollection, vector: str) -> list[float]:
    """recall@10 of a search by that vector with its defaults, for each query, by NumPy."""
    answers = trip.search_many([VectorQuery(query) for query in OUTSIDE[vector]], vector=vector, limit=LIMIT)
    shares = []
    for query, answer in zip(OUTSIDE[vector], answers, strict=True):
        nearest = np.argsort(-true_scores(METRICS[vector], query, STORED[vector][0]))[:LIMIT]
        shares.append(len({int(hit.id, 16) for hit in answer} & set(nearest.tolist())) / LIMIT)
    return shares


def kept(trip: ImageCollection, vector: str) -> tuple[Any, Any]:
    """The index of that vector, and how it is searched."""
    status = imgvec.index_status(trip)
    found = status if vector == VECTOR else status["vectors"][vector]
    return (found["type"], found["params"]), found["search"]


@pytest.mark.parametrize(("tuned_by", "other"), [("vector", "texture"), ("texture", "vector")])
def test_what_is_tuned_by_one_vector_holds_for_it_and_leaves_the_other(
    trip: ImageCollection, tuned_by: str, other: str
) -> None:
    before = kept(trip, other)
    found_before = recall(trip, other)
    tuned = imgvec.tune(trip, vector=tuned_by, recall=0.9, queries=600)
    assert (tuned.vector, tuned.basis) == (tuned_by, "left out")
    [choice] = tuned.choices
    assert choice.applied is not None
    imgvec.apply_tuning(trip, tuned)
    fresh = estimate(recall(trip, tuned_by), sides=1)
    assert fresh.high >= choice.applied.recall.low >= 0.9
    assert fresh.mean >= 0.895
    index, search = kept(trip, tuned_by)
    assert index[0] == {"vector": "HNSW", "texture": "IVF_FLAT"}[tuned_by]
    assert (search["from"], search["about"]["recall"]) == ("chosen", 0.9)
    assert tuned.chosen().items() <= search["params"].items()
    assert kept(trip, other) == before
    assert recall(trip, other) == found_before
    # every client of the collection has them, and its former searches too
    asked = trip.search(VectorQuery(OUTSIDE[tuned_by][0]), vector=tuned_by).request.options["params"]
    assert asked == tuned.chosen()
    with ImageCollection.open("trip", uri=trip.uri, **encoders()) as again:
        assert kept(again, tuned_by)[1] == search
        assert kept(again, other) == before
    # forgotten by one, kept by the other
    imgvec.set_search_defaults(trip, {}, vector=tuned_by)
    assert kept(trip, tuned_by)[1]["from"] == "catalogue"


def test_an_index_is_built_for_one_vector_and_checked_for_it(trip: ImageCollection) -> None:
    first = kept(trip, "vector")
    assert imgvec.build_index(trip, "HNSW", {"M": 4, "efConstruction": 8}, vector="texture") >= 0
    assert kept(trip, "texture")[0] == ("HNSW", {"M": 4, "efConstruction": 8})
    assert kept(trip, "vector") == first
    poor = imgvec.verify(trip, vector="texture", queries=200, probes=0, params={"ef": 11}, recall=0.95)
    assert (poor.vector, poor.index) == ("texture", "HNSW")
    assert "low recall" in [each.name for each in poor.findings]
    assert imgvec.verify(trip, queries=200, probes=0, params={"ef": 200}, recall=0.9).ok
    # from a definition: that vector's, with its search parameters
    other = {**DEFINITION, "vectors": {"texture": {**DEFINITION["vectors"]["texture"],
             "index": {"cpu": {"type": "IVF_FLAT", "params": {"nlist": 32}, "search": {"nprobe": 32}}}}}}  # fmt: skip
    imgvec.build_index(trip, vector="texture", definition=other)
    assert kept(trip, "texture")[0] == ("IVF_FLAT", {"nlist": 32})
    assert kept(trip, "texture")[1]["params"]["nprobe"] == 32
    assert recall(trip, "texture") == [1.0] * len(OUTSIDE["texture"])
    assert kept(trip, "vector") == first
    # without one: that of its own definition
    imgvec.build_index(trip, vector="texture")
    assert kept(trip, "texture")[0] == ("IVF_FLAT", {"nlist": 64})
    with pytest.raises(DefinitionError, match="the definition has no vector 'texture'"):
        imgvec.build_index(trip, vector="texture", definition={**DEFINITION, "vectors": {}})
    with pytest.raises(DefinitionError, match="no GPU index"):
        imgvec.build_index(trip, vector="texture", gpu=True)


def test_index_types_are_compared_for_one_vector(trip: ImageCollection) -> None:
    found = imgvec.compare_indexes(trip, ["FLAT"], vector="texture", recall=0.9, queries=OUTSIDE["texture"])
    assert found.winner is not None
    assert (found.winner.vector, found.winner.type) == ("texture", "FLAT")
    assert found.winner.memory_bytes == pytest.approx(ROWS * 24 * 4, rel=0.1)
    imgvec.apply_tuning(trip, found.winner)
    assert kept(trip, "texture")[0] == ("FLAT", {})
    assert kept(trip, "vector")[0][0] == "HNSW"


def test_a_plan_is_for_the_vectors_own_length(trip: ImageCollection) -> None:
    flat = {name: next(each for each in imgvec.plan_index(trip, vector=name) if each.type == "FLAT") for name in DIMS}
    assert flat["vector"].index_bytes / flat["texture"].index_bytes == pytest.approx(32 / 24, rel=0.05)


def precision(vector: str) -> float:
    """precision@10 of every stored row as a query, by NumPy."""
    vectors, labels = STORED[vector][0], STORED["texture"][1] % LABELS
    shares = []
    for number, query in enumerate(vectors):
        scores = true_scores(METRICS[vector], query, vectors)
        scores[number] = -np.inf
        shares.append(np.mean(labels[np.argsort(-scores)[:LIMIT]] == labels[number]))
    return float(np.mean(shares))


def test_an_evaluation_is_by_the_vector_that_is_named(trip: ImageCollection) -> None:
    for name in DIMS:
        found = imgvec.evaluate(trip, label="label", vector=name, k=[10], exact=True)
        assert (found.vector, found.to_dict()["vector"]) == (name, name)
        assert found.micro["precision@10"] == pytest.approx(precision(name), abs=1e-4)
    searched = imgvec.evaluate(trip, label="label", vector="texture", k=[10], params={"nprobe": 64}, sample=300)
    assert searched.micro["precision@10"] == pytest.approx(precision("texture"), abs=0.05)
    compared = imgvec.compare(trip, trip, label="label", k=[10], exact=True, second_vector="texture")
    assert (compared.first.vector, compared.second.vector) == ("vector", "texture")
    assert compared.micro[0].difference == pytest.approx(precision("texture") - precision("vector"), abs=1e-4)


def test_an_unknown_name_is_refused_as_a_search_refuses_it(trip: ImageCollection) -> None:
    calls: list[Callable[..., Any]] = [
        lambda **given: trip.search(VectorQuery(OUTSIDE["vector"][0]), **given),
        lambda **given: imgvec.build_index(trip, "FLAT", **given),
        lambda **given: imgvec.verify(trip, **given),
        lambda **given: imgvec.tune(trip, **given),
        lambda **given: imgvec.compare_indexes(trip, ["FLAT"], **given),
        lambda **given: imgvec.plan_index(trip, **given),
        lambda **given: imgvec.evaluate(trip, label="label", **given),
        lambda **given: imgvec.set_search_defaults(trip, {}, **given),
    ]
    for call in calls:
        with pytest.raises(QueryError, match=r"^'trip' has no vector 'shape' \(vectors: vector, texture\)$"):
            call(vector="shape")


def run(uri: str, *words: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["--uri", uri, *map(str, words)])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def test_the_command_takes_a_vector(trip: ImageCollection, tmp_path: Any) -> None:
    uri = trip.uri
    trip.close()
    for command in ("index build", "index verify", "index tune", "index plan", "evaluate", "search"):
        assert "--vector NAME" in run(uri, *command.split(), "--help").stdout
    named = ["-c", "trip", "--vector", "texture"]
    page = tmp_path / "plot.html"
    given = tmp_path / "queries.npy"
    np.save(given, OUTSIDE["texture"])
    said = run(
        uri, "index", "tune", *named, "--recall", 0.9, "--queries", given, "--plot", page, "--apply", "-o", "json"
    )
    data = json.loads(said.stdout)
    assert (data["vector"], data["type"], data["ranked"]) == ("texture", "IVF_FLAT", "rows")
    assert "trip: IVF_FLAT of 'texture' reaches recall@10 of 0.9 with nprobe" in said.stderr
    assert "trip (texture): the default is now IVF_FLAT with nprobe" in said.stderr
    assert "trip (texture): recall@10 against latency" in page.read_text()
    status = json.loads(run(uri, "index", "status", "-c", "trip", "-o", "json").stdout)
    assert (status["type"], status["search"]["from"], list(status["vectors"])) == ("HNSW", "catalogue", ["texture"])
    texture = status["vectors"]["texture"]
    assert (texture["type"], texture["params"], texture["metric_type"]) == ("IVF_FLAT", {"nlist": 64}, "L2")
    assert (texture["search"]["from"], texture["search"]["params"]) == ("chosen", data["params"])
    assert texture["indexed_rows"] == ROWS
    text = run(uri, "index", "status", "-c", "trip").stdout
    assert (
        "trip: HNSW M=16 efConstruction=100, COSINE\n  state: Finished, loaded; 2,000 of 2,000 rows indexed\n" in text
    )
    assert "trip (texture): IVF_FLAT nlist=64, L2\n" in text
    shown = run(uri, "collections", "show", "trip").stdout
    assert "index: type HNSW" in shown
    assert "index: type IVF_FLAT" in shown
    built = run(uri, "index", "build", *named, "--type", "FLAT").stdout
    assert built.startswith("trip (texture): FLAT built over 2,000 rows in ")
    assert "trip (texture): 2,000 rows, FLAT\n" in built
    verified = json.loads(run(uri, "index", "verify", *named, "-o", "json").stdout)
    assert (verified["ok"], verified["vector"], verified["index"]) == (True, "texture", "FLAT")
    assert run(uri, "index", "plan", *named).stdout != run(uri, "index", "plan", "-c", "trip").stdout
    assert "--vector needs -c" in run(uri, "index", "plan", "--rows", 9, "--dim", 9, "--vector", "x", status=2).stderr
    compared = ["evaluate", "-c", "trip", "--label", "label", "--sample", 50, "--exact"]
    assert "trip (texture): 50 queries" in run(uri, *compared, "--vector", "texture").stdout
    assert "--compare-vector needs --compare" in run(uri, *compared, "--compare-vector", "x", status=2).stderr
    both = run(uri, *compared, "--compare", "trip", "--compare-vector", "texture").stdout
    assert "first: trip: 50 queries" in both
    assert "second: trip (texture): 50 queries" in both
    unknown = run(uri, "index", "verify", "-c", "trip", "--vector", "shape", status=1)
    assert unknown.stderr.strip().endswith("'trip' has no vector 'shape' (vectors: vector, texture)")
