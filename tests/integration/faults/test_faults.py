"""What happens to an ingest on a long run: each fault has a bounded time and ends in the whole, or in a named error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from milvus_server import MilvusServer
from pictures import picture

from imgvec import ImageCollection, Settings
from imgvec.encoders.protocol import Pixels
from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound, WriteFailed
from imgvec.vectors import Vectors

DEFINITION = {"encoder": {"model": "fake"}}
# Milvus's own settings: so many MB a second, and code 8 for what is above
SLOW = {"QUOTAANDLIMITS_ENABLED": "true", "QUOTAANDLIMITS_DML_ENABLED": "true"} | {
    f"QUOTAANDLIMITS_DML_{kind}_{scope}": "0.001"
    for kind in ("INSERTRATE", "UPSERTRATE")
    for scope in ("MAX", "COLLECTION_MAX")
}


@pytest.fixture(autouse=True)
def small_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.ingest.pipeline.WRITE_ROWS", 8)
    monkeypatch.setattr("imgvec.ingest.reading.LOOKUP_ROWS", 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for i in range(64):
        picture(i).save(made / f"{i:03}.jpg")
    return made


class Hooked(FakeEncoder):
    """Calls `hook` once, before the batch that follows the first `after` images."""

    def __init__(self, hook: Callable[[], None], after: int = 24) -> None:
        super().__init__()
        self._hook, self._after = hook, after

    def encode(self, pixels: Pixels) -> Vectors:
        if self.encoded >= self._after:
            hook, self._hook = self._hook, lambda: None
            hook()
        time.sleep(0.02)  # slow enough that writing keeps up, so that the fault falls between two writes
        return super().encode(pixels)


def opened(uri: str, encoder: FakeEncoder | None = None, **settings: Any) -> ImageCollection:
    given = Settings.load(uri=uri, **settings)
    encoder = encoder or FakeEncoder()
    return ImageCollection.create("faults", definition=DEFINITION, encoder=encoder, settings=given, exist_ok=True)


def completes(uri: str, folder: Path) -> None:
    """The same call afterwards writes the rest, and nothing twice."""
    with opened(uri) as photos:
        there = photos.count()
        report = photos.ingest(folder)
        assert (report.unchanged, report.written, photos.count()) == (there, 64 - there, 64)


@pytest.mark.server
@pytest.mark.parametrize("own_server", [{"lease": 60}], indirect=True)  # a paused server's lease must outlive the pause
class TestServer:
    def test_frozen_for_a_while(self, own_server: MilvusServer, folder: Path) -> None:
        def freeze() -> None:
            own_server.pause()
            threading.Timer(5, own_server.resume).start()

        with opened(own_server.uri, Hooked(freeze), timeout=2, retry_seconds=60) as photos:
            report = photos.ingest(folder)
            assert (report.written, photos.count()) == (64, 64)
            assert report.retries >= 1

    def test_frozen_for_good(self, own_server: MilvusServer, folder: Path) -> None:
        with opened(own_server.uri, Hooked(own_server.pause), timeout=2, retry_seconds=3) as photos:
            started = time.monotonic()
            with pytest.raises(BackendError, match="did not answer in time"):
                photos.ingest(folder)
            assert time.monotonic() - started < 25
        own_server.resume()
        completes(own_server.uri, folder)

    def test_killed_for_good(self, own_server: MilvusServer, folder: Path) -> None:
        with opened(own_server.uri, Hooked(own_server.kill), timeout=5, retry_seconds=3) as photos:
            started = time.monotonic()
            with pytest.raises((BackendUnavailable, WriteFailed)):
                photos.ingest(folder)
            assert time.monotonic() - started < 30


@pytest.mark.server
def test_killed_and_started_again(own_server: MilvusServer, folder: Path) -> None:
    def crash() -> None:
        own_server.kill()
        threading.Thread(target=own_server.start).start()

    with opened(own_server.uri, Hooked(crash), timeout=5, retry_seconds=90) as photos:
        report = photos.ingest(folder)
        assert report.written == 64
        assert report.retries >= 1
    completes(own_server.uri, folder)


@pytest.mark.server
@pytest.mark.parametrize("own_server", [{"settings": SLOW}], indirect=True)
def test_a_rate_limit(own_server: MilvusServer, folder: Path) -> None:
    with opened(own_server.uri, retry_seconds=60) as photos:
        link = photos.store.link
        patient, link.timeout = link.timeout, 0.5  # pymilvus itself waits out a limit for so long
        report = photos.ingest(folder)
        link.timeout = patient
        assert (report.written, photos.count()) == (64, 64)
        assert report.retries >= 1


class Proxy:
    """Passes bytes on to a server, until `cut` closes what is open right after more than `after` bytes went there."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.cut_after: int | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upstream: bool) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
                if upstream and self.cut_after is not None:
                    self.cut_after -= len(data)
                    if self.cut_after < 0:  # the request is with the server, and its answer will reach nobody
                        self.cut_after = None
                        self.cuts += 1
                        break
        except OSError:
            pass
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.close()


