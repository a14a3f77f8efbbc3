"""Questions that wait at the same time: which go as one, and what each of them gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from imgvec import abandoned
from imgvec.awaiting import Workers
from imgvec.errors import BackendUnavailable, QueryError
from imgvec.filters import field
from imgvec.gathering import UNDER_WAY, Gathering
from imgvec.search.alike import ROWS_AT_ONCE, kind
from imgvec.search.forms import ImageFile, StoredId, Text, VectorQuery

PATIENCE = 30.0


class Milvus:
    """Answers a question by its upper case, when it is let; remembers what came as one."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.open = threading.Event()
        self.abandoned = threading.Semaphore(0)
        self._came = threading.Semaphore(0)

    def answer(self, questions: Sequence[str]) -> Sequence[str | BaseException]:
        self.asked.append(questions)
        self._came.release()
        call = abandoned.current()
        assert call is not None
        ended = threading.Event()
        try:
            with call.ended_by(ended.set):
                while not self.open.wait(0.01) and not ended.is_set():
                    pass
        except abandoned.Abandoned:
            self.abandoned.release()
            raise
        if "broken" in questions and len(questions) == 1:
            raise ValueError("it cannot answer")
        return [QueryError(each) if each == "wrong" else each.upper() for each in questions]

    async def came(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._came.acquire, timeout=PATIENCE)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(4)
    yield made
    made.end()


async def begun(gathering: Gathering[str, str], questions: str, most: int = 99) -> list[asyncio.Task[str]]:
    """Tasks that have all come as far as waiting."""
    tasks = [asyncio.create_task(gathering.ask("kind", each, most)) for each in questions.split()]
    await asyncio.sleep(0)
    return tasks


def test_what_waits_goes_as_one_and_what_need_not_wait_at_once(workers: Workers) -> None:
    milvus = Milvus()

    async def main() -> None:
        gathering = Gathering(workers, milvus.answer)
        first = await begun(gathering, "a b")
        await milvus.came(UNDER_WAY)
        assert sorted(milvus.asked) == [["a"], ["b"]]
        waiting = await begun(gathering, "c wrong e f")
        other = asyncio.create_task(gathering.ask("another kind", "g", 99))
        await milvus.came(1)
        assert milvus.asked[2:] == [["g"]], "another kind does not wait for this one"
        milvus.open.set()
        found = await asyncio.gather(*first, *waiting, other, return_exceptions=True)
        assert [str(each) for each in found] == ["A", "B", "C", "wrong", "E", "F", "G"]
        assert isinstance(found[3], QueryError)
        assert milvus.asked[3:] == [["c", "wrong", "e", "f"]]
        workers.end()
        assert gathering._kinds == {}, "nothing is kept of what is over"

    asyncio.run(main())


def test_no_more_go_together_than_each_allows(workers: Workers) -> None:
    milvus = Milvus()

    async def main() -> None:
        gathering = Gathering(workers, milvus.answer)
        first = await begun(gathering, "a b")
        await milvus.came(UNDER_WAY)
        waiting = await begun(gathering, "c d e f g", most=3)
        milvus.open.set()
        assert await asyncio.gather(*first, *waiting) == list("ABCDEFG")
        assert sorted(map(len, milvus.asked[2:])) == [2, 3]

    asyncio.run(main())


def test_one_that_is_given_up_is_not_asked_and_the_others_are_answered(workers: Workers) -> None:
    milvus = Milvus()

    async def main() -> None:
        gathering = Gathering(workers, milvus.answer)
        first = await begun(gathering, "a b")
        await milvus.came(UNDER_WAY)
        waiting = await begun(gathering, "c d e")
        waiting[1].cancel()
        await asyncio.wait(waiting[1:2])
        milvus.open.set()
        assert await asyncio.gather(*first, waiting[0], waiting[2]) == list("ABCE")
        assert milvus.asked[2:] == [["c", "e"]]

    asyncio.run(main())


