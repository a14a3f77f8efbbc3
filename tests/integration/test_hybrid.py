"""Several vectors searched by, and fused: against exact NumPy on Milvus Lite, which holds several."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answer_oracle import reciprocal_ranks
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from rows import id_of, numbered

from imgvec import Hybrid, ImageCollection, ImageFile, Like, Part, StoredId, VectorQuery, field, refine
from imgvec.cli import main
from imgvec.errors import OptionError, QueryError
from imgvec.indexes.scores import true_scores
from imgvec.search.answer import Answer
from imgvec.vectors import Vectors

ROWS = 300
ALBUMS = ("sea", "hills", "town")
METRICS = {"vector": "COSINE", "texture": "L2", "colour": "IP"}
DIMS = {"vector": 16, "texture": 24, "colour": 8}
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "default": ""}, "price": {"type": "DOUBLE", "default": 0.0}},
    "index": {"cpu": {"type": "FLAT"}},
    "vectors": {
        name: {
            "encoder": {"model": "fake"},
            "vector": {"metric_type": METRICS[name]},
            "index": {"cpu": {"type": "FLAT"}},
        }
        for name in ("texture", "colour")
    },
}
WEIGHTS = {"vector": 1.0, "texture": 0.5, "colour": 2.0}


def encoders() -> dict[str, FakeEncoder]:
    return {name: FakeEncoder(seed=place, dim=DIMS[name]) for place, name in enumerate(DIMS)}


def stored(name: str) -> Vectors:
    """(ROWS, dim); every third row has the vector of its predecessor, so that scores are equal."""
    rng = np.random.default_rng(len(name))
    vectors = rng.standard_normal((ROWS, DIMS[name])) + 0.5
    vectors[2::3] = vectors[1::3]
    made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


def album(i: int) -> str:
    return ALBUMS[i % 7 % 3]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    uri = str(tmp_path_factory.mktemp("hybrid") / "photos.db")
    first, *others = encoders().items()
    rows = [numbered(i, album=album(i), price=float(i * 37 % ROWS)) for i in range(ROWS)]
    with ImageCollection.create(
        "photos", definition=DEFINITION, uri=uri, encoder=first[1], encoders=dict(others)
    ) as made:
        made.store.upsert(rows, stored("vector"), {name: stored(name) for name in ("texture", "colour")})
        yield made


def question(
    fusion: str, row: int = 5, names: Sequence[str] = ("vector", "texture", "colour"), k: float = 60
) -> Hybrid:
    parts = [Part(StoredId(id_of(row)), name, WEIGHTS[name]) for name in names]
    return Hybrid(parts, fusion, k)  # type: ignore[arg-type]


def listed(name: str, row: int, where: Callable[[int], bool], depth: int) -> list[tuple[float, str]]:
    """The first `depth` of one vector's exact ranking, equal scores in the order of their ids."""
    scores = true_scores(METRICS[name], stored(name)[row], stored(name))
    ranked = sorted((-float(score), id_of(i)) for i, score in enumerate(scores) if where(i))
    return [(-less, id_) for less, id_ in ranked[:depth]]


def expected(
    fusion: str,
    row: int = 5,
    names: Sequence[str] = ("vector", "texture", "colour"),
    *,
    k: float = 60,
    depth: int = 200,
    where: Callable[[int], bool] = lambda _: True,
) -> list[tuple[str, float]]:
    """The fused ranking, by the formula, of every row."""
    lists = {name: listed(name, row, where, depth) for name in names}
    if fusion == "rrf":
        by_id = [{id_: score for score, id_ in each} for each in lists.values()]
        fused = reciprocal_ranks(by_id, [WEIGHTS[name] for name in names], k)
    else:
        fused = dict.fromkeys((id_ for each in lists.values() for _, id_ in each), 0.0)
        for name in names:
            every = true_scores(METRICS[name], stored(name)[row], stored(name))
            scores = {id_: float(every[int(id_, 16)]) for id_ in fused}
            least, reach = 0.0, 1.0
            if fusion == "calibrated":
                least = min(scores.values())
                reach = max(scores.values()) - least
            for id_, score in scores.items():
                fused[id_] += WEIGHTS[name] * (score - least) / reach
    return sorted(fused.items(), key=lambda each: (-round(each[1], 7), each[0]))


