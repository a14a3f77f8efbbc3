"""What a collection has learned comes back bit for bit, or as it was before: never torn, whatever was killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from milvus_rows import definition

from imgvec.definition import description
from imgvec.errors import BackendError, UsageError
from imgvec.milvus import Connection, Store, learned
from imgvec.milvus.learned import LEARNED, PART_BYTES, Learned

Open = Callable[[], Learned]


@pytest.fixture(scope="module")
def store(backend: Connection) -> Iterator[Store]:
    made = definition()
    text = description.write(made, FakeEncoder(dim=8).binding, backend.companion_names("taught"))
    store = backend.create("taught", made, dim=8, description=text)
    yield store
    backend.drop_opened(store)
    assert backend.collections() == []


@pytest.fixture
def opened(backend: Connection, store: Store) -> Iterator[Open]:
    """Opens what the module's collection has learned, as a new client does."""
    yield lambda: Learned(backend, store)
    for key in Learned(backend, store).keys():  # noqa: SIM118  it is no mapping
        Learned(backend, store).forget(key)
    rows = backend.companion(store, LEARNED)
    rows.delete([row["id"] for page in rows.scan([]) for row in page])


def arrays(seed: int, rows: int = 384) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"matrix": random.standard_normal((rows, 384)).astype(np.float32), "mean": random.standard_normal(384)}


def same(found: Any, expected: Any) -> bool:
    return (
        found is not None
        and found.keys() == expected.keys()
        and all(found[name].dtype == expected[name].dtype for name in expected)
        and all(np.array_equal(found[name], expected[name]) for name in expected)
    )


def parts(backend: Connection, store: Store) -> int:
    return backend.companion(store, LEARNED).count()


def test_arrays_come_back_as_they_went(opened: Open, backend: Connection, store: Store) -> None:
    assert opened().read("projection") is None
    assert opened().keys() == []
    opened().write("projection", arrays(0))
    assert same(opened().read("projection"), arrays(0))
    size = len(learned.packed(arrays(0))) * 4 / 3
    assert parts(backend, store) == -(-size // PART_BYTES) + 1
    others = {
        "empty": np.empty((0, 3), np.int8),
        "scalar": np.array(0.5),
        "words": np.array(["é", "漢字"]),
        "half": np.arange(3, dtype=np.float16),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "file": np.array([True, False]),
    }
    opened().write("others é", others)
    assert same(opened().read("others é"), others)
    assert opened().keys() == ["others é", "projection"]
    opened().forget("projection")
    assert (opened().read("projection"), opened().keys()) == (None, ["others é"])


def test_a_new_generation_takes_the_place_of_the_former(opened: Open, backend: Connection, store: Store) -> None:
    one = opened()
    one.write("projection", arrays(0, rows=1000))
    one.write("other", arrays(5, rows=3))
    for seed in (1, 2):
        one.write("projection", arrays(seed))
        assert same(opened().read("projection"), arrays(seed))
    assert parts(backend, store) == -(-len(learned.packed(arrays(2))) * 4 // 3 // PART_BYTES) + 1 + 2
    assert same(opened().read("other"), arrays(5, rows=3))


def test_arrays_whose_names_differ_by_an_ending(opened: Open) -> None:
    named = {"x": np.zeros(2), "x.npy": np.ones(3), "a/b": np.float32(1), "": np.empty((0, 3))}
    opened().write("projection", named)
    assert same(opened().read("projection"), {name: np.asarray(array) for name, array in named.items()})
    opened().write("projection", {})
    assert opened().read("projection") == {}


def test_what_is_not_kept(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened().write("projection", arrays(0))
    with pytest.raises(UsageError, match="array of objects"):
        opened().write("projection", {"x": np.array([{}])})
    for key in ("", "k" * 65):
        with pytest.raises(UsageError, match="not a key of 1 to 64 bytes"):
            opened().write(key, arrays(1))
    monkeypatch.setattr(learned, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="more than a collection keeps"):
        opened().write("projection", arrays(1))
    assert same(opened().read("projection"), arrays(0))


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_write_that_was_killed_leaves_what_was_there(
    opened: Open, backend: Connection, store: Store, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    monkeypatch.setattr(learned, "_AT_ONCE", 5)
    opened().write("projection", arrays(0))
    whole = parts(backend, store)
    left_behind = min(5 * calls, whole - 1)  # all of the parts in the last case, and no pointer
    one = opened()
    send, left = one._rows.upsert, calls

    def killed(rows: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise MemoryError
        return send(rows)

    with monkeypatch.context() as patch:
        patch.setattr(one._rows, "upsert", killed)
        with pytest.raises(MemoryError):
            one.write("projection", arrays(1))
    assert same(opened().read("projection"), arrays(0))
    assert parts(backend, store) == whole + left_behind
    # the parts may be another client's, which is not done; an hour later they are nobody's
    opened().write("projection", arrays(2))
    assert parts(backend, store) == whole + left_behind
    with monkeypatch.context() as patch:
        patch.setattr(learned, "_ABANDONED_MS", -1000)
        opened().write("projection", arrays(3))
    assert parts(backend, store) == whole
    assert same(opened().read("projection"), arrays(3))


def test_a_torn_generation_is_not_taken_for_arrays(opened: Open, backend: Connection, store: Store) -> None:
    opened().write("projection", arrays(0))
    rows = backend.companion(store, LEARNED)
    [first, *_] = [row for page in rows.scan(["*"]) for row in page if row["id"] != "projection"]
    rows.upsert([{**first, "data": "A" + first["data"][1:]}])
    with pytest.raises(BackendError, match="learn it again"):
        opened().read("projection")
    rows.delete([first["id"]])
    pointer = rows.get(["projection"])["projection"]
    for told in (pointer["data"], "{", "[]", '{"parts": "x"}'):
        rows.upsert([{**pointer, "id": "projection", "data": told}])
        with pytest.raises(BackendError, match="learn it again"):
            opened().read("projection")
    opened().write("projection", arrays(1))
    assert same(opened().read("projection"), arrays(1))


def test_readers_and_writers_at_once(opened: Open) -> None:
    """Each read is one whole generation, and never nothing."""
    opened().write("projection", arrays(0))
    known, failures, stop = [arrays(seed) for seed in range(3)], list[str](), threading.Event()
    reads = 0

    def write(seed: int) -> None:
        one = opened()
        while not stop.is_set():
            one.write("projection", known[seed])

    def read() -> None:
        nonlocal reads
        one = opened()
        while not stop.is_set():
            try:
                found = one.read("projection")
            except BackendError as exc:
                failures.append(str(exc))
                continue
            reads += 1
            if not any(same(found, each) for each in known):
                failures.append("torn" if found else "nothing")

    threads = [threading.Thread(target=write, args=[seed]) for seed in (1, 2)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    stop.wait(6)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert reads > 3
    assert any(same(opened().read("projection"), each) for each in known)