def test_a_request_ends_once_everybody_has_given_it_up(workers: Workers) -> None:
    milvus = Milvus()

    async def main() -> None:
        gathering = Gathering(workers, milvus.answer)
        tasks = await begun(gathering, "a b")
        await milvus.came(UNDER_WAY)
        waiting = await begun(gathering, "c d")
        tasks[0].cancel()
        assert await asyncio.to_thread(milvus.abandoned.acquire, timeout=PATIENCE)
        await milvus.came(1)  # c and d, by the thread that is free
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert not await asyncio.to_thread(milvus.abandoned.acquire, timeout=0.1), "d is still waited for"
        waiting[1].cancel()
        assert await asyncio.to_thread(milvus.abandoned.acquire, timeout=PATIENCE)
        milvus.open.set()
        assert await tasks[1] == "B"

    asyncio.run(main())


def test_an_error_of_all_is_raised_to_each(workers: Workers) -> None:
    milvus = Milvus()
    milvus.open.set()

    async def main() -> None:
        with pytest.raises(ValueError, match="it cannot answer"):
            await Gathering(workers, milvus.answer).ask("kind", "broken", 1)

    asyncio.run(main())


def test_ended_workers_raise_to_whoever_waits_and_whoever_comes() -> None:
    milvus, workers = Milvus(), Workers(4)

    async def main() -> None:
        gathering = Gathering(workers, milvus.answer)
        tasks = await begun(gathering, "a b c d")
        await milvus.came(UNDER_WAY)
        await asyncio.to_thread(workers.end)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [BackendUnavailable] * 4
        with pytest.raises(BackendUnavailable, match="open it again"):
            await gathering.ask("kind", "e", 1)
        assert gathering._kinds == {}

    asyncio.run(main())


def test_several_event_loops_are_answered_together(workers: Workers) -> None:
    milvus = Milvus()
    gathering: Gathering[str, str] = Gathering(workers, milvus.answer)
    found: list[str] = []

    def loop(question: str) -> None:
        found.append(asyncio.run(gathering.ask("kind", question, 99)))

    threads = [threading.Thread(target=loop, args=[each]) for each in "abcdef"]
    for thread in threads:
        thread.start()
    asyncio.run(milvus.came(UNDER_WAY))
    milvus.open.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(found) == list("ABCDEF")


def test_which_questions_are_of_one_kind() -> None:
    vector = np.ones(4, np.float32)
    alike = kind(vector, {"limit": 5, "where": field("n") == 1, "params": {"ef": 64}})
    assert alike is not None
    assert alike == kind([1.0, 2, 3, 4], {"params": {"ef": 64}, "where": field("n") == 1, "limit": 5})
    assert alike == kind(VectorQuery(vector), {"limit": 5, "where": field("n") == 1, "params": {"ef": 64}})
    for other in (
        kind(vector, {"limit": 5, "where": field("n") == True, "params": {"ef": 64}}),  # noqa: E712  # a condition
        kind(vector, {"limit": 5, "where": field("n") == 1.0, "params": {"ef": 64}}),
        kind(vector, {"limit": 5, "where": "n == 1", "params": {"ef": 64}}),
        kind(vector, {"limit": 5, "where": field("n") == 1, "params": {"ef": 65}}),
        kind(vector, {"limit": 5, "where": field("n") == 1}),
        kind(vector[:3], {"limit": 5, "where": field("n") == 1, "params": {"ef": 64}}),
        kind(StoredId("a"), {"limit": 5, "where": field("n") == 1, "params": {"ef": 64}}),
    ):
        assert other != alike
    assert kind("id:a", {}) == kind(StoredId("b"), {})
    assert kind(vector, {"min_score": 1}) != kind(vector, {"min_score": True})


def test_questions_that_go_alone() -> None:
    for query in (ImageFile("a.jpg"), Text("a hat"), "a.jpg", b"bytes", np.ones((4, 4, 3), np.uint8), [], [True]):
        assert kind(query, {}) is None
    vector = np.ones(4, np.float32)
    assert kind(vector, {"limit": "ten"}) is None  # type: ignore[typeddict-item]  # refused by its own search
    assert kind(vector, {"limit": -1}) is None
    assert kind(vector, {"params": {"ef": np.int64(64)}}) is None


def test_together_they_ask_for_a_bounded_number_of_rows() -> None:
    vector = np.ones(4, np.float32)
    for limit, together in ((10, ROWS_AT_ONCE // 200), (1000, 16), (20_000, 1)):
        alike = kind(vector, {"limit": limit})
        assert alike is not None
        assert alike[1] == together
    alike = kind(vector, {"candidates": 1, "limit": 1})
    assert alike is not None
    assert alike[1] == 256
