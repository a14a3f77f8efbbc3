"""How much time may be spent on standing probes beside an ingest."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from imgvec.rotating import SHARE, Allowance


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def spent(clock: Clock, allowance: Allowance, until: float, fixed: float, each: float, noise: random.Random) -> float:
    """The largest share of the time that was spent at the end of any turn, when each lasts as long as it likes."""
    most = 0.0
    while clock.now < until:
        clock.now += 0.25
        if number := allowance.number():
            with allowance.turn(number):
                clock.now += (fixed + each * number) * noise.uniform(1, 1.9)
            most = max(most, allowance.spent / clock.now)
    return most


@pytest.mark.parametrize(("fixed", "each"), [(0.01, 0.001), (0.2, 0.005), (0.05, 0.02), (0.25, 0.0)])
def test_no_more_than_the_share_is_spent_at_any_time(fixed: float, each: float) -> None:
    """Where the first turn lasts no more than twice what is guessed, and each no more than twice the one before."""
    clock = Clock()
    allowance = Allowance(SHARE, clock)
    assert spent(clock, allowance, 20_000, fixed, each, random.Random(3)) <= SHARE
    assert allowance.spent > SHARE / 4 * clock.now  # and it is made use of


def test_a_short_ingest_has_no_time_for_it() -> None:
    clock = Clock()
    allowance = Allowance(SHARE, clock)
    clock.now = 49
    assert (allowance.number(), allowance.covers(0.25)) == (0, False)
    clock.now = 51
    assert (allowance.number(), allowance.covers(0.25)) == (8, True)


def test_where_reading_was_slow_the_first_turn_comes_later() -> None:
    clock = Clock()
    allowance = Allowance(SHARE, clock)
    clock.now = 51
    allowance.expect(0.1)
    assert allowance.number() == 8  # no less than was guessed
    allowance.expect(1.5)
    clock.now = 299
    assert allowance.number() == 0
    clock.now = 301
    assert allowance.number() == 8


def test_a_turn_that_was_slow_is_waited_out() -> None:
    clock = Clock()
    allowance = Allowance(SHARE, clock)
    clock.now = 100
    with allowance.turn(8):
        clock.now += 5.0
    assert allowance.number() == 0
    clock.now = 1450
    assert allowance.number() == 0  # 9.5 s are left, and the next may take ten
    clock.now = 1510
    assert allowance.number() == 8
    with allowance.turn(64):
        clock.now += 2.0
    clock.now = 2500
    assert allowance.number() == 32  # of which a turn is taken to last a second


def test_what_failed_was_spent_all_the_same() -> None:
    clock = Clock()
    allowance = Allowance(SHARE, clock)
    with suppress(RuntimeError), allowance.spending():
        clock.now += 3.0
        raise RuntimeError
    assert allowance.spent == 3.0
