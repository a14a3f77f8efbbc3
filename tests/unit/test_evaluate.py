from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from typing_extensions import Unpack

from imgvec.errors import FilterError, QueryError
from imgvec.filters import FieldType
from imgvec.images import content_hash
from imgvec.quality import Evaluation, compare, evaluate, paired
from imgvec.quality.labels import given_labels, labels_of
from imgvec.quality.rankings import _best_first
from imgvec.search.answer import Answer
from imgvec.search.forms import Form
from imgvec.search.request import SearchOptions
from imgvec.search.searcher import Searcher

FIELDS = {
    "id": FieldType("VARCHAR"),
    "uri": FieldType("VARCHAR"),
    "label": FieldType("VARCHAR"),
    "tags": FieldType("ARRAY", "VARCHAR"),
    "number": FieldType("INT64"),
    "yes": FieldType("BOOL"),
    "weight": FieldType("FLOAT"),
}


class Labelled(FakeStore):
    fields = FIELDS
    page = 3


class Collection:
    """As `ImageCollection` is, with an exact search."""

    def __init__(self, vectors: np.ndarray[Any, Any], rows: Sequence[Mapping[str, Any]], name: str = "c") -> None:
        self.name, self.encoder = name, FakeEncoder(dim=vectors.shape[1])
        self.store = Labelled(dim=vectors.shape[1])
        self.store.upsert([{"id": f"{i:04}", "uri": f"/{i:04}", **row} for i, row in enumerate(rows)], vectors)
        self._searcher = Searcher(self.store, lambda _: self.encoder, max_pixels=10**7, max_bytes=10**7)

    def vectors(self, queries: Iterable[Form], *, vector: str = "vector") -> Any:
        return self._searcher.vectors(list(queries), vector)

    def search_many(self, queries: Iterable[Form], **options: Unpack[SearchOptions]) -> list[Answer]:
        return self._searcher.search(list(queries), **options)


