"""Calls that nobody waits for any more: whoever abandons one ends its reads of Milvus, in whatever threads they are.

What is under way asks for its call where it waits (`ended_by`, `pause`) or is about to (`check`), and is left by
`Abandoned`, which no handler of errors takes for one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from time import sleep
from typing import TypeVar

T = TypeVar("T")


class Abandoned(BaseException):
    """Nobody waits for the answer; raised in the threads that work at it."""


class Call:
    """What somebody waits for. Any number of threads may work at it, and any may abandon it."""

    def __init__(self) -> None:
        self._state = threading.Lock()
        self._ends: dict[object, Callable[[], object]] = {}
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """End what is under way, and whatever follows; nothing happens where all is done."""
        with self._state:
            self._abandoned.set()
            ends = list(self._ends.values())
        for end in ends:
            end()

    def check(self) -> None:
        """Raise `Abandoned` once it is."""
        if self._abandoned.is_set():
            raise Abandoned

    def pause(self, seconds: float) -> None:
        """Sleep, but not once it is abandoned; raises `Abandoned`."""
        self._abandoned.wait(seconds)
        self.check()

    @contextmanager
    def ended_by(self, end: Callable[[], object]) -> Iterator[None]:
        """The block waits for something that `end`, which any thread may call, makes return; raises `Abandoned`."""
        key = object()
        with self._state:
            self._ends[key] = end
        try:
            if self._abandoned.is_set():  # before `end` was known
                end()
            yield
        finally:
            with self._state:
                del self._ends[key]
            self.check()


_current: ContextVar[Call | None] = ContextVar("imgvec_call", default=None)


def current() -> Call | None:
    """The call that this thread works at; None where nobody can abandon it."""
    return _current.get()


def pause(seconds: float) -> None:
    """`time.sleep`, which ends with `Abandoned` once the call is."""
    if (call := current()) is None:
        sleep(seconds)
    else:
        call.pause(seconds)


def of_call(call: Call, function: Callable[[], T]) -> Callable[[], T]:
    """The function, to be run in other threads as part of that call, with this one's context variables."""
    context = copy_context()
    context.run(_current.set, call)

    def checked() -> T:
        call.check()
        return function()

    return lambda: context.copy().run(checked)  # several threads may run it, and none enters the context of another


def of_this(function: Callable[[], T]) -> Callable[[], T]:
    """The function, to be run in other threads as part of the call that this one works at."""
    return function if (call := current()) is None else of_call(call, function)
