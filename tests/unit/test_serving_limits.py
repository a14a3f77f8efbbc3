"""The rate of one client, by a clock of the test's own."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")
from imgvec.serving.limits import Rate


def test_a_client_has_twice_its_rate_at_once_and_then_its_rate() -> None:
    now = 0.0
    rate = Rate(2.0, lambda: now)
    assert [rate.wait("a") for _ in range(6)] == [0, 0, 0, 0, 0.5, 0.5]  # what is refused takes nothing
    assert rate.wait("b") == 0  # each has its own
    now += 0.75
    assert [rate.wait("a") for _ in range(2)] == [0, 0.25]
    now += 1_000
    assert [rate.wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]


def test_below_one_a_second_there_is_one_at_once() -> None:
    now = 0.0
    rate = Rate(0.1, lambda: now)
    assert [rate.wait("a") for _ in range(2)] == [0, 10]
    now += 10
    assert rate.wait("a") == 0


def test_strangers_without_number_are_forgotten_in_turn() -> None:
    rate = Rate(1.0, lambda: 0.0)
    for number in range(20_000):
        assert rate.wait(str(number)) == 0
    assert len(rate._left) == 10_000
    assert Rate(0).wait("a") == 0
