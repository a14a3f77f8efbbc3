"""Recommendations and feedback, against the formulas in exact NumPy."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answer_oracle import recommended, sigmoid, similarity
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import id_of, numbered

import imgvec
from imgvec import Crop, Hit, ImageCollection, ImageFile, Like, StoredId, Text, VectorQuery, field
from imgvec.cli import main
from imgvec.errors import OptionError, QueryError, SourceError
from imgvec.search import best
from imgvec.search.feedback import rocchio
from imgvec.vectors import Vectors

ROWS = 600
BRANDS = ("acme", "zeta", "nova")


def definition(metric: str, index: str = "FLAT") -> dict[str, Any]:
    fields = {"brand": {"type": "VARCHAR", "default": ""}, "price": {"type": "DOUBLE", "default": 0.0}}
    what = {"encoder": {"model": "fake"}, "vector": {"metric_type": metric}, "fields": fields}
    return {**what, "index": {"cpu": {"type": index}}}


def stored_vectors(rows: int = ROWS, *, unit: bool = True) -> Vectors:
    """In clumps, so that examples have neighbours."""
    rng = np.random.default_rng(5)
    centres = 1.5 * rng.standard_normal((12, 16))
    vectors = centres[np.arange(rows) % 12] + rng.standard_normal((rows, 16))
    scaled: Vectors = vectors.astype(np.float32)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True) if unit else scaled / 4


@pytest.fixture(params=["COSINE", "IP", "L2"])
def metric(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(backend_uri: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    """A collection `shop` at IMGVEC_URI; its encoder cannot be loaded."""
    monkeypatch.setenv("IMGVEC_URI", backend_uri)
    rows = [numbered(i, brand=BRANDS[i % 3], price=float(i)) for i in range(ROWS)]
    with ImageCollection.create("shop", definition=definition(metric), uri=backend_uri, encoder=FakeEncoder()) as made:
        made.store.upsert(rows, stored_vectors(unit=metric != "L2"))
        assert made.count() == ROWS  # a server's searches see them from now on
    with ImageCollection.open("shop", uri=backend_uri) as opened:
        yield opened


def expected(
    metric: str, strategy: str, positive: Sequence[int], negative: Sequence[int], where: Callable[[int], bool]
) -> list[tuple[str, float]]:
    """All rows by the strategy's own formula, computed on every row."""
    vectors = stored_vectors(unit=metric != "L2")
    pairs = [[(vectors[i], 1.0) for i in some] for some in (positive, negative)]
    scores = recommended(metric, strategy, vectors, *pairs)
    given = {*positive, *negative}
    ranked = sorted((-float(scores[i]), id_of(i)) for i in range(ROWS) if i not in given and where(i))
    return [(id_, -less) for less, id_ in ranked]


def scored(answer: Sequence[Hit]) -> list[tuple[str, Any]]:
    return [(hit.id, pytest.approx(hit.score, abs=2e-5)) for hit in answer]


def ids(numbers: Sequence[int]) -> list[str]:
    return [f"id:{id_of(i)}" for i in numbers]


EXAMPLES = [((1,), ()), ((1, 13, 7), ()), ((1, 14, 27), (2, 5)), ((3,), (15, 27, 39, 51))]


