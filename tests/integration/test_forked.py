"""imgvec in children of a process that has used it: forked, spawned, and inside an event loop.

Each test runs a program of its own, since what a fork leaves behind depends on everything that the process has done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder

from imgvec import ImageCollection

START = """
import asyncio, json, multiprocessing, os, sys, threading, time
import numpy as np
from fakes import FakeEncoder
from pictures import picture
from imgvec import ImageCollection

uri = sys.argv[1]
opened = lambda: ImageCollection.open("trip", uri=uri, encoder=FakeEncoder())
found = lambda photos: photos.search(picture(3), limit=1)[0].uri[-6:]

def child(function):
    '''What a forked child says of it: its answer or its error; None where it hangs.'''
    receive, send = multiprocessing.Pipe(duplex=False)
    if (number := os.fork()) == 0:
        try:
            answer = function()
        except Exception as exc:
            answer = f"{type(exc).__name__}: {exc}"
        send.send(answer)
        send.close()
        sys.exit(0)  # as gunicorn's workers do: with all that Python does at an exit
    send.close()
    answer = receive.recv() if receive.poll(60) else None
    for _ in range(200):
        if os.waitpid(number, os.WNOHANG)[0]:
            return answer
        time.sleep(0.05)
    os.kill(number, 9)
    os.waitpid(number, 0)
    return f"{answer}, and it does not end"
"""


def said(uri: str, program: str, **environment: str) -> Any:
    """What the program prints, as JSON."""
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", START + program, uri],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": paths, "GRPC_VERBOSITY": "info", **environment},
    )
    assert done.returncode == 0, done.stderr
    if "://" in uri:  # else a connection in the child hangs or aborts, now and then
        assert "skipping fork() handlers" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def uri(backend_uri: str, pictures: Path) -> str:
    """A collection `trip` of twenty pictures."""
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, uri=backend_uri, encoder=FakeEncoder()
    ) as photos:
        photos.ingest(pictures)
    return backend_uri


def test_what_was_opened_before_a_fork_is_refused_in_the_child(uri: str, pictures: Path) -> None:
    answers = said(
        uri,
        f"""
photos = opened()
answers = [found(photos)]
answers += [child(lambda: found(photos)), child(photos.count), child(lambda: photos.ingest({str(pictures)!r}))]
answers += [child(photos.close)]
answers += [found(photos), photos.count(), photos.delete([photos.search(picture(4), limit=1)[0].id])]
photos.close()
with opened() as photos:
    answers.append(photos.count())
print(json.dumps(answers))
""",
    )
    assert answers[0] == answers[5] == "03.jpg"
    for answer in answers[1:4]:
        assert answer.startswith("BackendUnavailable: the collection 'trip' was opened before this process was forked")
    # and nothing of it, nor the child's exit, has touched the parent's
    assert (answers[4], answers[6:]) == (None, [20, 1, 19])


def test_a_child_that_is_forked_while_a_thread_writes(uri: str) -> None:
    """What the thread holds at that moment nobody lets go of in the child."""
    answers = said(
        uri,
        """
import imgvec
photos = opened()
begun, done = threading.Event(), threading.Event()

def write():
    with photos.store.link.database.writing:
        begun.set()
        done.wait(120)

writer = threading.Thread(target=write)
writer.start()
begun.wait()
calls = [
    lambda: photos.store.discard(["a"]),
    lambda: photos.store.remember("a", {}),
    lambda: photos.learned.write("a", {"x": np.ones(1)}),
    lambda: imgvec.set_alias(photos, "prod"),
    lambda: imgvec.drop_alias(photos, "prod"),
    photos.drop,
]
answers = [child(call) for call in calls]
done.set()
writer.join()
answers.append(photos.count())
print(json.dumps(answers))
""",
    )
    for answer in answers[:-1]:
        assert answer is not None
        assert answer.startswith("BackendUnavailable: the co")
        assert "was opened before this process was forked" in answer
    assert answers[-1] == 20


def test_a_child_opens_its_own(uri: str) -> None:
    lite = "://" not in uri
    answers = said(
        uri,
        """
def own():
    with opened() as mine:
        return found(mine)

photos = opened()
found(photos)
answers = [child(own), photos.count()]
# one that waits until the parent has closed its own
receive, send = multiprocessing.Pipe(duplex=False)
threading.Timer(3, lambda: (photos.close(), send.send(1))).start()
answers += [child(lambda: receive.recv() and own())]
answers += [child(own), own()]
print(json.dumps(answers))
""",
    )
    if lite:  # before the parent has closed it, and after: gRPC's state is that of the moment of the fork
        assert answers[0].startswith("BackendUnavailable: cannot open")
        assert "was forked while its parent had a Milvus Lite database open" in answers[0]
        assert answers[2] == answers[0]
    else:
        assert (answers[0], answers[2]) == ("03.jpg", "03.jpg")
    assert (answers[1], answers[3:]) == (20, ["03.jpg", "03.jpg"])


def test_a_server_is_not_opened_where_the_parent_had_a_lite_database(tmp_path: Path, pictures: Path) -> None:
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, uri=str(tmp_path / "a.db"), encoder=FakeEncoder()
    ) as photos:
        photos.ingest(pictures)
    answers = said(
        str(tmp_path / "a.db"),
        """
