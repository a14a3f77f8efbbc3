"""Tuning against a store whose recall curve and clock are known, so that the right choice is known too."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeStore

from imgvec.catalog import INDEX_TYPES
from imgvec.errors import BackendError, FilterError, OptionError, QueryError
from imgvec.indexes import measure
from imgvec.indexes.compare import compare
from imgvec.indexes.ladder import grid
from imgvec.indexes.tune import tune
from imgvec.indexes.tuned import Tuned
from imgvec.progress import Telling
from imgvec.stored import Found, IndexInfo
from imgvec.vectors import Vectors

pytestmark = pytest.mark.slow

SILENT = Telling("tune")

Params = Mapping[str, Any]


class CurveStore(FakeStore):
    """Rows searched exactly, of which a search loses the share that `curve` says; its searches take what `cost` says.

    Which neighbours a query loses is fixed by a number for each pair: what a poor setting finds, a better one finds
    too. For a query that is a stored row the odds of a loss are `easier` times smaller. The one filter that is known is
    `even`: rows of even number. `scratch` makes a store of other rows, which shares the curve and the clock.
    """

    name = "curve"

    def __init__(
        self,
        curve: Callable[[Params, str], float],
        cost: Callable[[Params], float],
        index: IndexInfo,
        *,
        size: int = 600,
        easier: float = 1.0,
        kept: np.ndarray[Any, Any] | None = None,
        of: CurveStore | None = None,
    ) -> None:
        """`kept` are the numbers of the rows that it has of `size`; it is a copy `of` another."""
        self.curve, self.cost, self.size, self.easier, self.kept = curve, cost, size, easier, kept
        self.held = unit(7, size)
        self.ids = [f"{number:06}" for number in range(size)]
        rows = {id_: {"id": id_, "vector": vector} for id_, vector in zip(self.ids, self.held, strict=True)}
        super().__init__(dim=6, index=index, rows=rows)
        self.clock = of.clock if of else SimpleNamespace(now=0.0)
        self.copies: list[CurveStore] = []
        """That `scratch` has made."""
        self.batches: list[tuple[str, tuple[tuple[str, Any], ...]]] = of.batches if of else []
        """Of every search of many queries: its filter and parameters."""
        self._lost = np.random.default_rng(9).random((size, 101))
        self._answers: dict[tuple[str, bytes], tuple[list[list[Found]], np.ndarray[Any, Any]]] = {}

    @contextmanager
    def scratch(self, *, without: Collection[str] = (), only: Sequence[str] | None = None) -> Iterator[CurveStore]:
        kept = [i for i, id_ in enumerate(self.ids) if id_ not in without and (only is None or id_ in set(only))]
        flat = IndexInfo("FLAT", {})
        copy = CurveStore(
            self.curve, self.cost, flat, size=self.size, easier=self.easier, kept=np.array(kept), of=self
        )  # fmt: skip
        self.copies.append(copy)
        yield copy

    def count(self, filter: str = "") -> int:
        return len(self._matching(filter))

    def _matching(self, filter: str) -> np.ndarray[Any, Any]:
        rows = np.arange(self.size) if self.kept is None else self.kept
        return {"": rows, "even": rows[rows % 2 == 0], "none": rows[:0]}[filter]

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        yield [{"id": self.ids[row], "vector": self.held[row]} for row in self._matching(filter)]

    def search(
        self, vectors: Vectors, *, limit: int, filter: str = "", params: Params | None = None, **_: Any
    ) -> list[list[Found]]:
        params = params or {}
        INDEX_TYPES[self.index.type].check_search(params, limit=limit)
        self.clock.now += self.cost(params)
        if len(vectors) > 1:
            self.batches.append((filter, tuple(params.items())))
        key = filter, vectors.tobytes()
        if key not in self._answers:
            self._answers[key] = self._exact(vectors, filter)
        answers, numbers = self._answers[key]
        found = self.curve(params, filter)
        stored = np.array([hits[0].score > 1 - 1e-6 for hits in answers])
        shares = np.where(stored, found / (found + (1 - found) / self.easier), found)
        kept = numbers < shares[:, None]
        return [[hits[i] for i in np.flatnonzero(row)[:limit]] for hits, row in zip(answers, kept, strict=True)]

    def _exact(self, vectors: Vectors, filter: str) -> tuple[list[list[Found]], np.ndarray[Any, Any]]:
        """The nearest rows, and the number by which each is lost."""
        there = self._matching(filter)
        scores = vectors @ self.held[there].T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :60]
        # a query is known by its nearest row
        numbers = self._lost[there[order[:, :1]], there[order] % 101]
        hits = [
            [Found(self.ids[there[i]], float(row[i]), float(row[i])) for i in places]
            for row, places in zip(scores, order, strict=True)
        ]
        return hits, numbers

    def build_index(self, type: str, params: Params, **options: Any) -> float:
        if type == "DISKANN":
            raise BackendError("the disk is full")
        super().build_index(type, params, **options)
        return 2.5


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[[CurveStore], CurveStore]:
    """Makes tuning read the store's clock."""

    def use(store: CurveStore) -> CurveStore:
        monkeypatch.setattr(measure.time, "perf_counter", lambda: store.clock.now)
        monkeypatch.setattr("imgvec.indexes.tune.CALLS", 20)  # a clock like this needs no more
        return store

    return use


