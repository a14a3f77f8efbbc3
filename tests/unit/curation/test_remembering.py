from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from numpy.typing import NDArray

from imgvec.curation import remembering
from imgvec.curation.groups import Edge
from imgvec.curation.judging import Relation
from imgvec.curation.remembering import Remembered, load, save


class Kept:
    """Arrays by key, in memory."""

    def __init__(self) -> None:
        self.arrays: dict[str, dict[str, NDArray[Any]]] = {}

    def write(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.arrays[key] = dict(arrays)

    def read(self, key: str) -> dict[str, NDArray[Any]] | None:
        return self.arrays.get(key)


ASKED = {"vector": "vector", "candidates": 10, "least_score": None, "burst_seconds": 60.0}


def test_what_is_kept_comes_back() -> None:
    kept, state = Kept(), Remembered(ASKED, since=5, recent=["a@7"], rows=3, begun=9, cursor="k", last=4)
    relation = Relation("copy", True, 0.99, 0.5, 0.6, 1.0, "second", 2.0, (True, False))
    state.add(Edge("a", "b", relation), "hash a", "hash b")
    save(kept, "duplicates", state)
    assert load(kept, "duplicates", ASKED) == state


@pytest.mark.parametrize("other", [{**ASKED, "candidates": 20}, {**ASKED, "least_score": 0.5}])
def test_another_question_begins_again(other: dict[str, Any]) -> None:
    kept = Kept()
    save(kept, "duplicates", Remembered(ASKED, since=5))
    assert load(kept, "duplicates", other) == Remembered(other)
    assert load(kept, "nothing", ASKED) == Remembered(ASKED)


def test_what_is_gone_is_forgotten_with_its_edges() -> None:
    state = Remembered(ASKED)
    for first, second in ("ab", "bc", "cd"):
        state.add(Edge(first, second, Relation("file")), first, second)
    state.forget(["b"])
    assert list(state.edges) == [("c", "d")]
    assert state.ids() == ["c", "d"]
    assert state.has("d", "c")


def test_keys_of_runs_do_not_meet() -> None:
    keys = {
        remembering.key("vector", exact=False),
        remembering.key("vector", exact=True),
        remembering.key("texture", exact=False),
        remembering.key("t" * 80, exact=False),
        remembering.key("t" * 81, exact=False),
    }
    assert len(keys) == 5
    assert max(map(len, keys)) <= 64
