"""Reads that are repeated, and the second call beside one that is overdue."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest

from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus import repeating
from imgvec.milvus.repeating import repeated, together
from imgvec.retry import Retry

BUSY = BackendUnavailable("busy", retryable=True)
BROKEN = BackendError("broken")


class Calls:
    """Gives its outcomes one after another, the last one for ever."""

    def __init__(self, *outcomes: BaseException | Callable[[], str] | str) -> None:
        self._outcomes, self.made, self._lock = outcomes, 0, threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            outcome = self._outcomes[min(self.made, len(self._outcomes) - 1)]
            self.made += 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if isinstance(outcome, str) else outcome()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "OVERDUE", 0.1)
    monkeypatch.setattr(repeating, "_FIRST_WAIT", 0.02)


@pytest.mark.parametrize("hedged", [False, True])
def test_what_may_succeed_later_is_repeated_and_nothing_else(hedged: bool) -> None:
    calls = Calls(BUSY, BUSY, "good")
    assert repeated(calls, 5, hedged=hedged) == "good"
    assert calls.made == 3
    calls = Calls(BROKEN, "good")
    with pytest.raises(BackendError, match="broken"):
        repeated(calls, 5, hedged=hedged)
    assert calls.made == 1
    with pytest.raises(ZeroDivisionError):
        repeated(Calls(ZeroDivisionError()), 5, hedged=hedged)


@pytest.mark.parametrize("hedged", [False, True])
def test_after_the_deadline_the_last_error_is_raised(hedged: bool) -> None:
    calls = Calls(BUSY)
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="busy"):
        repeated(calls, 0.3, hedged=hedged)
    assert calls.made > 1
    assert time.monotonic() - began < 2
    once = Calls(BUSY)
    with pytest.raises(BackendUnavailable):
        repeated(once, 0, hedged=hedged)
    assert once.made == 1


@pytest.mark.parametrize("hedged", [False, True])
def test_below_a_retry_that_tells_of_it_nothing_is_repeated(hedged: bool) -> None:
    told: list[BackendError] = []
    retry = Retry(20, on_retry=lambda error, wait: told.append(error))
    assert retry.call(lambda: repeated(Calls("good"), 5, hedged=hedged)) == "good"
    calls = Calls(BUSY, BUSY, "good")
    assert retry.call(lambda: repeated(calls, 5, hedged=hedged)) == "good"
    assert told == [BUSY, BUSY]
    assert repeated(Calls(BUSY, "good"), 5, hedged=hedged) == "good"


def test_a_call_that_hangs_gets_another_beside_it_whose_answer_counts() -> None:
    ends = threading.Event()

    def hangs() -> str:
        ends.wait(20)
        return "late"

    calls = Calls(hangs, "good")
    began = time.monotonic()
    try:
        assert repeated(calls, 10, hedged=True) == "good"
        assert 0.1 <= time.monotonic() - began < 3
        assert calls.made == 2
        # the second one fails, and what hangs is waited for: no more than five are under way
        calls = Calls(hangs)
        threading.Timer(0.8, ends.set).start()
        assert repeated(calls, 10, hedged=True) == "late"
        assert calls.made == 5
    finally:
        ends.set()


def test_an_error_beside_a_call_that_hangs_does_not_end_the_wait() -> None:
    ends = threading.Event()

    def hangs() -> str:
        ends.wait(20)
        return "late"

    threading.Timer(0.5, ends.set).start()
    assert repeated(Calls(hangs, BUSY), 0.2, hedged=True) == "late"


def test_a_forked_child_starts_threads_of_its_own() -> None:
    assert repeated(Calls("warm"), 1, hedged=True) == "warm"
    child = os.fork()
    if not child:
        os._exit(0 if repeated(Calls("good"), 1, hedged=True) == "good" else 1)
    ended = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < ended:
        time.sleep(0.02)
    assert done == (child, 0)


def test_calls_together_give_what_is_good_of_them() -> None:
    meet = threading.Barrier(3, timeout=20)

    def good() -> str:
        meet.wait()
        return "good"

    assert together(Calls(good), 3) == ["good"] * 3
    assert together(Calls(BUSY, "good"), 3) == ["good", "good"]
    with pytest.raises(BackendUnavailable):
        together(Calls(BUSY), 2)


def test_those_that_do_not_answer_are_not_waited_for() -> None:
    turns = iter((0.0, 5.0, 5.0))
    lock = threading.Lock()

    def call() -> str:
        with lock:
            wait = next(turns)
        time.sleep(wait)
        return "answer"

    began = time.monotonic()
    assert together(call, 3, 0.3) == ["answer"]
    assert time.monotonic() - began < 2
    assert together(lambda: "answer", 2) == ["answer"] * 2
