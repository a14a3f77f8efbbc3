"""Pages past the rows that Milvus gives to one call, over many equal scores, while others write and delete."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from milvus_rows import Vectors, definition
from rows import id_of, numbered

from imgvec.milvus import Store
from imgvec.search.forms import VectorQuery
from imgvec.search.pages import Pages
from imgvec.search.searcher import Searcher

ROWS, DIM = 20_000, 16
DELETED, REPLACED = range(0, 900, 3), range(1, 900, 3)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Their products are exact in float32, and there are no more than 17 scores."""
    return np.random.default_rng(0).choice(np.float32([-0.25, 0.25]), (ROWS, DIM))


@pytest.fixture(scope="module", params=["COSINE", "L2"])
def filled(make: Callable[..., Store], vectors: Vectors, request: pytest.FixtureRequest) -> Store:
    store = make(definition(vector={"metric_type": request.param}), dim=DIM)
    for start in range(0, ROWS, 5000):
        store.upsert([numbered(number) for number in range(start, start + 5000)], vectors[start : start + 5000])
    return store


def pages(store: Store, query: Vectors, **options: Any) -> Pages:
    def no_encoder(_: str) -> Any:
        raise AssertionError("an encoder was asked for")

    searcher = Searcher(store, no_encoder, max_pixels=1, max_bytes=1)
    return searcher.pages(VectorQuery(query), **options)


def rounds(size: int) -> Any:
    # each page of a server is a Strong read, which waits 0.2 s
    return pytest.param(size, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)] if size < 100 else [])


@pytest.mark.parametrize("size", [1000, rounds(20)])
def test_each_row_that_exists_comes_once(filled: Store, vectors: Vectors, size: int) -> None:
    """A thousand pages of 20 by night, twenty of a thousand by day."""
    query = np.full(DIM, 0.25, np.float32)
    asked = pages(filled, query, size=size, most=65_536, output_fields=["width"])
    assert (asked.kept, asked.truncated) == (ROWS, False)
    scores = dict(zip(map(id_of, range(ROWS)), vectors @ query, strict=True))
    done = threading.Event()

    def write() -> None:
        for deleted, replaced in zip(DELETED, REPLACED, strict=True):
            if done.is_set():
                return
            filled.discard([id_of(deleted)])
            # with another vector, which would have moved it to the front
            filled.upsert([numbered(replaced), numbered(ROWS + replaced)], np.stack([query, query]))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        got = [list(page) for page in asked]
    finally:
        done.set()
        writer.join()
        filled.discard([id_of(ROWS + number) for number in REPLACED])
        touched = [*DELETED, *REPLACED]
        filled.upsert([numbered(number) for number in touched], vectors[touched])
    hits = [hit for page in got for hit in page]
    ids = [hit.id for hit in hits]
    assert [len(page) for page in got[:-1]] == [size] * (len(got) - 1)
    assert len(set(ids)) == len(ids)
    gone = set(map(id_of, range(ROWS))).difference(ids)
    assert gone <= set(map(id_of, DELETED))
    assert set(ids) <= scores.keys()  # what was written since does not come
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=1e-6)
    late = set(map(id_of, REPLACED))  # a server may hide these for a moment; then they come last
    steady = [(-round(hit.score, 5), hit.id) for hit in hits if hit.id not in late]
    assert steady == sorted(steady)


def test_a_cut_ends_the_pages(filled: Store, vectors: Vectors) -> None:
    query = vectors[5]
    asked = pages(filled, query, size=500, most=65_536, min_score=0.5)
    scores = vectors @ query
    wanted = sorted((-score, id_of(number)) for number, score in enumerate(scores) if score >= 0.5)
    assert asked.truncated is False
    assert [hit.id for page in asked for hit in page] == [id_ for _, id_ in wanted]
