"""Stored rows as queries to the index that holds them, corrected by how much easier they are to search for.

A copy of some of the rows tells that: it is searched with rows that it holds and with rows that it lacks. The odds of a
miss differ by about one factor, whatever the setting and the size. With Faiss's HNSW (M 16) over 2,500 to 40,000 rows
and ef 16 to 64 its logarithm was 1.0 to 1.4 in one space (DINOv2 of CIFAR-10) and 1.2 to 1.6 in another (the same
whitened).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imgvec.indexes.ladder import Grid
from imgvec.indexes.measure import HALVES, Half, Latency, Questions, bounded
from imgvec.indexes.options import RecallOptions
from imgvec.indexes.recall import Estimate
from imgvec.store import Searches

_WHOLE_TRIALS = 20
"""A query's ten neighbours and no miss are not the end of the odds."""


@dataclass(frozen=True, slots=True)
class Easier:
    """How much easier stored rows are to search for than others: the logarithm of the ratio of the odds of a miss."""

    log_odds: float
    high: float
    """Its upper bound."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Stored rows as queries to the collection itself, under one filter, corrected by what a copy taught."""

    questions: Questions
    easier: Easier

    @property
    def filter(self) -> str:
        return self.questions.filter

    @property
    def rows(self) -> int:
        return self.questions.rows

    @property
    def limit(self) -> int:
        return self.questions.limit

    @property
    def asked(self) -> int:
        return self.questions.asked

    def size(self, which: Half) -> int:
        return self.questions.size(which)

    def measured(self, params: Mapping[str, Any], which: Half, confidence: float) -> Estimate:
        return corrected(self.questions.measured(params, which, confidence), self.easier)

    def latencies(self, store: Searches, settings: Sequence[Mapping[str, Any]], calls: int) -> list[Latency]:
        return self.questions.latencies(store, settings, calls)


def corrected(seen: Estimate, easier: Easier) -> Estimate:
    """The recall of other pictures, where that of stored rows is `seen`.

    The bounds of two estimates combine as Zou and Donner (Statistics in Medicine 27, 2008) say: their distances from
    the means add up as squares.
    """
    middle, low, high = _odds(seen)
    other = middle - max(0.0, easier.log_odds)
    doubt = max(0.0, easier.high) - max(0.0, easier.log_odds)
    return Estimate(
        _share(other),
        _share(other - math.hypot(middle - low, doubt)),
        _share(other + math.hypot(high - middle, doubt)),
        seen.queries,
    )


def easier_by(stored: Estimate, other: Estimate) -> Easier:
    """How much easier stored rows are, where recall of those and of others are so much with one setting."""
    mine, _, mine_high = _odds(stored)
    theirs, theirs_low, _ = _odds(other)
    log_odds = mine - theirs
    return Easier(log_odds, log_odds + math.hypot(mine_high - mine, theirs - theirs_low))


def _odds(recall: Estimate) -> tuple[float, float, float]:
    """The logarithms of the odds of a hit, and of its bounds; of a recall of 1 they are not infinite."""
    most = 1 - 1 / (_WHOLE_TRIALS * recall.queries)
    mean, low, high = (min(max(value, 1 - most), most) for value in (recall.mean, recall.low, recall.high))
    return math.log(mean / (1 - mean)), math.log(low / (1 - low)), math.log(high / (1 - high))


def _share(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def learned_at(cells: Grid, stored: Questions, other: Questions, wanted: RecallOptions) -> Easier | None:
    """What the copy tells with the cheapest setting that reaches the recall; None if it misses nothing."""
    row = len(cells.second) - 1

    def recall(asked: Questions, place: int) -> Estimate:
        shares = [asked.recall(cells.setting((place, row)), half) for half in HALVES]
        return bounded(np.concatenate(shares), wanted["confidence"])

    places = range(len(cells.first) - 1)
    place = bisect_left(places, True, key=lambda place: recall(other, place).mean >= wanted["recall"])
    there = recall(other, place)
    return None if there.mean == 1.0 else easier_by(recall(stored, place), there)