Clocked = Callable[[CurveStore], CurveStore]


def ivf(curve: Callable[[Params, str], float]) -> CurveStore:
    return CurveStore(curve, lambda params: params["nprobe"] / 1000, IndexInfo("IVF_FLAT", {"nlist": 256}))


def rising(params: Params, filter: str) -> float:
    """Recall 0.95 at about nprobe 19."""
    return float(1 - np.exp(-params["nprobe"] / 6.4))


def unit(seed: int, number: int) -> Vectors:
    drawn = np.random.default_rng(seed).standard_normal((number, 6))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


STRANGERS = unit(8, 1000)
"""Queries that no store holds."""


def no_copy(**_: Any) -> AbstractContextManager[CurveStore]:
    raise AssertionError("a copy was made")


def asked_of(store: CurveStore, queries: Vectors) -> list[measure.Questions]:
    shuffled = measure.shuffled(queries, 0)
    return measure.questions(store, shuffled, [""], limit=10, device="cpu", tell=SILENT)


def every_setting(store: CurveStore, tuned: Tuned, half: measure.Half) -> list[tuple[dict[str, Any], float]]:
    """The lower bound of every setting of the whole grid, on the same queries."""
    (asked,) = asked_of(store, STRANGERS[: sum(tuned.queries)])
    cells = grid(INDEX_TYPES[tuned.type], tuned.build, rows=store.size, limit=asked.asked)
    settings = [cells.setting((i, j)) for i in range(len(cells.first)) for j in range(len(cells.second))]
    return [(each, measure.bounded(asked.recall(each, half), 0.95).low) for each in settings]


def test_the_choice_is_that_of_the_full_grid_at_a_fraction_of_its_searches(clocked: Clocked) -> None:
    store = clocked(ivf(rising))
    tuned = tune(store, no_copy, recall=0.95, queries=STRANGERS)
    ran = len(set(store.batches))
    chose, held_out = every_setting(store, tuned, "choice"), every_setting(store, tuned, "held out")
    wanted = next(
        setting for (setting, low), (_, again) in zip(chose, held_out, strict=True) if low >= 0.95 and again >= 0.95
    )
    assert tuned.params == wanted
    assert ran <= tuned.searches <= 16
    assert tuned.grid == len(chose) > 100


def test_the_chosen_point_is_measured_on_queries_that_did_not_choose(clocked: Clocked) -> None:
    tuned = tune(clocked(ivf(rising)), no_copy, recall=0.9, queries=STRANGERS[:500])
    (choice,) = tuned.choices
    assert choice.chosen is not None
    assert choice.chosen == choice.best == choice.applied
    assert choice.chosen.held_out
    assert tuned.queries == (250, 250)
    assert choice.chosen.recall.queries == 250
    assert choice.chosen.recall.low >= 0.9
    nprobe = choice.chosen.params["nprobe"]
    assert choice.chosen.p50_ms == pytest.approx(nprobe)
    assert choice.chosen.qps == pytest.approx(1000 / nprobe)
    assert [point.params["nprobe"] for point in choice.points] == sorted(p.params["nprobe"] for p in choice.points)


