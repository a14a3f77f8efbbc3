"""What a collection's scores are worth: kept with it in Milvus, and found there by every client.

A hit is judged by a statistic of two scores, that of the hit s and that of its background b, the score of the picture
that is `depth`-th nearest:

    T = weights[0] * s + weights[1] * (s - b),   weights at least 0

Split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Angelopoulos and
Bates, A Gentle Introduction to Conformal Prediction, arXiv:2107.07511, 2021): with the statistics t1 … tm of m queries
that have no match, on which nothing was fitted, the p-value of a hit

    p(T) = (1 + how many of ti are at least T) / (m + 1)

is at most a for a share of at most a of the queries without a match that come from where these came from. The t are
those of the collection's own pictures, each searched without itself: a picture and the query change places.

Growth: among k times as many pictures the best of a query without a match is the best of one of k parts, each as large
as the collection was. Within its part its score is the same and its background no higher, so that T is no lower there:
T reaches a threshold at most k times as often. So p is multiplied by k, which holds as long as what was added is like
what was there.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Literal

import numpy as np

from imgvec.definition import description
from imgvec.errors import OptionError
from imgvec.indexes.scores import tolerance
from imgvec.intervals import rounded_up, share_interval
from imgvec.milvus import Connection, Store
from imgvec.milvus.learned import Learned
from imgvec.rows import VECTOR

_KEY = "calibration"

Positives = Literal["edits", "label", "none"]


@dataclass(frozen=True, slots=True)
class Found:
    """How many known matches of one kind are found at one rate."""

    kind: str
    """The edit, `label`, or `all` of them together."""
    rate: float
    found: int
    """Called a match, and the right one."""
    of: int
    pictures: int | None = None
    """Of which they are, where there are several of each: these vary together, so that they say no more than one."""

    @property
    def share(self) -> float:
        return self.found / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 % (Clopper and Pearson)."""
        return share_interval(self.share, self.pictures or self.of)

    def to_dict(self) -> dict[str, Any]:
        low, high = self.interval
        return {**asdict(self), "share": self.share, "low": low, "high": high}


