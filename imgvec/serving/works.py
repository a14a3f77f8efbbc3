"""What jobs do: the library's own ingest, duplicates and calibrate, each of which may be stopped and goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgvec.abandoned import Call, of_call
from imgvec.collection import ImageCollection
from imgvec.curation import COPIES
from imgvec.curation.options import DuplicatesOptions
from imgvec.encoders.turns import behind_queries
from imgvec.ingest.options import IngestOptions
from imgvec.options import taken
from imgvec.progress import OnProgress
from imgvec.quality.options import CalibrateOptions
from imgvec.serving.job import Job, JobKind
from imgvec.serving.places import below_roots
from imgvec.sources import Source, SourceOptions
from imgvec.verbs.calibration import calibrate
from imgvec.verbs.curation import delete_duplicates, duplicates


class Interrupted(Exception):
    """It was stopped before its end; the same job goes on from there."""


@dataclass(frozen=True, slots=True)
class Doing:
    """What one run of a job is given besides the job."""

    on_progress: OnProgress
    on_notice: Callable[[str], None]
    errors: Path
    """Takes the pictures that are refused."""
    deleted: Path
    """Takes what is deleted."""
    stop: threading.Event = field(default_factory=threading.Event)
    call: Call = field(default_factory=Call)
    """Abandoned, where nothing can be taken up."""

    def end(self) -> None:
        """Stop it where it can go on from, or at once where it begins again anyway; any thread may call."""
        self.stop.set()
        self.call.abandon()


@dataclass(frozen=True, slots=True)
class Outcome:
    result: dict[str, Any]
    """For JSON."""
    counts: dict[str, int]


def run(photos: ImageCollection, job: Job, doing: Doing) -> Outcome:
    """Do it; queries go first at the encoder. Raises `Interrupted`, `Abandoned`, and what the library raises."""
    with behind_queries():
        return _WORKS[job.kind](photos, job, doing)


def _ingest(photos: ImageCollection, job: Job, doing: Doing) -> Outcome:
    options = taken(IngestOptions, job.request)
    options["errors"], options["stop"] = doing.errors, doing.stop
    options["on_progress"], options["on_notice"] = doing.on_progress, doing.on_notice
    spec: str | list[str]
    if job.uploads:
        spec, options["metadata"] = [each.uri for each in job.uploads], job.metadata or None
    else:
        # again: links may lead elsewhere than when it was asked for
        spec = below_roots(job.request["source"], photos.settings.roots or ())
    report = photos.ingest(Source(spec, **taken(SourceOptions, job.request)), **options)
    if report.interrupted:
        raise Interrupted
    counts = {**report.progress().counts, "skipped": report.skipped, "pruned": report.pruned}
    return Outcome(report.to_dict(), counts)


def _duplicates(photos: ImageCollection, job: Job, doing: Doing) -> Outcome:
    options = taken(DuplicatesOptions, job.request)
    options["stop"], options["on_progress"], options["on_notice"] = doing.stop, doing.on_progress, doing.on_notice
    found = duplicates(photos, **options)
    if found.interrupted:
        raise Interrupted
    kinds = job.request.get("kinds")
    groups = found.groups if kinds is None else found.of(*kinds)
    result = {**found.to_dict(), "groups": [each.to_dict() for each in groups]}
    counts = {"pictures": found.pictures, "looked_at": found.looked_at, "groups": len(groups)}
    if job.request.get("delete"):
        gone = delete_duplicates(photos, found, kinds=kinds or COPIES, log=doing.deleted)
        result["deleted"] = {"pictures": gone.pictures, "left": gone.left}
        counts["deleted"] = gone.pictures
    return Outcome(result, counts)


def _calibrate(photos: ImageCollection, job: Job, doing: Doing) -> Outcome:
    """It cannot be stopped and taken up, so it begins again; what it writes, it writes at its end."""

    def on_progress(event: Any) -> None:
        doing.call.check()
        doing.on_progress(event)

    options = taken(CalibrateOptions, job.request)
    options["on_progress"], options["on_notice"] = on_progress, doing.on_notice
    found = of_call(doing.call, lambda: calibrate(photos, **options))()
    return Outcome(found.to_dict(), {"pictures": found.pictures})


_WORKS: Mapping[JobKind, Callable[[ImageCollection, Job, Doing], Outcome]] = {
    "ingest": _ingest,
    "duplicates": _duplicates,
    "calibrate": _calibrate,
}
