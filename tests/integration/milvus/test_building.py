"""An index is rebuilt to its true end, or the former one is back; on both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from milvus_rows import FIELDS, definition, full_row, unit_vectors

from imgvec.definition import description
from imgvec.errors import BackendError, DefinitionError, UnsupportedByBackend
from imgvec.milvus import Connection, Store, connect, schema, vector_index
from imgvec.milvus.vector_index import VectorIndex
from imgvec.progress import Progress
from imgvec.stored import IndexInfo

ROWS, DIM = 2000, 16  # a segment below 1024 rows stays without an index
HNSW = IndexInfo("HNSW", {"M": 8, "efConstruction": 80})
INDEX = {"type": HNSW.type, "params": dict(HNSW.params)}


@pytest.fixture(scope="module")
def shared(make: Callable[..., Store]) -> Store:
    store = make(definition(fields=FIELDS), dim=DIM)
    store.upsert([full_row(f"{i:04}", rank=i) for i in range(ROWS)], unit_vectors(ROWS, DIM))
    return store


@pytest.fixture
def store(shared: Store) -> Iterator[Store]:
    """The module's collection; its index is what the last test left, and its rows are as they were."""
    yield shared
    assert shared.count() == ROWS
    assert shared.index_state().loaded


def have_hnsw(store: Store) -> None:
    """A build takes seconds on a server; the tests of failing builds leave this one."""
    if store.index != HNSW:
        store.build_index(HNSW.type, HNSW.params)


def nearest(store: Store, **params: Any) -> list[list[str]]:
    found = store.search(unit_vectors(5, DIM, seed=1), limit=3, filter="rank >= 0", params=params)
    return [[each.id for each in hits] for hits in found]


def exact() -> list[list[str]]:
    scores = unit_vectors(5, DIM, seed=1) @ unit_vectors(ROWS, DIM).T
    return [[f"{i:04}" for i in np.argsort(-row)[:3]] for row in scores]


def test_every_type_of_both_backends_is_built_and_searched_as_itself(store: Store, backend: Connection) -> None:
    for type, params, search in (
        ("IVF_FLAT", {"nlist": 16}, {"nprobe": 16}),
        ("IVF_FLAT", {"nlist": 8}, {"nprobe": 8}),
        (HNSW.type, HNSW.params, {"ef": 200}),
    ):
        seen: list[Progress] = []
        assert store.build_index(type, params, on_progress=seen.append) > 0
        assert (seen[-1].work, seen[-1].done, seen[-1].total) == ("build", ROWS, ROWS)
        assert store.index == IndexInfo(type, params)
        now = store.index_state()
        assert (now.pending_rows, now.indexed_rows, now.loaded) == (0, now.total_rows, True)
        assert nearest(store, **search) == exact()
        assert backend.open(store.name).index == IndexInfo(type, params)
    assert "former_index" not in backend.open(store.name).remembered


