"""Work in threads that an event loop awaits, and how it ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from imgvec import abandoned
from imgvec.abandoned import Abandoned, Call
from imgvec.awaiting import Steps, Workers
from imgvec.errors import BackendUnavailable, QueryError

PATIENCE = 30.0


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.end()


class Waiting:
    """Work that waits until it is released, or nobody waits for it."""

    def __init__(self) -> None:
        self.began, self.released, self.left = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> str:
        call = abandoned.current()
        assert call is not None
        self.began.set()
        try:
            with call.ended_by(self.released.set):
                assert self.released.wait(PATIENCE)
        finally:
            self.left.set()
        return "an answer"


async def begun(*works: Waiting) -> None:
    for work in works:
        assert await asyncio.to_thread(work.began.wait, PATIENCE)


def test_work_has_the_callers_context_and_its_answer_or_error_arrives(workers: Workers) -> None:
    name: ContextVar[str] = ContextVar("name")

    def fail() -> None:
        raise QueryError("no such row")

    async def main() -> str:
        name.set("a trace")
        with pytest.raises(QueryError, match="no such row"):
            await workers.run(fail)
        return await workers.run(lambda: f"{name.get()} in {threading.current_thread().name[:12]}")

    for _ in range(2):  # whatever the event loop
        assert asyncio.run(main()) == "a trace in imgvec-await"


def test_cancelling_frees_the_thread_and_what_waits_for_one_never_begins(workers: Workers) -> None:
    async def main() -> list[str]:
        works = [Waiting() for _ in range(4)]
        tasks = [asyncio.create_task(workers.run(work)) for work in works]
        await begun(*works[:2])
        for task in (tasks[2], *tasks[:2]):  # first the one that has no thread
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for work in works[:2]:
            assert await asyncio.to_thread(work.left.wait, PATIENCE)
        works[3].released.set()
        assert not works[2].began.is_set()
        return [await tasks[3], await workers.run(lambda: "and another")]

    assert asyncio.run(main()) == ["an answer", "and another"]


def test_what_a_cancelled_call_gives_all_the_same_is_unwanted(workers: Workers) -> None:
    closed, go, began = threading.Event(), threading.Event(), threading.Event()

    def open_something() -> threading.Event:
        began.set()
        assert go.wait(PATIENCE)
        return closed

    async def main() -> None:
        task = asyncio.create_task(workers.run(open_something, unwanted=threading.Event.set))
        assert await asyncio.to_thread(began.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not closed.is_set()
        go.set()
        assert await asyncio.to_thread(closed.wait, PATIENCE)

    asyncio.run(main())


def test_the_end_is_an_error_where_something_is_awaited() -> None:
    async def main() -> None:
        workers, work = Workers(1), Waiting()
        tasks = [asyncio.create_task(workers.run(work)), asyncio.create_task(workers.run(lambda: "later"))]
        await begun(work)
        await asyncio.to_thread(workers.end)
        for task in tasks:
            with pytest.raises(BackendUnavailable, match="the collection was closed"):
                await task
        assert work.left.is_set()
        with pytest.raises(BackendUnavailable, match="the collection was closed"):
            await workers.run(lambda: "too late")

    asyncio.run(main())


def test_a_step_that_did_not_arrive_comes_again() -> None:
    steps = Steps(iter("ab"), None)
    first = steps.step()
    assert first() == "a"
    first.give_up()
    first.give_up()  # once is enough
    assert [steps.step()() for _ in range(2)] == ["a", "b"]
    last = steps.step()
    assert last() is None
    last.give_up()
    assert [steps.step()(), steps.step()()] == [None, None]


def test_steps_at_once_have_an_item_each_and_one_given_up_meanwhile_loses_none() -> None:
    began, go = threading.Event(), threading.Event()

    def slow() -> Iterator[str]:
        began.set()
        assert go.wait(PATIENCE)
        yield from "abcd"

    steps = Steps(slow(), None)
    with ThreadPoolExecutor(3) as threads:
        given_up = steps.step()
        lost = threads.submit(given_up)
        assert began.wait(PATIENCE)
        others = [threads.submit(steps.step()) for _ in range(2)]
        given_up.give_up()
        go.set()
        assert lost.result() == "a"  # which nobody had
        assert sorted(other.result() for other in others) == ["a", "b"]
    assert [steps.step()() for _ in range(3)] == ["c", "d", None]


def test_an_iteration_that_stops_where_none_is_meant_reaches_whoever_awaits_it(workers: Workers) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(workers.run(lambda: next(iter(()))), PATIENCE)

    asyncio.run(main())


def test_whoever_comes_late_is_ended_at_once() -> None:
    call, told = Call(), threading.Event()
    call.abandon()
    with pytest.raises(Abandoned), call.ended_by(told.set):
        assert told.is_set()
    with pytest.raises(Abandoned):
        call.pause(PATIENCE)
    call.abandon()  # what has ended is not told again


def test_several_threads_work_at_one_call_at_once() -> None:
    call, meet = Call(), threading.Barrier(3, timeout=PATIENCE)

    def work() -> Call | None:
        meet.wait()
        return abandoned.current()

    assert abandoned.of_this(work) is work  # of none
    carried = abandoned.of_call(call, lambda: abandoned.of_this(work))()
    with ThreadPoolExecutor(3) as threads:
        assert [each.result() for each in [threads.submit(carried) for _ in range(3)]] == [call] * 3
    assert abandoned.current() is None
    call.abandon()
    with pytest.raises(Abandoned):
        carried()
