"""Standing probes: what is known of their nearest rows is what NumPy finds, whoever writes; what is lost is seen."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from mixed_writes import nearest_known, opened, write, wrong
from rows import id_of, numbered

import imgvec
from imgvec import ImageCollection
from imgvec.errors import UsageError
from imgvec.milvus.link import Link
from imgvec.vectors import Vectors

DIM, ROWS = 16, 1200


def definition(metric: str = "COSINE", kind: str = "IVF_FLAT", **params: Any) -> dict[str, Any]:
    index = {"type": kind, "params": params or ({"nlist": 16} if kind == "IVF_FLAT" else {})}
    return {"encoder": {"model": "fake"}, "vector": {"metric_type": metric}, "index": {"cpu": index}}


def drawn(number: int, seed: int = 0, shift: float = 0.0) -> Vectors:
    """Unit vectors around forty centres; `shift` moves all of them to one side."""
    centres = np.random.default_rng(99).standard_normal((40, DIM))
    rng = np.random.default_rng(seed)
    vectors = centres[rng.integers(0, 40, number)] + 0.7 * rng.standard_normal((number, DIM))
    vectors[:, 0] += shift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(uri: str, name: str = "probed", **others: Any) -> ImageCollection:
    collection = ImageCollection.create(name, definition=definition(**others), uri=uri, encoder=FakeEncoder(dim=DIM))
    collection.store.upsert([numbered(each) for each in range(ROWS)], drawn(ROWS))
    return collection


def test_two_writers_at_once_leave_what_numpy_finds(lite_uri: str) -> None:
    with filled(lite_uri) as collection:
        made = imgvec.watch_index(collection, queries=drawn(60, seed=5))
        assert made is not None
        assert (made.ok, made.open, made.scanned, made.basis) == (True, 0, True, "given")
        failures: list[BaseException] = []

        def writer(seed: int) -> None:
            try:
                with opened(lite_uri, "probed", DIM) as own:
                    write(own, drawn(400, seed=seed), seed, 200, ROWS)
            except BaseException as exc:  # noqa: BLE001  shown by the test's own thread
                failures.append(exc)

        writers = [threading.Thread(target=writer, args=[seed]) for seed in (1, 2)]
        for each in writers:
            each.start()
        for each in writers:
            each.join()
        assert not failures
        known = nearest_known(collection)
        assert len(known) > 30
        assert not wrong(collection, known)
        now = imgvec.watch_index(collection, no_scan=True)
        assert now is not None
        assert (now.lost, now.unnoted, now.falls, now.scanned) == ([], 0, [], False)
        closed = imgvec.watch_index(collection)
        assert closed is not None
        assert closed.open == 0
        assert closed.scanned == (now.open > 0)
        known = nearest_known(collection)
        assert len(known) == 60
        assert not wrong(collection, known)


@pytest.mark.parametrize("metric", ["IP", "L2"])
def test_every_metric(lite_uri: str, metric: str) -> None:
    with filled(lite_uri, metric=metric) as collection:
        assert imgvec.watch_index(collection, queries=drawn(20, seed=5)) is not None
        write(collection, drawn(300, seed=3), 3, 100, ROWS)
        known = nearest_known(collection)
        assert known
        assert not wrong(collection, known)


def test_a_collection_that_is_not_watched_is_not_asked_anything(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(lite_uri) as collection:
        monkeypatch.setattr("imgvec.noting.Noting.writing", None)
        monkeypatch.setattr("imgvec.noting.Noting.deleting", None)
        calls: list[str] = []
        describe = Link.describe
        monkeypatch.setattr(
            Link, "describe", lambda self, name, **more: calls.append(name) or describe(self, name, **more)
        )
        collection.store.upsert([numbered(1)], drawn(1))
        collection.store.discard([id_of(2)])
        assert calls == ["probed", "probed"]  # as before there were probes: the look before each write


def test_a_handle_that_was_open_before_notes_what_it_writes(lite_uri: str) -> None:
    with filled(lite_uri) as collection, opened(lite_uri, "probed", DIM) as older:
        queries = drawn(20, seed=5)
        assert imgvec.watch_index(collection, queries=queries) is not None
        older.store.upsert([numbered(5000 + each) for each in range(20)], queries)
        known = nearest_known(collection)
        assert all(id_of(5000 + number) in ids for number, (ids, _) in known.items())
        assert not wrong(collection, known)


def test_rows_that_are_gone_or_came_past_imgvec_are_told_of(lite_uri: str) -> None:
    with filled(lite_uri) as collection:
        queries = drawn(30, seed=5)
        assert imgvec.watch_index(collection, queries=queries) is not None
        some = [ids[0] for ids, _ in nearest_known(collection, 10).values()]
        client = collection.store.link.client
        client.delete("probed", ids=some[:5])
        found = imgvec.watch_index(collection, no_scan=True)
        assert found is not None
        assert not found.ok
        assert set(found.lost) == set(some[:5])
        assert "not deleted through imgvec" in found.advice[0]
        again = imgvec.watch_index(collection, again=True, queries=queries)
        assert again is not None
        assert again.ok
        collection.delete(some[5:8])
        after = imgvec.watch_index(collection, no_scan=True)
        assert after is not None
        assert after.ok
        row = {**numbered(9000), "vector": queries[0].tolist()}
        client.insert("probed", [row])
        strange = imgvec.watch_index(collection, no_scan=True)
        assert strange is not None
        assert (strange.unnoted, strange.ok) == (1, False)
        assert "written past imgvec" in strange.advice[0]


def test_a_fall_of_recall_is_told_from_a_drift_of_content(lite_uri: str) -> None:
    with filled(lite_uri, kind="IVF_FLAT") as collection:
        imgvec.set_search_defaults(collection, {"nprobe": 16})
        assert (made := imgvec.watch_index(collection, queries=drawn(60, seed=5))) is not None
        assert made.recall[10].mean > 0.99
        like = drawn(300, seed=7)
        collection.store.upsert([numbered(3000 + each) for each in range(300)], like)
        same = imgvec.watch_index(collection)
        assert same is not None
        assert same.drift is not None
        assert (same.ok, same.drift.found, same.drift.rows) == (True, False, 300)
        unlike = drawn(300, seed=8, shift=4.0)
        collection.store.upsert([numbered(4000 + each) for each in range(300)], unlike)
        drifted = imgvec.watch_index(collection)
        assert drifted is not None
        assert drifted.drift is not None
        assert (drifted.ok, drifted.drift.found) == (True, True)
        assert "unlike those before" in drifted.advice[0]
        collection.store.wait_until_indexed(60)
        collection.store.release()  # until it is loaded again, rows are searched without the index
        imgvec.set_search_defaults(collection, {"nprobe": 1})
        fell = imgvec.watch_index(collection)
        assert fell is not None
        assert fell.falls
        assert "nprobe=1," in fell.advice[0]
        assert "nprobe=16" in fell.advice[0]


def test_writes_that_fail_are_no_loss(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(lite_uri) as collection:
        queries = drawn(20, seed=5)
        assert imgvec.watch_index(collection, queries=queries) is not None
        client = collection.store.link.client
        with monkeypatch.context() as broken:

            def fails(name: str, *_: Any, **more: Any) -> None:
                if name == "probed":
                    raise RuntimeError("killed")
                return insert(name, *_, **more)

            insert = client.insert
            broken.setattr(client, "insert", fails)
            with pytest.raises(RuntimeError):
                collection.store.upsert([numbered(7000 + each) for each in range(20)], queries)
        found = imgvec.watch_index(collection, no_scan=True)
        assert found is not None
        assert (found.lost, found.ok) == ([], True)
        assert not wrong(collection, nearest_known(collection))


def test_it_is_turned_off_and_refuses_what_it_cannot_watch(lite_uri: str) -> None:
    empty = ImageCollection.create("empty", definition=definition(), uri=lite_uri, encoder=FakeEncoder(dim=DIM))
    with empty, pytest.raises(UsageError, match="has no rows yet"):
        imgvec.watch_index(empty)
    with filled(lite_uri) as collection:
        with pytest.raises(UsageError, match="16"):
            imgvec.watch_index(collection, queries=np.ones((3, 4), np.float32))
        assert imgvec.watch_index(collection, queries=drawn(20, seed=5)) is not None
        assert imgvec.watch_index(collection, off=True) is None
        assert collection.learned.keys() == []
        collection.store.upsert([numbered(1)], drawn(1))
        assert imgvec.watch_index(collection, off=True) is None
