"""One event for every long work: enough for a bar, a job, server-sent events and Prometheus.

    def show(event: Progress) -> None:
        print(event.work, event.stage, event.done, event.total)

    photos.ingest("~/Pictures", on_progress=show)

`on_progress` is called by whichever thread works, a few times a second at most where the steps are short; what it
raises ends the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Work: TypeAlias = Literal["ingest", "import", "export", "build", "verify", "tune", "compare", "evaluate"]
"""The long works, by the name of the verb."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long work is."""

    work: Work
    stage: str
    """What is being done, in a few words: `listing the rows`. `done` and `total` are those of the stage."""
    done: int = 0
    total: int | None = None
    """None where it is not known."""
    seconds: float = 0.0
    """Since the work began."""
    message: str = ""
    """The last thing that happened, for a person: `HNSW ef=64: recall 0.9710`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What became of those that are done, by name, such as `written` and `refused` of an ingest."""

    @property
    def share(self) -> float | None:
        """The part of the stage that is done, from 0 to 1; None where the total is not known, or nothing."""
        return min(1.0, self.done / self.total) if self.total else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "counts": dict(self.counts), "seconds": round(self.seconds, 3)}


OnProgress: TypeAlias = Callable[[Progress], None]


class Telling:
    """One work that tells how far it is; of nobody listens, it costs nothing.

    tell = Telling("export", on_progress)
    tell("writing", rows, total)
    """

    def __init__(self, work: Work, on_progress: OnProgress | None = None) -> None:
        self.work = work
        self._on_progress, self._start = on_progress, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.perf_counter() - self._start

    def __call__(
        self,
        stage: str,
        done: int = 0,
        total: int | None = None,
        *,
        message: str = "",
        counts: Mapping[str, int] | None = None,
    ) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(self.work, stage, done, total, self.seconds, message, dict(counts or {})))

    def part(self, doing: str) -> OnProgress | None:
        """For a work within this one: its events as this one's, `doing` before their stages."""
        if self._on_progress is None:
            return None
        return lambda event: self(
            f"{doing}: {event.stage}", event.done, event.total, message=event.message, counts=event.counts
        )
