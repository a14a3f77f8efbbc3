"""Questions of one kind that wait at the same time, answered as one.

A question that comes while few of its kind are under way is asked at once and alone, so nothing waits for company. The
others wait until one of those is answered, and then go together: one request to Milvus costs little more for many
vectors than for one, so that the more are asked at once, the less each of them costs.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Generic, TypeVar

from imgvec import abandoned
from imgvec.abandoned import Abandoned, Call
from imgvec.awaiting import Workers, closed
from imgvec.errors import BackendUnavailable

Q = TypeVar("Q")
A = TypeVar("A")

UNDER_WAY = 2
"""Requests of one kind under way at once: Milvus works at one while the answers to the other are read."""


class Asked(Generic[Q, A]):
    """A question that somebody on an event loop awaits the answer to."""

    def __init__(self, question: Q, most: int) -> None:
        self.question, self.most = question, most
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[A] = self.loop.create_future()
        self.context = copy_context()
        self.together: Together[Q, A] | None = None
        self.given_up = False


class Together(Generic[Q, A]):
    """Questions that go as one; abandoned once everybody has given up."""

    def __init__(self, members: Sequence[Asked[Q, A]]) -> None:
        self.members, self.call = members, Call()
        self._waiting = len(members)

    def leave(self) -> bool:
        """One has given up; whether that was the last."""
        self._waiting -= 1
        return self._waiting == 0


class _Kind(Generic[Q, A]):
    def __init__(self) -> None:
        self.waiting: deque[Asked[Q, A]] = deque()
        self.under_way = 0


class Gathering(Generic[Q, A]):
    """Answers questions in the threads of `workers`; those of one kind that wait at the same time go as one.

    `answer` is given questions of one kind. It gives an answer or an error for each, in order, or raises what is
    everybody's.
    """

    def __init__(self, workers: Workers, answer: Callable[[Sequence[Q]], Sequence[A | BaseException]]) -> None:
        self._workers, self._answer = workers, answer
        self._state = threading.Lock()
        self._kinds: dict[Hashable, _Kind[Q, A]] = {}

    async def ask(self, kind: Hashable, question: Q, most: int) -> A:
        """The answer to one, which goes with at most `most` in all. Cancelled, its request ends if it was the last.

        Raises what `answer` gave or raised, and `BackendUnavailable` once the workers have ended.
        """
        asked = Asked[Q, A](question, most)
        with self._state:
            known = self._kinds.setdefault(kind, _Kind())
            known.waiting.append(asked)
            free = known.under_way < UNDER_WAY
            known.under_way += free
        if free:
            try:
                self._workers.start(lambda: self._work(kind, known))
            except BackendUnavailable as exc:
                self._stop(kind, known, exc)
        try:
            return await asked.future
        except asyncio.CancelledError:
            self._give_up(asked)
            raise

    def _work(self, kind: Hashable, known: _Kind[Q, A]) -> None:
        """Answer what waits, until nothing does."""
        while (together := self._taken(kind, known)) is not None:
            context = together.members[0].context
            questions = [each.question for each in together.members]
            found: Sequence[A | BaseException]
            try:
                with self._workers.under_way(together.call):
                    found = context.run(abandoned.of_call, together.call, partial(self._answer, questions))()
            except Abandoned:  # if anybody still waits, the workers have ended
                found = [closed()] * len(questions)
            except BaseException as exc:  # noqa: BLE001  # whoever awaits it raises it
                found = [exc] * len(questions)
            _settle(together.members, found)

    def _taken(self, kind: Hashable, known: _Kind[Q, A]) -> Together[Q, A] | None:
        """What goes next, as one; None once nothing waits, and the thread is to end."""
        with self._state:
            members: list[Asked[Q, A]] = []
            while known.waiting and len(members) < min((each.most for each in members), default=1):
                if not (asked := known.waiting.popleft()).given_up:
                    members.append(asked)
            if not members:
                self._left(kind, known)
                return None
            together = Together(members)
            for asked in members:
                asked.together = together
            return together

    def _give_up(self, asked: Asked[Q, A]) -> None:
        with self._state:
            asked.given_up = True
            last = asked.together is not None and asked.together.leave()
        if last and asked.together is not None:
            asked.together.call.abandon()

    def _stop(self, kind: Hashable, known: _Kind[Q, A], error: BackendUnavailable) -> None:
        """No thread could be had. Threads at work see to what waits; where there are none, it is told."""
        with self._state:
            self._left(kind, known)
            waiting = [] if known.under_way else [*known.waiting]
        _settle(waiting, [error] * len(waiting))

    def _left(self, kind: Hashable, known: _Kind[Q, A]) -> None:
        known.under_way -= 1
        if not known.under_way:
            del self._kinds[kind]


def _settle(members: Sequence[Asked[Q, A]], found: Sequence[A | BaseException]) -> None:
    """Give each its answer or error: one step of each event loop, not one for each member."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[A], A | BaseException]]] = {}
    for asked, each in zip(members, found, strict=True):
        by_loop.setdefault(asked.loop, []).append((asked.future, each))
    for loop, results in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(_deliver, results)


def _deliver(results: Sequence[tuple[asyncio.Future[A], A | BaseException]]) -> None:
    for future, found in results:
        if future.done():  # cancelled
            continue
        if isinstance(found, BaseException):
            future.set_exception(found)
        else:
            future.set_result(found)
