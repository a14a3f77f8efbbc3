"""Who computes next, and with whom: nothing here depends on how long anything takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from imgvec.encoders.turns import OVERTAKING, Turns, Urgency
from imgvec.vectors import Vectors


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Passes:
    """A model that answers each number with itself, and notes who shared a pass."""

    def __init__(self) -> None:
        self.made: list[list[int]] = []

    def run(self, items: list[int]) -> Vectors:
        self.made.append(list(items))
        if -1 in items:
            raise ValueError("no vector for -1")
        return np.array(items, np.float32)[:, None]


@pytest.fixture
def threads() -> Iterator[Callable[..., threading.Thread]]:
    started: list[threading.Thread] = []

    def start(function: Callable[..., object], *arguments: Any) -> threading.Thread:
        started.append(threading.Thread(target=function, args=arguments))
        started[-1].start()
        return started[-1]

    yield start
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def held(turns: Turns) -> Iterator[None]:
    """A batch in hand; it ends with the block."""
    with turns.turn():
        yield


def waiting(turns: Turns) -> int:
    return len(turns._queries) + sum(map(len, turns._waiting.values()))


def test_queries_go_before_batches_and_batches_before_measuring(threads: Callable[..., Any]) -> None:
    turns, order = Turns(), []

    def take(urgency: Urgency, name: str) -> None:
        with turns.turn(urgency):
            order.append(name)

    def ask(name: str) -> None:
        turns.shared([0], lambda items: order.append(name) or np.zeros((len(items), 1), np.float32), 8)

    with held(turns):
        for count, (function, *arguments) in enumerate(
            [
                (take, Urgency.MEASURING, "measuring"),
                (take, Urgency.BATCH, "batch"),
                (take, Urgency.BATCH, "next batch"),
                (ask, "query"),
                (ask, "next query"),
            ]
        ):
            threads(function, *arguments)
            until(lambda count=count: waiting(turns) == count + 1)
    until(lambda: len(order) == 5)
    assert order == ["query", "next query", "batch", "next batch", "measuring"]


def ask_all(
    turns: Turns, passes: Passes, asked: Sequence[list[int]], threads: Callable[..., Any], at_once: int
) -> list[Any]:
    """The answers, or errors, of queries that all came while a batch was in hand."""
    answers: list[Any] = [None] * len(asked)

    def ask(place: int) -> None:
        try:
            answers[place] = turns.shared(asked[place], passes.run, at_once)[:, 0].tolist()
        except ValueError as exc:
            answers[place] = str(exc)

    with held(turns):
        for place in range(len(asked)):
            threads(ask, place)
            until(lambda place=place: waiting(turns) == place + 1)
    until(lambda: None not in answers)
    return answers


def test_queries_that_come_at_once_share_a_pass(threads: Callable[..., Any]) -> None:
    passes = Passes()
    asked = [[1], [2, 3], [4], [5, 6, 7, 8, 9], [10]]
    assert ask_all(Turns(), passes, asked, threads, at_once=4) == asked
    assert passes.made == [[1, 2, 3, 4], [5, 6, 7, 8, 9], [10]], "none is split, and none waits for room"


def test_an_error_reaches_the_query_that_caused_it_alone(threads: Callable[..., Any]) -> None:
    answers = ask_all(Turns(), Passes(), [[1], [-1], [3]], threads, at_once=8)
    assert answers == [[1], "no vector for -1", [3]]


def test_an_interrupt_in_a_shared_pass_takes_nobody_else_along(threads: Callable[..., Any]) -> None:
    turns, answers, interrupted = Turns(), [], []

    def run(items: list[int]) -> Vectors:
        if not interrupted:
            interrupted.append(items)
            raise KeyboardInterrupt
        return np.array(items, np.float32)[:, None]

    def ask(number: int) -> None:
        try:
            answers.append(turns.shared([number], run, 8).item())
        except KeyboardInterrupt:
            answers.append("interrupted")

    with held(turns):
        for number in (1, 2, 3):
            threads(ask, number)
            until(lambda number=number: waiting(turns) == number)
    until(lambda: len(answers) == 3)
    assert interrupted == [[1, 2, 3]]
    assert sorted(answers, key=str) == [2, 3, "interrupted"]


@pytest.mark.parametrize("urgency", [Urgency.BATCH, Urgency.MEASURING])
def test_queries_without_end_do_not_end_an_ingest(urgency: Urgency) -> None:
    turns, passes, done = Turns(), Passes(), threading.Event()

    def batch() -> None:
        with turns.turn(urgency):
            done.set()

    ingest = threading.Thread(target=batch)
    answered = 0

    def chained(items: list[int]) -> Vectors:
        """Another query comes while each one is answered."""
        nonlocal answered
        answered += 1
        if not ingest.ident:
            ingest.start()
            until(lambda: bool(turns._waiting[urgency]))
        if not done.is_set():
            before = len(turns._queries)
            others.append(threading.Thread(target=turns.shared, args=([0], chained, 1)))
            others[-1].start()
            until(lambda: len(turns._queries) > before)
        return passes.run(items)

    others: list[threading.Thread] = []
    turns.shared([0], chained, 1)
    assert done.wait(30)
    ingest.join(30)
    until(lambda: not any(thread.is_alive() for thread in others))
    assert OVERTAKING <= answered <= OVERTAKING + 3


def test_no_query_waits_for_more_than_the_pass_in_hand(threads: Callable[..., Any]) -> None:
    """200 queries during an ingest that measures between its batches."""
    turns, passes, stop = Turns(), Passes(), threading.Event()
    started = 0

    def ingest() -> None:
        nonlocal started
        while not stop.is_set():
            for urgency in (Urgency.BATCH, Urgency.MEASURING):
                with turns.turn(urgency):
                    started += 1
                    time.sleep(0.001)

    threads(ingest)
    until(lambda: started > 0)
    overtaken_by = []
    for number in range(200):
        before = started
        assert turns.shared([number], passes.run, 8).item() == number
        overtaken_by.append(started - before)
    stop.set()
    # one may begin between the count and the query, and stands for the pass in hand
    assert max(overtaken_by) <= 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_turns_of_its_own() -> None:
    turns = Turns()
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with turns.turn():
            taken.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(30)
    child = os.fork()
    if child == 0:
        with turns.turn():
            os._exit(7)
    statuses: list[int] = []
    until(lambda: bool(statuses) or _ended(child, statuses))
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(statuses[0]) == 7


def _ended(child: int, statuses: list[int]) -> bool:
    found, status = os.waitpid(child, os.WNOHANG)
    if found:
        statuses.append(status)
    return bool(found)