@pytest.mark.server
def test_a_connection_reset_after_the_rows_were_sent(server_uri: str, folder: Path) -> None:
    proxy = Proxy(int(server_uri.rsplit(":", 1)[1]))
    try:

        def cut() -> None:
            proxy.cut_after = 500

        with opened(proxy.uri, Hooked(cut), timeout=5, retry_seconds=30) as photos:
            report = photos.ingest(folder)
            assert (report.written, photos.count(), proxy.cuts) == (64, 64, 1)
            photos.drop()
    finally:
        proxy.close()


def test_the_collection_is_dropped_meanwhile(backend_uri: str, folder: Path) -> None:
    with opened(backend_uri) as other, opened(backend_uri, Hooked(other.drop), retry_seconds=2) as photos:
        started = time.monotonic()
        with pytest.raises(CollectionNotFound):
            photos.ingest(folder)
        assert time.monotonic() - started < 20


def test_a_full_disk_under_milvus_lite(tmp_path: Path, folder: Path) -> None:
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        uri = str(disk / "lite.db")
        with opened(uri) as photos:
            photos.ingest(sorted(folder.iterdir())[:8])
            (disk / "filler").write_bytes(b"\0" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 16_384))
            with pytest.raises((WriteFailed, BackendError)):
                photos.ingest(folder)
        (disk / "filler").unlink()
        completes(uri, folder)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_rewritten_while_it_is_read(lite_uri: str, folder: Path) -> None:
    """Whatever was hashed is what was decoded, so the next run sees that the file is another one."""

    def rewrite() -> None:
        for path in folder.iterdir():
            picture(1000 + int(path.stem)).save(path)

    with opened(lite_uri, Hooked(rewrite)) as photos:
        photos.ingest(folder)
    with opened(lite_uri) as photos:
        photos.ingest(folder)
        for path in folder.iterdir():
            [hit] = photos.search(path, limit=1)
            assert (hit.uri, round(hit.score, 3)) == (str(path), 1)
        assert photos.ingest(folder).unchanged == 64


def test_milvus_lite_locked_by_another_process(lite_uri: str, folder: Path) -> None:
    code = (
        "import sys; from imgvec.milvus import connect\n"
        "connection = connect(sys.argv[1]); connection.collections(); print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, lite_uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "open\n"
        started = time.monotonic()
        who = rf"process {holder.pid} \(python" if Path("/proc/locks").exists() else "another process"
        with pytest.raises(BackendUnavailable, match=f"{who}.* has it open"):
            opened(lite_uri)
        assert time.monotonic() - started < 15
    finally:
        holder.communicate(timeout=30)
    with opened(lite_uri) as photos:
        assert photos.ingest(folder).written == 64
