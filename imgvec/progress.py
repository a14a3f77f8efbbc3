"""One event type for all long-running work: enough for progress bars, jobs, server-sent events and Prometheus.

    def show(event: Progress) -> None:
        print(event.work, event.stage, event.done, event.total)

    photos.ingest("~/Pictures", on_progress=show)

`on_progress` is called by whichever thread does the work, at most a few times a second if the steps are short; an
exception that it raises ends the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Work: TypeAlias = Literal[
    "ingest",
    "import",
    "export",
    "build",
    "verify",
    "tune",
    "compare",
    "evaluate",
    "fit",
    "project",
    "duplicates",
    "faces",
    "calibrate",
    "watch",
    "reembed",
]
"""The kinds of long-running work, by verb."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work has come."""

    work: Work
    stage: str
    """The current step, in a few words: `listing the rows`. `done` and `total` refer to it."""
    done: int = 0
    total: int | None = None
    """None if it is not known."""
    seconds: float = 0.0
    """Since the work began."""
    message: str = ""
    """The latest news, for people: `HNSW ef=64: recall 0.9710`."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Results so far, by name, such as `written` and `refused` of an ingest."""

    @property
    def share(self) -> float | None:
        """The part of the stage that is done, from 0 to 1; None if the total is not known, or nothing."""
        return min(1.0, self.done / self.total) if self.total else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "counts": dict(self.counts), "seconds": round(self.seconds, 3)}


OnProgress: TypeAlias = Callable[[Progress], None]


class Telling:
    """Reports the progress of one piece of work; costs nothing if nobody listens.

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
        """For work within this one: passes its events on, with `doing` before their stages."""
        if self._on_progress is None:
            return None
        return lambda event: self(
            f"{doing}: {event.stage}", event.done, event.total, message=event.message, counts=event.counts
        )
