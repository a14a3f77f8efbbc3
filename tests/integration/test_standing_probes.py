"""Standing probes: what is known of their nearest rows is what NumPy finds, whoever writes; what is lost is seen."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from mixed_writes import main, nearest_known, opened, write, wrong
from pictures import picture
from rows import id_of, numbered

import imgvec
from imgvec import ImageCollection, rotating
from imgvec.cli import main as main_command
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


def test_two_writers_at_once_leave_what_numpy_finds(backend_uri: str) -> None:
    with filled(backend_uri) as collection:
        made = imgvec.watch_index(collection, queries=drawn(60, seed=5))
        assert made is not None
        assert (made.ok, made.open, made.scanned, made.basis) == (True, 0, True, "given")
        failures: list[BaseException] = []

        def writer(seed: int) -> None:
            try:
                with opened(backend_uri, "probed", DIM) as own:
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


def test_an_ingest_says_what_its_probes_found(
    lite_uri: str, pictures: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rotating, "SHARE", 1000.0)  # this ingest is over before a hundredth of it is anything
    with ImageCollection.create("photos", uri=lite_uri, encoder=FakeEncoder(dim=DIM)) as collection:
        assert collection.ingest(pictures).recall is None
        made = imgvec.watch_index(collection)
        assert made is not None
        assert (made.basis, made.probes, made.open) == ("edited", 20, 0)
        assert made.recall[10].mean == 1.0
        for number in range(5):
            picture(100 + number).save(pictures / f"new{number}.jpg")
        report = collection.ingest(pictures)
        assert report.written == 5
        assert report.recall is not None
        assert (report.recall["limit"], report.recall["mean"], report.recall["fell_by"]) == (10, 1.0, None)
        assert report.to_dict()["recall"]["probes"] == report.recall["probes"] > 0
        now = imgvec.watch_index(collection)
        assert now is not None
        assert now.ok
        assert now.drift is None  # a probe was made of each row that was there, so none is an example
        assert not wrong(collection, nearest_known(collection))
        assert imgvec.watch_index(collection, off=True) is None


def test_the_command_says_what_the_function_does(lite_uri: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.npy"
    np.save(queries, drawn(20, seed=5))
    with filled(lite_uri) as collection:
        client = collection.store.link.client
        said = run(lite_uri, "--queries", str(queries))
        assert said.exit_code == 0, said.output
        assert "1,200 rows, IVF_FLAT nlist=16; 20 probes (queries that were given), 0 open" in said.output
        assert "recall@10: 1.0000" in said.output
        assert "recall@100: 1.0000" in said.output
        gone = nearest_known(collection, 10)[0][0][0]
        client.delete("probed", ids=[gone])
        told = run(lite_uri, "-o", "json", "--no-scan")
        assert told.exit_code == 1
        data = json.loads(told.stdout)
        assert (data["ok"], data["lost"]) == (False, {"rows": 1, "first": [gone]})
        assert data["recall"]["100"]["probes"] == 20
        assert "missing: 1 row" in run(lite_uri, "--no-scan").output
        off = run(lite_uri, "--off")
        assert (off.exit_code, off.output) == (0, "probed: nothing is watched any more\n")


def test_it_looks_again_and_again_until_it_is_interrupted(lite_uri: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.npy"
    np.save(queries, drawn(20, seed=5))
    filled(lite_uri).close()
    command = [sys.executable, "-m", "imgvec", "--uri", lite_uri, "index", "watch", "-c", "probed", "-o", "json"]
    more = ["--queries", str(queries), "--every", "0.1"]
    with subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert [each["scanned"] for each in looks] == [True, False, False]
    assert [each["ok"] for each in looks] == [True, True, True]


def run(uri: str, *arguments: str) -> Result:
    return CliRunner().invoke(main_command, ["--uri", uri, "index", "watch", "-c", "probed", *arguments])


MANY, WRITES = 20_000, 5_000


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_ten_thousand_writes_of_two_processes_leave_what_numpy_finds(
    backend_uri: str, test_data: Path, tmp_path: Path
) -> None:
    """A file of Milvus Lite is one process's: there two threads write, each with a connection of its own."""
    stored = np.load(test_data / "vectors_cifar10.npy").astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    stored = np.random.default_rng(0).permutation(stored)  # they are sorted by class
    file = tmp_path / "vectors.npy"
    np.save(file, stored[MANY : 2 * MANY])
    made = ImageCollection.create(
        "many", definition=definition(nlist=64), uri=backend_uri, encoder=FakeEncoder(dim=stored.shape[1])
    )
    with made as collection:
        for start in range(0, MANY, 2000):
            rows = [numbered(each) for each in range(start, start + 2000)]
            collection.store.upsert(rows, stored[start : start + 2000])
        assert imgvec.watch_index(collection, queries=stored[-200:]) is not None
        began = time.monotonic()
        arguments = [[backend_uri, "many", str(file), str(seed), str(WRITES), str(MANY)] for seed in (1, 2)]
        if backend_uri.startswith("http"):
            script = [sys.executable, str(Path(__file__).parents[1] / "mixed_writes.py")]
            running = [subprocess.Popen([*script, *each]) for each in arguments]
            assert [each.wait() for each in running] == [0, 0]
        else:
            with ThreadPoolExecutor(2) as pool:
                for _ in pool.map(lambda each: main(each), arguments):
                    pass
        print(f"{2 * WRITES:,} writes in {time.monotonic() - began:.0f} s")
        known = nearest_known(collection)
        print(f"{len(known)} of 200 probes are not open")
        assert known
        assert not wrong(collection, known)
        closed = imgvec.watch_index(collection)
        assert closed is not None
        assert (closed.open, closed.lost, closed.unnoted) == (0, [], 0)
        known = nearest_known(collection)
        assert len(known) == 200
        assert not wrong(collection, known)