def test_what_the_held_out_queries_do_not_confirm_gives_way_to_a_dearer_setting(clocked: Clocked) -> None:
    """The half that chooses finds everything at once; the other half follows the curve."""
    store = clocked(ivf(rising))
    (asked,) = asked_of(store, STRANGERS)
    easy = {vector.tobytes() for vector in asked.queries.vectors[asked.queries.half("choice")]}
    search = CurveStore.search

    def lucky(vectors: Vectors, **options: Any) -> list[list[Found]]:
        if vectors[0].tobytes() in easy:
            options["params"] = {"nprobe": 256}
        return search(store, vectors, **options)

    store.search = lucky  # type: ignore[method-assign,assignment]
    tuned = tune(store, no_copy, recall=0.95, queries=STRANGERS)
    first = next(setting for setting, low in every_setting(store, tuned, "held out") if low >= 0.95)
    assert tuned.params == first
    assert first["nprobe"] > 10
    assert min(p.params["nprobe"] for p in tuned.choices[0].points if not p.held_out) == 1


def test_what_no_setting_reaches_is_said_with_the_best_that_was_seen(clocked: Clocked) -> None:
    tuned = tune(clocked(ivf(lambda params, _: min(0.8, params["nprobe"] / 20))), no_copy, queries=STRANGERS)
    assert not tuned.reached
    assert tuned.params is None
    (choice,) = tuned.choices
    assert choice.chosen is choice.applied is None
    assert choice.best.held_out
    assert choice.best.recall.mean == pytest.approx(0.8, abs=0.03)
    assert "no setting of IVF_FLAT reaches recall@10 of 0.95: the best seen is 0.7" in tuned.summary() or (
        "the best seen is 0.8" in tuned.summary()
    )


def test_each_filter_has_its_choice_and_one_setting_reaches_them_all(clocked: Clocked) -> None:
    def collapsing(params: Params, filter: str) -> float:
        return rising({"nprobe": params["nprobe"] / (3 if filter else 1)}, filter)

    tuned = tune(clocked(ivf(collapsing)), no_copy, queries=STRANGERS, filters=["", "even"])
    plain, even = tuned.choices
    assert plain.chosen is not None
    assert even.chosen is not None
    assert (plain.rows, even.rows) == (600, 300)
    assert even.chosen.params["nprobe"] > 2 * plain.chosen.params["nprobe"]
    assert tuned.params == even.chosen.params
    assert plain.applied is not None
    assert plain.applied.params == tuned.params
    assert plain.applied.recall.mean >= plain.chosen.recall.mean
    assert tuned.p50_ms == pytest.approx(even.chosen.params["nprobe"])


def test_one_filter_that_is_not_reached_leaves_nothing_to_apply(clocked: Clocked) -> None:
    store = clocked(ivf(lambda params, filter: 0.5 if filter else rising(params, filter)))
    tuned = tune(store, no_copy, queries=STRANGERS, filters=["", "even"])
    assert tuned.params is None
    assert tuned.choices[0].chosen is not None
    assert tuned.choices[1].chosen is None
    assert " under even: the best seen is 0." in tuned.summary()


def test_two_parameters_are_chosen_by_latency(clocked: Clocked) -> None:
    """Few clusters and many candidates, or many clusters and few: the clock says which is cheaper."""

    def curve(params: Params, filter: str) -> float:
        return rising(params, filter) * float(1 - np.exp(-params["reorder_k"] / 30))

    def store(a_cluster: float, a_candidate: float) -> CurveStore:
        def cost(params: Params) -> float:
            return a_cluster * params["nprobe"] + a_candidate * params["reorder_k"]

        return clocked(CurveStore(curve, cost, IndexInfo("SCANN", {"nlist": 32})))

    for costs in ((1.0, 0.001), (0.001, 1.0), (0.01, 0.003)):
        searched = store(*costs)
        tuned = tune(searched, no_copy, recall=0.9, queries=STRANGERS[:300])
        assert tuned.params is not None
        confirmed = {tuple(s.items()): low for s, low in every_setting(searched, tuned, "held out")}
        good = [
            setting
            for setting, low in every_setting(searched, tuned, "choice")
            if low >= 0.9 and confirmed[tuple(setting.items())] >= 0.9
        ]
        assert tuned.params == min(good, key=searched.cost), costs
        assert tuned.searches < tuned.grid / 6


