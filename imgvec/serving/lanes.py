"""Where the work of requests is done: in threads, a lane for each kind, so that no kind waits for another.

What needs the encoder waits for it in one lane, stored rows and vectors go by another, and pictures that are opened and
fetched by a third. Searches that wait together, with the same options, go as one (`imgvec.sharing`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Receive

from imgvec.abandoned import Abandoned
from imgvec.awaiting import Workers
from imgvec.serving.problems import Problem, busy
from imgvec.sharing import Hold

T = TypeVar("T")


class Lane:
    """`at_once` requests are worked on, `queue` more wait, and others are refused at once with 503.

    A request whose client has gone, or that takes longer than `deadline` seconds, is abandoned: its reads of Milvus
    end. It holds its place until its thread is free, so that what is abandoned does not make room before it ends.
    """

    def __init__(self, name: str, *, at_once: int, queue: int, deadline: float) -> None:
        self.name, self._at_once, self._most, self._deadline = name, at_once, at_once + queue, deadline
        self.workers, self._turns = Workers(at_once), asyncio.Semaphore(at_once)
        self._lock = threading.Lock()
        self.taken = 0
        """Requests that are worked on or wait."""

    @property
    def waiting(self) -> int:
        """Requests that nobody works on yet."""
        return max(0, self.taken - self._at_once)

    async def run(self, request: Request, function: Callable[[], T]) -> T:
        """What the function gives, in a thread, or raises; as `wait`."""
        return await self.wait(request, lambda hold: self.workers.run(hold(function)))

    async def wait(self, request: Request, begin: Callable[[Hold], Awaitable[T]]) -> T:
        """What is awaited once it may begin, or what that raises; its threads are to `hold` the request's place.

        Raises `Problem` where there is no room or no time for it.
        """

        async def in_turn() -> T:
            async with self._turns:
                return await begin(place.held)

        with self._place() as place:
            return await while_awaited(in_turn(), request.receive, self._deadline)

    def end(self) -> None:
        """Abandon what is under way, and wait for the threads."""
        self.workers.end()

    @contextmanager
    def _place(self) -> Iterator[_Place]:
        with self._lock:
            if self.taken >= self._most:
                raise busy("queue-full", f"{self.taken:,} requests of this kind are under way: ask again later")
            self.taken += 1
        place = _Place(self._give_back)
        try:
            yield place
        finally:
            place.leave()

    def _give_back(self) -> None:
        with self._lock:
            self.taken -= 1


class _Place:
    """Held by a request, and by its thread if one has begun with it: given back once, when both are done."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back, self._lock, self._holders = give_back, threading.Lock(), 1

    def held(self, function: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            with self._lock:
                if self._holders == 0:  # it has gone this moment, and its place is somebody else's
                    raise Abandoned
                self._holders += 1
            try:
                return function()
            finally:
                self.leave()

        return run

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._holders == 0
        if last:
            self._give_back()


async def while_awaited(work: Awaitable[T], receive: Receive, deadline: float | None = None) -> T:
    """What the work gives, or raises. It is cancelled, and `Problem` raised, once its client has gone or time is over.

    `receive` is the request's, of which the body has been read.
    """
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, gone}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if gone.done():
            raise Problem(499, "client-left", "the client did not wait for the answer")
        raise Problem(504, "deadline", f"it took longer than {deadline:g} s")
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
