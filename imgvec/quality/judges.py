"""The calibrations of one collection, as its searches use them."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imgvec.errors import BackendError
from imgvec.milvus import Store
from imgvec.quality.calibration import Calibration, kept_calibration, made

CHANGED = 0.1
"""A collection whose rows are so many more or fewer, as a share, should be calibrated again."""
COUNT_SECONDS = 60.0
"""How old the number of rows may be by which growth is known."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A calibration as a search uses it, with the rows that there are now: `imgvec.search.verdicts.Judge`."""

    calibration: Calibration
    rows: int

    @property
    def depth(self) -> int:
        return self.calibration.depth

    @cached_property
    def growth(self) -> float:
        """How many times as many rows there are, at least 1."""
        return max(1.0, self.rows / max(1, self.calibration.rows))

    @property
    def least_rate(self) -> float:
        return min(1.0, self.growth * self.calibration.least_rate)

    @cached_property
    def note(self) -> str:
        """Says how many rows there are, where they are `CHANGED` more or fewer."""
        then, now = self.calibration.rows, self.rows
        if abs(now - then) <= CHANGED * then:
            return ""
        said = f"calibrated with {then:,} rows, and there are {now:,} now: calibrate it again"
        return f"{said}, to find more matches" if now > then else said

    def p_value(self, score: float, background: float) -> float:
        return min(1.0, self.growth * self.calibration.p_value(score, background))

    def probability(self, score: float, background: float) -> float | None:
        return self.calibration.probability(score, background)

    def least_score(self, background: float, rate: float) -> float:
        weights = self.calibration.weights
        return (self.calibration.threshold(rate / self.growth) + weights[1] * background) / sum(weights)

    def least_likeness(self, rate: float) -> float:
        return self.calibration.least_score(min(1.0, max(rate / self.growth, self.calibration.least_rate)))


@dataclass(frozen=True, slots=True)
class _Known:
    schema: object
    """What the store knew of the collection; it is replaced when that has changed, or was looked at again."""
    calibration: Calibration | None
    """None where none is kept that holds."""
    judged: Judged | None
    counted_at: float


class Judges:
    """Gives the judge of a vector's name; None where the collection keeps no calibration that holds.

    A calibration is read once, and again when `refresh` tells of another one; rows are counted once a minute, by a call
    that waits for nothing. A collection without a calibration is asked nothing.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def __call__(self, vector: str) -> Judged | None:
        if made(self._store, vector) is None:
            return None
        if (known := self._current(vector)) is None:
            with self._lock:
                if (known := self._current(vector)) is None:
                    known = self._known[vector] = self._looked_up(vector, self._known.get(vector))
        return known.judged

    def about(self, vector: str) -> dict[str, Any] | None:
        """When it was calibrated, what the rate was promised by, and whether it should be again; None if it was not."""
        if (judged := self(vector)) is None:
            return None
        found = judged.calibration
        known = {"matches": found.label or found.positives, "pictures": found.pictures, "rows": found.rows}
        return {"at": found.at, **known, "note": judged.note}

    def _current(self, vector: str) -> _Known | None:
        """What is known, unless it is too old."""
        known = self._known.get(vector)
        if known is None or known.schema is not self._store.link.schema:
            return None
        return None if time.monotonic() - known.counted_at > COUNT_SECONDS else known

    def _looked_up(self, vector: str, before: _Known | None) -> _Known:
        schema, now = self._store.link.schema, time.monotonic()
        try:
            same = before is not None and before.schema is schema
            found = before.calibration if before is not None and same else kept_calibration(self._store, vector)
            judged = None if found is None else Judged(found, self._store.rows_known())
        except BackendError as exc:  # a search answers without a verdict rather than not at all
            log.warning("the calibration of %s could not be read: %s", self._store.name, exc)
            return _Known(schema, None, None, now)
        return _Known(schema, found, judged, now)