@pytest.mark.parametrize(
    ("type", "params", "error", "said"),
    [
        ("GPU_CAGRA", {}, UnsupportedByBackend, "has no GPU, required by GPU_CAGRA: it accepts AUTOINDEX, "),
        ("GPU_IVF_FLAT", {"nlist": 16}, UnsupportedByBackend, "no GPU"),
        ("DISKANN", {}, UnsupportedByBackend, "has no index type DISKANN: it accepts AUTOINDEX, FLAT, HNSW"),
        ("IVF_SQ8", {"sq_type": "SQ4"}, UnsupportedByBackend, "has no sq_type = SQ4 for IVF_SQ8"),
        ("IVF_SQ8", {"refine": True}, UnsupportedByBackend, "has no refine = True for IVF_SQ8"),
        ("BIN_FLAT", {}, (UnsupportedByBackend, DefinitionError), "BIN_FLAT"),
        ("HNSW", {"M": 1}, DefinitionError, "M must be an integer from 2 to 2048, not 1"),
        ("IVF_PQ", {"nlist": 8}, (UnsupportedByBackend, DefinitionError), "IVF_PQ"),
        ("HNSW", {"nlist": 1}, DefinitionError, "nlist is not a build parameter of HNSW"),
        ("HSNW", {}, DefinitionError, "'HSNW' is not an index type"),
    ],
)
def test_what_cannot_be_built_is_refused_before_any_call(
    store: Store, type: str, params: dict[str, Any], error: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.index
    with monkeypatch.context() as patch:
        patch.setattr(store.link.database, "_given", None)
        with pytest.raises(error) as raised:
            store.build_index(type, params)
    assert said in str(raised.value)
    assert store.index == before
    assert store.count() == ROWS


def _broken_builder(*_: object) -> None:
    raise MemoryError("no memory for the clusters")


def test_a_build_that_fails_leaves_the_former_index(
    store: Store, backend: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_hnsw(store)
    if store.capabilities.kind == "lite":
        from milvus_lite.index.faiss_ivf_flat import FaissIvfFlatIndex

        monkeypatch.setattr(FaissIvfFlatIndex, "build", _broken_builder)
        failing, reason = "IVF_FLAT", "no memory for the clusters"
    else:  # as where the capabilities of a server cannot be known: it refuses what no GPU is there for
        known = store.capabilities
        monkeypatch.setattr(
            store.link, "capabilities", replace(known, gpu=None, index_types=known.index_types | {"GPU_CAGRA"})
        )
        failing, reason = "GPU_CAGRA", "invalid index type: GPU_CAGRA"
    with pytest.raises(BackendError, match=f"{reason}.*; the previous index, HNSW, is back"):
        store.build_index(failing, {})
    assert store.index == backend.open(store.name).index == HNSW
    assert nearest(store, ef=200) == exact()


def test_a_build_that_does_not_end_leaves_the_former_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if store.capabilities.kind == "lite":
        pytest.skip("Milvus Lite builds within the call")
    have_hnsw(store)
    known = store.capabilities
    monkeypatch.setattr(store.link, "capabilities", replace(known, index_types=known.index_types | {"DISKANN"}))
    back = f"covers only 0 of {ROWS:,} rows after .*; the previous index, HNSW, is back"
    with pytest.raises(BackendError, match=back) as raised:
        store.build_index("DISKANN", {}, timeout=3)
    assert raised.value.retryable
    assert store.index == HNSW
    assert nearest(store, ef=200) == exact()


def test_a_late_answer_and_a_slow_load_do_not_throw_an_index_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_hnsw(store)
    ask, late = VectorIndex.state, [BackendError("late", retryable=True)]
    monkeypatch.setattr(VectorIndex, "state", lambda *given: _raise(late.pop()) if late else ask(*given))
    store.build_index("IVF_FLAT", {"nlist": 16})
    assert (store.index.type, late) == ("IVF_FLAT", [])

    def slow(self: VectorIndex, timeout: float = 0) -> None:
        raise BackendError("not yet", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(VectorIndex, "load", slow)
        with pytest.raises(BackendError, match=r"HNSW was built, but .* could not be loaded: not yet") as caught:
            store.build_index(HNSW.type, HNSW.params)
    assert caught.value.retryable
    store.load()
    assert store.index == HNSW
    assert nearest(store, ef=200) == exact()


def _raise(error: Exception) -> Any:
    raise error


def test_a_search_between_release_and_drop(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which loads the collection again, as every client's does."""
    have_hnsw(store)
    release, others = store.link.release, [1, 1]

    def released() -> None:
        release()
        if others:
            others.pop()
            store.load()

    monkeypatch.setattr(store.link, "release", released)
    store.build_index("IVF_FLAT", {"nlist": 16})
    assert (store.index.type, others) == ("IVF_FLAT", [])


def test_an_interrupted_build_leaves_the_former_index(store: Store, backend: Connection) -> None:
    have_hnsw(store)

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build_index("IVF_FLAT", {"nlist": 16}, on_progress=interrupt)
    assert backend.open(store.name).index == store.index == HNSW
    assert nearest(store, ef=200) == exact()


def test_the_next_open_puts_back_what_a_killed_build_had_dropped(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_hnsw(store)
    # a killed process does nothing after the drop
    with monkeypatch.context() as patch:
        patch.setattr(VectorIndex, "_create", _broken_builder)
        patch.setattr(VectorIndex, "_put_back", _broken_builder)
        with pytest.raises(MemoryError):
            store.build_index("IVF_FLAT", {"nlist": 16})
    with connect(uri) as other:
        opened = other.open(store.name)
        assert opened.index == HNSW
        opened.wait_until_indexed(60)
        assert nearest(opened, ef=200) == exact()


@pytest.mark.parametrize("made", range(4))
def test_the_next_open_finishes_what_a_killed_create_had_begun(backend: Connection, made: int) -> None:
    definition_ = definition(fields={name: FIELDS[name] for name in ("album", "rank")}, index={"cpu": INDEX})
    text = description.write(definition_, FakeEncoder(dim=DIM).binding)
    plan = schema.plan(definition_, backend.capabilities, dim=DIM, description=text)
    # a killed process does nothing after the index that it came to
    backend.link.client.create_collection("begun", schema=plan.schema, **plan.options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_index, "create_index", _only(made, vector_index.create_index))
        with suppress(MemoryError):
            vector_index.create_indexes(backend.link, "begun", plan)
    with connect(backend.uri) as other:
        store = other.open("begun")
        assert (store.index, store.metric_type) == (HNSW, "COSINE")
        assert set(backend.link.client.list_indexes("begun")) == {"vector", "album", "rank"}
        store.upsert([full_row("a", rank=7)], unit_vectors(1, DIM))
        assert store.count("rank == 7") == 1
        other.drop_opened(store)


def _only(calls: int, call: Callable[..., None]) -> Callable[..., None]:
    left = iter(range(calls))

    def limited(*args: Any, **options: Any) -> None:
        if next(left, None) is None:
            raise MemoryError
        call(*args, **options)

    return limited


def test_what_is_remembered_is_seen_by_every_client_and_forgotten(store: Store, uri: str) -> None:
    value = {"é": [1, 2.5, "x" * 3000], "nested": {"yes": True}}
    store.remember("note", value)
    with connect(uri) as other:
        opened = other.open(store.name)
        assert opened.remembered["note"] == store.remembered["note"] == value
        assert opened.description == store.description
        opened.remember("note", None)
        assert "note" not in opened.remembered
        assert "note" not in other.open(store.name).remembered


def test_vectors_that_an_index_lacks_are_there_after_a_release(store: Store) -> None:
    """The wheel's server deletes the files that they were read from, unless its path is relative: this one's is."""
    store.build_index("IVF_SQ8", {"nlist": 16})
    before = store.get(["0001"], with_vector=True)["0001"]["vector"]
    store.build_index(HNSW.type, HNSW.params)  # releases, and reads the stored files
    np.testing.assert_array_equal(store.get(["0001"], with_vector=True)["0001"]["vector"], before)
