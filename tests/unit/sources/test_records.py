"""Reading one file: once, without waiting, and only what is a file."""

from __future__ import annotations

import os
import pickle
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgvec.errors import UnreadableImage
from imgvec.images import FileReader, content_hash
from imgvec.images.readers import describe_mode
from imgvec.sources import Record, record_id

pytestmark = pytest.mark.timeout(20)


def reason_of(path: Path | str, max_bytes: int = 1000) -> str:
    with pytest.raises(UnreadableImage) as caught:
        FileReader(str(path), "the uri").read(max_bytes)
    assert caught.value.uri == "the uri"
    return caught.value.reason


@contextmanager
def not_root() -> Iterator[None]:
    """Run as nobody where the tests run as root, to whom no file is forbidden."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_the_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    assert FileReader(str(path), "a").read(1000) == b"abc"
    assert FileReader(path, "a").read(3) == b"abc"


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1234))
    with pytest.raises(UnreadableImage, match=r"too large \(1,234 bytes, the limit is 1,233\)"):
        FileReader(str(path), "a").read(1233)


def test_a_sparse_terabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert reason_of(path) == "too large"


def test_missing_empty_and_directory(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    assert reason_of(tmp_path / "none.jpg") == "missing"
    assert reason_of(tmp_path / "empty.jpg" / "below") == "missing"
    assert reason_of(tmp_path / "empty.jpg") == "empty"
    assert reason_of(tmp_path / "folder.jpg") == "not a regular file"
    assert reason_of("nul\0byte") == "unusable name"
    assert reason_of("long" * 2000) == "unusable name"


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    assert reason_of(tmp_path / "fifo.jpg") == "not a regular file"


def test_devices_and_sockets(tmp_path: Path) -> None:
    assert reason_of("/dev/zero") == "not a regular file"
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s.jpg")
        assert reason_of(f"{short}/s.jpg") == "not a regular file"


def test_a_link_put_there_after_listing_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "a.jpg").symlink_to(tmp_path / "secret")
    assert reason_of(tmp_path / "a.jpg") == "not a regular file"


def test_permission_denied() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "a.jpg")
        path.write_bytes(b"abc")
        path.chmod(0o000)
        with not_root():
            assert reason_of(path) == "permission denied"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_that_says_it_is_empty_is_read_to_its_end() -> None:
    """Files in /proc have size 0, like a file that grows between the look at its size and the read."""
    data = FileReader("/proc/self/status", "x").read(100_000)
    assert data.endswith(b"\n")
    assert b"VmRSS" in data
    assert reason_of("/proc/self/status", max_bytes=10) == "too large"


@pytest.mark.parametrize(("change", "length"), [(+500, 600), (+1, 101), (-99, 1), (+901, None), (-100, 0)])
def test_a_file_that_changes_after_the_look_at_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int, length: int | None
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(100))
    fstat = os.fstat

    def fstat_then_change(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        os.truncate(path, 100 + change)
        return status

    monkeypatch.setattr(os, "fstat", fstat_then_change)
    if length:
        assert len(FileReader(str(path), "x").read(1000)) == length
    else:
        assert reason_of(path) == ("too large" if change > 0 else "empty")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFDIR, "a directory"), (stat.S_IFIFO, "a FIFO"), (stat.S_IFSOCK, "a socket"),
        (stat.S_IFBLK, "a block device"), (stat.S_IFCHR, "a character device"), (stat.S_IFLNK, "a symbolic link"),
        (0, "of an unknown kind"),
    ],
)  # fmt: skip
def test_kinds_of_files_in_words(mode: int, kind: str) -> None:
    assert describe_mode(mode | 0o644) == kind


def test_ids_and_hashes() -> None:
    # as `printf TEXT | b2sum -l 128` says; stored in collections, so they may never change
    assert record_id("/photos/a.jpg") == "46dd5d5b92eb57143f7758e85de62008"
    assert record_id("/photos/ä.jpg") != record_id("/photos/a.jpg")
    assert content_hash(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert len(record_id("bad \udcff name")) == 32


def test_records_travel_to_other_processes() -> None:
    record = Record("1", "a.jpg", FileReader("/a.jpg", "a.jpg"), {"album": "cats"})
    assert pickle.loads(pickle.dumps(record)) == record
