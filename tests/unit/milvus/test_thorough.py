"""Few rows that match are all compared with, and what comes short is searched wider, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from imgvec.filters import FieldType
from imgvec.milvus import thorough
from imgvec.milvus.answers import Scoring
from imgvec.milvus.capabilities import Capabilities, capabilities
from imgvec.milvus.described import Schema
from imgvec.milvus.searching import Searching
from imgvec.milvus.thorough import Thorough
from imgvec.store import NearestOf
from imgvec.stored import Found, IndexInfo, Nearest, Reach
from imgvec.vectors import Vectors

SERVER, LITE = capabilities("v2.3.5"), capabilities("milvus_lite-3.2.2")
DIM, ROWS, CLUSTERS = 8, 400, 40


class Collection:
    """Rows in clusters by their number; an index looks at the first `nprobe` of these, or at the first `ef` rows.

    The filter is the number of rows that match: the last ones, which an index reaches last.
    """

    def __init__(self, index: str, backend: Capabilities = SERVER, metric: str = "COSINE") -> None:
        rng = np.random.default_rng(1)
        self.vectors = rng.standard_normal((ROWS, DIM)).astype(np.float32)
        built = {"nlist": CLUSTERS} if "IVF" in index else {}
        schema = Schema("c", "", DIM, "FLOAT_VECTOR", metric, IndexInfo(index, built), {"id": FieldType("VARCHAR")},
                        dynamic=True, consistency_level="Bounded")  # fmt: skip
        self.searching = Searching("vector", schema, backend)
        self.is_lite = backend.kind == "lite"
        self.query = rng.standard_normal((1, DIM)).astype(np.float32)
        self.calls: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.there = True
        """Whether no member may lack rows."""

    def ask(self, **asked: Any) -> Nearest:
        [found] = Thorough(self, self.searching, {"limit": 10, **asked}, self.is_lite).search(self.query)
        return found

    def exact(self, matching: int, limit: int = 10) -> list[str]:
        return [row.id for row in self._best(self.query[0], range(ROWS - matching, ROWS))[:limit]]

    def plain(self, vectors: Vectors, asked: NearestOf) -> list[Nearest]:
        self.calls.append("search")
        params = self.searching.sent(asked)
        self.sent.append(params)
        clusters = params.get("nprobe")
        reached = clusters * ROWS // CLUSTERS if clusters else params.get("ef", ROWS)
        rows = range(ROWS - int(asked.get("filter") or ROWS), min(ROWS, reached))
        return [Nearest(self._best(query, rows)[: asked["limit"]]) for query in vectors]

    def counted(self, filter: str, consistency_level: str) -> int:
        assert consistency_level == "Eventually"
        self.calls.append("count")
        return int(filter or ROWS)

    def matching(
        self, filter: str, output_fields: Sequence[str], most: int, consistency_level: str | None
    ) -> list[dict[str, Any]] | None:
        assert consistency_level is None
        self.calls.append("read")
        assert "vector" in output_fields
        number = int(filter or ROWS)
        if number > most or not self.there:
            return None
        return [
            {"id": f"{i:03}", "album": "a", "vector": self.vectors[i]} for i in reversed(range(ROWS - number, ROWS))
        ]

    def _best(self, query: Vectors, rows: Sequence[int]) -> list[Found]:
        stored = self.vectors[[*rows]].astype(np.float64)
        if self.searching.field.metric_type == "L2":
            distances = np.square(stored - query).sum(1)
            scores = 1 - distances / 2
        else:
            scores = distances = stored @ query / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
        found = [Found(f"{i:03}", float(d), float(s)) for i, d, s in zip(rows, distances, scores, strict=True)]
        return sorted(found, key=lambda row: (-row.score, row.id))


def ids(found: Nearest) -> list[str]:
    return [row.id for row in found]


def test_few_matching_rows_are_all_looked_at_by_clusters() -> None:
    collection = Collection("IVF_FLAT")
    found = collection.ask(filter="30", params={"nprobe": 2})
    assert ids(found) == collection.exact(30)
    assert collection.calls == ["count", "search"]
    assert collection.sent == [{"nprobe": CLUSTERS}]
    assert found.reach == Reach(30, "every row", {"nprobe": CLUSTERS})


def test_scann_reranks_all_of_them() -> None:
    collection = Collection("SCANN")
    collection.ask(filter="30")
    assert collection.sent == [{"nprobe": 128, "reorder_k": thorough.FEW}]  # 128 where nobody said how many there are


def test_many_matching_rows_are_left_to_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "FEW", 29)
    collection = Collection("IVF_FLAT")
    found = collection.ask(filter="400", params={"nprobe": 2})
    assert collection.calls == ["count", "search"]
    assert collection.sent == [{"nprobe": 2}]
    assert found.reach == Reach(400)


@pytest.mark.parametrize(("index", "params"), [("IVF_FLAT", {"nprobe": 2}), ("HNSW", {"ef": 20}), ("AUTOINDEX", {})])
def test_without_a_filter_nothing_is_counted(index: str, params: dict[str, int]) -> None:
    collection = Collection(index)
    assert collection.ask(params=params).reach == Reach()
    assert collection.calls == ["search"]
    assert collection.sent == [params]


@pytest.mark.parametrize("filter", ["", "30"])
@pytest.mark.parametrize("backend", [SERVER, LITE])
def test_an_exact_index_is_asked_once(filter: str, backend: Capabilities) -> None:
    collection = Collection("FLAT", backend)
    assert len(collection.ask(filter=filter, limit=401)) == int(filter or ROWS)
    assert collection.calls == ["search"]


def test_a_server_sees_to_few_rows_itself_where_a_graph_is_its_index() -> None:
    collection = Collection("HNSW")
    collection.ask(filter="400")
    assert collection.calls == ["search"]


def test_a_graph_of_a_server_has_more_candidates_under_a_filter() -> None:
    for given, limit, sent in ((None, 10, 256), ({"ef": 20}, 10, 256), ({"ef": 300}, 10, 300), (None, 100, 400)):
        collection = Collection("HNSW")
        found = collection.ask(filter="400", params=given, limit=limit)
        assert collection.calls == ["search"]
        assert collection.sent == [{"ef": sent}]
        assert found.reach == (Reach() if given == {"ef": 300} else Reach(params={"ef": sent}))
    most = Collection("HNSW")
    most.ask(filter="400", limit=16_000)
    assert most.sent == [{"ef": thorough.WIDE_MOST}]


def test_what_has_no_candidates_to_raise_is_left_alone() -> None:
    collection = Collection("AUTOINDEX")
    assert collection.ask(filter="400").reach == Reach()
    assert collection.sent == [{}]


def test_what_comes_short_is_searched_wider_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "FILTERED", 12)
    collection = Collection("HNSW")
    found = collection.ask(filter="362", params={"ef": 12})
    assert ids(found) == collection.exact(362)
    assert collection.calls == ["search", "count", "search"]
    assert collection.sent == [{"ef": 40}, {"ef": thorough.WIDE}]
    assert found.reach == Reach(362, "index", {"ef": thorough.WIDE}, before=2)
    by_clusters = Collection("IVF_FLAT")  # without a filter, too
    assert ids(by_clusters.ask(limit=50, params={"nprobe": 2})) == by_clusters.exact(ROWS, 50)
    assert by_clusters.sent == [{"nprobe": 2}, {"nprobe": CLUSTERS}]


def test_many_rows_that_clusters_miss_are_looked_for_in_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "FEW", 29)
    collection = Collection("IVF_FLAT")
    found = collection.ask(filter="385", params={"nprobe": 2})
    assert collection.calls == ["count", "search", "search"]
    assert collection.sent == [{"nprobe": 2}, {"nprobe": 32}]
    assert (len(found), found.reach) == (10, Reach(385, "index", {"nprobe": 32}, before=5))


def test_what_no_parameter_reaches_is_read_and_compared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "WIDE", 371)
    collection = Collection("HNSW")
    found = collection.ask(filter="30", params={"ef": 10})
    assert ids(found) == collection.exact(30)
    assert collection.calls == ["search", "count", "search", "read"]
    assert found.reach == Reach(30, "every row, here", before=0)
    collection.there = False
    assert len(collection.ask(filter="30", params={"ef": 10})) == 1  # what the index found
    monkeypatch.setattr(thorough, "FEW_HERE", 29)
    collection.calls.clear()
    assert len(collection.ask(filter="30", params={"ef": 10})) == 1
    assert collection.calls == ["search", "count", "search"]


def test_all_that_match_is_not_searched_for_again() -> None:
    collection = Collection("HNSW")
    assert len(collection.ask(filter="400", limit=500, params={"ef": 500})) == ROWS
    assert collection.calls == ["search", "count"]


@pytest.mark.parametrize("backend", [SERVER, LITE])
@pytest.mark.parametrize("index", ["HNSW", "IVF_FLAT"])
def test_a_range_below_a_score_is_left_to_the_index(index: str, backend: Capabilities) -> None:
    collection = Collection(index, backend)
    collection.ask(filter="390", max_score=0.5)
    assert collection.calls == ["search"]


def test_lite_looks_at_all_clusters_under_any_filter() -> None:
    collection = Collection("IVF_FLAT", LITE)
    assert ids(collection.ask(filter="400", params={"nprobe": 2})) == collection.exact(400)
    assert collection.calls == ["search"]
    assert collection.sent == [{"nprobe": CLUSTERS}]


def test_a_graph_of_lite_is_searched_wide_and_few_rows_are_compared_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thorough, "WIDE", 390)
    collection = Collection("HNSW", LITE)
    found = collection.ask(filter="30", limit=4)
    assert ids(found) == collection.exact(30, 4)
    assert found.reach == Reach(30, "every row, here")
    assert collection.calls == ["search", "read"]
    many = collection.ask(filter="400", limit=4)
    assert (len(many), many.reach) == (4, Reach(params={"ef": 390}))
    assert collection.calls[2:] == ["search"]
    collection.there = False
    assert len(collection.ask(filter="30", limit=4)) == 4  # what the graph led to


@pytest.mark.parametrize("metric", ["COSINE", "IP", "L2"])
def test_scores_compared_here_are_milvus_s(metric: str) -> None:
    scoring = Scoring(Collection("HNSW", metric=metric).searching.field)
    query, stored = np.array([1, 0], np.float32), np.array([[0, 2], [3, 4], [0, 0]], np.float32)
    scores, distances = scoring.compared(query, stored)
    wanted = {"COSINE": ([0, 0.6, np.nan],) * 2, "IP": ([0, 3, 0],) * 2, "L2": ([-1.5, -9, 0.5], [5, 20, 1])}[metric]
    np.testing.assert_allclose((scores, distances), wanted, atol=1e-6)


def test_what_is_compared_here_comes_as_a_search_gives_it() -> None:
    collection = Collection("HNSW", LITE)
    assert collection.ask(filter="30", output_fields=["album"])[0].fields == {"album": "a"}
    assert collection.ask(filter="30", output_fields=["album", "vector"])[0].fields.keys() == {"album", "vector"}
