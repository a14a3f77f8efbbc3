"""Stored rows as queries: easier than strangers, so they are left out of copies, or corrected by what a copy tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from test_tune import STRANGERS, Clocked, CurveStore, asked_of, clocked, ivf, rising, unit  # noqa: F401

from imgvec.errors import QueryError
from imgvec.indexes import unseen
from imgvec.indexes.carried import Easier, corrected, easier_by
from imgvec.indexes.measure import questions, sampled
from imgvec.indexes.options import RecallOptions
from imgvec.indexes.recall import Estimate, estimate
from imgvec.indexes.tune import Tuning, tune
from imgvec.indexes.tuned import Tuned
from imgvec.options import settled
from imgvec.progress import Telling
from imgvec.stored import IndexInfo

pytestmark = pytest.mark.slow

SILENT = Telling("tune")


def truly(store: CurveStore, tuned: Tuned) -> float:
    """The recall of strangers with what was chosen."""
    assert tuned.params is not None
    (asked,) = asked_of(store, STRANGERS)
    halves = [asked.recall(tuned.params, half) for half in ("choice", "held out")]
    return float(np.concatenate(halves).mean())


@pytest.fixture
def flattering(clocked: Clocked) -> CurveStore:  # noqa: F811
    """An index that misses three times as many of a stranger's neighbours as of a stored row's."""
    store = clocked(ivf(rising))
    store.easier = 3.0
    return store


def test_what_is_declared_for_stored_rows_holds_for_strangers(flattering: CurveStore) -> None:
    tuned = tune(flattering, flattering.scratch, recall=0.95, queries=500)
    assert tuned.basis == "left out"
    assert tuned.queries == (250, 250)
    (choice,) = tuned.choices
    assert choice.applied is not None
    assert truly(flattering, tuned) >= choice.applied.recall.low >= 0.95
    assert "held-out rows left out of a copy" in tuned.summary()
    # searched as they are, they would have chosen a setting that is too cheap
    ids = flattering.ids[:500]
    stored = questions(flattering, sampled(flattering, ids), [""], limit=10, device="cpu", tell=SILENT)
    misled = Tuning(flattering, stored, settled(RecallOptions, {"recall": 0.95}), SILENT).tuned()
    assert truly(flattering, misled) < 0.92


def test_each_query_is_left_out_of_one_copy_which_lacks_a_tenth_at_most(flattering: CurveStore) -> None:
    tune(flattering, flattering.scratch, recall=0.9, queries=400)
    kept = [set() if copy.kept is None else set(copy.kept.tolist()) for copy in flattering.copies]
    lacking = [set(range(600)) - rows for rows in kept]
    assert len(kept) == 10
    assert all(0 < len(rows) <= 60 for rows in lacking)
    assert sum(map(len, lacking)) == len(set().union(*lacking)) == 400
    assert {copy.index.type for copy in flattering.copies} == {"IVF_FLAT"}
    assert all(dict(copy.index.params) == {"nlist": 256} for copy in flattering.copies)


def test_a_query_s_twins_are_left_out_with_it(flattering: CurveStore) -> None:
    """A picture that is stored twice leads to itself, which no stranger does."""
    flattering.held[300:500] = flattering.held[:200]
    tune(flattering, flattering.scratch, recall=0.9, queries=1000)
    lacking = [set(range(600)) - set((copy.kept if copy.kept is not None else np.arange(600)).tolist())
               for copy in flattering.copies]  # fmt: skip
    # each picture once, and both of its rows from the same copy
    assert sum(map(len, lacking)) == len(set().union(*lacking)) == 600
    assert all((row in rows) == (row + 300 in rows) for rows in lacking for row in range(200))
    assert sum(sum(row < 200 for row in rows) for rows in lacking) == 200


def test_rows_of_the_same_bytes_are_one_picture(flattering: CurveStore) -> None:
    rows = [
        {"id": "a", "content_hash": "1", "vector": [1, 0]},
        {"id": "b", "content_hash": "1", "vector": [0, 1]},
        {"id": "c", "content_hash": "", "vector": [0, 1]},
        {"id": "d", "content_hash": "", "vector": [1, 1]},
        {"id": "e", "content_hash": None, "vector": [1, 2]},
        {"id": "f", "content_hash": "3", "vector": [2, 2]},
        {"id": "g", "content_hash": "4", "vector": [3, 2]},
        {"id": "h", "content_hash": "4", "vector": [2, 2]},
    ]

    class Rows(CurveStore):
        def scan(
            self, output_fields: Any, filter: str = "", batch_size: int | None = None
        ) -> Iterator[list[dict[str, Any]]]:
            assert output_fields == ["id", "content_hash", "vector"]
            yield rows[:5]
            yield rows[5:]

    store = Rows(flattering.curve, flattering.cost, flattering.index)
    found = unseen._pictures(store, 0)
    assert {frozenset(each) for each in found} == {frozenset(each) for each in ("abc", "d", "e", "fgh")}
    assert found == unseen._pictures(store, 0)
    assert any(unseen._pictures(store, seed) != found for seed in range(1, 9))


def test_all_views_of_a_picture_are_of_it_and_equal_crops_do_not_join_pictures(flattering: CurveStore) -> None:
    white = [0, 0, 1]
    rows = [
        {"id": "a1", "content_hash": "1", "image_id": "a", "view": "region", "vector": white},
        {"id": "a0", "content_hash": "1", "image_id": "a", "view": "whole", "vector": [1, 0, 0]},
        {"id": "b0", "content_hash": "2", "image_id": "b", "view": "whole", "vector": [0, 1, 0]},
        {"id": "b1", "content_hash": "2", "image_id": "b", "view": "region", "vector": white},
        {"id": "c1", "content_hash": "3", "image_id": "c", "view": "region", "vector": [1, 0, 0]},
        {"id": "d0", "content_hash": "4", "image_id": "d", "view": "whole", "vector": [0, 1, 0]},
        {"id": "e1", "content_hash": "", "image_id": "e", "view": "face", "vector": [3, 1, 0]},
        {"id": "e2", "content_hash": "", "image_id": "e", "view": "face", "vector": [3, 2, 0]},
    ]

    class Rows(CurveStore):
        def scan(self, output_fields: Any, filter: str = "", batch_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
            assert output_fields == ["id", "content_hash", "image_id", "view", "vector"]
            yield rows

    store = Rows(flattering.curve, flattering.cost, flattering.index)
    store.most_views = 2
    assert sorted(unseen._pictures(store, 0)) == [["a0", "a1"], ["c1"], ["d0", "b0", "b1"], ["e1", "e2"]]


def test_vectors_are_read_where_duplicates_matter_alone(flattering: CurveStore) -> None:
    """An index that compares with every row finds a duplicate's neighbours no more easily."""
    scanned: list[Any] = []

    class Rows(CurveStore):
        def scan(
            self, output_fields: Any, filter: str = "", batch_size: int | None = None
        ) -> Iterator[list[dict[str, Any]]]:
            scanned.append(list(output_fields))
            yield [{"id": "a", "content_hash": "1"}, {"id": "b", "content_hash": "1"}]

    store = Rows(flattering.curve, flattering.cost, flattering.index)
    assert unseen._pictures(store, 0, of_vectors=False) == [["a", "b"]]
    assert scanned == [["id", "content_hash"]]