def check(answer: Answer, wanted: Sequence[tuple[str, float]]) -> None:
    """The same scores in the same order, and the same rows but for those whose scores are equal."""
    np.testing.assert_allclose([hit.score for hit in answer], [score for _, score in wanted], atol=2e-6)
    scores = dict(wanted)
    for hit in answer:
        assert hit.score == pytest.approx(scores.get(hit.id, wanted[-1][1]), abs=2e-6)


@pytest.mark.parametrize("fusion", ["rrf", "weights", "calibrated"])
@pytest.mark.parametrize("names", [("vector", "texture"), ("vector", "texture", "colour"), ("colour",)])
def test_the_fused_ranking_is_that_of_exact_numpy(photos: ImageCollection, fusion: str, names: tuple[str, ...]) -> None:
    answer = photos.search(question(fusion, names=names), limit=40)
    check(answer, expected(fusion, names=names)[:40])
    assert [hit.id for hit in answer[:1]] == [id_of(4)]  # the row itself, and before it its copy: an equal score
    assert answer[0].fields["album"] == album(4)
    assert answer.shortfall is None


@pytest.mark.parametrize("fusion", ["rrf", "weights", "calibrated"])
def test_candidates_are_those_of_each_part(photos: ImageCollection, fusion: str) -> None:
    answer = photos.search(question(fusion), limit=12, candidates=12)
    check(answer, expected(fusion, depth=12)[:12])


def test_k_of_reciprocal_ranks(photos: ImageCollection) -> None:
    near, far = (photos.search(question("rrf", k=k), limit=20) for k in (1, 1000))
    check(near, expected("rrf", k=1)[:20])
    check(far, expected("rrf", k=1000)[:20])


@pytest.mark.parametrize("fusion", ["rrf", "weights"])
def test_filters_pages_and_min_score(photos: ImageCollection, fusion: str) -> None:
    wanted = expected(fusion, where=lambda i: album(i) == "sea")
    sea = field("album") == "sea"
    answer = photos.search(question(fusion), where=sea, limit=15)
    check(answer, wanted[:15])
    every = photos.search(question(fusion), where=sea, limit=200)
    best = [each[0].rank for each in every.standings.values() if each[0]]
    assert (min(best), max(best) <= len(every)) == (1, True)  # ranks are those among the rows that match
    second = photos.search(question(fusion), where=sea, limit=5, offset=10)
    assert [hit.id for hit in second] == [hit.id for hit in answer[10:]]
    least = answer[7].score
    cut = photos.search(question(fusion), where=sea, limit=100, min_score=least)
    assert [hit.id for hit in cut] == [hit.id for hit in answer if hit.score >= least]
    assert cut.shortfall is not None
    assert cut.shortfall.reason == "min_score"


def test_groups_collapse_order_and_facets(photos: ImageCollection) -> None:
    plain = photos.search(question("rrf"), limit=200)
    grouped = photos.search(question("rrf"), limit=3, group_by="album", group_size=2)
    for group in grouped.groups:
        of_album = [hit.id for hit in plain if hit.fields["album"] == group.value]
        assert [hit.id for hit in group.hits] == of_album[:2]
    ordered = photos.search(question("rrf"), limit=10, order_by="-price", candidates=20)
    best = photos.search(question("rrf"), limit=20, candidates=20)
    assert [hit.id for hit in ordered] == [
        hit.id for hit in sorted(best, key=lambda hit: -float(hit.fields["price"]))[:10]
    ]
    collapsed = photos.search(question("rrf"), limit=50, collapse=0.9999)
    copies = [hit for hit in plain[:80] if hit.id not in {each.id for each in collapsed}]
    assert {int(hit.id, 16) % 3 for hit in copies[:10]} <= {1, 2}
    assert len({stored("vector")[int(hit.id, 16)].tobytes() for hit in collapsed}) == 50
    facets = photos.search(question("rrf"), facet="album").facets["album"]
    assert facets.to_dict()["over"] == "rows"
    with pytest.raises(OptionError, match="diversity weighs similarities"):
        photos.search(question("rrf"), diversity=0.5)
    with pytest.raises(OptionError, match="ask for at least as many candidates"):
        photos.search(question("rrf"), limit=201)


