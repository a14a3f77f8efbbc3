"""Calibrations: what they promise, and how searches use them; no Milvus."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from numpy.typing import NDArray

from imgvec.errors import OptionError, UsageError
from imgvec.intervals import share_interval
from imgvec.quality import calibrating
from imgvec.quality.calibrating import Query, ranked
from imgvec.quality.calibration import Calibration, Found
from imgvec.quality.judges import Judged
from imgvec.search.answer import Answer
from imgvec.search.forms import Like, StoredId, Text, VectorQuery
from imgvec.search.searcher import Searcher

DIM, ROWS = 16, 400


def unit(rows: int, seed: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).standard_normal((rows, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def stored(vectors: NDArray[np.float32]) -> FakeStore:
    store = FakeStore()
    rows = [{"id": f"{n:05d}", "uri": f"/{n}", "album": "a"} for n in range(len(vectors))]
    store.upsert(rows, vectors)
    return store


def calibration(store: FakeStore, vectors: NDArray[np.float32], **changed: Any) -> Calibration:
    """By the margin alone, of every row, without halves."""
    names = sorted(store.rows)
    found = ranked(store, vectors, [Query(name) for name in names], vector="vector", params={}, own=True)
    margins = np.sort(found.scores[:, 0] - found.scores[:, 1])
    about: dict[str, Any] = {
        "vector": "vector", "metric_type": "COSINE", "index": "FLAT", "binding": "", "rows": len(names),
        "pictures": len(names), "depth": calibrating.DEPTH, "weights": (0.0, 1.0), "intercept": None,
        "negatives": tuple(margins.tolist()), "nearest": tuple(np.sort(found.scores[:, 0]).tolist()),
    }  # fmt: skip
    return Calibration(**{**about, **changed})


def asked(store: FakeStore, judge: Any, forms: list[Any], **options: Any) -> list[Answer]:
    searcher = Searcher(
        store, lambda _: FakeEncoder(text=True), max_pixels=10**7, max_bytes=10**7, judge=lambda _: judge
    )
    return searcher.search(forms, **options)


VECTORS = unit(ROWS, 0)


@pytest.fixture(scope="module")
def store() -> FakeStore:
    return stored(VECTORS)


@pytest.fixture(scope="module")
def judge(store: FakeStore) -> Judged:
    return Judged(calibration(store, VECTORS), ROWS)


def test_the_p_value_counts_those_that_reach_it(judge: Judged) -> None:
    found = replace(judge.calibration, negatives=(0.1, 0.2, 0.2, 0.3))
    assert [found.p_value(score, 0.0) for score in (0.05, 0.2, 0.25, 0.3, 0.31)] == [1.0, 0.8, 0.4, 0.4, 0.2]
    for rate in (0.2, 0.4, 0.5, 0.99):
        least = found.threshold(rate)
        assert found.p_value(least, 0.0) <= rate < found.p_value(np.nextafter(least, -1), 0.0)
    with pytest.raises(OptionError, match=r"4 pictures can promise a false_match_rate of 0.2 at least, not 0.1"):
        found.threshold(0.1)


def test_the_least_score_is_reached_at_that_rate(judge: Judged) -> None:
    nearest = np.array(judge.calibration.nearest)
    for rate in (0.01, 0.05, 0.5):
        share = (nearest >= judge.calibration.least_score(rate)).mean()
        assert rate - 3 / len(nearest) <= share <= rate  # two that are each other's nearest have one score


def test_copies_of_one_picture_say_no_more_than_one(judge: Judged) -> None:
    known = (Found("crop", 0.01, 30, 40), Found("flip", 0.01, 38, 40), Found("crop", 0.05, 39, 40))
    kept = replace(judge.calibration, found=known, positives="edits")
    every = kept.found_at(0.01)
    assert every is not None
    assert (every.kind, every.found, every.of, every.share) == ("all", 68, 80, 0.85)
    assert every.interval == share_interval(0.85, 40)
    assert [each["share"] for each in kept.to_dict()["found_of_all"]] == [0.85, 39 / 40]
    assert judge.calibration.found_at(0.01) is None


def test_what_is_kept_comes_back_as_it_was(judge: Judged) -> None:
    kept = replace(judge.calibration, label="album", intercept=-1.5, weights=(0.25, 3.0))
    assert Calibration.unpacked(kept.packed()) == kept


def test_strangers_are_called_matches_at_most_at_the_rate(store: FakeStore, judge: Judged) -> None:
    answers = asked(store, judge, [VectorQuery(each) for each in unit(1500, 1)], limit=1)
    p_values = np.array([answer.verdict.p_value for answer in answers if answer.verdict])
    assert len(p_values) == 1500
    for rate in (0.01, 0.05, 0.2):
        # by chance of the strangers, and of the rows that stand for them
        assert (p_values <= rate).mean() <= rate + 3 * np.sqrt(rate * (1 / 1500 + 1 / ROWS))


def test_a_copy_is_a_match_and_its_hit_alone(store: FakeStore, judge: Judged) -> None:
    [answer] = asked(store, judge, [VectorQuery(VECTORS[7] + 0.02 * unit(1, 5)[0])])
    assert str(answer.verdict) == "match"
    assert [hit.id for hit in answer.matches] == ["00007"]
    assert answer.to_dict()["verdict"]["verdict"] == "match"
    p_values = [hit.p_value for hit in answer]
    assert None not in p_values
    assert p_values == sorted(p_values)
    assert answer[0].p_value == answer.verdict.p_value if answer.verdict else False


@pytest.mark.parametrize(
    "options",
    [{"limit": 1}, {"limit": 50}, {"offset": 3, "limit": 2}, {"min_score": 0.999}, {"collapse": 0.5},
     {"diversity": 0.5}, {"group_by": "album"}, {"order_by": "-uri"}, {"params": {}}, {"where": "id != ''"}],
    ids=str,
)  # fmt: skip
def test_the_same_query_has_the_same_verdict_whatever_else_is_asked(
    store: FakeStore, judge: Judged, options: dict[str, Any]
) -> None:
    forms = [VectorQuery(VECTORS[7] + 0.02 * unit(1, 5)[0]), VectorQuery(unit(1, 9)[0]), StoredId("00003")]
    plain = asked(store, judge, forms)
    assert [bool(answer.verdict and answer.verdict.match) for answer in plain] == [True, False, True]
    assert [answer.verdict for answer in asked(store, judge, forms, **options)] == [each.verdict for each in plain]


def test_collapse_without_a_number_is_what_the_calibration_says(store: FakeStore, judge: Judged) -> None:
    vectors = np.concatenate([VECTORS, VECTORS[:5] + 0.01 * unit(5, 6)])
    more = stored(vectors)
    forms = [VectorQuery(VECTORS[3] + 0.3 * unit(1, 9)[0])]
    [plain] = asked(more, judge, forms, limit=20)
    [collapsed] = asked(more, judge, forms, limit=20, collapse="calibrated")
    assert collapsed.collapsed_at == judge.calibration.least_score(0.01) == collapsed.profile.collapsed_at
    assert f"at least {collapsed.collapsed_at:.4f} alike, by the calibration" in str(collapsed.profile)
    assert [hit.id for hit in asked(more, judge, forms, limit=20, collapse=collapsed.collapsed_at)[0]] == [
        hit.id for hit in collapsed
    ]
    gone = {hit.id for hit in plain} - {hit.id for hit in collapsed}
    assert gone in ({"00003"}, {"00403"})  # of the picture and its copy one is left
    assert collapsed.request.to_dict()["collapse"] == "calibrated"
    assert (plain.collapsed_at, plain.profile.collapsed_at) == (None, None)
    # so low a rate cannot be promised: the lowest that can
    [lowest] = asked(more, judge, forms, collapse="calibrated", false_match_rate=1e-6)
    assert lowest.collapsed_at == judge.calibration.least_score(judge.calibration.least_rate)
    grown = Judged(judge.calibration, 3 * ROWS)
    assert asked(more, grown, forms, collapse="calibrated", false_match_rate=0.03)[0].collapsed_at == (
        judge.calibration.least_score(0.01)
    )
    with pytest.raises(OptionError, match="give collapse a number, or run imgvec calibrate first"):
        asked(more, None, forms, collapse="calibrated")
    with pytest.raises(OptionError, match="a number or 'calibrated' or None, at most 1, not 'often'"):
        asked(more, judge, forms, collapse="often")


def test_pages_have_the_verdict_of_a_search(store: FakeStore, judge: Judged) -> None:
    searcher = Searcher(
        store, lambda _: FakeEncoder(text=True), max_pixels=10**7, max_bytes=10**7, judge=lambda _: judge
    )
    copy, stranger = VectorQuery(VECTORS[7] + 0.02 * unit(1, 5)[0]), VectorQuery(unit(1, 9)[0])
    for form, options in itertools.product((copy, stranger), ({}, {"where": "id != ''"}, {"min_score": 0.9})):
        pages = searcher.pages(form, size=3, most=9, **options)
        [answer] = searcher.search([form], limit=9, **options)
        assert pages.verdict == answer.verdict
        assert [hit for page in pages for hit in page] == [*answer]
        matches = searcher.pages(form, only_matches=True, **options)
        assert [hit for page in matches for hit in page] == [*answer.matches]
    assert searcher.unjudged().pages(copy).verdict is None
    with pytest.raises(OptionError, match="run imgvec calibrate"):
        searcher.unjudged().pages(copy, only_matches=True)


def test_only_matches_are_left(store: FakeStore, judge: Judged) -> None:
    forms = [VectorQuery(VECTORS[7] + 0.02 * unit(1, 5)[0]), VectorQuery(unit(1, 9)[0])]
    copy, stranger = asked(store, judge, forms, only_matches=True, order_by="uri")
    assert [hit.id for hit in copy] == ["00007"]
    assert not stranger
    assert stranger.verdict
    assert not stranger.verdict.match
    strangers = [VectorQuery(each) for each in unit(50, 11)]
    nearest = min(asked(store, judge, strangers), key=lambda each: each.verdict.p_value if each.verdict else 1)
    assert nearest.verdict
    rate = nearest.verdict.p_value or 0
    [loose] = asked(store, judge, [nearest.request.form], only_matches=True, false_match_rate=rate)
    assert len(loose) == len(loose.matches) == 1


def test_a_text_and_a_mix_have_no_verdict(store: FakeStore, judge: Judged) -> None:
    for form in (Text("a red dress"), Like(((VectorQuery(VECTORS[0]), 1.0), (VectorQuery(VECTORS[1]), 1.0)))):
        [answer] = asked(store, judge, [form])
        assert answer.verdict is None
        assert {hit.p_value for hit in answer} == {None}
        with pytest.raises(OptionError, match="only a picture"):
            asked(store, judge, [form], only_matches=True)


def test_without_a_calibration_only_matches_says_what_to_do(store: FakeStore) -> None:
    with pytest.raises(OptionError, match="run imgvec calibrate"):
        asked(store, None, [VectorQuery(VECTORS[0])], only_matches=True)


def test_a_rate_that_cannot_be_promised_has_no_verdict(store: FakeStore, judge: Judged) -> None:
    [answer] = asked(store, judge, [VectorQuery(VECTORS[0])], false_match_rate=0.001)
    assert answer.verdict is None
    with pytest.raises(OptionError, match=r"can promise a false_match_rate of 0.0025 at least"):
        asked(store, judge, [VectorQuery(VECTORS[0])], false_match_rate=0.001, only_matches=True)


def test_growth_makes_p_values_larger_and_is_said(judge: Judged) -> None:
    grown = Judged(judge.calibration, 3 * ROWS)
    assert grown.p_value(0.9, 0.1) == pytest.approx(3 * judge.p_value(0.9, 0.1))
    assert grown.p_value(0.1, 0.1) == 1.0
    assert grown.least_rate == pytest.approx(3 * judge.least_rate)
    assert grown.p_value(grown.least_score(0.3, 0.06), 0.3) <= 0.06
    assert "400 rows, and there are 1,200 now" in grown.note
    assert [bool(Judged(judge.calibration, rows).note) for rows in (350, 361, 440, 441)] == [True, False, False, True]


def test_copies_that_are_stored_are_no_strangers() -> None:
    vectors = unit(60, 3)
    vectors[1] = vectors[0]
    store = stored(vectors)
    found = ranked(store, vectors[:3], [Query(f"{n:05d}") for n in range(3)], vector="vector", params={}, own=True)
    assert found.twins == 2
    assert found.scores[:, 0].max() < 0.99


def test_the_curve_tells_matches_from_strangers_by_what_does() -> None:
    rng = np.random.default_rng(0)
    strangers = np.stack([rng.normal(0.5, 0.1, 500), rng.normal(0.45, 0.1, 500)], 1)
    matches = np.stack([rng.normal(0.5, 0.1, 300), np.full(300, 0.1)], 1)
    weights, intercept = calibrating._fitted(strangers, matches)
    assert weights[1] > 2 * weights[0] >= 0
    chance = 1 / (1 + np.exp(-(calibrating._statistics(matches, weights) + intercept)))
    assert (chance > 0.5).mean() > 0.9


@pytest.mark.parametrize("pictures", range(1, 98))
def test_the_rate_that_too_few_pictures_are_told_can_be_asked_for(pictures: int) -> None:
    with pytest.raises(UsageError) as refused:
        calibrating.check_enough(pictures, 0.01)
    said = re.search(r"can promise ([0-9.]+) at least; ask for no lower rates \(--rates\)", str(refused.value))
    assert said
    calibrating.check_enough(pictures, float(said[1]))


def test_too_few_pictures_are_told_how_many_are_needed() -> None:
    calibrating.check_enough(99, 0.01)
    with pytest.raises(UsageError, match=r"needs 132 pictures, .* and there are 50 of these: they can promise 0.02"):
        calibrating.check_enough(50, 0.01)
    with pytest.raises(UsageError, match=r"needs 4 pictures with a value of album, .* are 0 of these; 9 hits left out"):
        calibrating.check_enough(0, 0.3, label="album", without=9)
