"""How deep a ranking is looked up: as far as its first hits are certain, and no further."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from imgvec.search.ranking import Ask, Ranking, both, together
from imgvec.stored import Found, Nearest


def rows(*scores: float) -> list[Found]:
    return [Found(f"{place:02}", score, score, {"image_id": f"p{place // 2}"}) for place, score in enumerate(scores)]


def asked(ranking: Ranking, wanted: int, stored: Sequence[Found]) -> tuple[list[str], list[int]]:
    """The hits, and the limits that were asked for."""
    limits = []

    def search(places: Sequence[int], ask: Ask) -> list[list[Found]]:
        limits.append(ask.limit)
        return [list(stored[: ask.limit]) for _ in places]

    [(ranked, told)] = together([ranking.first(wanted)], search)
    assert (told.calls, told.rows) == (len(limits), sum(limits))
    return [hit.id for hit in ranked.hits[:wanted]], limits


def test_one_row_more_is_asked_for_and_no_more_where_it_scores_less() -> None:
    assert asked(Ranking(100), 2, rows(9, 8, 7, 6, 5)) == (["00", "01"], [3])


def test_where_the_last_score_goes_on_more_rows_are_asked_for() -> None:
    assert asked(Ranking(100), 2, rows(9, 8, 8, 8, 8, 8, 7, 6)) == (["00", "01"], [3, 6, 12])


def test_all_rows_are_certain() -> None:
    assert asked(Ranking(100), 5, rows(9, 8, 8)) == (["00", "01", "02"], [6])


def test_no_more_than_milvus_gives_is_asked_for() -> None:
    assert asked(Ranking(4), 2, rows(8, 8, 8, 8, 8)) == (["00", "01"], [3, 4])
    assert asked(Ranking(4), 4, rows(8, 8, 8, 8, 8)) == (["00", "01", "02", "03"], [4])
    assert asked(Ranking(4), 5, rows(9, 8, 7, 6, 5, 4))[1] == [5]  # which the store refuses


def test_below_the_least_score_nothing_has_to_be_certain() -> None:
    assert asked(Ranking(100, least=8.5), 3, rows(9, 8, 8, 8, 8, 8)) == (["00"], [4])


def test_hits_of_views_are_pictures() -> None:
    ids, limits = asked(Ranking(100, most_views=2), 2, rows(9, 8, 7, 7, 6, 5))
    assert (ids, limits) == (["00", "02"], [5])


def test_queries_that_ask_the_same_are_one_call() -> None:
    stored = {0: rows(9, 8, 7, 6), 1: rows(9, 9, 9, 9), 2: rows(5, 4, 3, 2)}
    calls = []

    def search(places: Sequence[int], ask: Ask) -> list[Nearest]:
        calls.append((list(places), ask.limit))
        return [Nearest(stored[place][: ask.limit], complete=place != 1 or ask.limit > 3) for place in places]

    found = together([Ranking(100).first(2) for _ in stored], search)
    assert calls == [([0, 1, 2], 3), ([1], 6)]
    assert [told.complete for _, told in found] == [True, False, True]


@pytest.mark.parametrize(
    ("one", "other", "whole"), [("", "", ""), ("a", "", "a"), ("", "b", "b"), ("a", "b", "(a) and (b)")]
)
def test_two_conditions_are_one(one: str, other: str, whole: str) -> None:
    assert both(one, other) == whole
