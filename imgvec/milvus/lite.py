"""Milvus Lite databases opened in this process: one server thread a file, shared, and closed with its last user."""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from imgvec.errors import BackendUnavailable
from imgvec.home import at_home
from imgvec.milvus import shared
from imgvec.milvus.holders import holder

log = logging.getLogger(__name__)

_SERVER_LOG = "milvus_lite.server_manager"
_SQLITE = b"SQLite format 3\0"


@dataclass
class LiteFile:
    """An open Milvus Lite database; `release` it once."""

    path: Path
    uri: str
    """Where its server thread listens on this machine."""
    ours: bool
    """False if someone else in this process had it open before imgvec, and closes it, or another process has."""
    users: int = 0
    writing: shared.Writing = field(default_factory=shared.Writing)
    """Milvus Lite takes one writer a collection, and does not check."""
    guest_of: Path | None = None
    """The folder of the process that has it open, through which this one works; `imgvec.milvus.shared`."""
    sharing: shared.Share | None = None
    """How others work through this process."""
    left: set[tuple[str, str]] = field(default_factory=set)
    """The names that collections had before they were dropped or renamed here, each with the collection's key.

    A search that is under way meanwhile finds nothing, and Milvus Lite says nothing of it.
    """

    def share(self) -> None:
        """Let other processes of this user work through this one, until it is closed.

        Where that cannot be, as there is no place for a socket, a line is logged.
        """
        from milvus_lite.server_manager import server_manager_instance

        with _lock:
            if self.sharing is not None or self.guest_of is not None:
                return
            _, db, _ = server_manager_instance._servers[str(self.path)]
            try:
                self.sharing = shared.Share(self.path, db)
            except OSError as exc:
                log.warning("%s cannot be shared with other processes: %s", self.path, exc)
                return
            self.writing.file = self.sharing.lock

    def collection(self, name: str, db_name: str) -> Any | None:
        """Milvus Lite's own object of a collection; None where another process has the file open, or none of that name
        is there."""
        from milvus_lite.server_manager import server_manager_instance

        served = None if self.guest_of else server_manager_instance._servers.get(str(self.path))
        if served is None:
            return None
        try:
            return served[1].get_collection(name, **({"database_name": db_name} if db_name else {}))
        except Exception:  # noqa: BLE001  whatever it is: a call to Milvus Lite says what is wrong
            return None

    def release(self) -> None:
        """Count one user less; after the last one the server thread ends and the file's lock is free."""
        from milvus_lite.server_manager import server_manager_instance

        with _lock:
            self.users -= 1
            if self.users > 0:
                return
            if _open.get(self.path) is self:
                del _open[self.path]
            if self.sharing is not None:
                self.sharing.end()
            if self.ours:
                server_manager_instance.release_server(str(self.path))


_lock = threading.Lock()
_open: dict[Path, LiteFile] = {}
_parents: list[object] = []
"""What a forked child has of its parent's databases: kept, since whatever closed them would write into their files."""


def refuse_beside_the_parents(shown: str) -> None:
    """Raise `BackendUnavailable` in a child that was forked while its parent had a database open.

    The parent's server threads were inside gRPC at that moment, and gRPC then leaves the child's poller as it was: a
    connection or a server in the child aborts the process now and then (gRPC 1.85: "skipping fork() handlers", then a
    failed check in ev_epoll1_linux.cc).
    """
    if _parents:
        raise BackendUnavailable(
            f"cannot open {shown}: this process was forked while its parent had a Milvus Lite database open, after "
            "which gRPC cannot be used in it. Close what is open before forking, or start children with "
            "multiprocessing's spawn or forkserver"
        )


def open_lite(location: str) -> LiteFile:
    """Open or create the database at a path; `BackendUnavailable` says why it cannot be."""
    path = at_home(location.removeprefix("file://")).resolve()  # Milvus Lite refuses a dangling link
    if not path.parent.is_dir():
        raise BackendUnavailable(f"cannot open {path}: the folder {path.parent} does not exist, create it first")
    try:
        from milvus_lite.server_manager import server_manager_instance
    except ImportError as exc:
        raise BackendUnavailable(f"cannot open {path}: Milvus Lite is not installed (pip install milvus-lite)") from exc
    with _lock:
        found = _open.get(path)
        if found is not None and found.guest_of is not None and shared.found(path) != found.guest_of:
            found = None  # whose guest it was has gone, or another has it open now
        if found is None:
            _leave_to_the_parent_at_fork()
            ours = str(path) not in server_manager_instance._servers
            with _Overheard() as overheard:
                uri = server_manager_instance.start_and_get_uri(str(path))
            if uri is not None:
                found = _open[path] = LiteFile(path, uri, ours)
            elif _is_locked(overheard.reason) and (host := shared.found(path)) is not None:
                writing = shared.Writing(shared.lock(host))
                found = _open[path] = LiteFile(path, shared.address(host), False, writing=writing, guest_of=host)
            else:
                raise BackendUnavailable(_why(path, overheard.reason)) from overheard.reason
        found.users += 1
        return found


@cache
def _leave_to_the_parent_at_fork() -> None:
    os.register_at_fork(after_in_child=_left_to_the_parent)


def _left_to_the_parent() -> None:
    """In a forked child: the files belong to the parent, whose threads serve them.

    Milvus Lite closes what is open when a process exits, and that must not be the parent's database.
    """
    global _lock
    from milvus_lite.server_manager import server_manager_instance

    _lock = threading.Lock()
    for sharing in [each.sharing for each in _open.values() if each.sharing is not None]:
        _parents.append(sharing)
        os.close(sharing.held)  # with it the parent's folder would be locked for as long as the child lives
    _open.clear()
    server_manager_instance._lock = threading.Lock()
    for server, db, _ in server_manager_instance._servers.values():
        _parents.extend((server, db))
        # a copy of the parent's: with it the lock would outlive the parent
        if isinstance(number := getattr(db, "_lock_fd", None), int):
            with suppress(OSError):
                os.close(number)
            db._lock_fd = None
    server_manager_instance._servers.clear()


class _Overheard(logging.Filter):
    """Keeps the reason that Milvus Lite logs, where it returns only None, and keeps it off the log."""

    reason: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            self.reason = record.exc_info[1]
            return False
        return True

    def __enter__(self) -> _Overheard:
        logging.getLogger(_SERVER_LOG).addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(_SERVER_LOG).removeFilter(self)


def _is_locked(reason: BaseException | None) -> bool:
    return type(reason).__name__ == "DataDirLockedError"


def _why(path: Path, reason: BaseException | None) -> str:
    if _is_locked(reason):
        who = holder(path)
        done = "ask it over HTTP, or stop it" if who.endswith("(imgvec serve)") else "stop that process"
        return f"cannot open {path}: {who or 'another process'} has it open; {done}, or use a Milvus server"
    if path.is_file():
        with path.open("rb") as file:
            old = file.read(len(_SQLITE)) == _SQLITE
        what = (
            "is a file of Milvus Lite 2.x, which Milvus Lite 3 cannot read" if old else "is not a Milvus Lite database"
        )
        return f"cannot open {path}: it {what}; use another path"
    if isinstance(reason, OSError) and reason.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot open {path}: no permission to write there"
    if isinstance(reason, OSError) and reason.errno == errno.ENOSPC:
        return f"cannot open {path}: the disk is full"
    return f"cannot open {path}: {reason or 'Milvus Lite did not start'}"
