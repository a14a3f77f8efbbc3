"""The counts of an ingest."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from imgvec.progress import Progress


@dataclass
class IngestReport:
    """What became of every image of a source: `seen` is the sum of the six counts after it, excluding pruned rows."""

    seen: int = 0
    written: int = 0
    """Encoded and written, because they are new or changed."""
    updated: int = 0
    """Written with new metadata and the vector that was there: the image itself had not changed."""
    unchanged: int = 0
    duplicates: int = 0
    """Repeated in the source with the same metadata."""
    skipped: int = 0
    """New pictures that were not written, as another one has the same bytes (`on_duplicate="skip"`)."""
    refused: Counter[str] = field(default_factory=Counter)
    """How many for each of `UnreadableImage.REASONS`."""
    repeated: int = 0
    """Pictures whose bytes another one has, of the collection or of this run, skipped or not; counted only with
    `on_duplicate` skip or report."""
    repeats: dict[str, str] = field(default_factory=dict)
    """The uri of each of the first 1,000 of these, and of the one that it repeats; empty where nobody knows that."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What was left out on purpose and is not `seen`: how many for each reason, such as `symbolic link`. A folder
    counts once, whatever is in it."""
    first_passed_over: dict[str, str] = field(default_factory=dict)
    """The uri of the first of each."""
    notices: list[str] = field(default_factory=list)
    """What a person should know about the source, such as columns that are passed over."""
    pruned: int = 0
    bytes_read: int = 0
    retries: int = 0
    """Calls to Milvus that were repeated because it was busy, starting or unreachable."""
    seconds: float = 0.0
    stage_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Busy seconds summed over threads: read, lookup, decode, encode, write. Three more are the encoder's thread's
    own: `waiting` for images, `blocked` by a writer that is behind, and `tune`, for its fastest way on a long run."""
    recall: dict[str, Any] | None = None
    """Of the collection's standing probes, as far as they were searched for in a hundredth of the time: `limit`,
    `probes`, `mean` with its 95 % interval `low` and `high`, and `fell_by`, where it certainly did. None where there
    are none: `imgvec.watch_index` makes them."""
    interrupted: bool = False
    """Stopped before the end of the source; repeat the call to resume."""

    def progress(self) -> Progress:
        """How far the run has come."""
        refused = self.refused.total()
        counts = {name: getattr(self, name) for name in ("seen", "written", "updated", "unchanged", "duplicates")}
        done = self.written + self.updated + self.unchanged + self.duplicates + self.skipped + refused
        return Progress("ingest", "images", done, None, self.seconds, "", {**counts, "refused": refused})

    @property
    def bottleneck(self) -> str | None:
        """The stage that the others waited for; None before there is anything to tell.

        The encoder's thread is the middle of the pipeline: what it spent its time on says on which side of it the
        slowest stage lies.
        """
        spent = self.stage_seconds
        middle = {
            "encode": spent.get("encode", 0.0),
            "before": spent.get("waiting", 0.0),
            "write": spent.get("blocked", 0.0),
        }
        if not any(middle.values()):
            return None
        slowest = max(middle, key=lambda stage: middle[stage])
        if slowest == "before":
            return max(("read", "lookup", "decode"), key=lambda stage: spent.get(stage, 0.0))
        return slowest

    @property
    def encoder_idle(self) -> float | None:
        """The share of the encoder's thread's time, from 0 to 1, that went by without encoding: for want of images, or
        of room before the writer. On a GPU this is how long the GPU waited, copies to and from it aside. None before
        anything was encoded.
        """
        spent = self.stage_seconds
        idle, encoding = spent.get("waiting", 0.0) + spent.get("blocked", 0.0), spent.get("encode", 0.0)
        return idle / (idle + encoding) if encoding else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "refused": dict(sorted(self.refused.items())),
            "passed_over": dict(sorted(self.passed_over.items())),
            "stage_seconds": {name: round(value, 3) for name, value in sorted(self.stage_seconds.items())},
            "seconds": round(self.seconds, 3),
            "bottleneck": self.bottleneck,
            "encoder_idle": None if self.encoder_idle is None else round(self.encoder_idle, 3),
        }
