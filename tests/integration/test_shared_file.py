"""While `imgvec serve` or `imgvec mcp` has a Milvus Lite file open, others of its user work through it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from served import PATIENCE, started
from vector_rows import eight

import imgvec
from imgvec import ImageCollection, ImageFile, StoredId
from imgvec.cli import main
from imgvec.database import connected
from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus import shared
from imgvec.milvus.shared import SHARED, Writing, remove_left

pytest.importorskip("fastapi")
if not sys.platform.startswith("linux"):
    pytest.skip("a Unix socket, and who is who in /proc", allow_module_level=True)

DEFINITION = {"encoder": {"model": "fake"}}


@pytest.fixture
def uri(lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    eight(lite_uri, tmp_path)
    return lite_uri


def told(*words: str) -> str:
    done = CliRunner().invoke(main, [*words])
    assert done.exit_code == 0, done.output
    return done.output


def test_others_work_through_it_and_nothing_is_lost_when_it_is_killed(uri: str, pictures: Path) -> None:
    picture = sorted(pictures.rglob("*.jpg"))[3]
    with started("-c", "eight") as (process, client):
        note = json.loads((Path(uri) / SHARED).read_text())
        assert note["process"] == process.pid
        assert (Path(uri) / SHARED).stat().st_mode & 0o077 == 0
        assert Path(note["folder"]).stat().st_mode & 0o077 == 0
        with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as trip:
            assert trip.ingest(pictures).written == 20
            assert trip.ingest(pictures).unchanged == 20
            first = trip.search(ImageFile(picture), limit=3)
            assert first[0].uri == str(picture)
            assert [hit.id for hit in trip.search(StoredId(first[0].id), limit=3)] == [hit.id for hit in first]
            assert "eight" in told("collections", "list")
            assert "trip" in told("collections", "list")
            assert trip.get([first[0].id])[first[0].id]["uri"] == first[0].uri
            # both see what either writes
            with ImageCollection.open("eight", uri=uri) as eight:
                ids = [row["id"] for rows in eight.store.scan(["id"]) for row in rows]
                assert eight.delete(ids[:3]) == 3
            assert client.get("/v1/collections/eight/count").json == {"count": 5}
            process.kill()
            process.wait(PATIENCE)
            with pytest.raises(BackendError):
                trip.count()
            assert (Path(uri) / SHARED).exists()  # nobody was left to remove it
            # now this process has the file to itself, beside the handle that was cut off
            with ImageCollection.open("trip", uri=uri, encoder=FakeEncoder()) as again:
                assert again.count() == 20
                assert [hit.id for hit in again.search(ImageFile(picture), limit=3)] == [hit.id for hit in first]
                assert again.ingest(pictures).unchanged == 20
    assert told("collections", "count", "eight").strip().startswith("5")
    with started("-c", "eight") as (process, _):
        assert "trip" in told("collections", "list")
        assert not Path(note["folder"]).exists()
        process.terminate()
        process.wait(PATIENCE)
    assert not (Path(uri) / SHARED).exists()


def test_only_its_own_user_is_let_in(uri: str) -> None:
    with started("-c", "eight") as (process, _):
        note = Path(uri) / SHARED
        folder = Path(json.loads(note.read_text())["folder"])
        for path, mode, former in ((note, 0o644, 0o600), (folder, 0o755, 0o700)):
            path.chmod(mode)
            with pytest.raises(BackendUnavailable, match=rf"process {process.pid} \(imgvec serve\) has it open"):
                ImageCollection.open("eight", uri=uri)
            path.chmod(former)
        kept = note.read_text()
        for said in ("", "[]", "{}", '{"folder": 3}', '{"folder": "/tmp"}', kept.replace("imgvec-shared-", "other-")):
            note.write_text(said)
            with pytest.raises(BackendUnavailable, match="has it open"):
                ImageCollection.open("eight", uri=uri)
        note.unlink()
        (note.parent / "elsewhere").write_text(kept)
        note.symlink_to(note.parent / "elsewhere")
        with pytest.raises(BackendUnavailable, match="has it open"):
            ImageCollection.open("eight", uri=uri)


def test_one_of_all_processes_writes_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "writing"
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def another_may() -> bool:
        return subprocess.run([sys.executable, "-c", script, file], stderr=subprocess.DEVNULL).returncode == 0

    writing = Writing(file)
    with writing:
        with writing:
            assert not another_may()
        assert not another_may()
    assert another_may()
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waits = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from imgvec.milvus.shared import *\nwith Writing(Path({str(file)!r})): print('in')",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waits.wait(2)
    assert waits.communicate(timeout=PATIENCE)[0] == "in\n"
    with Writing(tmp_path / "gone" / "writing"):  # who shared it has gone: Milvus says so
        pass


_SHARES = """
import sys
from imgvec.database import connected
from imgvec.milvus import shared
folder, held = shared._own_folder()
(folder / "milvus").touch()
print(folder, flush=True)
sys.stdin.read()
"""


def sharing(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds such a folder until it is killed, and the folder."""
    command = [sys.executable, "-c", _SHARES]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_killed_processes_left_goes_with_the_next_that_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (alive, its), (killed, left) = sharing(tmp_path), sharing(tmp_path)
    killed.kill()
    killed.communicate(timeout=PATIENCE)
    open_to_others = tmp_path / "imgvec-shared-open"
    open_to_others.mkdir(mode=0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "imgvec-shared-link").symlink_to(elsewhere)
    (tmp_path / "imgvec-shared-file").touch(mode=0o600)
    remove_left()
    assert not left.exists()
    assert (its / "milvus").exists()
    assert open_to_others.is_dir()
    assert elsewhere.is_dir()
    assert (tmp_path / "imgvec-shared-file").exists()
    alive.communicate(timeout=PATIENCE)
    remove_left()
    assert not its.exists()


