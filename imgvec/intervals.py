"""Confidence intervals of a share that was seen in a sample, and how the least rate that can be had is written."""

from __future__ import annotations

import math

_LEAST_TERMS = 100
"""Of the continued fraction, which takes about the square root of the trials."""
_TINY, _ROUNDED = 1e-300, 1e-14


def share_interval(share: float, trials: float, *, confidence: float = 0.95, sides: int = 2) -> tuple[float, float]:
    """The least and the greatest true share that one of `share`, seen in so many trials, does not contradict.

    The exact interval of Clopper and Pearson (Biometrika 26, 1934), by quantiles of the beta distribution, so that hits
    and trials need not be whole numbers: where what was seen varies as `trials` independent ones would (Korn and
    Graubard, Survey Methodology 24, 1998). With one side each bound holds by itself. (0, 1) of no trials.
    """
    if trials <= 0:
        return 0.0, 1.0
    hits, left = min(max(share * trials, 0.0), trials), (1 - confidence) / sides
    misses = trials - hits
    low = 0.0 if hits < 1e-9 else 1 - _beta_quantile(1 - left, misses + 1, hits)
    return low, 1.0 if misses < 1e-9 else _beta_quantile(1 - left, hits + 1, misses)


def rounded_up(rate: float) -> str:
    """A rate above 0 in two digits, for messages; never below it, so that who asks for what is said gets it."""
    said = f"{rate:.2g}"
    return said if float(said) >= rate else f"{float(said) + 10.0 ** (math.floor(math.log10(rate)) - 1):.2g}"


def _beta_quantile(chance: float, a: float, b: float) -> float:
    """The x below which a beta distribution lies with that chance, by halving."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high) and high - low > _ROUNDED:
        low, high = (middle, high) if _beta(middle, a, b) < chance else (low, middle)
    return high


def _beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x > (a + 1) / (a + b + 2):  # where it converges slowly
        return 1 - _beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # modified Lentz (Thompson and Barnett, J. Comp. Phys. 64, 1986)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or _TINY)
    fraction = d
    for m in range(1, _LEAST_TERMS + round(math.sqrt(max(a, b)))):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            c, d = 1 + term / c or _TINY, 1 / (1 + term * d or _TINY)
            fraction *= c * d
        if abs(c * d - 1) < _ROUNDED:
            break
    return math.exp(front) / a * fraction
