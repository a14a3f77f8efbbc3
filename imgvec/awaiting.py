"""Threads whose work an event loop awaits, and iterators whose steps it awaits.

Work runs in a thread, whole, since all that a search does besides waiting (decode, encode, order, group) is work that
would hold up the loop. Cancelling the task that awaits it ends its reads of Milvus, and frees the thread.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from imgvec import abandoned
from imgvec.abandoned import Abandoned, Call
from imgvec.errors import BackendUnavailable

T = TypeVar("T")


class Workers:
    """Up to `at_once` threads, started when they are needed; what comes beyond that waits. For any event loop."""

    def __init__(self, at_once: int) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="imgvec-await")
        self._calls: set[Call] = set()
        self._process = os.getpid()
        self._ended = False

    async def run(self, function: Callable[[], T], unwanted: Callable[[T], object] | None = None) -> T:
        """What the function gives, or raises. Cancelled, it is abandoned: what it gives all the same is `unwanted`.

        Raises `BackendUnavailable` once the workers have ended.
        """
        call = Call()
        with self.under_way(call):
            work = self.start(abandoned.of_call(call, lambda: _told(function)))
            try:
                return await asyncio.wrap_future(work)
            except Abandoned:
                raise closed() from None
            except asyncio.CancelledError:
                if unwanted is not None:
                    work.add_done_callback(lambda done: None if _failed(done) else unwanted(done.result()))
                raise
            finally:
                call.abandon()

    def start(self, function: Callable[[], T]) -> Future[T]:
        """Run it in a thread; raises `BackendUnavailable` once the workers have ended."""
        try:
            return self._threads.submit(function)
        except RuntimeError as exc:  # ended just now, or with the interpreter
            raise closed() from exc

    @contextmanager
    def under_way(self, call: Call) -> Iterator[None]:
        """In the block the call is abandoned when the workers end; raises `BackendUnavailable` once they have."""
        self._calls.add(call)  # before the look, so that whoever ends them sees it
        try:
            if self._ended:
                raise closed()
            yield
        finally:
            self._calls.discard(call)

    def end(self, *, wait: bool = True) -> None:
        """Abandon what is under way, and `wait` until the threads have ended."""
        self._ended = True
        if os.getpid() != self._process:
            return  # the threads are the parent's
        for call in list(self._calls):
            call.abandon()
        self._threads.shutdown(wait=wait)


def _told(function: Callable[[], T]) -> T:
    """What it gives, but no `StopIteration`: no future takes it before Python 3.12, and who awaits one waits on."""
    try:
        return function()
    except StopIteration as exc:
        raise RuntimeError("StopIteration was raised by what was called") from exc


def _failed(work: Future[Any]) -> bool:
    return work.cancelled() or work.exception() is not None


def closed() -> BackendUnavailable:
    """What is raised once the workers have ended."""
    return BackendUnavailable("the collection was closed: open it again")


class Steps:
    """The steps of an iterator, one after another, in any threads. What one that is given up finds comes again."""

    def __init__(self, items: Iterator[Any], end: Any) -> None:
        self._items, self._end = items, end
        self._turn, self._state = threading.Lock(), threading.Lock()  # the first while the iterator works
        self._returned: deque[Any] = deque()

    def step(self) -> Step:
        """The next one, to be called once."""
        return Step(self)

    def _next(self, step: Step) -> Any:
        with self._turn:
            with self._state:
                found = self._returned.popleft() if self._returned else None
            found = found or [next(self._items, self._end)]
            with self._state:
                step._found = found
                if step._given_up:
                    self._return(step)
        return found[0]

    def _give_up(self, step: Step) -> None:
        with self._state:
            step._given_up = True
            self._return(step)

    def _return(self, step: Step) -> None:
        found, step._found = step._found, None
        if found and found[0] is not self._end:
            self._returned.append(found)


class Step:
    """One step of `Steps`: of several that are awaited at once each has an item of its own."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._given_up = False
        self._found: list[Any] | None = None

    def __call__(self) -> Any:
        """The next item, or the end; in any thread."""
        return self._steps._next(self)

    def give_up(self) -> None:
        """Nobody has what it found, or will find: it is what the next step gives."""
        self._steps._give_up(self)