def test_a_folder_that_is_taken_away_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = list[Path]()
    opened = shared._opened

    def beside(folder: Path) -> int:
        made.append(folder)
        if len(made) == 1:
            folder.rmdir()  # before it is opened
        number = opened(folder)
        if len(made) == 2:
            monkeypatch.setattr(shared, "_opened", opened)
            remove_left()  # between that and the lock
            monkeypatch.setattr(shared, "_opened", beside)
        return number

    monkeypatch.setattr(shared, "_opened", beside)
    folder, held = shared._own_folder()
    try:
        assert made[2:] == [folder]
        monkeypatch.setattr(shared, "_opened", opened)
        remove_left()
        assert [*tmp_path.iterdir()] == [folder]
    finally:
        os.close(held)


def test_a_killed_serve_leaves_nothing_behind_the_next_one(uri: str, tmp_path: Path) -> None:
    """Though that serves another file."""
    with started("-c", "eight") as (process, _):
        folder = Path(json.loads((Path(uri) / SHARED).read_text())["folder"])
        remove_left()
        assert folder.is_dir()
        process.kill()
        process.wait(PATIENCE)
    assert folder.is_dir()
    with connected(imgvec.Settings(uri=str(tmp_path / "other.db"))) as other:
        other.link.share()
        assert not folder.exists()


def test_others_work_through_an_agent_s_server_too(uri: str, pictures: Path) -> None:
    pytest.importorskip("mcp", reason="the extra `mcp` is not installed")
    command = [sys.executable, "-m", "imgvec", "mcp", "-c", "eight"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            until = time.monotonic() + PATIENCE
            while not (Path(uri) / SHARED).exists():
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            assert told("collections", "count", "eight").strip().startswith("8")
            with ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as trip:
                assert trip.ingest(pictures).written == 20
            assert "trip" in told("collections", "list")
        finally:
            said, _ = process.communicate(timeout=PATIENCE)  # its stdin ends, and so does it
    assert (said, process.returncode) == (b"", 0)
    assert not (Path(uri) / SHARED).exists()