@pytest.mark.parametrize("strategy", ["average", "best", "sum"])
def test_each_strategy_is_its_formula_over_all_rows(shop: ImageCollection, metric: str, strategy: Any) -> None:
    """Ids and scores, with a filter and pages; stored rows need no encoder, and are not in the answer."""
    for positive, negative in EXAMPLES:
        if strategy == "sum" and metric == "L2" and len(positive) <= len(negative):
            continue
        asked = (ids(positive), [StoredId(id_of(i)) for i in negative])
        wanted = expected(metric, strategy, positive, negative, lambda _: True)
        answer = imgvec.recommend(shop, *asked, strategy=strategy, limit=25)
        assert scored(answer) == wanted[:25]
        assert answer.certain
        dear = expected(metric, strategy, positive, negative, lambda i: i >= 100 and BRANDS[i % 3] == "acme")
        where = (field("price") >= 100) & (field("brand") == "acme")
        page = imgvec.recommend(shop, *asked, strategy=strategy, limit=5, offset=10, where=where)
        assert scored(page) == dear[10:15]
        least = wanted[9][1] - 1e-4
        above = imgvec.recommend(shop, *asked, strategy=strategy, limit=25, min_score=least)
        assert scored(above) == [each for each in wanted[:25] if each[1] >= least]
        assert above.request.options["min_score"] == least
        form = answer.request.to_dict()["query"]["recommend"]
        assert [each["id"] for each in form["negative"]] == [id_of(i) for i in negative]
        assert form["strategy"] == strategy


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_weights_count(shop: ImageCollection) -> None:
    vectors = stored_vectors().astype(np.float64)
    whole = 2 * vectors[1] + 0.5 * vectors[2] - 0.25 * vectors[3]
    pairs = [(f"id:{id_of(1)}", 2), (StoredId(id_of(2)), 0.5)]
    answer = imgvec.recommend(shop, pairs, [(VectorQuery(vectors[3]), 0.25)], strategy="sum", limit=600)
    others = [i for i in range(ROWS) if i not in (1, 2)]
    assert dict(scored(answer)) == {id_of(i): float(vectors[i] @ whole) for i in others}
    average = 2 * (2 * vectors[1] + 0.5 * vectors[2]) / 2.5 - vectors[3]
    answer = imgvec.recommend(shop, pairs, [(VectorQuery(vectors[3]), 0.25)], limit=600)
    assert dict(scored(answer)) == {id_of(i): float(vectors[i] @ average / np.linalg.norm(average)) for i in others}
    alone = imgvec.recommend(shop, (), ids([4]), strategy="sum", limit=3)  # the least like it
    least = sorted((float(vectors[i] @ vectors[4]), id_of(i)) for i in range(ROWS) if i != 4)[:3]
    assert scored(alone) == [(id_, -score) for score, id_ in least]


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_best_looks_as_deep_as_it_must_and_says_where_it_stops(
    shop: ImageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest rows of a positive example are nearer to a negative one, so that the first lists are not enough."""
    vectors = stored_vectors()
    rng = np.random.default_rng(3)
    liked, disliked = rng.standard_normal((2, 16)).astype(np.float32)
    disliked = liked + 0.05 * disliked
    depths: list[int] = []
    search = shop.store.search

    def noting(vectors: Vectors, **asked: Any) -> Any:
        depths.append(asked["limit"])
        return search(vectors, **asked)

    monkeypatch.setattr(shop.store, "search", noting)
    monkeypatch.setattr(best, "FIRST_DEPTH", 8)
    p, n = similarity("COSINE", vectors, liked), similarity("COSINE", vectors, disliked)
    scores = np.where(p > n, sigmoid(p), -sigmoid(n))
    wanted = sorted((-float(score), id_of(i)) for i, score in enumerate(scores))[:5]
    answer = imgvec.recommend(shop, [VectorQuery(liked)], [VectorQuery(disliked)], strategy="best", limit=5)
    assert scored(answer) == [(id_, -less) for less, id_ in wanted]
    assert answer.certain
    assert len(depths) > 1
    assert depths == [depths[0] * 4**i for i in range(len(depths))]
    # with a bound that is too near it is told that others may belong there: what is given is the best of what was seen
    monkeypatch.setattr(best, "MOST_CANDIDATES", 5)
    cut = imgvec.recommend(shop, [VectorQuery(liked)], [VectorQuery(disliked)], strategy="best", limit=5)
    assert (cut.certain, cut.to_dict()["certain"]) == (False, False)
    seen = np.argsort(-p)[: cut.compared]  # one more than was asked for
    assert len(seen) == 6
    ranked = sorted((-float(scores[i]), id_of(i)) for i in seen)[:5]
    assert scored(cut) == [(id_, -less) for less, id_ in ranked]
    # all rows that match are few: then even those that are nearer to a negative example are ranked for certain
    few = imgvec.recommend(shop, ids([1]), ids([13]), strategy="best", limit=50, where=field("price") < 20)
    assert (len(few), few.certain, few[-1].score < 0) == (18, True, True)
    assert "rows" in str(few.shortfall)


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_what_cannot_be_recommended_is_refused(shop: ImageCollection, tmp_path: Path) -> None:
    one = ids([1])
    for asked, options, says in (
        (((), ()), {}, "at least one example"),
        (((), one), {}, "'average' takes at least one positive example"),
        (((), one), {"strategy": "best"}, "'best' takes at least one positive example"),
        (([(one[0], 2)], ()), {"strategy": "best"}, "'best' takes no weights"),
        (([(one[0], 0)], ()), {}, "above 0, not 0"),
        (([(one[0], float("nan"))], ()), {}, "above 0, not nan"),
        (([(one[0], 10**400)], ()), {}, "that a float can hold"),
        (([(one[0], "2")], ()), {}, "above 0, not '2'"),
        ((one[0], ()), {}, "positive takes a sequence"),
        ((one, one), {"strategy": "sum"}, "cancel each other out"),
        ((ids([ROWS]), ()), {}, f"no row with id '{id_of(ROWS)}'"),
        (([*one, np.zeros(16)], ()), {}, "of the examples, vector 1 has length zero"),
        ((one, [np.full(16, np.nan)]), {}, "of the examples, vector 1 is not finite"),
        (([np.full(16, 1e30)], ()), {}, "of the examples, vector 0 has length 4e.30, which Milvus cannot square"),
    ):
        with pytest.raises(QueryError, match=says):
            imgvec.recommend(shop, *asked, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="'average' or 'best' or 'sum'"):
        imgvec.recommend(shop, one, strategy="worst")  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["L2"], indirect=True)
def test_a_sum_by_l2_needs_more_that_is_liked(shop: ImageCollection) -> None:
    with pytest.raises(QueryError, match="more than those of negative ones"):
        imgvec.recommend(shop, ids([1]), ids([2]), strategy="sum")


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_feedback_moves_the_next_answer(shop: ImageCollection) -> None:
    vectors = stored_vectors().astype(np.float64)
    query = np.random.default_rng(9).standard_normal(16)
    first = shop.search(VectorQuery(query), limit=8, offset=2, where=field("brand") == "acme")
    good, bad = first[:2], first[5]
    place = {id_of(i): i for i in range(ROWS)}
    moved = query / np.linalg.norm(query) + 0.75 / 2 * sum(vectors[place[hit.id]] for hit in good)
    moved = moved - 0.15 * vectors[place[bad.id]]
    scores = vectors @ moved / np.linalg.norm(moved)
    ranked = sorted((-float(scores[i]), id_of(i)) for i in range(0, ROWS, 3) if id_of(i) != bad.id)
    second = imgvec.refine(shop, first, good, bad)
    assert scored(second) == [(id_, -less) for less, id_ in ranked[:8]]
    third = imgvec.refine(shop, second, relevant=second[0].id, limit=200)
    assert bad.id not in {hit.id for hit in third}
    assert len(third) == ROWS // 3 - 1
    assert third.request.form == rocchio(second.request.form, [second[0].id])  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="at least one relevant or irrelevant hit"):
        imgvec.refine(shop, first)
    with pytest.raises(QueryError, match="more examples"):
        imgvec.refine(shop, imgvec.recommend(shop, ids([1])), relevant=[good[0]])
    with pytest.raises(QueryError, match="takes the answer of a search, not a tuple"):
        imgvec.refine(shop, good, relevant=[good[0]])  # type: ignore[arg-type]  # what it refuses


def command(*words: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def found(*words: str | Path) -> list[tuple[str, Any]]:
    out = json.loads(command(*words, "-c", "shop", "-o", "json").stdout)
    return [(hit["id"], pytest.approx(hit["score"], abs=2e-5)) for hit in out]


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_the_commands(shop: ImageCollection) -> None:
    words = ("recommend", "--like", ids([1])[0], "--like", ids([14])[0], "--unlike", ids([2])[0])
    for strategy in ("average", "best", "sum"):
        wanted = expected("COSINE", strategy, (1, 14), (2,), lambda i: BRANDS[i % 3] == "zeta")
        assert found(*words, "--strategy", strategy, "--eq", "brand=zeta", "-k", "7") == wanted[:7]
    assert "Give --like, --unlike or --user" in command("recommend", "-c", "shop", status=2).stderr
    a, good, bad = ids([1])[0], id_of(14), id_of(2)
    first = shop.search(a, limit=4)
    wanted = scored(imgvec.refine(shop, first, good, bad))
    assert found("search", a, "--relevant", good, "--irrelevant", bad, "-k", "4") == wanted
    mixed = Like([(StoredId(id_of(1)), 1), (StoredId(good), 0.75), (StoredId(bad), -0.15)])
    assert wanted == scored(shop.search(mixed, limit=4, where=field("id") != bad))


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.mark.parametrize("metric", ["COSINE"], indirect=True)
def test_a_table_of_what_somebody_likes(shop: ImageCollection, tmp_path: Path) -> None:
    told: list[str] = []

    def by(rows: Sequence[dict[str, Any]], **options: Any) -> imgvec.Recommendation:
        table = write_table(tmp_path / "liked.csv", rows)
        return imgvec.recommend(shop, user=table, on_notice=told.append, limit=6, **options)

    plain = by([{"ID": id_of(1)}, {"ID": id_of(14)}, {"ID": "gone"}])
    assert scored(plain) == expected("COSINE", "average", (1, 14), (), lambda _: True)[:6]
    assert told == ["passed over 1 example not in 'shop' (the first: gone)"]
    paths = by([{"path": f"/photos/{id_of(i)}.jpg", "like": word} for i, word in ((1, "yes"), (14, "1"), (2, "No"))])
    assert scored(paths) == expected("COSINE", "average", (1, 14), (2,), lambda _: True)[:6]
    weighted = by([{"id": id_of(i), "weight": weight} for i, weight in ((1, 2), (14, ""), (2, -0.5), (3, 0))])
    by_hand = imgvec.recommend(shop, [(ids([1])[0], 2), ids([14])[0]], [(ids([2])[0], 0.5)], limit=6)
    assert scored(weighted) == [(hit.id, hit.score) for hit in by_hand]
    assert [each["weight"] for each in by_hand.request.form.to_dict()["recommend"]["positive"]] == [2, 1]
    also = by([{"id": id_of(1)}], negative=ids([2]), strategy="best")
    assert scored(also) == expected("COSINE", "best", (1,), (2,), lambda _: True)[:6]
    lines = tmp_path / "liked.jsonl"
    lines.write_text("".join(json.dumps({"id": id_of(i), "like": i != 2}) + "\n" for i in (1, 14, 2)))
    assert scored(imgvec.recommend(shop, user=lines, limit=6)) == [(hit.id, hit.score) for hit in paths]
    for rows, kind, says in (
        ([{"id": "gone"}], QueryError, "names nothing that 'shop' has"),
        ([{"name": "x"}], SourceError, "the header has no column `id` or `path`"),
        ([{"id": id_of(1), "weight": "much"}], SourceError, r"liked\.csv:2: weight must be a number, not 'much'"),
        ([{"id": id_of(1), "weight": "inf"}], SourceError, "weight must be a number"),
        ([{"id": id_of(1), "like": "perhaps"}], SourceError, "like must be yes or no, not 'perhaps'"),
        ([{"id": "", "path": "", "like": "1"}], SourceError, "neither an id nor a path"),
        ([{"id": id_of(1), "weight": 0}], QueryError, "the weights in .* are 0, or cancel out"),
        ([{"id": id_of(1), "like": 1}, {"id": id_of(1), "like": 0}], QueryError, "are 0, or cancel out"),
    ):
        with pytest.raises(kind, match=says):
            by(rows)
    lines.write_text(f'{{"id": "{id_of(1)}", "weight": 1{"0" * 400}}}\n')
    with pytest.raises(SourceError, match=r"liked\.jsonl:1: weight must be a number"):
        imgvec.recommend(shop, user=lines)


def test_a_shop_recommends_to_a_user(
    backend_uri: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundled `products`: pictures on disk, a table by path, filters; files that are not stored are encoded."""
    monkeypatch.setenv("IMGVEC_URI", backend_uri)
    encoder, opened = FakeEncoder(), ImageCollection.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        ImageCollection, "open", classmethod(lambda cls, name, **given: opened(cls, name, encoder=encoder, **given))
    )
    paths = sorted(pictures.rglob("*.jpg"))
    about = {
        str(path): {"category": ("shoes", "bags")[i % 2], "brand": BRANDS[i % 3], "price": float(i)}
        for i, path in enumerate(paths)
    }
    with ImageCollection.create("shop", definition="products", uri=backend_uri, encoder=encoder) as shop:
        shop.ingest(pictures, metadata=about)
        encoder.encoded = 0
        table = write_table(pictures / "liked.csv", [{"path": f"album0/{paths[i].name}"} for i in (0, 1)])
        words = ("recommend", "--user", table, "-k", "20", "--eq", "category=shoes", "--range", "price=..12")
        hits = json.loads(command(*words, "-c", "shop", "-o", "json").stdout)
        assert encoder.encoded == 0  # they are stored
        assert [hit["uri"] for hit in hits if hit["uri"] in {str(paths[0]), str(paths[1])}] == []
        assert {hit["fields"]["category"] for hit in hits} == {"shoes"}
        assert len(hits) == len([i for i in range(2, 13) if i % 2 == 0])
        mean = shop.vectors(paths[:2]).astype(np.float64).mean(axis=0)
        by_uri = {hit["uri"]: hit["score"] for hit in hits}
        for path, vector in zip(paths, shop.vectors(paths), strict=True):
            if str(path) in by_uri:
                cosine = float(vector.astype(np.float64) @ mean / np.linalg.norm(mean))
                assert by_uri[str(path)] == pytest.approx(cosine, abs=1e-5)
        assert list(by_uri.values()) == sorted(by_uri.values(), reverse=True)
        for strategy in ("average", "best", "sum"):  # one of each brand, the best one
            ranked = imgvec.recommend(shop, user=table, limit=20, strategy=strategy)
            tops = {brand: next(hit.id for hit in ranked if hit.fields["brand"] == brand) for brand in BRANDS}
            grouped = imgvec.recommend(shop, user=table, strategy=strategy, group_by="brand")
            assert {group.value: group.hits[0].id for group in grouped.groups} == tops
            assert scored(grouped) == [(hit.id, hit.score) for hit in ranked if hit.id in tops.values()]
            assert grouped.profile.to_dict()
        # a copy elsewhere is another path, but the same picture: it is not recommended either
        (tmp_path / "copy.jpg").write_bytes(paths[4].read_bytes())
        for given in (ImageFile(tmp_path / "copy.jpg"), paths[4].read_bytes(), Crop(ImageFile(paths[4]), (0, 0, 9, 9))):
            answer = imgvec.recommend(shop, [given], limit=20)
            assert len(answer) == 19
            assert str(paths[4]) not in {hit.uri for hit in answer}
        table = write_table(
            tmp_path / "new.csv", [{"path": "copy.jpg"}, {"path": "nowhere.jpg"}, {"path": "~$draft.jpg"}]
        )
        said = command("recommend", "--user", table, "-c", "shop", "-k", "30", "-o", "paths")
        assert len(said.stdout.splitlines()) == 19
        assert "passed over 2 examples not in 'shop' (the first: nowhere.jpg)" in said.stderr
        with pytest.raises(QueryError, match="has no text side"):
            imgvec.recommend(shop, [Text("shoes")])


