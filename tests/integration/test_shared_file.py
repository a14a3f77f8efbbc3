"""While `imgvec serve` has a Milvus Lite file open, others of its user work through it; and not when it is gone."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from served import PATIENCE, started

import imgvec
from imgvec import ImageCollection, ImageFile, StoredId
from imgvec.cli import main
from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus.shared import SHARED, Writing

pytest.importorskip("fastapi")
if not sys.platform.startswith("linux"):
    pytest.skip("a Unix socket, and who is who in /proc", allow_module_level=True)

DEFINITION = {"encoder": {"model": "fake"}}


@pytest.fixture
def uri(lite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file with vectors that came from elsewhere, for whose collection no encoder is loaded."""
    monkeypatch.setenv("IMGVEC_URI", lite_uri)
    np.save(tmp_path / "vectors.npy", np.eye(8, dtype=np.float32))
    settings = imgvec.Settings(uri=lite_uri)
    with imgvec.create_for_vectors("eight", tmp_path / "vectors.npy", settings=settings) as made:
        imgvec.import_vectors(made, tmp_path / "vectors.npy")
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


_WRITES = """
import sys
from pathlib import Path
from imgvec.milvus.shared import Writing
with Writing(Path(sys.argv[1])):
    print("in")
"""


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
