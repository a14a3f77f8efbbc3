"""One job: what it is to do, how far it has come, and how that is shown and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

JobKind: TypeAlias = Literal["ingest", "duplicates", "calibrate"]
State: TypeAlias = Literal["waiting", "running", "cancelling", "paused", "succeeded", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})
"""States that do not change any more."""
MOST_NOTICES = 100
MOST_ERRORS = 100
"""Refused pictures that are shown; all are counted."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture that came with the job, as the file that keeps it."""

    uri: str
    """Its absolute path, which has its content hash for a name."""
    content_hash: str
    is_new: bool
    """Whether it was not there before: nobody else's row names it then."""


@dataclass
class Job:
    """Changed by its `Jobs` alone, which hold a lock meanwhile."""

    id: str
    kind: JobKind
    collection: str
    """By the name that it is served by."""
    by: str
    """The name of the token that asked; empty where there are none."""
    request: dict[str, Any]
    """The options that were given, for JSON."""
    uploads: list[Upload] = field(default_factory=list)
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of uploads, by uri."""
    created_at: str = field(default_factory=lambda: now())
    started_at: str | None = None
    """The last time."""
    ended_at: str | None = None
    state: State = "waiting"
    starts: int = 0
    deaths: int = 0
    """How often the server ended without a word while it ran."""
    progress: dict[str, Any] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problem: dict[str, Any] | None = None

    def shown(self) -> dict[str, Any]:
        """For JSON, as `JobShown` says, without its errors and uploads."""
        at = f"/v1/jobs/{self.id}"
        return {
            "id": self.id,
            "kind": self.kind,
            "collection": self.collection,
            "state": self.state,
            "by": self.by,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "starts": self.starts,
            "request": {**self.request, **({"uploads": len(self.uploads)} if self.uploads else {})},
            "progress": self.progress,
            "counts": dict(self.counts),
            "notices": list(self.notices),
            "problem": self.problem,
            "links": {
                "self": at,
                "events": f"{at}/events",
                "result": f"{at}/result" if self.state == "succeeded" else None,
            },
        }

    def shown_uploads(self) -> list[dict[str, Any]]:
        """Which file keeps which part of the upload."""
        return [
            {"index": number, "uri": each.uri, "content_hash": each.content_hash}
            for number, each in enumerate(self.uploads)
        ]

    def packed(self) -> dict[str, Any]:
        """For a file of JSON."""
        return asdict(self)

    @classmethod
    def unpacked(cls, found: dict[str, Any]) -> Self:
        """Of what `packed` gave, here or in another release; raises `TypeError` and `KeyError` for anything else."""
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in found.items() if name in known}
        return cls(**{**given, "uploads": [Upload(**each) for each in given["uploads"]]})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class JobShown(BaseModel):
    """What an answer says of a job."""

    model_config = ConfigDict(extra="forbid")

    id: str
    kind: JobKind
    collection: str
    state: State = Field(
        description="`succeeded`, `failed` and `cancelled` do not change any more; one that is `paused` goes on when "
        "the server starts again."
    )
    by: str = Field(description="The name of the token that asked for it.")
    created_at: str
    started_at: str | None
    ended_at: str | None
    starts: int = Field(description="More than one where it went on after the server had stopped.")
    request: dict[str, Any]
    progress: dict[str, Any] | None = Field(description="The latest event: stage, done, total, seconds, counts.")
    counts: dict[str, int]
    notices: list[str]
    problem: dict[str, Any] | None = Field(description="Why it failed, as a problem document.")
    links: dict[str, str | None]
    errors: list[dict[str, str]] | None = Field(
        None, description=f"Pictures that were refused, with the reason: the first {MOST_ERRORS}."
    )
    uploads: list[dict[str, Any]] | None = Field(None, description="The uri of each uploaded picture, in their order.")


EXAMPLE: dict[str, Any] = {
    "id": "8d3f0c1ab2e94f7c9a6b5e4d3c2b1a09",
    "kind": "ingest",
    "collection": "photos",
    "state": "running",
    "by": "camera",
    "created_at": "2026-11-27T08:00:00.000+00:00",
    "started_at": "2026-11-27T08:00:00.012+00:00",
    "ended_at": None,
    "starts": 1,
    "request": {"source": "2026/summer", "on_duplicate": "skip"},
    "progress": {
        "work": "ingest",
        "stage": "images",
        "done": 120,
        "total": None,
        "seconds": 3.2,
        "message": "",
        "counts": {"seen": 160, "written": 119, "updated": 0, "unchanged": 0, "duplicates": 0, "refused": 1},
    },
    "counts": {"seen": 160, "written": 119, "updated": 0, "unchanged": 0, "duplicates": 0, "refused": 1},
    "notices": [],
    "problem": None,
    "links": {
        "self": "/v1/jobs/8d3f0c1ab2e94f7c9a6b5e4d3c2b1a09",
        "events": "/v1/jobs/8d3f0c1ab2e94f7c9a6b5e4d3c2b1a09/events",
        "result": None,
    },
}
