"""A Milvus Lite database that other processes of the same user work through, while this one has it open.

The file belongs to one process. The one that shares it serves it, in Milvus's own protocol, on a Unix socket in a
folder that nobody else may enter, and says in the database, in `SHARED`, where that is. Whoever finds the database
locked looks there and connects instead of opening it, and everything works through it, as by a server: that is why it
is not REST, which does a part of it, nor a port of this machine, which any user could reach. What the note says is true
only as long as the lock is held, so that one that a killed process has left behind harms nobody: the lock is free then,
and the next one opens the database itself. The folder is locked for as long as its process lives, too, and those that
others of the same user have left behind are removed by the next one that shares anything.

Milvus Lite takes one writer a collection and does not check. So those that share a database lock a file beside the
socket for as long as they write.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

SHARED = "imgvec-shared.json"
_PREFIX = "imgvec-shared-"
_SOCKET, _LOCK = "milvus", "writing"
_WORKERS = 10
"""Threads for the requests of others: as many as Milvus Lite has for this process's own."""
_SECONDS = 5.0


class Writing:
    """One at a time writes, of the threads of this process, and, once there is a `file`, of all that lock it."""

    def __init__(self, file: Path | None = None) -> None:
        self._mine, self._depth, self._held = threading.RLock(), 0, -1
        self.file = file

    def __enter__(self) -> Self:
        self._mine.acquire()
        try:
            if self._depth == 0 and self.file is not None:
                # opened each time: a forked child that had the same one would hold the lock too
                number = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(number, fcntl.LOCK_EX)
                except BaseException:
                    os.close(number)
                    raise
                self._held = number
            self._depth += 1
        except FileNotFoundError:  # who shared it has gone: Milvus will say so
            self._depth += 1
        except BaseException:
            self._mine.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._held >= 0:
            os.close(self._held)
            self._held = -1
        self._mine.release()


class Share:
    """Serves a database to others until it ends; raises `OSError` where that cannot be."""

    def __init__(self, path: Path, db: Any) -> None:
        from milvus_lite.adapter.grpc.server import _build_server

        self._note = path / SHARED
        if (former := _noted(path)) is not None:  # of a process that was killed: the lock is ours
            shutil.rmtree(former, ignore_errors=True)
        remove_left()
        self.folder, self.held = _own_folder()
        try:
            self._server = _build_server(db, _WORKERS)
            self._server.add_insecure_port(f"unix:{self.folder / _SOCKET}")
            self._server.start()
            self._say()
        except RuntimeError as exc:  # gRPC's word for a socket that cannot be made
            self._remove()
            raise OSError(str(exc)) from exc
        except BaseException:
            self._remove()
            raise

    @property
    def lock(self) -> Path:
        """What whoever writes locks."""
        return self.folder / _LOCK

    def end(self) -> None:
        """No more is taken on; what is under way has two seconds, as Milvus Lite gives its own."""
        self._note.unlink(missing_ok=True)
        self._server.stop(grace=2).wait()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.held)

    def _say(self) -> None:
        number, name = tempfile.mkstemp(prefix=f".{SHARED}", dir=self._note.parent)  # 0600
        with os.fdopen(number, "w") as file:
            json.dump({"folder": str(self.folder), "process": os.getpid()}, file)
        Path(name).replace(self._note)


def found(path: Path) -> Path | None:
    """The folder by which the locked database at a path is shared with this user, if it is and somebody answers."""
    folder = _noted(path)
    return folder if folder is not None and _answers(folder) else None


def _answers(folder: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(_SECONDS)
            one.connect(str(folder / _SOCKET))
    except OSError:
        return False
    return True


def remove_left() -> None:
    """Remove the folders that processes of this user which are no more have left behind.

    A folder whose lock can be had has nobody: whoever makes one looks, once it has the lock, whether it is still there.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            number = _opened(folder)
            try:
                if _is_own(os.fstat(number)) and not _answers(folder):
                    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(folder, number):
                        shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(number)


def _own_folder() -> tuple[Path, int]:
    """A folder that nobody else may enter, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # 0700
        with suppress(FileNotFoundError):  # somebody took it for one that was left behind, before it was locked
            number = _opened(folder)
            fcntl.flock(number, fcntl.LOCK_EX)
            if _is_at(folder, number):
                return folder, number
            os.close(number)


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_at(folder: Path, number: int) -> bool:
    """Whether it is this folder that was opened."""
    try:
        return os.path.samestat(folder.lstat(), os.fstat(number))
    except FileNotFoundError:
        return False


def address(folder: Path) -> str:
    """For pymilvus."""
    return f"unix:{folder / _SOCKET}"


def lock(folder: Path) -> Path:
    """What whoever writes locks."""
    return folder / _LOCK


def _noted(path: Path) -> Path | None:
    """The folder that the note names, if both are this user's own and nobody else may touch them."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        number = os.open(path / SHARED, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(number) as file:
            if not _is_own(os.fstat(number)):
                return None
            folder = Path(json.loads(file.read(4096))["folder"])
        if folder.name.startswith(_PREFIX) and _is_own(folder.lstat()) and folder.is_dir() and not folder.is_symlink():
            return folder
    return None


def _is_own(found: os.stat_result) -> bool:
    return found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
