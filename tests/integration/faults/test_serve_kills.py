"""SIGKILL of `imgvec serve` in the middle of its jobs: the next one goes on, no row is lost or there twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEncoder
from pictures import picture
from served import PATIENCE, Client

from imgvec import ImageCollection

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
V1 = "/v1/collections/killed"
PICTURES, UPLOADS = 120, 40


@contextmanager
def serve(uri: str, root: Path) -> Iterator[tuple[Client, subprocess.Popen[bytes]]]:
    """A server in a process of its own, killed at the end of the block."""
    port = root.parent / "port"
    port.unlink(missing_ok=True)
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / "served_child.py"), uri, str(root), str(port)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths})
    try:
        end = time.monotonic() + PATIENCE
        while not port.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield Client(int(port.read_text())), process
    finally:
        process.kill()
        process.wait()


def until(client: Client, jobs: list[str], written: int | None = None) -> list[dict[str, Any]]:
    """The jobs, once all have ended, or so many rows are written."""
    end = time.monotonic() + PATIENCE
    while True:
        found = [client.get(f"/v1/jobs/{id}").json for id in jobs]
        if all(job["state"] in ("succeeded", "failed", "cancelled") for job in found):
            return found
        if written is not None and sum(job["counts"].get("written", 0) for job in found) >= written:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.01)


def kill_and_go_on(uri: str, tmp_path: Path, kills: list[tuple[int, int]]) -> None:
    """Kills by (rows written since the start, signal)."""
    root = tmp_path / "root"
    root.mkdir()
    for number in range(PICTURES):
        picture(number).save(root / f"{number:03}.jpg")
    definition = {"encoder": {"model": "fake"}}
    ImageCollection.create("killed", definition=definition, uri=uri, encoder=FakeEncoder()).close()
    jobs: list[str] = []
    for written, how in kills:
        with serve(uri, root) as (client, process):
            if not jobs:
                jobs.append(client.post(f"{V1}/ingest", {"source": str(root)}).json["id"])
                parts: list[tuple[str, str | None, bytes]] = []
                for number in range(PICTURES, PICTURES + UPLOADS):
                    picture(number).save(tmp_path / "upload.jpg")
                    parts.append(("image", "a", (tmp_path / "upload.jpg").read_bytes()))
                jobs.append(client.upload(f"{V1}/ingest", parts).json["id"])
            until(client, jobs, written)
            process.send_signal(how)
            process.wait(PATIENCE)
    with serve(uri, root) as (client, _):
        done = until(client, jobs)
        assert [job["state"] for job in done] == ["succeeded", "succeeded"]
        assert done[0]["starts"] + done[1]["starts"] > 2
        assert [job["counts"]["written"] + job["counts"]["unchanged"] for job in done] == [PICTURES, UPLOADS]
    with ImageCollection.open("killed", uri=uri, encoder=FakeEncoder()) as photos:
        rows = [row for batch in photos.store.scan(["id", "uri"]) for row in batch]
        assert photos.count() == len(rows) == len({row["id"] for row in rows}) == PICTURES + UPLOADS
        assert len({row["uri"] for row in rows}) == PICTURES + UPLOADS
        kept = [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()]
        assert {str(path) for path in kept} <= {row["uri"] for row in rows}
        assert len(kept) == UPLOADS


def test_killed_and_stopped_servers_go_on(lite_uri: str, tmp_path: Path) -> None:
    kill_and_go_on(lite_uri, tmp_path, [(30, signal.SIGKILL), (20, signal.SIGTERM)])


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills(backend_uri: str, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kills = [(chance.randrange(40), chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])) for _ in range(6)]
    kill_and_go_on(backend_uri, tmp_path, kills)