def test_an_answer_says_what_was_done(photos: ImageCollection) -> None:
    answer = photos.search(question("weights", names=("vector", "texture")), limit=5, where="price < 100")
    said = answer.to_dict()
    assert said["request"]["query"] == {
        "hybrid": [
            {"id": id_of(5), "vector": "vector", "weight": 1.0},
            {"id": id_of(5), "vector": "texture", "weight": 0.5},
        ],
        "fusion": "weights",
    }
    assert json.loads(json.dumps(said["standings"])) == said["standings"]
    assert answer.profile.client == ("fusion",)
    assert answer.profile.calls == 2
    for hit in answer:
        for name, standing in zip(("vector", "texture"), answer.standings[hit.id], strict=True):
            exact = true_scores(METRICS[name], stored(name)[5], stored(name))
            assert standing is not None
            assert standing.score == pytest.approx(float(exact[int(hit.id, 16)]), abs=1e-5)
    few = photos.search(question("rrf"), limit=9, candidates=9, where=field("id").in_([id_of(1), id_of(2)]))
    assert (len(few), few.shortfall and few.shortfall.reason) == (2, "rows")
    with pytest.raises(QueryError, match="part by part"):
        refine(photos, answer, [answer[0]])


def test_each_part_goes_through_the_encoder_of_its_vector(photos: ImageCollection, tmp_path: Path) -> None:
    picture(3).save(tmp_path / "query.png")
    form = ImageFile(tmp_path / "query.png")
    other = VectorQuery(stored("colour")[9] * 3)  # its length counts by IP
    asked = Hybrid(
        [Part(form), Part(Like([(form, 1.0), (StoredId(id_of(1)), -0.5)]), "texture"), Part(other, "colour")]
    )
    answer = photos.search(Hybrid(asked.parts, "weights"), limit=30)
    queries = {name: photos.vectors([part.form], vector=name)[0] for name, part in zip(DIMS, asked.parts, strict=True)}
    queries["colour"] = stored("colour")[9] * 3
    scores = sum(_scores(name, query) for name, query in queries.items())
    np.testing.assert_allclose([hit.score for hit in answer], np.sort(scores)[::-1][:30], atol=5e-6)


def _scores(name: str, query: Vectors) -> Any:
    if METRICS[name] == "IP":
        return stored(name).astype(np.float64) @ query.astype(np.float64)
    return true_scores(METRICS[name], query, stored(name)).astype(np.float64)


def test_what_is_refused(photos: ImageCollection) -> None:
    hybrid = question("rrf")
    with pytest.raises(QueryError, match="has no vector 'smell'"):
        photos.search(Hybrid([Part(StoredId(id_of(1)), "smell")]))
    with pytest.raises(QueryError, match="no row with id"):
        photos.search(Hybrid([Part(StoredId("nobody"))]))
    for ask in (lambda: photos.search_many([hybrid]), lambda: list(photos.search_each([hybrid])),  # type: ignore[list-item]
                lambda: photos.pages(hybrid)):  # type: ignore[arg-type]  # fmt: skip
        with pytest.raises(QueryError, match="a Hybrid is asked by search"):
            ask()


