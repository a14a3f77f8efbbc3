"""The result of tuning: every measured setting, the choice under each filter, and the outcome in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imgvec.errors import UsageError
from imgvec.indexes.ladder import text
from imgvec.indexes.pictures import Ranked
from imgvec.indexes.recall import Estimate
from imgvec.indexes.unseen import Basis
from imgvec.rows import VECTOR
from imgvec.stored import IndexInfo

_BASES: Mapping[Basis, str] = {
    "given": "queries",
    "stored": "stored rows",
    "left out": "rows left out of a copy",
    "carried over": "stored rows, corrected by what a copy showed",
}


@dataclass(frozen=True, slots=True)
class Point:
    """The measurements of one setting under one filter."""

    params: Mapping[str, Any]
    recall: Estimate
    """Its `low` is what the target is compared with (`measure.bounded`)."""
    held_out: bool
    """Measured on the queries that nothing was chosen by."""
    p50_ms: float
    p99_ms: float
    qps: float
    """Of one client that waits for each answer."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The result under one filter."""

    filter: str
    rows: int
    """That match."""
    points: tuple[Point, ...]
    """Everything measured, the cheapest setting first."""
    chosen: Point | None
    """The cheapest setting that reaches the target under this filter, held out; None if none does."""
    best: Point
    """`chosen`, or the setting of the best recall that was seen."""
    applied: Point | None
    """What the setting that reaches the target under every filter gives under this one."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of tuning one index."""

    collection: str
    type: str
    build: Mapping[str, Any]
    target: float
    limit: int
    confidence: float
    queries: tuple[int, int]
    """How many chose, and how many were held out."""
    basis: Basis
    choices: tuple[Choice, ...]
    params: Mapping[str, Any] | None
    """The cheapest setting that reaches the target under every filter; None if none does."""
    names: tuple[str, ...]
    """The search parameters that were tuned; none where the index has none."""
    least: bool
    """The least value there is will do: true of few rows, and where the index is not searched (yet). Milvus searches
    segments below 1024 rows, and for some seconds those just indexed, row by row."""
    searches: int
    """How often the recall of a setting was measured."""
    grid: int
    """How often it would have been, had every setting been tried under every filter."""
    seconds: float
    memory_bytes: float
    """Of the index, as the catalogue estimates it."""
    build_seconds: float | None = None
    ranked: Ranked = "rows"
    """What recall is of: of pictures in a collection of views, as a search by default finds them."""
    vector: str = VECTOR
    """The name of the vector whose index it is."""

    @property
    def reached(self) -> bool:
        return self.params is not None

    def is_of(self, index: IndexInfo) -> bool:
        """Whether it was measured on an index like that one: of its type, built with its parameters."""
        return (self.type, dict(self.build)) == (index.type, dict(index.params))

    def chosen(self) -> Mapping[str, Any]:
        """The setting that was found; raises `UsageError` if none reached the recall."""
        if self.params is None:
            raise UsageError(f"no setting of {self.type} reaches the recall, so there is nothing to apply")
        return self.params

    @property
    def p50_ms(self) -> float:
        """Under the slowest filter, of what was chosen or else was best."""
        return max((choice.applied or choice.best).p50_ms for choice in self.choices)

    @property
    def measure(self) -> str:
        """What was measured, in words: recall@10."""
        return f"{'picture ' if self.ranked == 'pictures' else ''}recall@{self.limit}"

    def summary(self) -> str:
        """The outcome, in one sentence."""
        index = self.type if self.vector == VECTOR else f"{self.type} of {self.vector!r}"
        goal = f"{self.measure} of {self.target:g}"
        if self.params is not None:
            setting = f" with {text(self.params)}" if self.params else ", with nothing to tune"
            worst = min((c.applied for c in self.choices if c.applied), key=lambda point: point.recall.low)
            return (
                f"{index} reaches {goal}{setting}: {worst.recall.mean:.4f}, at least {worst.recall.low:.4f} "
                f"with {self.confidence:.0%} confidence, on {worst.recall.queries} held-out {_BASES[self.basis]}"
            )
        missed = [choice for choice in self.choices if choice.chosen is None] or self.choices
        worst = min((choice.best for choice in missed), key=lambda point: point.recall.low)
        where = next(f" under {c.filter}" if c.filter else "" for c in missed if c.best is worst)
        setting = f" with {text(worst.params)}" if worst.params else ", which has nothing to tune"
        # seen often enough to hope for, and too seldom to promise
        few = "; more queries, or your own, may show that it does" if worst.recall.mean >= self.target else ""
        return (
            f"no setting of {index} reaches {goal}{where}: the best seen is {worst.recall.mean:.4f} (at least "
            f"{worst.recall.low:.4f}){setting}{few}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reached": self.reached}
