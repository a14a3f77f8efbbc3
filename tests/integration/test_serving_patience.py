"""Clients that hold a connection to `imgvec serve` and do nothing with it, and encoders that it tunes."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder
from PIL import Image
from served import PATIENCE, Client, serving

from imgvec import ImageCollection, Settings, abandoned
from imgvec.serving import served as serving_room
from imgvec.vectors import Vectors

LIVE = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Tuned(FakeEncoder):
    """Notes what it was tuned for."""

    def __init__(self) -> None:
        super().__init__()
        self.tuned: list[int | None] = []

    def prepare_for(self, images: int | None = None) -> None:
        self.tuned.append(images)


@pytest.fixture
def photos(lite_uri: str, tmp_path: Path) -> Iterator[ImageCollection]:
    """One picture, whose file is larger than what a system keeps of what nobody reads."""
    pixels = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.bmp")
    settings = Settings(uri=lite_uri, roots=(tmp_path,))
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=Tuned()
    ) as made:
        made.ingest(tmp_path / "large.bmp")
        yield made


def connected(client: Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=PATIENCE)


def dribbled(connection: socket.socket, data: Iterable[bytes]) -> None:
    """Send a little every moment, for as long as anybody takes it."""
    with suppress(ConnectionError):
        for each in data:
            connection.sendall(each)
            time.sleep(0.05)
        pytest.fail("it was taken to the end")


def test_heads_that_do_not_come_whole(photos: ImageCollection) -> None:
    moments = range(int(PATIENCE / 0.05))
    with serving({"trip": photos}, deadline=0.5) as client:
        with closing(connected(client)) as silent:
            assert silent.recv(1) == b""
        with closing(connected(client)) as slow:
            slow.sendall(LIVE)
            dribbled(slow, (b"X-%d: a\r\n" % number for number in moments))
        with closing(connected(client)) as second:  # the same after a whole request
            second.sendall(LIVE + b"\r\n")
            assert second.recv(65_536).startswith(b"HTTP/1.1 200")
            dribbled(second, (LIVE[number : number + 1] or b"a" for number in moments))
        assert client.get("/livez").status == 200


def test_a_connection_that_is_used_lasts(photos: ImageCollection) -> None:
    with serving({"trip": photos}, deadline=0.5) as client:
        lasting = http.client.HTTPConnection("127.0.0.1", client.port, timeout=PATIENCE)
        lasting.connect()
        first, until = lasting.sock, time.monotonic() + 1.5
        while time.monotonic() < until:
            lasting.request("GET", "/livez")
            assert lasting.getresponse().read()
            assert lasting.sock is first
            time.sleep(0.1)
        lasting.close()


def test_answers_that_are_not_read(photos: ImageCollection) -> None:
    [[row]] = photos.store.scan(["id"])
    path = f"/v1/collections/trip/images/{row['id']}/original"
    with serving({"trip": photos}, deadline=0.5) as client:
        whole = client.get(path)
        assert (whole.status, len(whole.body)) == (200, 2400 * 2400 * 3 + 54)
        assert client.server is not None
        with closing(socket.socket()) as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.settimeout(PATIENCE)
            idle.connect(("127.0.0.1", client.port))
            idle.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert idle.recv(1) == b"H"
            until = time.monotonic() + PATIENCE
            while client.server.server_state.tasks:  # the request is over, without anything having been read
                assert time.monotonic() < until
                time.sleep(0.05)


def test_encoders_are_tuned_once_they_are_warm(photos: ImageCollection) -> None:
    encoder = photos.encoder
    assert isinstance(encoder, Tuned)
    ready, may = threading.Event(), threading.Event()
    tune = encoder.prepare_for

    def slowly(images: int | None = None) -> None:
        ready.set()
        assert may.wait(PATIENCE)
        tune(images)

    encoder.prepare_for = slowly  # type: ignore[method-assign]  # which takes its time
    with serving({"trip": photos}) as client:
        try:
            assert ready.wait(PATIENCE)
            assert client.get("/readyz").status == 200, "it answers meanwhile"
        finally:
            may.set()
    assert encoder.tuned == [1000]


def test_a_stop_ends_what_measures(photos: ImageCollection) -> None:
    encoder = photos.encoder
    measuring, ended = threading.Event(), threading.Event()

    def until_abandoned(_: int | None = None) -> None:
        measuring.set()
        try:
            while True:  # as the passes of an encoder do, each of which asks before it begins
                abandoned.pause(0.01)
        finally:
            ended.set()

    encoder.prepare_for = until_abandoned  # type: ignore[attr-defined]
    with serving({"trip": photos}) as client:
        assert measuring.wait(PATIENCE)
        assert client.get("/readyz").status == 200
        assert not ended.is_set()
    assert ended.is_set()


def test_what_hears_of_no_stop_does_not_hold_it_up(photos: ImageCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler, or a download that hangs."""
    monkeypatch.setattr(serving_room, "STOP_SECONDS", 0.01)
    compiling, may = threading.Event(), threading.Event()

    def compiled(_: int | None = None) -> None:
        compiling.set()
        assert may.wait(2 * PATIENCE)

    photos.encoder.prepare_for = compiled  # type: ignore[attr-defined]
    try:
        with serving({"trip": photos}):
            assert compiling.wait(PATIENCE)
        assert not may.is_set()
        [warmer] = [each for each in threading.enumerate() if each.name == "imgvec-warm"]
        assert warmer.daemon
    finally:
        may.set()
    warmer.join(PATIENCE)
    assert not warmer.is_alive()


def test_an_encoder_that_breaks_does_not_keep_the_others_cold(
    photos: ImageCollection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeEncoder):
        def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
            raise ZeroDivisionError("in somebody's own code")

    definition = {"encoder": {"model": "fake"}}
    broken = ImageCollection.create("broken", definition=definition, settings=photos.settings, encoder=Broken())
    encoder = photos.encoder
    assert isinstance(encoder, Tuned)
    with serving({"broken": broken, "trip": photos}) as client:
        until = time.monotonic() + PATIENCE
        while not encoder.tuned:
            assert time.monotonic() < until
            time.sleep(0.01)
        got = client.get("/readyz")
        assert (got.status, got.json["checks"]) == (503, {"milvus": True, "encoders": False})
        assert client.get("/v1/collections/trip").json["takes"]["image"] is True
        assert client.get("/v1/collections/broken").json["takes"]["image"] is False
    assert "an encoder cannot make a vector" in caplog.text