def test_groups_that_turn_out_to_be_one_are_joined_in_time(flattering: CurveStore) -> None:
    """Pairs by their bytes, which the vectors of later rows join one after the other."""
    number = 20_000
    one = [{"id": f"a{n}", "content_hash": f"{n}", "vector": [n]} for n in range(number)]
    other = [{"id": f"b{n}", "content_hash": f"{n}", "vector": [n + 1]} for n in range(number - 1)]

    class Rows(CurveStore):
        def scan(
            self, output_fields: Any, filter: str = "", batch_size: int | None = None
        ) -> Iterator[list[dict[str, Any]]]:
            yield one
            yield other

    [picture] = unseen._pictures(Rows(flattering.curve, flattering.cost, flattering.index), 0)
    assert len(set(picture)) == len(picture) == 2 * number - 1


def test_pictures_too_few_to_show_the_target_are_counted_not_rows(flattering: CurveStore) -> None:
    flattering.held[:] = np.repeat(flattering.held[:3], 200, axis=0)
    said: list[str] = []
    with pytest.raises(QueryError, match="rows with 3 different pictures are too few to leave some out"):
        tune(flattering, flattering.scratch, recall=0.9, queries=500, on_notice=said.append)
    assert said[0] == "the 600 rows show only 3 different pictures, each of which gives at most one query"
    flattering.held[:] = np.repeat(unit(3, 20), 30, axis=0)
    with pytest.raises(QueryError, match="20 queries cannot show"):
        tune(flattering, flattering.scratch, recall=0.9, queries=500)


def test_one_copy_is_enough_of_many_rows() -> None:
    assert unseen._copies([["id"]] * 20_000, 1000) == 1
    assert unseen._copies([["id"]] * 19_999, 1000) == 2
    assert unseen._copies([["id"]] * 2000, 1000) == 10
    assert unseen._copies([["id"]] * 300, 300) == 10
    # a picture's twins are lacking with it, and no copy lacks them all
    assert unseen._copies([["id"] * 4] * 5000, 1000) == 4
    assert unseen._copies([["id"] * 200] * 3, 500) == 1
    assert unseen._copies([["id"] * 200] * 4, 500) == 2


