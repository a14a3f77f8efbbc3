"""Cut, groups, near-duplicates, diversity, order and pages of answers, against NumPy.

The vectors have elements of a quarter, so that their products are exact in float32: scores are equal or they are not,
and many of them are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from answer_oracle import Unit, answered, check_units, units
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from milvus_rows import Vectors, definition
from rows import row

from imgvec.errors import OptionError, QueryError, UnsupportedByBackend
from imgvec.milvus import Store
from imgvec.search import facets, group_by
from imgvec.search.answer import Answer, Shortfall
from imgvec.search.forms import VectorQuery
from imgvec.search.searcher import Searcher

ROWS, DIM = 260, 16
FIELDS: dict[str, Any] = {
    "album": {"type": "VARCHAR", "max_length": 8, "default": "", "index": "AUTO"},
    "rank": {"type": "INT64", "default": 0},
    "liked": {"type": "BOOL", "default": False},
    "taken": {"type": "INT64", "default": 0},
}


def quarters(count: int, seed: int) -> Vectors:
    """(count, 16) unit vectors; some of them are equal."""
    rng = np.random.default_rng(seed)
    few = rng.choice(np.float32([-0.25, 0.25]), (count // 2 or 1, DIM))
    return few[rng.integers(0, len(few), count)]


def stored() -> tuple[list[dict[str, Any]], Vectors]:
    rng = np.random.default_rng(7)
    # one album has more than half of the rows, and many have one
    albums = [f"a{0 if one < 0.6 else int(one * 60)}" for one in rng.random(ROWS)]
    rows = [
        row(
            f"{number:03}",
            album=album,
            rank=int(rank),
            liked=bool(rank % 3 == 0),
            taken=int(taken) * 86_400_000 * 400,
            brand=f"b{rank % 4}",
        )
        for number, album, rank, taken in zip(
            rng.permutation(ROWS), albums, rng.integers(0, 9, ROWS), rng.integers(0, 5, ROWS), strict=True
        )
    ]
    return rows, quarters(ROWS, 1)


class Filled:
    def __init__(self, store: Store, rows: list[dict[str, Any]], vectors: Vectors) -> None:
        self.store, self.rows, self.vectors = store, rows, vectors

    def ask(self, query: Vectors, **options: Any) -> Answer:
        def no_encoder(_: str) -> Any:
            raise AssertionError("an encoder was asked for")

        searcher = Searcher(self.store, no_encoder, max_pixels=1, max_bytes=1)
        return searcher.search([VectorQuery(query)], **options)[0]


@pytest.fixture(scope="module")
def filled(make: Callable[..., Store]) -> Filled:
    store = make(definition(fields=FIELDS, dynamic=True), dim=DIM)
    rows, vectors = stored()
    store.upsert(rows, vectors)
    return Filled(store, rows, vectors)


def oracle(filled: Filled, query: Vectors, **asked: Any) -> list[Unit]:
    wide = filled.vectors.astype(np.float64)
    least = asked.pop("where_rank", 0)
    among = [place for place, one in enumerate(filled.rows) if one.get("rank", 0) >= least]
    return answered(filled.rows, wide @ query.astype(np.float64), wide @ wide.T, among=among, **asked)


def check(filled: Filled, query: Vectors, asked: dict[str, Any]) -> Answer:
    options = {name: value for name, value in asked.items() if name != "where_rank"}
    if asked.get("where_rank"):
        options["where"] = f"rank >= {asked['where_rank']}"
    answer = filled.ask(query, **options)
    check_units(units(answer), oracle(filled, query, **asked), asked)
    scores = dict(zip([one["id"] for one in filled.rows], filled.vectors @ query, strict=True))
    assert all(hit.score == pytest.approx(scores[hit.id], abs=1e-6) for hit in answer)
    assert all("vector" not in hit.fields for hit in answer)
    return answer


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    asked: dict[str, Any] = {"limit": draw(st.integers(1, 40)), "offset": draw(st.sampled_from([0, 0, 1, 7]))}
    asked["where_rank"] = draw(st.sampled_from([0, 0, 3, 8]))
    asked["min_score"] = draw(st.sampled_from([None, None, -0.5, 0.0, 0.25, 0.5]))
    names = st.sampled_from(["album", "rank", "liked", "taken", "brand"])
    asked["group_by"] = draw(st.none() | st.lists(names, min_size=1, max_size=2, unique=True))
    if asked["group_by"]:
        asked["group_size"] = draw(st.integers(1, 4))
        asked["strict_group_size"] = draw(st.booleans())
    asked["collapse"] = draw(st.sampled_from([None, None, 1.0, 0.75, 0.25]))
    asked["diversity"] = draw(st.sampled_from([None, None, 0.0, 0.25, 0.5, 1.0]))
    if not asked["diversity"]:
        asked["order_by"] = draw(st.sampled_from([None, None, "rank", "-rank", "album", "taken", "-taken", "liked"]))
    asked["candidates"] = draw(st.sampled_from([47, 100, 200, 1000]))
    return asked


@given(asked=questions(), seed=st.integers(0, 50))
@example(asked={"limit": 30, "group_by": ["album"], "group_size": 3, "strict_group_size": True}, seed=0)
@example(asked={"limit": 5, "group_by": ["liked"], "group_size": 4, "strict_group_size": True}, seed=1)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_answers_are_those_of_numpy(filled: Filled, asked: dict[str, Any], seed: int) -> None:
    check(filled, quarters(1, 1000 + seed)[0], asked)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("names", [["album"], ["album", "liked"], ["brand"], ["rank", "brand"]])
def test_groups_that_the_first_look_does_not_reach(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, names: list[str], strict: bool
) -> None:
    """So few rows are asked for first that full groups must be left out, or more rows looked at."""
    monkeypatch.setattr(group_by, "_FIRST_ROWS", 1)
    calls = []
    for seed in range(2):
        for limit in (3, 25):
            asked = {"limit": limit, "group_by": names, "group_size": 2, "strict_group_size": strict}
            answer = check(filled, quarters(1, 2000 + seed)[0], asked)
            assert answer.asked is not None
            calls.append(answer.asked.calls)
    assert max(calls) > 1


def test_pages_are_the_slices_of_a_longer_answer(filled: Filled) -> None:
    """Whatever score the end of a page falls into."""
    query = quarters(1, 3000)[0]
    for more in ({}, {"group_by": ["album"], "strict_group_size": True, "group_size": 2}, {"diversity": 0.5}):
        whole = units(filled.ask(query, limit=40, **more))
        for size in (5, 7):
            pages = [
                unit
                for start in range(0, 40, size)
                for unit in units(filled.ask(query, limit=min(size, 40 - start), offset=start, **more))
            ]
            assert pages == whole


@pytest.mark.parametrize("least", [-0.5, 0.25, 0.5, 1.0])
def test_a_large_limit_is_cut_by_a_server_itself(filled: Filled, least: float) -> None:
    """By a range search that leaves out what is at its radius: hits of just that score come all the same."""
    for seed in range(3):
        answer = check(filled, quarters(1, 6000 + seed)[0], {"limit": 1000, "min_score": least})
        by_milvus = filled.store.capabilities.kind == "server"
        assert ("min_score" in answer.profile.pushed) is by_milvus
        assert answer.shortfall == Shortfall(1000 - len(answer), "min_score")


def test_why_there_are_fewer(filled: Filled) -> None:
    query = quarters(1, 4000)[0]
    albums = len({one["album"] for one in filled.rows})

    def why(**options: Any) -> Shortfall | None:
        return filled.ask(query, **options).shortfall

    assert why(limit=albums, group_by="album") is None
    assert why(limit=albums + 3, group_by="album") == Shortfall(3, "rows")
    assert why(limit=9, group_by="liked", offset=1) == Shortfall(8, "rows")
    few = filled.ask(query, limit=200, min_score=0.5)
    assert few.shortfall == Shortfall(200 - len(few), "min_score")
    few = filled.ask(query, limit=60, candidates=60, group_by="album", order_by="rank")
    assert few.shortfall == Shortfall(60 - len(few.groups), "candidates")
    few = filled.ask(query, limit=ROWS, candidates=1000, collapse=1.0)
    assert few.shortfall == Shortfall(ROWS - len(few), "collapse")
    assert why(limit=ROWS, candidates=1000, order_by="rank") is None
    assert why(limit=ROWS + 1, candidates=1000, order_by="rank") == Shortfall(1, "rows")


def test_facets_count_the_rows_that_match_or_the_hits(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    query, names = quarters(1, 7000)[0], ["album", "liked", "brand"]
    matching = [one for one in filled.rows if one["rank"] >= 3]

    def counted(rows: list[dict[str, Any]]) -> dict[str, dict[Any, int]]:
        return {name: dict(Counter(one[name] for one in rows)) for name in names}

    answer = filled.ask(query, limit=5, where="rank >= 3", facet=names, output_fields=["width"])
    assert {name: dict(facet.counts) for name, facet in answer.facets.items()} == counted(matching)
    assert {(facet.over, facet.total) for facet in answer.facets.values()} == {("rows", len(matching))}
    numbers = list(answer.facets["album"].counts.values())
    assert numbers == sorted(numbers, reverse=True)
    assert [set(hit.fields) for hit in answer] == [{"width"}] * 5
    assert answer.profile.client == ("facet",)
    monkeypatch.setattr(facets, "MOST_COUNTED", len(matching) - 1)
    answer = filled.ask(query, limit=30, where="rank >= 3", facet=names)
    hits = {hit.id for hit in answer}
    assert {name: dict(facet.counts) for name, facet in answer.facets.items()} == counted(
        [one for one in matching if one["id"] in hits]
    )
    assert {(facet.over, facet.total) for facet in answer.facets.values()} == {("hits", 30)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_by": "alubm"}, None),
        ({"group_size": 2}, "group_size is about the groups of group_by: name its field"),
        ({"strict_group_size": True}, "strict_group_size is about the groups"),
        ({"order_by": "nothing"}, "no field 'nothing' to order by"),
        ({"order_by": "rank", "diversity": 0.5}, "diversity and order_by both decide the order"),
        ({"diversity": 0.5, "limit": 201}, "limit \\+ offset is 201, of 200 candidates"),
        ({"diversity": 1.5}, "at most 1"),
        ({"collapse": 1.5}, "at most 1"),
    ],
)
def test_what_is_refused(filled: Filled, options: dict[str, Any], said: str | None) -> None:
    if said is None:  # a key of the dynamic field that no row has: one group of all
        assert [group.value for group in filled.ask(quarters(1, 1)[0], **options).groups] == [None]
        return
    with pytest.raises(OptionError, match=said):
        filled.ask(quarters(1, 1)[0], **options)


def test_more_groups_than_milvus_gives_rows_for(filled: Filled) -> None:
    with pytest.raises(QueryError, match=r"9,000 groups of 2 are 18,000 rows, and Milvus gives 16,384 to one query"):
        filled.ask(quarters(1, 1)[0], limit=9000, group_by="album", group_size=2)


def test_fields_that_are_needed_but_not_asked_for_are_not_given(filled: Filled) -> None:
    answer = filled.ask(
        quarters(1, 1)[0], limit=4, group_by="album", order_by="rank", collapse=0.9, output_fields=["liked"]
    )
    assert [set(hit.fields) for hit in answer] == [{"liked"}] * 4
    answer = filled.ask(quarters(1, 1)[0], limit=2, collapse=0.9, output_fields=["vector"])
    assert [hit.fields["vector"].shape for hit in answer] == [(DIM,)] * 2


@pytest.mark.parametrize("asked", [{"facet": ["brand"]}, {"group_by": ["brand"]}])
def test_a_key_of_the_dynamic_field_that_is_needed_is_still_given(filled: Filled, asked: dict[str, Any]) -> None:
    """Where all fields come, as they do if none is named."""
    brands = {one["id"]: one["brand"] for one in filled.rows}
    answer = filled.ask(quarters(1, 1)[0], limit=3, **asked)
    assert [hit.fields["brand"] for hit in answer] == [brands[hit.id] for hit in answer]
    assert all("brand" not in hit.fields for hit in filled.ask(quarters(1, 1)[0], output_fields=["rank"], **asked))


@pytest.mark.parametrize("names", [["shop"], ["shop", "liked"]])
def test_rows_without_a_value_are_a_group(
    make: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.setattr(group_by, "_FIRST_ROWS", 1)
    fields = {"shop": {"type": "VARCHAR", "max_length": 8, "nullable": True}, "liked": FIELDS["liked"]}
    try:
        store = make(definition(fields=fields), dim=DIM)
    except UnsupportedByBackend:
        return  # Milvus 2.3 has no nulls
    rows, vectors = stored()
    named = [None if one["rank"] % 2 else one["album"] for one in rows]
    rows = [{**row(one["id"]), "shop": shop, "liked": one["liked"]} for one, shop in zip(rows, named, strict=True)]
    store.upsert(rows, vectors)
    nullable = Filled(store, rows, vectors)
    for seed in range(2):
        for strict in (False, True):
            asked = {"limit": 9, "group_by": names, "group_size": 2, "strict_group_size": strict}
            answer = check(nullable, quarters(1, 5000 + seed)[0], asked)
            assert any(None in group.value if len(names) > 1 else group.value is None for group in answer.groups)