def test_of_views_no_other_view_of_an_example_is_recommended(backend_uri: str, pictures: Path) -> None:
    what = {"encoder": {"model": "fake"}, "views": {"grid": 2}}
    with ImageCollection.create("views", definition=what, uri=backend_uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        view = next(hit for hit in photos.search(sorted(pictures.rglob("*.jpg"))[3], views=True) if hit.view != "whole")
        rows = [row for some in photos.store.scan(["id", "image_id", "vector"]) for row in some]
        [liked] = [row for row in rows if row["id"] == view.id]
        disliked = next(row for row in rows if row["image_id"] != view.image_id)
        for strategy in ("average", "best", "sum"):
            answer = imgvec.recommend(photos, [view], [f"id:{disliked['id']}"], strategy=strategy, limit=20)
            pictures_found = [hit.image_id for hit in answer]
            assert len(pictures_found) == len(set(pictures_found)) == 18
            assert not {view.image_id, disliked["image_id"]} & set(pictures_found)
        p = {row["id"]: float(row["vector"] @ liked["vector"]) for row in rows}
        n = {row["id"]: float(row["vector"] @ disliked["vector"]) for row in rows}
        scores: dict[str, float] = {}
        for row in rows:
            score = float(sigmoid(p[row["id"]]) if p[row["id"]] > n[row["id"]] else -sigmoid(n[row["id"]]))
            scores[row["image_id"]] = max(score, scores.get(row["image_id"], -9.0))
        for gone in (view.image_id, disliked["image_id"]):
            del scores[gone]
        answer = imgvec.recommend(photos, [view], [f"id:{disliked['id']}"], strategy="best", limit=20)
        wanted = sorted((-score, picture) for picture, score in scores.items())
        assert [(hit.image_id, pytest.approx(hit.score, abs=1e-5)) for hit in answer] == [
            (picture, -less) for less, picture in wanted
        ]
        refined = imgvec.refine(photos, photos.search(StoredId(view.id), limit=20), irrelevant=[view])
        assert {hit.image_id for hit in refined} == {row["image_id"] for row in rows} - {view.image_id}
