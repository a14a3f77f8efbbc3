"""Pages: the ranking in several calls is that of one, and each row that still exists comes once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from hypothesis import given
from hypothesis import strategies as st

from imgvec.errors import BackendUnavailable, OptionError, QueryError, UnsupportedByBackend
from imgvec.filters import FieldType
from imgvec.search.forms import VectorQuery
from imgvec.search.pages import Pages, ranked
from imgvec.search.ranking import Ranking
from imgvec.search.searcher import Searcher
from imgvec.stored import Found, Nearest

MOST_ROWS = 8


class Milvus:
    """Gives `MOST_ROWS` rows to one call, equal scores in any order."""

    def __init__(self, scores: Sequence[int], *, ranges: bool = True, seed: int = 0) -> None:
        order = np.random.default_rng(seed).permutation(len(scores))
        rows = [Found(f"{place:03}", scores[place], scores[place], {"image_id": f"p{place % 5}"}) for place in order]
        self._rows = sorted(rows, key=lambda row: -row.score)
        self._ranges = ranges
        self.calls = 0

    def __call__(self, limit: int, most: float | None) -> Nearest:
        assert limit <= MOST_ROWS
        self.calls += 1
        if most is not None and not self._ranges:
            raise UnsupportedByBackend("no range search")
        found = [row for row in self._rows if most is None or row.score <= most][:limit]
        return Nearest(found, complete=self.calls != 2)


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 70), st.integers(0, 9), st.integers(0, 3))
def test_the_ranking_of_several_calls_is_that_of_one(scores: list[int], most: int, least: int, seed: int) -> None:
    if max((scores.count(score) for score in scores), default=0) >= MOST_ROWS:
        return
    milvus = Milvus(scores, seed=seed)
    hits, truncated, complete = ranked(milvus, Ranking(MOST_ROWS, None, least), most)
    wanted = sorted((-score, f"{place:03}") for place, score in enumerate(scores) if score >= least)
    assert [-hit.score for hit in hits] == [score for score, _ in wanted[:most]]
    reached = sum(less <= wanted[most - 1][0] for less, _ in wanted) if len(wanted) >= most else 0
    if len(wanted) <= most or (most < MOST_ROWS and reached <= MOST_ROWS):
        assert [hit.id for hit in hits] == [id_ for _, id_ in wanted[:most]]
    else:  # of the last score some are kept
        assert len({hit.id for hit in hits}) == most
        assert {hit.id for hit in hits if hit.score > hits[-1].score} == {
            id_ for score, id_ in wanted if score < -hits[-1].score
        }
    assert truncated >= (len(wanted) > most)
    assert complete is (milvus.calls < 2)


def test_of_equal_scores_those_with_the_first_ids_are_kept() -> None:
    for most, scores in ((1, [5, 5]), (2, [5] * 7), (3, [9, 5, 5, 5, 5, 5, 1, 1]), (7, [5] * 8)):
        for seed in range(4):
            hits, truncated, _ = ranked(Milvus(scores, seed=seed), Ranking(MOST_ROWS), most)
            assert ([int(hit.id) for hit in hits], truncated) == (list(range(most)), True)


def test_more_rows_of_one_score_than_a_call_gives() -> None:
    hits, truncated, _ = ranked(Milvus([9] + [5] * 20 + [1]), Ranking(MOST_ROWS), 50)
    assert (len(hits), hits[0].score, truncated) == (9, 9, True)


def test_an_index_without_range_search_gives_one_call() -> None:
    hits, truncated, _ = ranked(Milvus(range(20), ranges=False), Ranking(MOST_ROWS), 50)
    assert ([hit.score for hit in hits], truncated) == ([19, 18, 17, 16, 15, 14, 13, 12], True)


def test_hits_of_views_are_pictures() -> None:
    hits, _, _ = ranked(Milvus(range(20)), Ranking(MOST_ROWS, most_views=4), 50)
    assert [(hit.fields["image_id"], hit.score) for hit in hits] == [
        ("p4", 19), ("p3", 18), ("p2", 17), ("p1", 16), ("p0", 15)
    ]  # fmt: skip


def filled(rows: int) -> FakeStore:
    angle = np.linspace(0, 1, rows)
    vectors = np.zeros((rows, 16), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(angle), np.sin(angle)
    store = FakeStore()
    store.upsert([{"id": f"{i:03}", "uri": f"/{i}.jpg", "album": "a"} for i in range(rows)], vectors)
    return store


def pages(store: FakeStore, **options: Any) -> Pages:
    searcher = Searcher(store, lambda _: FakeEncoder(), max_pixels=1, max_bytes=1)
    return searcher.pages(VectorQuery(np.eye(16)[0]), **options)


def test_pages_are_full_and_each_row_that_exists_comes_once() -> None:
    store = filled(25)
    asked = pages(store, size=4)
    assert (asked.kept, asked.truncated, asked.complete) == (25, False, True)
    seen = [next(asked)]
    store.delete(["001", "004", "006", "007", "024"])  # of the first page, and of those that follow
    store.upsert([{"id": "new", "uri": "/new.jpg", "album": "a"}], np.eye(16, dtype=np.float32)[:1])
    store.rows["009"]["album"] = "changed"
    seen += asked
    assert [len(page) for page in seen] == [4, 4, 4, 4, 4, 1]
    ids = [hit.id for page in seen for hit in page]
    assert ids == [f"{i:03}" for i in range(25) if i not in (4, 6, 7, 24)]
    hits = {hit.id: hit for page in seen for hit in page}
    assert hits["009"].fields == {"album": "changed"}
    assert (hits["009"].uri, hits["009"].score) == ("/9.jpg", pytest.approx(np.cos(9 / 24)))
    assert list(asked) == []


def test_a_row_that_a_page_could_not_find_is_looked_for_again_once_at_the_end() -> None:
    class Hiding(FakeStore):
        hidden: tuple[str, ...] = ()

        def get(
            self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
        ) -> Mapping[str, Mapping[str, Any]]:
            rows = super().get(ids, output_fields=output_fields, with_vector=with_vector)
            return {id_: row for id_, row in rows.items() if id_ not in self.hidden}

    store = Hiding(rows=filled(9).rows)
    asked = pages(store, size=3)
    store.hidden = ("001", "002", "008")
    first = next(asked)
    store.hidden = ("008",)
    ids = [[hit.id for hit in page] for page in [first, *asked]]
    assert ids == [["000", "003", "004"], ["005", "006", "007"], ["001", "002"]]


def test_a_page_that_failed_is_read_again() -> None:
    class Failing(FakeStore):
        hidden: tuple[str, ...] = ()
        chance = random.Random(0)

        def get(
            self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
        ) -> Mapping[str, Mapping[str, Any]]:
            if self.chance.random() < 0.5:
                raise BackendUnavailable("Milvus is unreachable", retryable=True)
            rows = super().get(ids, output_fields=output_fields, with_vector=with_vector)
            return {id_: row for id_, row in rows.items() if id_ not in self.hidden}

    store = Failing(rows=filled(9).rows)
    store.hidden = ("001", "004", "005")  # a page of these takes several reads, of which any may fail
    asked, ids, failed = pages(store, size=2), list[str](), 0
    while True:
        try:
            ids += [hit.id for hit in next(asked)]
        except BackendUnavailable:
            failed += 1
        except StopIteration:
            break
        if len(ids) == 6:
            store.hidden = ()
    assert failed > 3
    assert ids == ["000", "002", "003", "006", "007", "008", "001", "004", "005"]


def test_no_more_than_most_are_kept_and_that_is_said() -> None:
    asked = pages(filled(12), size=5, most=8)
    assert (asked.kept, asked.truncated) == (8, True)
    assert [len(page) for page in asked] == [5, 3]
    asked = pages(filled(12), size=5, most=12, min_score=0.9)
    assert (asked.truncated, [len(page) for page in asked]) == (False, [5])


def test_pages_of_views_have_the_place_of_each() -> None:
    place = {"view": "region", "box": [1, 2, 3, 4], "at_ms": 0}
    store = filled(6)
    rows = {id_: {**row, "image_id": f"p{int(id_) // 2}", **place} for id_, row in store.rows.items()}
    views = FakeStore(rows=rows, fields={**store.fields, **dict.fromkeys(("image_id", *place), FieldType("VARCHAR"))})
    views.most_views = 2
    for fields in (None, ["album"]):
        [page] = pages(views, output_fields=fields)
        assert [(hit.id, hit.image_id, hit.box) for hit in page] == [
            ("000", "p0", (1, 2, 3, 4)), ("002", "p1", (1, 2, 3, 4)), ("004", "p2", (1, 2, 3, 4))
        ]  # fmt: skip
        assert "id" not in page[0].fields
    assert [len(page) for page in pages(views, views=True)] == [6]


def test_what_is_refused() -> None:
    store = filled(3)
    with pytest.raises(OptionError, match="at most 65536"):
        pages(store, most=65_537)
    with pytest.raises(TypeError, match="there is no option 'offset'"):
        pages(store, offset=3)
    store.dynamic = False
    with pytest.raises(QueryError, match="no field 'nothing'"):
        pages(store, output_fields=["nothing"])