def test_the_command(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.cli.search.opened", _opened(photos))
    words = ["search", f"id:{id_of(5)}", "-c", "photos", "-k", "7", "-o", "json"]
    done = CliRunner().invoke(main, [*words, "--by", "vector", "--by", "texture:0.5", "--by", "colour:2", "--profile"])
    assert done.exit_code == 0, done.output
    shown: Sequence[Mapping[str, Any]] = json.loads(done.stdout)
    assert [hit["id"] for hit in shown] == [hit.id for hit in photos.search(question("rrf"), limit=7)]
    assert "by imgvec: fusion" in done.stderr
    done = CliRunner().invoke(main, [*words, "--by", "texture:0.5", "--fusion", "weights"])
    wanted = photos.search(question("weights", names=("texture",)), limit=7)
    assert [hit["score"] for hit in json.loads(done.stdout)] == pytest.approx([hit.score for hit in wanted])


VIEWS = 5


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    """60 pictures of 5 views each, by the vectors above: view i is of picture i // 5."""
    uri = str(tmp_path_factory.mktemp("hybrid") / "streets.db")
    first, *others = encoders().items()
    definition = {**DEFINITION, "views": {"grid": 2}}
    rows = [
        numbered(
            i,
            image_id=id_of(1000 + i // VIEWS),
            view="region" if i % VIEWS else "whole",
            box=[i % VIEWS, 0, 100, 100],
            at_ms=-1,
            album=album(i // VIEWS),
            price=0.0,
        )
        for i in range(ROWS)
    ]
    with ImageCollection.create(
        "streets", definition=definition, uri=uri, encoder=first[1], encoders=dict(others)
    ) as made:
        made.store.upsert(rows, stored("vector"), {name: stored(name) for name in ("texture", "colour")})
        yield made


def of_pictures(fusion: str, row: int, depth: int, where: Callable[[int], bool]) -> list[tuple[str, float]]:
    """The fused ranking of pictures, each with its best view by each vector alone."""
    best = {
        name: [
            max((float(scores[i]) for i in range(p * VIEWS, (p + 1) * VIEWS) if where(i)), default=-np.inf)
            for p in range(ROWS // VIEWS)
        ]
        for name in DIMS
        for scores in [true_scores(METRICS[name], stored(name)[row], stored(name))]
    }
    lists = {
        name: sorted((-score, p) for p, score in enumerate(each) if score > -np.inf)[:depth]
        for name, each in best.items()
    }
    fused = dict.fromkeys((p for each in lists.values() for _, p in each), 0.0)
    for name, ranked in lists.items():
        for p in fused if fusion == "weights" else ():
            fused[p] += WEIGHTS[name] * best[name][p]
        for less, p in ranked if fusion == "rrf" else ():
            fused[p] += WEIGHTS[name] / (60 + 1 + sum(other < less - 1e-6 for other, _ in ranked))
    return sorted(((id_of(1000 + p), score) for p, score in fused.items()), key=lambda each: (-each[1], each[0]))


@pytest.mark.parametrize("fusion", ["rrf", "weights"])
@pytest.mark.parametrize("whole", [False, True])
def test_pictures_are_fused_where_hits_are_pictures(streets: ImageCollection, fusion: str, whole: bool) -> None:
    where = field("view") == "whole" if whole else None
    answer = streets.search(question(fusion, row=10), limit=12, candidates=20, where=where)
    wanted = of_pictures(fusion, 10, 20, lambda i: i % VIEWS == 0 or not whole)[:12]
    np.testing.assert_allclose([hit.score for hit in answer], [score for _, score in wanted], atol=2e-6)
    scores = dict(wanted)
    assert all(hit.score == pytest.approx(scores.get(hit.image_id, wanted[-1][1]), abs=2e-6) for hit in answer)
    assert len({hit.image_id for hit in answer}) == 12
    assert answer[0].image_id == id_of(1002)
    for hit in answer:
        places = answer.standings[hit.id]
        assert any(places)
        # the view is that by which it stands in the list in which it counts most
        name, place = max(
            ((name, place) for name, place in zip(DIMS, places, strict=True) if place),
            key=lambda each: WEIGHTS[each[0]] / (60 + each[1].rank),
        )
        exact = true_scores(METRICS[name], stored(name)[10], stored(name))
        assert place.score == pytest.approx(float(exact[int(hit.id, 16)]), abs=1e-5)
    views = streets.search(question(fusion, row=10), limit=12, views=True, where=where)
    check(views, expected(fusion, 10, where=lambda i: i % VIEWS == 0 or not whole)[:12])


def _opened(photos: ImageCollection) -> Any:
    from contextlib import nullcontext

    return lambda *_: nullcontext(photos)
