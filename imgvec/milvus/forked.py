"""Connections in a forked child: gRPC's threads and sockets are the parent's, and so is a Milvus Lite database.

gRPC prepares a child by itself, but not while another thread of the parent is inside one of its calls ("Other threads
are currently calling into gRPC, skipping fork() handlers"): in such a child a connection hangs now and then (1 of 30
on gRPC 1.85), or the process aborts. So `calling` counts the calls under way, and a fork waits until they have ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from imgvec.errors import BackendUnavailable

FORK_WAITS = 2.0
"""Seconds that a fork waits for calls under way; most take milliseconds, and a fork must not wait for a long one."""


class _Calls:
    """The calls into gRPC that are under way; those that begin while a fork waits begin after it."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._renew(0)

    def _renew(self, under_way: int) -> None:
        self._changed = threading.Condition()
        self._under_way, self._forking = under_way, False

    @property
    def _depth(self) -> int:
        """How many calls, each within the other, this thread is in."""
        return getattr(self._own, "depth", 0)

    def begin(self) -> None:
        if not self._depth:
            with self._changed:
                while self._forking:
                    self._changed.wait()
                self._under_way += 1
        self._own.depth = self._depth + 1

    def end(self) -> None:
        self._own.depth -= 1
        if not self._depth:
            with self._changed:
                self._under_way -= 1
                if self._forking:
                    self._changed.notify_all()

    def before_fork(self) -> None:
        own = 1 if self._depth else 0
        with self._changed:
            self._forking = True
            self._changed.wait_for(lambda: self._under_way <= own, FORK_WAITS)

    def after_fork_in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        self._renew(1 if self._depth else 0)


_calls = _Calls()
os.register_at_fork(
    before=_calls.before_fork,
    after_in_parent=_calls.after_fork_in_parent,
    after_in_child=_calls.after_fork_in_child,
)


@contextmanager
def calling() -> Iterator[None]:
    """The block calls into gRPC: no fork happens meanwhile, unless it lasts longer than `FORK_WAITS`."""
    _calls.begin()
    try:
        yield
    finally:
        _calls.end()


class Owner:
    """The process that opened something."""

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def is_this(self) -> bool:
        return self._process == os.getpid()

    def check(self, what: str) -> None:
        """Raise `BackendUnavailable` in a child that was forked from it."""
        if not self.is_this:
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        raise BackendUnavailable(
            f"{what} was opened before this process was forked and cannot be used here: open it again in this "
            f"process (if it is a Milvus Lite file, close it before forking)"
        )
