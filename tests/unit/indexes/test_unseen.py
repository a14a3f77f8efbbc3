"""Stored rows as queries: easier than strangers, so they are left out of copies, or corrected by what a copy tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from test_tune import STRANGERS, Built, Clocked, CurveStore, asked_of, clocked, ivf, rising  # noqa: F401

from imgvec.errors import QueryError
from imgvec.indexes import unseen
from imgvec.indexes.carried import Easier, corrected, easier_by
from imgvec.indexes.measure import questions, sampled
from imgvec.indexes.recall import Estimate, estimate
from imgvec.indexes.tune import Tuned, Tuning, tune
from imgvec.progress import Telling

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
    assert "held-out rows that were left out of a copy" in tuned.summary()
    # searched as they are, they would have chosen a setting that is too cheap
    ids = flattering.ids[:500]
    stored = questions(flattering, sampled(flattering, ids), [""], limit=10, device="cpu", tell=SILENT)
    misled = Tuning(flattering, stored, 0.95, 0.95, SILENT).tuned()
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


def test_one_copy_is_enough_of_many_rows() -> None:
    assert unseen._copies(20_000, 1000) == 1
    assert unseen._copies(19_999, 1000) == 2
    assert unseen._copies(2000, 1000) == 10
    assert unseen._copies(300, 300) == 10


def test_what_it_takes_is_said_before_anything_is_copied(flattering: CurveStore) -> None:
    said: list[str] = []

    @contextmanager
    def scratch(**options: Any) -> Iterator[CurveStore]:
        said.append("copied")
        with flattering.scratch(**options) as copy:
            yield copy

    tune(flattering, scratch, recall=0.9, queries=30_000 // 100, on_notice=said.append)
    assert said[1:] == ["copied"] * 10
    assert "which IVF_FLAT would find more easily than other pictures" in said[0]
    assert "IVF_FLAT is built over the 10 copies (about " in said[0]


def test_times_are_the_collections_own(flattering: CurveStore) -> None:
    tuned = tune(flattering, flattering.scratch, recall=0.9, queries=300)
    assert tuned.params is not None
    assert tuned.p50_ms == pytest.approx(tuned.params["nprobe"])


class TestMoreRowsThanAreCopied:
    @pytest.fixture
    def large(self, clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> CurveStore:  # noqa: F811
        monkeypatch.setattr(unseen, "COPIED", 1500)
        index = Built("IVF_FLAT", {"nlist": 256})
        return clocked(CurveStore(rising, lambda params: params["nprobe"] / 1000, index, rows=4000, easier=3.0))

    def test_what_a_copy_tells_is_carried_over(self, large: CurveStore) -> None:
        said: list[str] = []
        tuned = tune(large, large.scratch, recall=0.95, queries=700, on_notice=said.append)
        assert tuned.basis == "carried over"
        (choice,) = tuned.choices
        assert choice.applied is not None
        assert truly(large, tuned) >= choice.applied.recall.low >= 0.95
        assert truly(large, tuned) == pytest.approx(choice.applied.recall.mean, abs=0.01)
        assert "1,500 rows are copied" in said[0]
        assert "less what a copy showed that they are easier" in tuned.summary()

    def test_the_copy_holds_none_of_the_queries(self, large: CurveStore) -> None:
        tune(large, large.scratch, recall=0.9, queries=500)
        (copy,) = large.copies
        assert copy.kept is not None
        assert len(copy.kept) == 1500

    def test_a_copy_that_misses_nothing_teaches_nothing(self, large: CurveStore) -> None:
        large.curve = lambda *_: 1.0
        with pytest.raises(
            QueryError, match=r"finds every neighbour in a copy of 1,500 rows.*give queries of your own"
        ):
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
        assert tuned.summary().endswith("; more queries, or queries of your own, may show that it does")

    def test_too_many_queries_for_the_rows_are_refused(self, large: CurveStore) -> None:
        with pytest.raises(QueryError, match="ask for fewer"):
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
