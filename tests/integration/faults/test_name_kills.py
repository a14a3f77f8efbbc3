"""SIGKILL between the parts and the pointer of what is learned, and in a rename: nothing is lost, doubled or torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from backends import SERVER_BY_NIGHT
from fakes import FakeEncoder
from milvus_server import MilvusServer
from name_killer import arrays

import imgvec
from imgvec import ImageCollection
from imgvec.milvus.learned import LEARNED
from imgvec.retry import Retry

DEFINITION = {"encoder": {"model": "fake"}}
HERE = Path(__file__).parent
TESTS = HERE.parents[1]
LEARN_POINTS = ("before 1", "after 1", "amid 3", "after 7", "amid 8", "after 8", "amid 9", "before 9")
"""Seven calls write parts, the eighth writes the pointer, and the ninth removes what was there before."""


def run(uri: str, *words: str) -> int:
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "name_killer.py"), uri, *words]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, timeout=120).returncode


def opened(uri: str, name: str) -> ImageCollection:
    # a server that was killed needs its lease's time to load collections
    return Retry(60).call(lambda: ImageCollection.open(name, uri=uri, encoder=FakeEncoder()))


@pytest.fixture
def filled(backend_uri: str, pictures: Path) -> Iterator[str]:
    with filling(backend_uri, pictures):
        pass
    yield backend_uri
    with ImageCollection.open("live", uri=backend_uri) as photos:
        name = photos.name
    with ImageCollection.open(name, uri=backend_uri) as photos:
        imgvec.drop_alias(photos, "live")
        photos.drop()
        assert photos.handle.connection.collections() == []


@contextmanager
def filling(uri: str, pictures: Path) -> Iterator[ImageCollection]:
    """Twenty pictures, something learned, and an alias."""
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as photos:
        photos.ingest(pictures)
        photos.learned.write("projection", arrays(0))
        imgvec.set_alias(photos, "live")
        yield photos


def is_taught(photos: ImageCollection, seed: int) -> bool:
    found = photos.learned.read("projection")
    return found is not None and np.array_equal(found["matrix"], arrays(seed)["matrix"])


@SERVER_BY_NIGHT
def test_kills_while_something_is_learned(filled: str) -> None:
    taught, kills = 0, 0
    for seed, point in enumerate(LEARN_POINTS, 1):
        kills += run(filled, "learn", "live", str(seed), point) == -signal.SIGKILL
        with opened(filled, "live") as photos:
            whole = [each for each in (taught, seed) if is_taught(photos, each)]
            assert len(whole) == 1, f"killed {point}: neither what was there before, nor what was written"
            # the eighth call is the pointer: after that it is the new one, and before that the former
            assert point.startswith("amid 8") or whole == [
                seed if point[-1] in "89" and point != "before 8" else taught
            ]
            [taught] = whole
            connection = photos.handle.connection
            ids = [row["id"] for rows in connection.companion(photos.store, LEARNED).scan([]) for row in rows]
            assert len(ids) == len(set(ids))
            assert (photos.count(), sum(map(connection.has, ("photos", "photos__learned")))) == (20, 2)
    assert kills == len(LEARN_POINTS)
    assert run(filled, "learn", "live", "99", "nothing") == 0
    with opened(filled, "live") as photos:
        assert is_taught(photos, 99)


def check_renamed(uri: str, before: str, after: str, taught: int = 0) -> str:
    """The name that the collection has, which is one of the two, with everything that belongs to it."""
    with opened(uri, "live") as photos:
        connection = photos.handle.connection
        there = {name for name in connection.collections() if "__" not in name}
        assert there == {photos.name}
        assert photos.name in (before, after)
        assert connection.aliases() == {"live": photos.name}
        assert photos.count() == len({row["id"] for rows in photos.store.scan([]) for row in rows}) == 20
        assert is_taught(photos, taught)
        assert len(photos.search(np.eye(1, 16, dtype=np.float32)[0], limit=30)) == 20
        return photos.name


def test_kills_in_a_rename(filled: str) -> None:
    # Milvus Lite notes it, moves the folder, writes the name, then the aliases, and forgets the note
    steps, moving = (1, 1) if "://" in filled else (5, 2)
    points = [f"{when} {step}" for step in range(1, steps + 1) for when in ("before", "after")]
    name, kills = "photos", 0
    for number, point in enumerate(points):
        new = f"name{number}"
        kills += run(filled, "rename", name, new, point) == -signal.SIGKILL
        now = check_renamed(filled, name, new)
        assert (now == new) == (points.index(point) >= points.index(f"after {moving}")), point
        name = now
    assert kills == 2 * steps
    assert run(filled, "rename", name, "photos", "nothing") == 0
    assert check_renamed(filled, name, "photos") == "photos"


@pytest.mark.server
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_server_is_killed_in_a_rename(own_server: MilvusServer, pictures: Path) -> None:
    uri, name, kills, moved = own_server.uri, "photos", 0, 0
    with filling(uri, pictures):
        pass
    for number, seconds in enumerate((0.0, 0.002, 0.005, 0.01, 0.02, 0.05)):
        new = f"name{number}"
        with opened(uri, name) as photos:

            def rename(photos: ImageCollection = photos, new: str = new) -> None:
                with suppress(Exception):  # the server is killed under it
                    photos.store.link.client.rename_collection(photos.name, new, timeout=5)

            thread = threading.Thread(target=rename)
            thread.start()
            time.sleep(seconds)
            own_server.kill()
            kills += 1
            thread.join()
        own_server.start()
        now = Retry(60).call(lambda name=name, new=new: check_renamed(uri, name, new))
        moved += now != name
        name = now
    print(f"{kills} kills, {moved} renamed")
    assert moved
