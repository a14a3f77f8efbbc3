"""What `verify` does by itself: its sample, tolerances, report. For its findings see test_index_verify.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.errors import OptionError
from imgvec.indexes.findings import MEANINGS, Finding, Verification
from imgvec.indexes.scores import size, tolerance, true_scores
from imgvec.indexes.verify import verify
from imgvec.stored import Found, IndexInfo
from imgvec.vectors import Vectors


class ExactStore(FakeStore):
    """Searches its rows exactly, by the metric it is given."""

    name, page = "rows", 7

    def __init__(self, vectors: np.ndarray[Any, Any], metric_type: str = "COSINE", index: str = "FLAT") -> None:
        super().__init__(dim=4, metric_type=metric_type, index=IndexInfo(index, {"nlist": 16}))
        self.rows = {f"{i:04}": {"id": f"{i:04}", "vector": each.astype(np.float32)} for i, each in enumerate(vectors)}
        self.asked: list[tuple[int, int, Mapping[str, Any] | None]] = []

    def search(
        self, vectors: Vectors, *, limit: int, params: Mapping[str, Any] | None = None, **options: Any
    ) -> Sequence[Sequence[Found]]:
        self.asked.append((len(vectors), limit, params))
        return super().search(vectors, limit=limit, params=params, **options)


def unit(rows: int, dim: int = 4) -> np.ndarray[Any, Any]:
    made = np.random.default_rng(0).standard_normal((rows, dim))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_exact_answers_are_right(metric: str, rows: int) -> None:
    vectors = unit(rows) * (5 if metric == "L2" else 1)
    found = verify(ExactStore(vectors, metric), queries=50, device="cpu")
    assert (found.ok, found.findings, found.rows) == (True, (), rows)
    assert found.recall is not None
    assert found.recall.mean == 1


def test_without_rows_there_is_nothing_wrong() -> None:
    found = verify(ExactStore(np.empty((0, 4))), device="cpu")
    assert (found.ok, found.recall, found.rows) == (True, None, 0)


def test_copies_hide_no_rows() -> None:
    """Of 40 equal rows a search shows 11: the others can be found, and are neighbours like these."""
    vectors = np.repeat(unit(20), 40, axis=0)
    found = verify(ExactStore(vectors), queries=20, probes=60, recall=None, device="cpu")
    assert found.findings == ()
    assert found.recall is not None
    assert found.recall.mean == 1


@pytest.mark.slow
def test_a_row_may_be_further_from_itself_than_others_are() -> None:
    """Under IP a longer vector is nearer: a row that is not found by itself is not lost."""
    vectors = unit(1500) * 0.1
    vectors[:1400] *= 100
    names = {
        f.name for f in verify(ExactStore(vectors, "IP"), queries=20, probes=150, recall=None, device="cpu").findings
    }
    assert names == {"not unit length"}


def test_too_few_queries_prove_nothing() -> None:
    found = verify(ExactStore(unit(300)), queries=20, device="cpu")
    assert [f.name for f in found.findings] == ["low recall"]
    assert found.findings[0].message.endswith("more queries may show it")


def test_the_sample_is_random_and_told_by_its_seed() -> None:
    def first(seed: int) -> list[str]:
        store, drawn = ExactStore(unit(300)), []
        get = store.get
        store.get = lambda ids, **options: drawn.extend(ids) or get(ids, **options)  # type: ignore[method-assign]
        verify(store, queries=3, probes=40, seed=seed, device="cpu")
        return drawn

    assert first(1) == first(1) != first(2)
    assert len(first(1)) == 40
    assert first(1) != sorted(first(1))


def test_what_is_asked_of_the_store() -> None:
    store = ExactStore(unit(300), index="IVF_FLAT")
    found = verify(store, queries=20, probes=150, limit=5, params={"nprobe": 2}, device="cpu")
    assert store.asked == [(100, 6, {"nprobe": 2}), (50, 6, {"nprobe": 2})]
    assert dict(found.checked) == {"vectors": 300, "probes": 150, "queries": 20, "scores": 120}


def test_a_lost_row_is_searched_for_with_all_clusters() -> None:
    store = ExactStore(unit(300), index="IVF_FLAT")
    search = store.search
    store.search = lambda *a, **o: [[h for h in hits if h.id != "0007"] for hits in search(*a, **o)]  # type: ignore[method-assign]
    found = verify(store, device="cpu", recall=None)
    assert [(f.name, f.examples) for f in found.findings] == [("unfindable row", ("0007",))]
    assert store.asked[-1] == (1, 1000, {"nprobe": 16})


def state(word: str, indexed: int, total: int, *, pending_rows: int = 0, reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(state=word, indexed_rows=indexed, total_rows=total, pending_rows=pending_rows, reason=reason)


@pytest.mark.parametrize(
    ("now", "names", "ok"),
    [
        (state("Finished", 300, 300), [], True),
        (state("Finished", 200, 300, pending_rows=100), ["unfinished index"], True),
        (state("InProgress", 0, 300), ["unfinished index"], True),
        (state("Failed", 0, 300, reason="no disk"), ["unfinished index"], False),
    ],
)
def test_an_index_that_says_finished(now: Any, names: list[str], ok: bool) -> None:
    store = ExactStore(unit(300))
    store.index_state = lambda: now  # type: ignore[attr-defined]
    found = verify(store, device="cpu")
    assert ([f.name for f in found.findings], found.ok) == (names, ok)


@pytest.mark.parametrize(
    "options", [{"queries": 0}, {"limit": 0}, {"recall": 1.5}, {"recall": -1}], ids=lambda o: next(iter(o))
)
def test_what_cannot_be_checked_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        verify(ExactStore(unit(3)), device="cpu", **options)


def test_tolerances_follow_the_index() -> None:
    def of(name: str, **params: Any) -> float | None:
        return tolerance(SimpleNamespace(type=name, params=params))  # type: ignore[arg-type]

    assert of("HNSW") == of("SCANN") == of("DISKANN") == 1e-3
    assert of("IVF_SQ8") == of("HNSW_SQ") == 0.1
    assert of("IVF_PQ") is of("HNSW_PRQ") is of("IVF_RABITQ") is of("SCANN", with_raw_data=False) is None


def test_true_scores() -> None:
    query, rows = np.array([3, 4], np.float32), np.array([[6, 8], [0, 1], [0, 0]], np.float32)
    np.testing.assert_allclose(true_scores("COSINE", query, rows), [1, 0.8, np.nan])
    np.testing.assert_allclose(true_scores("IP", query, rows), [50, 4, 0])
    np.testing.assert_allclose(true_scores("L2", query, rows), [1 - 25 / 2, 1 - 18 / 2, 1 - 25 / 2])
    assert (size("COSINE", query), size("IP", query), size("IP", query / 50)) == (1, 25, 1)


def test_the_report_is_json() -> None:
    findings = (Finding("row count", "3 and 4"), Finding("changed meanwhile", "3, then 4", ("a",), "warning"))
    report = Verification("c", "FLAT", 10, 3, None, findings, {"vectors": 3}, 0.5)
    assert json.loads(json.dumps(report.to_dict())) == {
        "ok": False,
        "name": "c",
        "index": "FLAT",
        "limit": 10,
        "rows": 3,
        "recall": None,
        "findings": [
            {"name": "row count", "message": "3 and 4", "examples": [], "severity": "error"},
            {"name": "changed meanwhile", "message": "3, then 4", "examples": ["a"], "severity": "warning"},
        ],
        "checked": {"vectors": 3},
        "seconds": 0.5,
        "ranked": "rows",
        "vector": "vector",
    }
    assert {f.name for f in findings} <= MEANINGS.keys()