def test_an_exact_index_is_measured_and_has_nothing_to_tune(clocked: Clocked) -> None:
    tuned = tune(clocked(CurveStore(lambda *_: 1.0, lambda _: 0.004, IndexInfo("FLAT", {}))), no_copy)
    assert tuned.basis == "stored"
    assert tuned.params == {}
    assert tuned.names == ()
    assert tuned.reached
    assert (tuned.searches, tuned.grid) == (2, 1)
    assert tuned.p50_ms == pytest.approx(4)
    assert "nothing to tune" in tuned.summary()


def test_a_least_setting_that_will_do_is_marked(clocked: Clocked) -> None:
    assert tune(clocked(ivf(lambda *_: 1.0)), no_copy, queries=STRANGERS).least
    assert not tune(clocked(ivf(rising)), no_copy, queries=STRANGERS).least


def test_queries_from_elsewhere_keep_every_neighbour(clocked: Clocked) -> None:
    store = clocked(ivf(rising))
    tuned = tune(store, no_copy, queries=store.held[:600])
    assert tuned.queries == (300, 300)
    assert tuned.reached


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"recall": 1.0}, OptionError, "recall must be a number, more than 0 and less than 1, not 1.0"),
        ({"queries": 40}, OptionError, "40 queries cannot show a recall of 0.95"),
        ({"queries": 1}, OptionError, "1 query cannot show"),
        ({"queries": np.zeros((0, 6), np.float32)}, OptionError, "0 queries cannot show"),
        ({"recall": 0.99, "queries": 5000}, OptionError, "of your own, since the collection has too few rows"),
        ({"filters": ["none"]}, FilterError, "no row of 'curve' matches none"),
        ({"filters": ["", "none"]}, FilterError, "no row of 'curve' matches none"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    clocked: Clocked, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        tune(clocked(ivf(rising)), no_copy, **options)


def test_the_queries_that_an_error_asks_for_are_enough(clocked: Clocked) -> None:
    with pytest.raises(QueryError) as refused:
        tune(clocked(ivf(rising)), no_copy, queries=40)
    wanted = int(str(refused.value).rsplit("use ", 1)[1].split()[0])
    perfect = clocked(ivf(lambda *_: 1.0))
    assert tune(perfect, perfect.scratch, queries=wanted).reached
    with pytest.raises(QueryError):
        tune(perfect, no_copy, queries=wanted - 2)


def test_types_are_ranked_by_latency_among_those_that_reach(clocked: Clocked) -> None:
    def curve(params: Params, filter: str) -> float:
        if "nprobe" in params:
            return rising(params, filter)
        return 1 - 0.5 ** (params["ef"] / 8) if "ef" in params else 0.6

    def cost(params: Params) -> float:
        return params.get("nprobe", 0) / 100 + params.get("ef", 0) / 1000 + 0.001

    store = clocked(CurveStore(curve, cost, IndexInfo("FLAT", {})))
    types = {"IVF_FLAT": {"nlist": 64}, "FLAT": {}, "DISKANN": {}, "HNSW": {"M": 16, "efConstruction": 100}}
    comparison = compare(store, store.scratch, types, queries=STRANGERS)
    assert [tuned.type for tuned in comparison.ranking] == ["HNSW", "IVF_FLAT", "FLAT"]
    assert [tuned.reached for tuned in comparison.ranking] == [True, True, False]
    assert comparison.winner is comparison.ranking[0]
    assert comparison.winner.build_seconds == 2.5
    assert comparison.winner.memory_bytes == 600 * 6 * 4 + 600 * 2 * 16 * 4
    assert comparison.failed == {"DISKANN": "the disk is full"}


def test_the_outcome_is_json(clocked: Clocked) -> None:
    tuned = tune(clocked(ivf(rising)), no_copy, queries=STRANGERS)
    data = json.loads(json.dumps(tuned.to_dict(), allow_nan=False))
    assert data["params"] == tuned.params
    assert data["reached"] is True
    assert data["choices"][0]["chosen"]["recall"]["low"] >= 0.95
    assert data["build"] == {"nlist": 256}
    assert data["basis"] == "given"