def test_what_it_takes_is_said_before_anything_is_copied(flattering: CurveStore) -> None:
    said: list[str] = []

    @contextmanager
    def scratch(**options: Any) -> Iterator[CurveStore]:
        said.append("copied")
        with flattering.scratch(**options) as copy:
            yield copy

    tune(flattering, scratch, recall=0.9, queries=30_000 // 100, on_notice=said.append)
    assert said[1:] == ["copied"] * 10
    assert "which IVF_FLAT finds more easily than new pictures" in said[0]
    assert "IVF_FLAT is built on the 10 copies (about " in said[0]


def test_times_are_the_collections_own(flattering: CurveStore) -> None:
    tuned = tune(flattering, flattering.scratch, recall=0.9, queries=300)
    assert tuned.params is not None
    assert tuned.p50_ms == pytest.approx(tuned.params["nprobe"])


class TestMoreRowsThanAreCopied:
    @pytest.fixture
    def large(self, clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> CurveStore:  # noqa: F811
        monkeypatch.setattr(unseen, "COPIED", 1500)
        index = IndexInfo("IVF_FLAT", {"nlist": 256})
        return clocked(CurveStore(rising, lambda params: params["nprobe"] / 1000, index, size=4000, easier=3.0))

    def test_what_a_copy_tells_is_carried_over(self, large: CurveStore) -> None:
        said: list[str] = []
        tuned = tune(large, large.scratch, recall=0.95, queries=700, on_notice=said.append)
        assert tuned.basis == "carried over"
        (choice,) = tuned.choices
        assert choice.applied is not None
        assert truly(large, tuned) >= choice.applied.recall.low >= 0.95
        assert truly(large, tuned) == pytest.approx(choice.applied.recall.mean, abs=0.01)
        assert "1,500 rows are copied" in said[0]
        assert "corrected by what a copy showed" in tuned.summary()

    def test_the_copy_holds_none_of_the_queries(self, large: CurveStore) -> None:
        tune(large, large.scratch, recall=0.9, queries=500)
        (copy,) = large.copies
        assert copy.kept is not None
        assert len(copy.kept) == 1500

    def test_a_copy_that_misses_nothing_teaches_nothing(self, large: CurveStore) -> None:
        large.curve = lambda *_: 1.0
        with pytest.raises(QueryError, match=r"finds every neighbour in a copy of 1,500 rows.*use queries of your own"):
            tune(large, large.scratch, recall=0.9, queries=500)

    def test_a_filter_whose_rows_are_all_found_takes_what_the_others_told(self, large: CurveStore) -> None:
        large.curve = lambda params, filter: 1.0 if filter else rising(params, filter)
        tuned = tune(large, large.scratch, recall=0.9, queries=500, filters=["", "even"])
        assert tuned.reached
        assert [choice.filter for choice in tuned.choices] == ["", "even"]

    def test_what_so_few_queries_cannot_show_says_what_can(self, large: CurveStore) -> None:
        tuned = tune(large, large.scratch, recall=0.98, queries=700)
        assert not tuned.reached
        assert tuned.choices[0].best.recall.mean >= 0.98 > tuned.choices[0].best.recall.low
        assert tuned.summary().endswith("; more queries, or your own, may show that it does")

    def test_too_many_queries_for_the_rows_are_refused(self, large: CurveStore) -> None:
        with pytest.raises(QueryError, match="use fewer queries"):
            tune(large, large.scratch, recall=0.9, queries=2000)


def test_the_same_odds_come_back() -> None:
    stored, other = Estimate(0.98, 0.975, 0.985, 2000), Estimate(0.94, 0.93, 0.95, 2000)
    easier = easier_by(stored, other)
    assert easier.log_odds == pytest.approx(np.log(0.98 / 0.02) - np.log(0.94 / 0.06))
    again = corrected(stored, easier)
    assert again.mean == pytest.approx(0.94)
    assert again.low < 0.93
    assert 0.95 < again.high < 1


def test_without_doubt_the_bounds_are_those_of_the_stored_rows() -> None:
    seen = estimate([0.9, 1.0] * 400, sides=1)
    same = corrected(seen, Easier(0.0, 0.0))
    assert (same.mean, same.low, same.queries) == (pytest.approx(seen.mean), pytest.approx(seen.low), 800)


def test_stored_rows_that_are_harder_earn_nothing() -> None:
    seen = Estimate(0.9, 0.89, 0.91, 500)
    assert corrected(seen, Easier(-0.7, -0.2)).low == pytest.approx(seen.low)


def test_perfect_answers_have_bounds() -> None:
    perfect = estimate(np.ones(500), sides=1)
    shown = corrected(perfect, Easier(1.2, 1.5))
    assert 0.95 < shown.low < shown.mean < 1
