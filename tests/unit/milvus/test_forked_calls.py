"""A fork waits for the calls into gRPC that are under way, and those that begin meanwhile wait for the fork."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from imgvec.milvus import forked


@pytest.fixture
def calls() -> forked._Calls:
    return forked._Calls()


def beside(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def test_a_fork_waits_for_a_call_of_another_thread(calls: forked._Calls) -> None:
    said: list[str] = []
    begun = threading.Event()

    def call() -> None:
        calls.begin()
        begun.set()
        time.sleep(0.2)
        said.append("the call ended")
        calls.end()

    thread = beside(call)
    assert begun.wait(5)
    calls.before_fork()
    said.append("forked")
    calls.after_fork_in_parent()
    thread.join(5)
    assert said == ["the call ended", "forked"]


def test_a_call_that_begins_while_a_fork_waits_begins_after_it(calls: forked._Calls) -> None:
    said: list[str] = []

    def call() -> None:
        calls.begin()
        said.append("the call began")
        calls.end()

    calls.before_fork()
    thread = beside(call)
    time.sleep(0.2)
    said.append("forked")
    calls.after_fork_in_parent()
    thread.join(5)
    assert said == ["forked", "the call began"]


def test_a_fork_does_not_wait_for_a_long_call(calls: forked._Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forked, "FORK_WAITS", 0.1)
    begun, done = threading.Event(), threading.Event()

    def call() -> None:
        calls.begin()
        begun.set()
        done.wait(30)
        calls.end()

    thread = beside(call)
    assert begun.wait(5)
    started = time.monotonic()
    calls.before_fork()
    assert 0.1 <= time.monotonic() - started < 5
    calls.after_fork_in_parent()
    done.set()
    thread.join(5)


def test_a_call_within_a_call_goes_on_while_a_fork_waits_for_the_outer_one(calls: forked._Calls) -> None:
    inner = threading.Event()
    begun, go_on = threading.Event(), threading.Event()

    def call() -> None:
        calls.begin()
        begun.set()
        go_on.wait(5)
        calls.begin()
        inner.set()
        calls.end()
        calls.end()

    thread = beside(call)
    assert begun.wait(5)
    fork = beside(calls.before_fork)
    time.sleep(0.1)
    go_on.set()
    assert inner.wait(5)
    fork.join(5)
    assert not fork.is_alive()
    calls.after_fork_in_parent()
    thread.join(5)


def test_a_thread_that_forks_inside_its_own_call_does_not_wait_for_itself(calls: forked._Calls) -> None:
    calls.begin()
    started = time.monotonic()
    calls.before_fork()
    assert time.monotonic() - started < forked.FORK_WAITS / 2
    calls.after_fork_in_child()  # what the child goes on with
    calls.end()
    calls.before_fork()
    assert time.monotonic() - started < forked.FORK_WAITS / 2


def test_a_child_begins_without_the_calls_of_its_parent(calls: forked._Calls) -> None:
    begun = threading.Event()

    def call() -> None:
        calls.begin()
        begun.set()

    beside(call).join(5)
    assert begun.is_set()
    calls.after_fork_in_child()
    started = time.monotonic()
    calls.before_fork()
    assert time.monotonic() - started < forked.FORK_WAITS / 2
