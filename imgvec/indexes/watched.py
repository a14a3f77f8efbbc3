"""What standing probes say of an index: recall now, what has changed since they were made, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.indexes.drift import Drift
from imgvec.indexes.recall import Estimate
from imgvec.plurals import counted

LIMITS = (10, 100)
"""Recall is watched at these limits."""
FALL = 0.02
"""A fall of less is not told of, however certain it is."""
_CONFIDENCE = 0.99


@dataclass(frozen=True, slots=True)
class Fall:
    """How much less the same probes find than when they were made."""

    limit: int
    by: float
    least: float
    """With a one-sided confidence of 99 %."""
    probes: int


def fall(limit: int, began: NDArray[np.float32], now: Mapping[int, float]) -> Fall | None:
    """The fall of recall of those probes of which both are known; None where there is none to tell of.

    By the differences of each probe to itself, whose mean is taken as normal.
    """
    differences = np.array([float(began[probe]) - share for probe, share in now.items()], np.float64)
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2:
        return None
    by = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    least = by - NormalDist().inv_cdf(_CONFIDENCE) * error
    return Fall(limit, by, least, len(differences)) if least > 0 and by >= FALL else None


@dataclass(frozen=True, slots=True)
class Facts:
    """What may explain a fall of recall: as it is, or was."""

    index: str
    params: Mapping[str, Any]
    """What it is searched with."""
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"index": self.index, "params": dict(self.params), "rows": self.rows}


@dataclass(frozen=True)
class Watched:
    """What `imgvec.watch_index` found."""

    name: str
    vector: str
    probes: int
    basis: str
    """What the probes are: `given`, `edited` copies of stored pictures, or halfway `between` two stored rows."""
    open: int
    """Probes of which fewer than a hundred nearest rows are known for certain; they are left out."""
    recall: Mapping[int, Estimate]
    """By limit, of the probes that are not open, with 95 % intervals."""
    now: Facts
    began: Facts
    began_recall: Mapping[int, float]
    falls: Sequence[Fall] = ()
    wanted: float | None = None
    lost: Sequence[str] = ()
    """Ids of rows that were written and are not there, though nobody has deleted them through imgvec."""
    unnoted: int = 0
    """Rows that were found near probes and written past imgvec, or by a version of it that knows no probes."""
    unsettled: int = 0
    """Probes that were left out since rows around them were being written."""
    short: int = 0
    """Searches that gave fewer hits than there are rows to give."""
    pending_rows: int = 0
    """Rows that are not indexed yet."""
    drift: Drift | None = None
    scanned: bool = False
    """Whether all rows were read, to make the probes or to close open ones."""
    seconds: float = 0.0
    advice: Sequence[str] = field(default_factory=tuple)

    @property
    def low(self) -> list[int]:
        """The limits at which recall is certainly less than what is wanted."""
        return [k for k, each in self.recall.items() if self.wanted is not None and each.high < self.wanted]

    @property
    def ok(self) -> bool:
        """Whether the index finds what it found, and no row is missing. A drift of content is no fault."""
        return not (self.falls or self.low or self.lost or self.unnoted)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        recall = {
            str(k): {"mean": each.mean, "low": each.low, "high": each.high, "probes": each.queries}
            for k, each in self.recall.items()
        }
        falls = [{"limit": each.limit, "by": each.by, "at_least": each.least} for each in self.falls]
        return {
            **{name: getattr(self, name) for name in ("name", "vector", "ok", "probes", "basis", "open")},
            "recall": recall,
            "now": self.now.to_dict(),
            "began": {**self.began.to_dict(), "recall": {str(k): each for k, each in self.began_recall.items()}},
            "falls": falls,
            "wanted": self.wanted,
            "low": self.low,
            "lost": {"rows": len(self.lost), "first": list(self.lost[:10])},
            **{name: getattr(self, name) for name in ("unnoted", "unsettled", "short", "pending_rows", "scanned")},
            "drift": None if self.drift is None else self.drift.to_dict(),
            "advice": list(self.advice),
            "seconds": round(self.seconds, 3),
        }


def advice(found: Watched) -> list[str]:
    """What to do, the likeliest cause first."""
    name, said = found.name, []
    if found.lost:
        said.append(
            f"{counted(len(found.lost), 'row')} near the probes (the first: {found.lost[0]}) are not there, and were "
            f"not deleted through imgvec: someone deleted them past it, or Milvus lost them. `imgvec ingest` of their "
            f"source brings them back; where they are meant to be gone, `imgvec index watch -c {name} --again`"
        )
    if found.unnoted:
        said.append(
            f"{counted(found.unnoted, 'row')} near the probes were written past imgvec, so the probes do not know all "
            f"rows: `imgvec index watch -c {name} --again` reads them once"
        )
    if found.falls or found.low:
        said += _of_the_index(found)
    if found.drift is not None and found.drift.found:
        said.append(
            "the rows written since are unlike those before, which is no fault of the index: `imgvec index watch -c "
            f"{name} --again` takes probes of them too, and `imgvec index tune -c {name}` asks like them"
        )
    return said


def _of_the_index(found: Watched) -> list[str]:
    name, now, began = found.name, found.now, found.began
    if found.pending_rows:
        return [
            f"{counted(found.pending_rows, 'row')} are not indexed yet: look again when `imgvec index status -c {name}`"
            " says that they are"
        ]
    if now.index != began.index:
        return [f"the index is {now.index} and was {began.index}: `imgvec index tune -c {name} --apply` for this one"]
    if now.params != began.params:
        return [
            f"it is searched with {_said(now.params)}, and was with {_said(began.params)}: `imgvec index tune -c "
            f"{name} --apply` finds what the recall takes"
        ]
    if found.short:
        return [
            f"{counted(found.short, 'search', 'searches')} gave too few hits, as Milvus does without an error while a "
            f"query node comes back; if it stays so, `imgvec collections release {name}` and `imgvec collections load "
            f"{name}` load all segments again"
        ]
    if found.lost:
        return []
    if now.rows > 1.5 * began.rows:
        return [
            f"the collection had {began.rows:,} rows and has {now.rows:,}: `imgvec index tune -c {name} --apply`, or "
            f"`imgvec index plan -c {name}` for another index"
        ]
    return [
        f"nothing about the index or its parameters has changed: `imgvec collections release {name}` and `imgvec "
        f"collections load {name}` load its segments again; if that does not help, `imgvec index build -c {name}`"
    ]


def _said(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items()) or "the defaults"
