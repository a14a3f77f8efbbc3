"""Index files of Milvus Lite that were not written to their end: rows and indexes are there all the same."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from milvus_rows import definition, unit_vectors
from rows import numbered

from imgvec.errors import BackendError
from imgvec.milvus import Store, connect

ROWS, DIM = 1500, 16
FIELDS = {"rank": {"type": "INT64", "default": 0, "index": True}}
VECTORS = unit_vectors(ROWS, DIM)


def write(store: Store) -> None:
    store.upsert([numbered(n, rank=n) for n in range(ROWS)], VECTORS)


def check(store: Store, type: str, params: Mapping[str, Any]) -> None:
    assert (store.count(), store.index.type, store.index.params) == (ROWS, type, params)
    assert sorted(store.link.client.list_indexes(store.name)) == ["rank", "vector"]
    assert "former_index" not in store.remembered
    found = store.search(VECTORS[:20], limit=1, filter="rank < 10")
    assert [hits[0].id for hits in found[:10]] == [numbered(n)["id"] for n in range(10)]


@pytest.mark.parametrize("part", [0, 0.5])
@pytest.mark.parametrize("which", [".idx", ".sidx"])
@pytest.mark.parametrize(
    ("type", "params"), [("FLAT", {}), ("IVF_FLAT", {"nlist": 4}), ("HNSW", {"M": 8, "efConstruction": 40})]
)
def test_a_file_that_was_cut_short_is_written_again(
    lite_uri: str, type: str, params: dict[str, Any], which: str, part: float, caplog: pytest.LogCaptureFixture
) -> None:
    """As a process that is killed while it writes leaves one, or a full disk."""
    wanted = definition(fields=FIELDS, index={"cpu": {"type": type, "params": params}})
    with connect(lite_uri) as backend:
        store = backend.create("photos", wanted, dim=DIM, description="")
        write(store)
        store.flush()
    (file,) = Path(lite_uri).rglob(f"*{which}")
    whole = file.stat().st_size
    with file.open("r+b") as opened:
        opened.truncate(int(whole * part))
    with connect(lite_uri) as backend:
        check(backend.open("photos"), type, params)
        assert "rebuilding its indexes" in caplog.text
    assert file.stat().st_size == whole
    caplog.clear()
    with connect(lite_uri) as backend:
        check(backend.open("photos"), type, params)
        assert not caplog.text


def test_a_file_that_is_being_written_is_waited_for(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite writes index files beside its calls, and `load` does not wait for them."""
    from milvus_lite.index.brute_force import BruteForceIndex

    save, half, go = BruteForceIndex.save, threading.Event(), threading.Event()

    def slow(index: BruteForceIndex, path: str) -> None:
        if half.is_set():
            return save(index, path)
        Path(path).write_bytes(b"half")
        half.set()
        assert go.wait(60)
        return save(index, path)

    monkeypatch.setattr(BruteForceIndex, "save", slow)
    with connect(lite_uri) as backend:
        wanted = definition(fields=FIELDS, index={"cpu": {"type": "FLAT"}})
        store = backend.create("photos", wanted, dim=DIM, description="")
        write(store)
        store.flush()
        assert half.wait(60)
        store.release()
        threading.Timer(0.5, go.set).start()
        store.load()
        check(store, "FLAT", {})
    with connect(lite_uri) as backend:
        check(backend.open("photos"), "FLAT", {})


def test_what_fails_again_is_said(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from milvus_lite.index.brute_force import BruteForceIndex

    def full(index: BruteForceIndex, path: str) -> None:
        raise OSError("No space left on device")

    with connect(lite_uri) as backend:
        wanted = definition(fields=FIELDS, index={"cpu": {"type": "FLAT"}})
        store = backend.create("photos", wanted, dim=DIM, description="")
        write(store)
        store.flush()
    (file,) = Path(lite_uri).rglob("*.idx")
    file.write_bytes(b"")
    with connect(lite_uri) as backend:
        with monkeypatch.context() as patch:
            patch.setattr(BruteForceIndex, "save", full)
            with pytest.raises(BackendError, match=r"failed to load 'photos': No space left on device"):
                backend.open("photos")
        check(backend.open("photos"), "FLAT", {})
    assert len(list(Path(lite_uri).rglob("*.idx"))) == 1
