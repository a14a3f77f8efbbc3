"""The space that uploads take up."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from imgvec.errors import SourceError
from imgvec.serving import uploads as room
from imgvec.serving.problems import Problem
from imgvec.serving.uploads import Uploads
from imgvec.sources import Keeper

BLOCK = 4096


def files(*sizes: int, start: int = 0) -> list[io.BytesIO]:
    return [io.BytesIO(bytes([start + number]) * size) for number, size in enumerate(sizes)]


def test_as_the_disk_does_it_counts_blocks(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 5 * BLOCK)
    kept = uploads.keep_all(files(1, BLOCK, BLOCK + 1))
    assert [each.is_new for each in kept] == [True] * 3
    with pytest.raises(Problem, match="20,480 bytes") as refused:
        uploads.keep_all(files(2 * BLOCK, start=10))
    assert refused.value.status == 507
    uploads.check_room()
    uploads.keep_all(files(BLOCK, start=10))
    with pytest.raises(Problem):
        uploads.check_room()
    uploads.remove(kept)
    uploads.check_room()
    uploads.keep_all(files(BLOCK, BLOCK, BLOCK, BLOCK, start=20))
    with pytest.raises(Problem):
        uploads.check_room()


def test_all_of_an_upload_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = Uploads(tmp_path, 3 * BLOCK)
    [there] = uploads.keep_all(files(1))
    with pytest.raises(Problem):
        uploads.keep_all(files(1, 1, 1, 1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Path(there.uri)]
    same = uploads.keep_all(files(1, 1, 1) + files(1, 1))  # a file is there once, however often it is sent
    assert [each.is_new for each in same] == [False, True, True, False, False]
    uploads.remove(same)

    def breaks(self: Keeper, data: bytes) -> str:
        if data.startswith(b"\x02"):
            raise SourceError("the disk is full")
        return keep(self, data)

    keep = Keeper.keep
    monkeypatch.setattr(Keeper, "keep", breaks)
    with pytest.raises(Problem, match="cannot be kept"):
        uploads.keep_all(files(1, 1, 1))
    monkeypatch.undo()
    assert len(uploads.keep_all(files(1, 1, 1))) == 3  # what was taken back takes up nothing


def test_what_lies_there_already_counts_and_what_is_somebody_elses_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Uploads(tmp_path, 0).keep_all(files(1))
    (tmp_path / "ab").mkdir(exist_ok=True)
    (tmp_path / "ab" / ".left-by-a-killed-server").write_bytes(b"a")
    (tmp_path / "summer").mkdir()
    (tmp_path / "summer" / "1.jpg").write_bytes(bytes(10 * BLOCK))
    (tmp_path / "cd").symlink_to(tmp_path / "summer")
    uploads = Uploads(tmp_path, 3 * BLOCK)
    uploads.keep_all(files(1, start=10))
    with pytest.raises(Problem):
        uploads.check_room()
    (tmp_path / "ab" / ".left-by-a-killed-server").unlink()
    with pytest.raises(Problem):  # it is not looked at each time
        uploads.check_room()
    monkeypatch.setattr(room, "_COUNTED_SECONDS", -1.0)
    uploads.check_room()


def test_any_space_and_none(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, 0)
    uploads.keep_all(files(*[1] * 100))
    uploads.check_room()
    with pytest.raises(Problem, match="--upload-dir") as refused:
        Uploads(None, 0).check_room()
    assert refused.value.status == 501