def at(*degrees: float) -> np.ndarray[Any, Any]:
    """Unit vectors at these angles: the nearer the angle, the more similar."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture
def line() -> Collection:
    # from the left: A A B A _ B, and C alone
    return Collection(at(0, 10, 21, 33, 46, 60, 75), [{"label": each} for each in ("A", "A", "B", "A", "", "B", "C")])


def noisy(rows: int, classes: int, *, seed: int = 0, spread: float = 1.0, name: str = "c") -> Collection:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    centres = np.random.default_rng(99).standard_normal((classes, 16))
    vectors = centres[labels] + spread * rng.standard_normal((rows, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Collection(vectors, [{"label": f"c{label}"} for label in labels], name)


@pytest.mark.parametrize("exact", [False, True])
def test_each_row_against_the_others_by_hand(line: Collection, exact: bool) -> None:
    found = evaluate(line, label="label", k=(1, 3), exact=exact)
    # the rankings: 0: A B A, 10: A B A, 21: A A(12) ..., 33: B(12) _(13) A(23), 60: _(14) C(15) A(27)
    assert found.names == ("/0000", "/0001", "/0002", "/0003", "/0005")
    precision = dict(zip(found.names, found.values[:, list(found.measures).index("precision@1")], strict=True))
    assert precision == {"/0000": 1, "/0001": 1, "/0002": 0, "/0003": 0, "/0005": 0}
    assert found.micro["precision@1"] == pytest.approx(2 / 5)
    assert found.macro["precision@1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found.micro["recall@3"] == pytest.approx((1 + 1 + 0 + 1 / 2 + 0) / 5)
    average = [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, 0, 1 / 3 / 2, 0]
    assert found.micro["map@3"] == pytest.approx(np.mean(average))
    assert [(each.label, each.queries) for each in found.classes] == [("A", 3), ("B", 2)]
    assert found.without_relevant == {"C": 1}
    assert (found.rows, found.unlabelled) == (7, 1)
    assert ("map" in found.measures) == exact


def test_the_whole_ranking_by_hand(line: Collection) -> None:
    found = evaluate(line, label="label", k=(1,), exact=True)
    average = dict(zip(found.names, found.values[:, -1], strict=True))
    # from 33 the others stand B(12) _(13) A(23) B(27) A(33) C(42); from 21: A(11) A(12) A(21) _(25) B(39)
    assert average["/0003"] == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert average["/0002"] == pytest.approx(1 / 5)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
@pytest.mark.slow
def test_exact_ranking_is_that_of_every_row_and_as_scikit_learn(metric: str) -> None:
    sklearn = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    collection = noisy(150, 4)
    collection.store.metric_type = metric
    vectors = np.stack([row["vector"] for row in collection.store.rows.values()])
    if metric != "COSINE":  # lengths that matter
        vectors *= np.random.default_rng(5).uniform(0.5, 2, (150, 1)).astype(np.float32)
        for row, vector in zip(collection.store.rows.values(), vectors, strict=True):
            row["vector"] = vector
    labels = np.array([row["label"] for row in collection.store.rows.values()])
    found = evaluate(collection, label="label", k=(1, 10), exact=True)
    wide = vectors.astype(np.float64)
    for i, name in enumerate(found.names):
        others = np.arange(150) != int(name[1:])
        query = wide[~others][0]
        scores = -((wide - query) ** 2).sum(axis=1) if metric == "L2" else wide @ query
        same = (labels == labels[~others][0])[others]
        assert found.values[i, -1] == pytest.approx(sklearn.average_precision_score(same, scores[others]), abs=1e-9)
        ndcg = sklearn.ndcg_score(same[None].astype(float), scores[others][None], k=10)
        assert found.values[i, list(found.measures).index("ndcg@10")] == pytest.approx(ndcg, abs=1e-9)


def test_both_rankings_agree_where_the_search_is_exact() -> None:
    collection = noisy(80, 3)
    by_search = evaluate(collection, label="label", k=(1, 5, 79))
    exact = evaluate(collection, label="label", k=(1, 5, 79), exact=True)
    np.testing.assert_allclose(exact.values[:, :-1], by_search.values, atol=1e-12)
    # a search as deep as all the other rows gives the average precision itself
    assert by_search.micro["map@79"] == pytest.approx(exact.micro["map"])


def test_an_array_of_labels_is_relevant_by_any_shared_one() -> None:
    tags = [["red", "dress"], ["red"], ["dress"], ["hat"], [], ["hat", "red"]]
    found = evaluate(Collection(at(0, 1, 3, 6, 10, 15), [{"tags": each} for each in tags]), label="tags", k=(2,))
    recall = dict(zip(found.names, found.values[:, 1], strict=True))
    # of the first, the second, third and last are relevant, and two of them stand in front
    assert recall["/0000"] == pytest.approx(2 / 3)
    assert recall["/0003"] == pytest.approx(0)
    assert found.unlabelled == 1
    assert {each.label: each.queries for each in found.classes} == {"dress": 2, "hat": 2, "red": 3}


def test_labels_of_every_type() -> None:
    assert labels_of("a b") == {"a b"}
    assert labels_of(7) == {"7"}
    assert labels_of(True) == {"true"}
    assert labels_of(["a", "", "b", "a"]) == {"a", "b"}
    for nothing in (None, "", [], 1.5, {"a": 1}):
        assert labels_of(nothing) == frozenset()
    assert given_labels("007", FieldType("INT64")) == {"7"}
    assert given_labels("Yes", FieldType("BOOL")) == {"true"}
    assert given_labels("a; b", FieldType("ARRAY", "VARCHAR")) == {"a", "b"}
    assert given_labels('["a;b", "c"]', FieldType("ARRAY", "VARCHAR")) == {"a;b", "c"}
    assert given_labels("[1, 2]", FieldType("ARRAY", "INT64")) == {"1", "2"}
    assert given_labels("a; b", FieldType("VARCHAR")) == {"a; b"}
    assert given_labels(3, None) == {"3"}
    with pytest.raises(QueryError, match="JSON"):
        given_labels("[a", FieldType("ARRAY", "VARCHAR"))


def test_the_fields_that_can_hold_labels(line: Collection) -> None:
    for name in ("number", "yes"):
        for i, row in enumerate(line.store.rows.values()):
            row[name] = i % 2 if name == "number" else i % 2 == 0
        assert len(evaluate(line, label=name, k=(1,)).classes) == 2
    with pytest.raises(FilterError, match="weight holds FLOAT"):
        evaluate(line, label="weight")
    with pytest.raises(QueryError, match="7 without nothing"):
        evaluate(line, label="nothing")  # a key of the dynamic field that no row has
    line.store.dynamic = False
    with pytest.raises(FilterError, match="no field 'nothing'"):
        evaluate(line, label="nothing")
    for wrong in ((), (0,), (-1, 5)):
        with pytest.raises(QueryError):
            evaluate(line, label="label", k=wrong)


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Collection, dict[str, str]]:
    """A collection of twenty pictures in two classes, and six of these and four others as labelled files."""
    pictures = [picture(i) for i in range(20)]
    vectors = FakeEncoder().encode_images(pictures)
    rows = [{"label": "even" if i % 2 == 0 else "odd", "uri": str(tmp_path / f"{i}.png")} for i in range(20)]
    given = {}
    for i in [*range(6), *range(100, 104)]:
        path = tmp_path / f"{i}.png"
        picture(i).save(path)
        given[str(path)] = "even" if i % 2 == 0 else "odd"
    return Collection(vectors, rows), given


@pytest.mark.parametrize("exact", [False, True])
def test_given_images(photos: tuple[Collection, dict[str, str]], exact: bool) -> None:
    collection, given = photos
    found = evaluate(collection, label="label", queries=given, k=(1, 5), exact=exact)
    # what is stored is asked as a stored row is, its own row left out
    stored = evaluate(collection, label="label", k=(1, 5), exact=exact)
    places = {name: i for i, name in enumerate(stored.names)}
    for i, name in enumerate(found.names[:6]):
        np.testing.assert_allclose(found.values[i], stored.values[places[name]], atol=1e-12)
    vectors = np.stack([row["vector"] for row in collection.store.rows.values()])
    labels = np.array([row["label"] for row in collection.store.rows.values()])
    scores = FakeEncoder().encode_images([picture(100)]) @ vectors.T
    best = labels[np.argsort(-scores[0])]
    i = next(i for i, name in enumerate(found.names) if name.endswith("100.png"))
    assert found.values[i, list(found.measures).index("precision@5")] == pytest.approx(np.mean(best[:5] == "even"))
    assert len(found.names) == 10


@pytest.mark.parametrize("exact", [False, True])
def test_a_stored_copy_of_a_given_image_is_no_hit_of_it(photos: tuple[Collection, dict[str, str]], exact: bool) -> None:
    collection, given = photos
    path = next(path for path in given if path.endswith("100.png"))
    only = {path: given[path]}
    before = evaluate(collection, label="label", queries=only, k=(1, 5), exact=exact)
    [vector] = FakeEncoder().encode_images([picture(100)])
    copies = [
        {
            "id": f"copy{i}",
            "uri": f"elsewhere{i}",
            "content_hash": content_hash(Path(path).read_bytes()),
            "label": label,
        }
        for i, label in enumerate(("even", "odd"))
    ]
    collection.store.upsert(copies, np.stack([vector, vector]))
    after = evaluate(collection, label="label", queries=only, k=(1, 5), exact=exact)
    np.testing.assert_allclose(after.values, before.values)
    collection.store.rows["copy0"]["content_hash"] = "of other bytes"
    assert evaluate(collection, label="label", queries=only, k=(1, 5), exact=exact).micro["precision@1"] == 1


def test_images_that_cannot_be_read_are_reported(photos: tuple[Collection, dict[str, str]], tmp_path: Path) -> None:
    collection, given = photos
    whole = evaluate(collection, label="label", queries=given)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image at all")
    found = evaluate(
        collection, label="label", queries={str(broken): "odd", **given, str(tmp_path / "gone.png"): "even"}
    )
    assert [(Path(each.uri).name, each.reason) for each in found.unreadable] == [
        ("broken.png", "not an image"),
        ("gone.png", "missing"),
    ]
    assert found.names == whole.names
    assert found.micro == pytest.approx(whole.micro)
    with pytest.raises(QueryError, match="1 unreadable"):
        evaluate(collection, label="label", queries={str(broken): "odd"})


def test_labels_that_no_row_has_are_named(photos: tuple[Collection, dict[str, str]]) -> None:
    collection, given = photos
    names = itertools.cycle(["evn", "odd", "off"])
    with pytest.raises(QueryError, match="no row has the label evn, off; existing: even, odd"):
        evaluate(collection, label="label", queries={path: next(names) for path in given})
    with pytest.raises(QueryError, match="10 queries without a label"):
        evaluate(collection, label="label", queries=dict.fromkeys(given, ""))


def test_samples() -> None:
    collection = noisy(60, 3)
    whole = evaluate(collection, label="label")
    some = evaluate(collection, label="label", sample=20, seed=3)
    assert len(some.names) == 20
    assert some.rows == 60
    assert some.names == evaluate(collection, label="label", sample=20, seed=3).names
    assert some.names != evaluate(collection, label="label", sample=20, seed=4).names
    places = [whole.names.index(name) for name in some.names]
    np.testing.assert_allclose(some.values, whole.values[places])
    assert evaluate(collection, label="label", sample=1000).names == whole.names


def test_the_result_is_plain_data(line: Collection) -> None:
    seen = []
    found = evaluate(line, label="label", k=(3, 1, 3), on_progress=lambda event: seen.append((event.done, event.total)))
    data = found.to_dict()
    assert list(data["micro"]) == [f"{m}@{k}" for m in ("precision", "recall", "map", "ndcg") for k in (1, 3)]
    assert data["queries"] == 5
    assert data["classes"][0]["label"] == "A"
    assert seen[-1] == (5, 5)


def test_the_better_of_two_is_found_on_the_common_queries() -> None:
    good, bad = noisy(120, 3, spread=0.8, name="good"), noisy(120, 3, spread=2.5, name="bad")
    # the second lacks some rows, and has some that the first lacks
    for id_ in ("0000", "0001", "0002"):
        del bad.store.rows[id_]
    bad.store.upsert([{"id": "new", "uri": "/new", "label": "c1"}], at(0).repeat(8, axis=1) / np.float32(8**0.5))
    found = compare(bad, good, label="label", k=(1, 10), exact=True)
    assert found.first.names == found.second.names
    assert (len(found.first.names), found.dropped, found.relabelled) == (117, 0, 0)
    for each in (*found.micro, *found.macro):
        if each.measure in ("map", "precision@10"):
            assert each.low is not None
            assert 0 < each.low < each.difference < (each.high or 0)
    own = evaluate(good, label="label", k=(1, 10), exact=True)
    places = [own.names.index(name) for name in found.second.names]
    assert found.micro[-1].second == pytest.approx(own.values[places, -1].mean())
    assert set(found.classes) == {"c0", "c1", "c2"}
    assert found.to_dict()["queries"] == 117


def test_the_same_collection_twice_differs_by_nothing() -> None:
    collection = noisy(50, 3)
    found = compare(collection, collection, label="label", sample=30)
    assert len(found.first.names) == 30
    assert {(each.difference, each.low, each.high) for each in found.micro} == {(0, 0, 0)}


def results(values: Sequence[float], labels: Sequence[str], name: str = "e") -> Evaluation:
    return Evaluation(
        collection=name, label="label", where="", ranking="exact", rows=len(values), unlabelled=0, without_relevant={},
        unreadable=(), measures=("map",), names=tuple(f"q{i}" for i in range(len(values))),
        labels=tuple(frozenset({each}) for each in labels), values=np.array(values, np.float64)[:, None],
    )  # fmt: skip


def test_intervals_are_those_of_the_normal_approximation_for_many_queries() -> None:
    rng = np.random.default_rng(1)
    gains = rng.normal(0.02, 0.1, 4000)
    labels = ["a"] * 3000 + ["b"] * 1000
    found = paired(results([0.5] * 4000, labels), results(list(0.5 + gains), labels))
    [micro], [macro] = found.micro, found.macro
    error = gains.std() / np.sqrt(4000)
    assert (micro.low, micro.high) == pytest.approx(
        (gains.mean() - 1.96 * error, gains.mean() + 1.96 * error), abs=4e-4
    )
    errors = [gains[:3000].std() / np.sqrt(3000), gains[3000:].std() / np.sqrt(1000)]
    mean = (gains[:3000].mean() + gains[3000:].mean()) / 2
    half = 1.96 * np.hypot(*errors) / 2
    assert (macro.low, macro.high) == pytest.approx((mean - half, mean + half), abs=6e-4)


def test_one_query_has_no_interval() -> None:
    found = paired(results([0.5, 0.2, 0.1], "aab"), results([0.6, 0.4, 0.4], "aab"))
    assert (found.classes["b"][0].low, found.classes["b"][0].high) == (None, None)
    assert found.classes["a"][0].low is not None
    with pytest.raises(QueryError, match="no queries or no measures in common"):
        paired(results([], ""), results([1.0], "a"))


def test_the_order_of_an_exact_ranking() -> None:
    rng = np.random.default_rng(0)
    # rounded, so that many are equal; both signs, zeros of both signs, infinities
    scores = np.round(rng.standard_normal(5000), 2).astype(np.float32)
    scores[:6] = [0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40]
    np.testing.assert_array_equal(_best_first(scores), np.argsort(-scores, kind="stable"))