@dataclass(frozen=True)
class Calibration:
    """What a collection's scores are worth, by one of its vectors."""

    vector: str
    metric_type: str
    index: str
    """The type of the index that was searched by."""
    binding: str
    """Which encoder made the vectors, as a digest."""
    rows: int
    """Of the collection, when it was calibrated."""
    pictures: int
    """Whose own searches are the negatives: those that are promised by, and those that were fitted to."""
    depth: int
    weights: tuple[float, float]
    intercept: float | None
    """Of the logistic curve whose slope is T's own; None where no matches were known to fit it to."""
    negatives: tuple[float, ...] = field(repr=False)
    """The statistics of those that are promised by, ascending."""
    nearest: tuple[float, ...] = field(repr=False)
    """The score of the nearest other picture of every picture, ascending."""
    positives: Positives = "none"
    label: str | None = None
    twins: int = 0
    """Pictures left out of others' rankings, as they are the same picture: of equal bytes, or of equal vectors."""
    alike: int = 0
    """Pictures whose nearest other one stands out as half of the known copies do: likely copies that are stored."""
    found: tuple[Found, ...] = ()
    asked: tuple[float, ...] = ()
    """The false-match rates that were asked for, ascending."""
    at: str = ""
    """When, ISO 8601 in UTC."""

    @property
    def least_rate(self) -> float:
        """The lowest false-match rate that so many pictures can promise."""
        return 1 / (len(self.negatives) + 1)

    def statistic(self, score: float, background: float) -> float:
        """T, higher for a match."""
        return self.weights[0] * score + self.weights[1] * (score - background)

    def p_value(self, score: float, background: float) -> float:
        """How often a query without a match has so good a hit, at most: from `least_rate` to 1."""
        reached = len(self.negatives) - bisect_left(self.negatives, self.statistic(score, background))
        return (1 + reached) / (len(self.negatives) + 1)

    def probability(self, score: float, background: float) -> float | None:
        """The chance of a true match, where every second query has one; None where no matches were known."""
        if self.intercept is None:
            return None
        return float(1 / (1 + np.exp(-np.clip(self.statistic(score, background) + self.intercept, -500, 500))))

    def threshold(self, false_match_rate: float) -> float:
        """The least T whose p-value is at most that; raises `OptionError` below `least_rate`."""
        return _above(self.negatives, false_match_rate)

    def least_score(self, false_match_rate: float) -> float:
        """The score that a picture's nearest different one reaches at most at that rate.

        Of query pictures that are not in the collection, no more than this share has a hit of that score or more; by
        `T`, which knows the background too, matches are found better. Raises `OptionError` below the lowest rate that
        the pictures can promise.
        """
        return _above(self.nearest, false_match_rate)

    def bound(self, false_match_rate: float) -> float:
        """The upper 95 % bound of the true rate at that threshold, by the pictures that nothing was fitted to.

        By the exact distribution of a split conformal threshold, Beta(k, m + 1 - k) (Angelopoulos and Bates, section
        3.2), whose upper quantile is Clopper and Pearson's bound of k - 1 hits among m.
        """
        m = len(self.negatives)
        hits = int(np.floor(false_match_rate * (m + 1) + 1e-9)) - 1
        return share_interval(max(hits, 0) / m, m, sides=1)[1]

    def found_at(self, rate: float) -> Found | None:
        """How many known matches of all kinds are found at one of the rates; None where none were known."""
        each = [one for one in self.found if one.rate == rate]
        if not each:
            return None
        found, of, pictures = (sum(one.found for one in each), sum(one.of for one in each), max(one.of for one in each))
        return Found("all", rate, found, of, pictures)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the scores of each picture."""
        about = {name: value for name, value in self.__dict__.items() if name not in ("negatives", "nearest", "found")}
        about = {name: value for name, value in about.items() if not name.startswith("_")}
        usual = {rate for rate in (0.01, 0.05) if rate >= self.least_rate}
        rates = sorted({each.rate for each in self.found} | {*self.asked} | usual)
        return {
            **about,
            "weights": [*self.weights],
            "least_rate": self.least_rate,
            "rates": [
                {"rate": r, "threshold": self.threshold(r), "bound": self.bound(r), "least_score": self.least_score(r)}
                for r in rates
            ],
            "found": [each.to_dict() for each in self.found],
            "found_of_all": [each.to_dict() for r in rates if (each := self.found_at(r)) is not None],
        }

    def packed(self) -> dict[str, Any]:
        """As arrays, for `Learned`."""
        about = {**self.__dict__, "found": [asdict(each) for each in self.found]}
        about = {name: value for name, value in about.items() if name not in ("negatives", "nearest")}
        text = json.dumps(about).encode()
        return {
            "about": np.frombuffer(text, np.uint8),
            "negatives": np.asarray(self.negatives, np.float64),
            "nearest": np.asarray(self.nearest, np.float64),
        }

    @classmethod
    def unpacked(cls, arrays: Mapping[str, Any]) -> Calibration:
        about = json.loads(arrays["about"].tobytes())
        about["found"] = tuple(Found(**each) for each in about["found"])
        about["weights"] = tuple(about["weights"])
        about["asked"] = tuple(about.get("asked", ()))
        return cls(**about, negatives=tuple(arrays["negatives"].tolist()), nearest=tuple(arrays["nearest"].tolist()))


def kept_calibration(store: Store, vector: str = VECTOR) -> Calibration | None:
    """The calibration that the collection keeps for that vector, as of opening or of the last `refresh`.

    None where there is none, and where it does not hold any more: made of another encoder's vectors, by another metric,
    or by an index whose scores are rounded otherwise. Raises `BackendError`.
    """
    if _pointer(store, vector) is None:
        return None
    arrays = Learned(Connection(store.link.database), store).read(_name(vector))
    if arrays is None:
        return None
    found = Calibration.unpacked(arrays)
    return found if holds(found, store, vector) else None


def holds(calibration: Calibration, store: Store, vector: str) -> bool:
    """Whether it was made by the vectors and the index as they are."""
    field = store.vector(vector)
    if (calibration.metric_type, calibration.binding) != (field.metric_type, bound_to(store, vector)):
        return False
    then = replace(field.index, type=calibration.index)
    return then.type == field.index.type or tolerance(then) == tolerance(field.index)


def keep(store: Store, calibration: Calibration) -> None:
    """Keep it with the collection, in place of the former one; raises `BackendError`."""
    vector = calibration.vector
    Learned(Connection(store.link.database), store).write(_name(vector), calibration.packed())
    # last: who sees it finds what it names
    store.remember(_key(vector), {"made": token_hex(8), "at": calibration.at, "rows": calibration.rows})


def forget(store: Store, vector: str) -> None:
    """Keep none any more."""
    store.remember(_key(vector), None)
    Learned(Connection(store.link.database), store).forget(_name(vector))


def made(store: Store, vector: str) -> str | None:
    """What names the calibration that is kept; None where none is. Asks nothing."""
    return None if (pointer := _pointer(store, vector)) is None else str(pointer["made"])


def bound_to(store: Store, vector: str) -> str:
    """Which encoder made those vectors, as a digest."""
    binding = description.read(store.name, store.description).bindings[vector]
    return blake2b(json.dumps(binding.to_dict(), sort_keys=True).encode(), digest_size=16).hexdigest()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _pointer(store: Store, vector: str) -> Mapping[str, Any] | None:
    store.vector(vector)  # raises `QueryError` where there is none of that name
    return store.remembered.get(_key(vector))


def _key(vector: str) -> str:
    return _KEY if vector == VECTOR else f"{_KEY}.{vector}"


def _name(vector: str) -> str:
    """The key of its arrays, of at most 64 bytes."""
    return f"{_KEY}.{blake2b(vector.encode(), digest_size=12).hexdigest()}"


def _above(ascending: tuple[float, ...], rate: float) -> float:
    """The least number whose p-value among these is at most `rate`: just above the one that is too many."""
    number = len(ascending)
    may = int(np.floor(rate * (number + 1) + 1e-9)) - 1  # of these may reach it
    if may < 0:
        raise OptionError(
            "false_match_rate",
            f"{number:,} pictures can promise a false_match_rate of {rounded_up(1 / (number + 1))} at least, "
            f"not {rate:g}",
        )
    return -np.inf if may >= number else float(np.nextafter(ascending[number - 1 - may], np.inf))