photos = opened()
there = lambda: ImageCollection.open("trip", uri="http://user:secret@127.0.0.1:1", encoder=FakeEncoder())
answers = [child(there)]
photos.close()
print(json.dumps([*answers, child(there)]))
""",
    )
    assert "was forked while its parent had a Milvus Lite database open" in answers[0]
    assert "secret" not in answers[0]
    assert answers[1].startswith("BackendUnavailable: no Milvus server answers at http://127.0.0.1:1")


def test_children_forked_while_threads_search(uri: str) -> None:
    """On a server each has a connection of its own; of Milvus Lite each gets the sentence. None hangs."""
    answers = said(
        uri,
        """
def own():
    with opened() as mine:
        return [found(mine) for _ in range(5)] == 5 * ["03.jpg"]

photos, done, wrong = opened(), threading.Event(), []
def search():
    while not done.is_set():
        if found(photos) != "03.jpg":
            wrong.append(1)
busy = [threading.Thread(target=search) for _ in range(2)]
for thread in busy:
    thread.start()
time.sleep(1)
answers = [child(own) for _ in range(4)]
done.set()
for thread in busy:
    thread.join()
print(json.dumps([answers, wrong]))
""",
    )
    assert answers[1] == []
    for answer in answers[0]:
        assert answer is True or "was forked while its parent had a Milvus Lite database open" in answer


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_not_forked(backend_uri: str, uri: str, tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        START
        + f"""
def own(_):
    with opened() as mine:
        return found(mine)

if __name__ == "__main__":
    with opened() as photos:
        found(photos)
        if "://" in uri:  # and at the same time, where several may
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                assert pool.map(own, range(4)) == 4 * ["03.jpg"]
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(json.dumps(pool.map(own, range(2))))
"""
    )
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, str(program), backend_uri],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["03.jpg", "03.jpg"]


def test_inside_an_event_loop(uri: str) -> None:
    """A notebook's cells run in one: calls work there, and block it; threads do not."""
    answers = said(
        uri,
        """
async def cell():
    photos = opened()
    here = found(photos)
    there = await asyncio.gather(*(asyncio.to_thread(found, photos) for _ in range(8)))
    photos.close()
    return [here, *there]

print(json.dumps(asyncio.run(cell())))
""",
    )
    assert answers == 9 * ["03.jpg"]


@pytest.mark.weights
def test_an_encoder_that_was_used_before_a_fork(tmp_path: Path) -> None:
    """OpenMP's threads stay in the parent: without imgvec's doing the child waits for them for ever."""
    answers = said(
        "",
        """
from imgvec.encoders import load_encoder
from imgvec.encoders.protocol import EncoderSpec

spec = EncoderSpec("pypi:dinov2-small-11")
encoder = load_encoder(spec, device="cpu", dtype="fp32")
image = [picture(1, (256, 256))]
before = encoder.encode_images(image)
same = lambda one: float(np.abs(one.encode_images(image) - before).max()) < 1e-4

def in_a_thread():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(same(encoder)))
    thread.start()
    thread.join()
    return answers[0]

def held():
    '''Another thread of the parent encodes when it is forked.'''
    with encoder._turns.turn():
        time.sleep(3)

answers = [child(lambda: same(encoder)), child(in_a_thread)]
answers.append(child(lambda: same(load_encoder(spec, device="cpu", dtype="fp32"))))
answers.append(child(lambda: encoder.prepare_for(100_000)))
threading.Thread(target=held).start()
time.sleep(0.5)
answers.append(child(lambda: same(encoder)))
answers.append(same(encoder))
print(json.dumps(answers))
""",
        OMP_NUM_THREADS="2",
    )
    assert answers == [True, True, True, None, True, True]


def test_exact_search_that_was_used_before_a_fork() -> None:
    """Its products want OpenMP's threads too, which stay in the parent."""
    answers = said(
        "",
        """
from imgvec.indexes.exact import ExactSearch

rows = np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32)
ids = [str(number) for number in range(len(rows))]

def begun():
    search = ExactSearch(rows[:600], limit=5, metric_type="COSINE", device="cpu")
    search.add(ids[:10_000], rows[:10_000])
    return search

def ended(search):
    search.add(ids[10_000:], rows[10_000:])
    return search.neighbours().ids

def in_a_thread():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ended(begun())))
    thread.start()
    thread.join()
    return answers[0]

before, half = ended(begun()), begun()
answers = [child(lambda: ended(begun()) == before), child(lambda: in_a_thread() == before)]
# one that the parent began, and children while another thread of the parent searches
answers.append(child(lambda: ended(half) == before))
done = threading.Event()
def busy():
    while not done.is_set():
        ended(begun())
thread = threading.Thread(target=busy)
thread.start()
answers += [child(lambda: ended(begun()) == before) for _ in range(3)]
done.set()
thread.join()
answers.append(ended(half) == before)
print(json.dumps(answers))
""",
        OMP_NUM_THREADS="2",
    )
    assert answers == 7 * [True]


def test_what_is_awaited_is_refused_in_the_child(uri: str) -> None:
    program = """
from imgvec import AsyncImageCollection

async def used(photos):
    answer = await asyncio.gather(*(photos.search(picture(3), limit=1) for _ in range(4)))
    return answer[0][0].uri[-6:]

photos = AsyncImageCollection(opened())
before = asyncio.run(used(photos))
def refused():
    try:
        return asyncio.run(used(photos))
    finally:
        asyncio.run(photos.close())

print(json.dumps([before, child(refused), asyncio.run(used(photos))]))
"""
    before, refused, after = said(uri, program)
    assert (before, after) == ("03.jpg", "03.jpg")
    assert refused.startswith("BackendUnavailable: ")
    assert "was opened before this process was forked" in refused
