"""What a search for duplicates has found: groups, in each the copy to keep and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgvec.curation.judging import Kind
from imgvec.curation.subjects import Subject
from imgvec.dates import iso


@dataclass(frozen=True, slots=True)
class Member:
    """One picture of a group, and what it is to the best."""

    subject: Subject
    kind: Kind
    """`file` also for the best itself."""
    mirrored: bool = False
    agreement: float = 1.0
    """Correlation of what both show, from -1 to 1."""
    share: float = 1.0
    """Of the best picture, how much this one shows."""
    scale: float = 1.0
    """Pixels of this picture per pixel of the best, in what both show."""
    reasons: tuple[str, ...] = ()
    """Why the best is better than this one."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        one = self.subject
        return {
            "id": one.id,
            "uri": one.uri,
            "kind": self.kind,
            "mirrored": self.mirrored,
            "agreement": round(self.agreement, 4),
            "share": round(self.share, 3),
            "scale": round(self.scale, 3),
            "width": one.width,
            "height": one.height,
            "media_type": one.media_type,
            "taken_at": None if one.taken_at is None else iso(one.taken_at),
            "ingested_at": iso(one.ingested_at),
            "content_hash": one.content_hash,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are one: each was compared with the best of them, and none is here only by way of another."""

    kind: Kind
    """Of the members the least alike: `file` before `pixels`, `copy`, `vector` and `burst`."""
    best: Subject
    others: tuple[Member, ...]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """All of them, the best first."""
        return (self.best, *(each.subject for each in self.others))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "best": Member(self.best, "file").to_dict(),
            "others": [each.to_dict() for each in self.others],
        }


@dataclass(frozen=True)
class Duplicates:
    """What `imgvec.duplicates` has found."""

    collection: str
    vector: str
    groups: tuple[Group, ...]
    pictures: int
    """Of the collection."""
    looked_at: int
    """By this run: those that are new since the last one."""
    candidates: int
    """Pairs that were held against each other by this run."""
    least_score: float | None
    """Of candidates, by the collection's calibration; None where the nearest are taken whatever their score."""
    not_looked_at: Mapping[str, str] = field(default_factory=dict)
    """The uris of pictures that could not be reopened, with the reason; the first 1,000."""
    unseen: int = 0
    """How many those are."""
    calls: int = 0
    """To Milvus, by this run: reads of rows and searches, each of a batch."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage."""
    interrupted: bool = False
    """Stopped before the end: the same call goes on from there."""

    def of(self, *kinds: Kind) -> Sequence[Group]:
        """The groups with a picture that is one of these to the best."""
        return [each for each in self.groups if any(other.kind in kinds for other in each.others)]

    @property
    def counts(self) -> dict[str, int]:
        """Groups by kind."""
        return dict(Counter(each.kind for each in self.groups))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "collection": self.collection,
            "vector": self.vector,
            "pictures": self.pictures,
            "looked_at": self.looked_at,
            "candidates": self.candidates,
            "least_score": self.least_score,
            "calls": self.calls,
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "interrupted": self.interrupted,
            "unseen": self.unseen,
            "not_looked_at": dict(self.not_looked_at),
            "counts": self.counts,
            "groups": [each.to_dict() for each in self.groups],
        }
