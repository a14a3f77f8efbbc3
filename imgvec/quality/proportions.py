"""Exact bounds of a proportion that was counted."""

from __future__ import annotations

import math

import numpy as np

_STEPS = 60
"""Halvings of the interval from 0 to 1: what remains is below the rounding of a float."""


def clopper_pearson(hits: int, of: int, *, confidence: float = 0.95, sides: int = 2) -> tuple[float, float]:
    """The least and the greatest proportion that `hits` of `of` trials do not contradict; (0, 1) of no trials.

    The exact interval of Clopper and Pearson (Biometrika 26, 1934): the proportions at which so many hits or more, and
    so many or fewer, have at least the chance that is left over. With one side each bound holds by itself.
    """
    left = (1 - confidence) / sides
    low = 0.0 if hits == 0 else 1 - _greatest(of - hits, of, left)
    return low, 1.0 if hits == of else _greatest(hits, of, left)


def _greatest(hits: int, of: int, left: float) -> float:
    """The proportion at which `hits` or fewer have the chance `left`; that falls as the proportion rises."""
    counts = np.arange(hits + 1)
    choose = np.array([math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in counts.tolist()])
    low, high = hits / of, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        chance = float(np.exp(choose + counts * math.log(middle) + (of - counts) * math.log1p(-middle)).sum())
        low, high = (middle, high) if chance > left else (low, middle)
    return high
