"""Whether the rows that were written are like those that were there before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ERROR_RATE = 0.01
"""Of rows that are drawn as those before were, how often a drift is seen all the same."""
LEAST = 0.1
"""A distance below it is not told of, however many rows make it certain."""
_FEWEST = 50


@dataclass(frozen=True, slots=True)
class Drift:
    """Two samples of how near rows are to the nearest probe, compared by Kolmogorov and Smirnov.

    The largest difference of the two shares of rows that are as near as that, or less, over the edges of a histogram:
    no more than it would be over all rows, so that the rate of errors is no more than the declared one. It holds where
    new rows come independently of each other; pictures of one folder do not quite.
    """

    distance: float
    """Between 0, alike, and 1."""
    critical: float
    """What it exceeds in `ERROR_RATE` of the cases if nothing has changed (Smirnov 1948, its asymptotic form)."""
    rows: int
    """Written since."""
    before: int

    @property
    def found(self) -> bool:
        """Whether the rows that were written are unlike those before, and not only a little."""
        return self.rows >= _FEWEST and self.distance > max(self.critical, LEAST)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        numbers = {"distance": round(self.distance, 4), "critical": round(self.critical, 4)}
        return {"found": self.found, **numbers, "error_rate": ERROR_RATE, "rows": self.rows, "before": self.before}


def drift(before: NDArray[np.int64], since: NDArray[np.int64]) -> Drift | None:
    """Of two histograms with the same bins; None where one is empty."""
    n, m = int(before.sum()), int(since.sum())
    if not n or not m:
        return None
    distance = float(np.abs(np.cumsum(before) / n - np.cumsum(since) / m).max())
    factor = math.sqrt(-math.log(ERROR_RATE / 2) / 2)
    return Drift(distance, factor * math.sqrt((n + m) / (n * m)), m, n)
