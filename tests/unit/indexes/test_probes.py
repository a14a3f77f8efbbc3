"""The arithmetic of standing probes: notes, what they promise, and what is told of it."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.indexes.drift import drift
from imgvec.indexes.known import Known, checked, lost
from imgvec.indexes.probes import (
    BINS,
    Merged,
    Note,
    binned,
    edges_of,
    entries,
    hashed,
    merged,
    scored,
    slack,
    unpacked,
)
from imgvec.indexes.recall import Estimate
from imgvec.indexes.scores import true_scores
from imgvec.indexes.watched import Facts, Watched, advice, fall
from imgvec.vectors import Vectors

Q, N, DIM = 6, 400, 8
EVERYTHING = np.full(Q, -np.inf, np.float32)


def unit(number: int, seed: int) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((number, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


PROBES, ROWS = unit(Q, 1), unit(N, 2)
IDS = [f"row{number}" for number in range(N)]


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_scores_are_the_true_ones(metric: str) -> None:
    probes, rows = 3 * PROBES, 2 * ROWS
    found = scored(metric, probes, rows)
    for query, mine in zip(probes, found, strict=True):
        np.testing.assert_allclose(mine, true_scores(metric, query, rows), atol=1e-5)


def test_what_has_no_score_is_never_near() -> None:
    rows = np.array([np.zeros(DIM), np.full(DIM, np.nan)], np.float32)
    assert (scored("COSINE", PROBES, rows) == -np.inf).all()


def test_a_note_is_read_as_it_was_written() -> None:
    note = entries(IDS, scored("COSINE", PROBES, ROWS), EVERYTHING, 20)
    note = Note(
        note.ids,
        note.rows,
        note.probes,
        note.scores,
        note.floors,
        hashed(["a", "ä", "日本"]),
        np.arange(BINS),
        np.array([3, 9]),
    )
    again = unpacked(base64.b64decode(base64.b64encode(note.packed())))
    assert again.ids == note.ids
    for name in ("rows", "probes", "scores", "floors", "gone", "counts", "doubtful"):
        np.testing.assert_array_equal(getattr(again, name), getattr(note, name))


def test_halves_say_together_what_the_whole_says() -> None:
    note = entries(IDS, scored("COSINE", PROBES, ROWS), EVERYTHING, 20)
    note = Note(note.ids, note.rows, note.probes, note.scores, note.floors, hashed(IDS[:7]), np.ones(BINS, np.int64))
    together = merged(note.halves(), EVERYTHING)
    whole = merged([note], EVERYTHING)
    assert together.ids == whole.ids or set(together.ids) == set(whole.ids)
    np.testing.assert_array_equal(together.scores, whole.scores)
    np.testing.assert_array_equal(together.counts, whole.counts)
    np.testing.assert_array_equal(together.gone, whole.gone)


def test_above_the_floor_everything_is_known_however_the_rows_were_split() -> None:
    scores = scored("COSINE", PROBES, ROWS)
    rng = np.random.default_rng(5)
    for _ in range(20):
        cuts = np.split(rng.permutation(N), np.sort(rng.integers(0, N, 4)))
        parts = [entries([IDS[row] for row in cut], scores[:, cut], EVERYTHING, 15) for cut in cuts]
        note = merged([merged(parts[:2], EVERYTHING, 30), *parts[2:]], EVERYTHING, 25)
        for probe in range(Q):
            mine = {note.ids[row] for row, of in zip(note.rows, note.probes, strict=True) if of == probe}
            assert mine == {IDS[row] for row in np.flatnonzero(scores[probe] >= slack(note.floors)[probe])}
            assert 15 <= len(mine) <= 26


def stored() -> FakeStore:
    return FakeStore(dim=DIM, rows={id_: {"id": id_, "vector": row} for id_, row in zip(IDS, ROWS, strict=True)})


def noted(most: int = 40) -> Note:
    return merged([entries(IDS, scored("COSINE", PROBES, ROWS), EVERYTHING, most)], EVERYTHING, most)


def test_the_nearest_are_those_that_are_there_now() -> None:
    store, note = stored(), noted()
    scores = scored("COSINE", PROBES, ROWS)
    order = np.argsort(-scores[0])
    store.rows.pop(IDS[order[0]])  # deleted
    store.rows[IDS[order[1]]]["vector"] = -PROBES[0]  # moved away
    known = Known(store, PROBES, note).nearest(range(Q), 10)
    assert known[0][0] == [IDS[row] for row in order[2:12]]
    assert set(known) == set(range(Q))


def test_a_probe_that_lost_too_many_is_open() -> None:
    store, note = stored(), noted(12)
    for row in np.argsort(-scored("COSINE", PROBES, ROWS)[2])[:4]:
        store.rows.pop(IDS[row])
    known = Known(store, PROBES, note).nearest(range(Q), 10)
    assert 2 not in known
    # while all rows are noted, even few are certain
    few = FakeStore(dim=DIM, rows={IDS[0]: {"id": IDS[0], "vector": ROWS[0]}})
    note = entries(IDS[:1], scored("COSINE", PROBES, ROWS[:1]), EVERYTHING)
    assert Known(few, PROBES, note).nearest([0], 10)[0][0] == IDS[:1]


def test_a_row_that_came_nearer_is_nearer() -> None:
    store, note = stored(), noted()
    store.rows[IDS[0]]["vector"] = PROBES[3]
    later = merged([note, entries(IDS[:1], scored("COSINE", PROBES, PROBES[3:4]), note.floors)], EVERYTHING)
    assert Known(store, PROBES, later).nearest([3], 10)[3][0][0] == IDS[0]


class Forgetful(FakeStore):
    """Its index finds no row of those ids."""

    hidden: frozenset[str] = frozenset()

    def search(self, vectors: Vectors, **asked):  # type: ignore[no-untyped-def]  # as the fake's
        everything, self.rows = self.rows, {id_: row for id_, row in self.rows.items() if id_ not in self.hidden}
        try:
            return super().search(vectors, **asked)
        finally:
            self.rows = everything


def test_recall_is_what_the_index_finds_of_them() -> None:
    store = Forgetful(dim=DIM, rows=stored().rows)
    nearest = Known(store, PROBES, noted()).nearest(range(Q), 10)
    store.hidden = frozenset(nearest[1][0][:3])
    found = checked(store, PROBES, lambda: Merged(noted()), range(Q), 10, {})
    assert found.shares[1] == pytest.approx(0.7)
    assert not found.open
    assert not found.unnoted


def test_a_row_that_nobody_noted_is_told_of() -> None:
    store = stored()
    store.rows["stranger"] = {"id": "stranger", "vector": PROBES[4]}
    found = checked(store, PROBES, lambda: Merged(noted()), range(Q), 10, {})
    assert found.unnoted == {"stranger"}
    assert 4 in found.unsettled


def test_only_what_was_written_and_not_deleted_is_lost() -> None:
    store, note = stored(), noted()
    gone = IDS[:6]
    for id_ in gone:
        store.rows.pop(id_)
    note = Note(note.ids, note.rows, note.probes, note.scores, note.floors, hashed(gone[:2]))
    assert lost(store, PROBES, Merged(note, frozenset(gone[2:4])), gone) == gone[4:]


def test_a_sum_forgets_what_was_deleted_and_keeps_what_was_lost() -> None:
    store, note = stored(), noted()
    first, second = Known(store, PROBES, note).nearest([0], 10)[0][0][:2]
    store.rows.pop(first)
    store.rows.pop(second)
    note = Note(note.ids, note.rows, note.probes, note.scores, note.floors, hashed([first]))
    summed = Known(store, PROBES, note).revised(40)
    assert first not in summed.ids
    assert second in summed.ids
    assert not len(summed.gone)


def test_drift_is_seen_as_often_as_it_says_where_there_is_none() -> None:
    rng, seen = np.random.default_rng(8), 0
    for _ in range(300):
        before, since = rng.normal(size=1000).astype(np.float32), rng.normal(size=300).astype(np.float32)
        edges = edges_of(before)
        found = drift(binned(before[None], edges), binned(since[None], edges))
        assert found is not None
        seen += found.distance > found.critical
    assert seen <= 9  # 1 % of 300 are 3; more than 9 come in less than one of a thousand


def test_drift_of_half_a_deviation_is_seen() -> None:
    rng = np.random.default_rng(8)
    before, since = rng.normal(size=2000).astype(np.float32), rng.normal(0.5, size=300).astype(np.float32)
    edges = edges_of(before)
    found = drift(binned(before[None], edges), binned(since[None], edges))
    assert found is not None
    assert found.found
    assert drift(binned(before[None], edges), np.zeros(BINS, np.int64)) is None


def test_a_fall_is_told_of_where_it_is_certain() -> None:
    began = np.full(200, 0.95, np.float32)
    assert fall(10, began, dict.fromkeys(range(200), 0.95)) is None
    assert fall(10, began, dict.fromkeys(range(200), 0.94)) is None  # certain, and of no account
    rng = np.random.default_rng(3)
    assert fall(10, began, {number: float(rng.choice([0.9, 1.0])) for number in range(200)}) is None
    fell = fall(10, began, dict.fromkeys(range(200), 0.5))
    assert fell is not None
    assert fell.by == pytest.approx(0.45, abs=1e-6)
    assert fall(10, np.full(200, np.nan, np.float32), {0: 0.1, 1: 0.1}) is None


def facts(index: str = "HNSW M=16", rows: int = 1000, **params: int) -> Facts:
    return Facts(index, params, rows)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lost": ["x", "y"]}, "2 rows near the probes"),
        ({"unnoted": 3}, "3 rows near the probes were written past imgvec"),
        ({"pending_rows": 5, "fell": True}, "5 rows are not indexed yet"),
        ({"now": facts("FLAT"), "fell": True}, "the index is FLAT and was HNSW M=16"),
        ({"now": facts(ef=8), "fell": True}, "searched with ef=8, and was with the defaults"),
        ({"short": 2, "fell": True}, "query node"),
        ({"now": facts(rows=5000), "fell": True}, "had 1,000 rows and has 5,000"),
        ({"fell": True}, "imgvec index build"),
    ],
)
def test_advice_fits_what_has_changed(changed: dict[str, object], said: str) -> None:
    fell = fall(10, np.ones(50, np.float32), dict.fromkeys(range(50), 0.5))
    falls = [fell] if changed.pop("fell", False) and fell else []
    recall = {10: Estimate(0.9, 0.8, 0.95, 50)}
    usual: dict[str, object] = {"now": facts(), "began": facts(), "began_recall": {}, "falls": falls}
    found = Watched("photos", "vector", 50, "edited", 0, recall, **{**usual, **changed})  # type: ignore[arg-type]  # drawn
    assert said in advice(found)[0]
    assert not found.ok
