"""Whose face it is, and whether two are of one person: answers as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imgvec.faces.groups import StoredFace
from imgvec.faces.people import Candidate
from imgvec.faces.rates import Limit


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What became of pictures that show somebody."""

    person: str
    enrolled: int
    """Faces that are kept now and were not before."""
    known: int
    """Faces that were kept already."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a picture was not taken, by what it is called."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        refused = dict(self.refused)
        return {"person": self.person, "enrolled": self.enrolled, "known": self.known, "refused": refused}


@dataclass(frozen=True, slots=True)
class IdentifiedFace:
    """A face of a picture, and whose it may be."""

    picture: str
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in pixels of the upright picture."""
    person: str | None
    """The nearest enrolled person, if they are near enough; None for nobody known."""
    candidates: tuple[Candidate, ...]
    """The nearest enrolled people, near enough or not, nearest first."""

    @property
    def distance(self) -> float | None:
        """To the nearest of them; None where nobody is enrolled."""
        return self.candidates[0].distance if self.candidates else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "picture": self.picture,
            "box": [*self.box],
            "person": self.person,
            "distance": self.distance,
            "candidates": [each.to_dict() for each in self.candidates],
        }


@dataclass(frozen=True, slots=True)
class Identification:
    """The faces of pictures, and whose they may be."""

    faces: tuple[IdentifiedFace, ...]
    limit: Limit
    """`wrong_rate` is of faces whose nearest enrolled face is somebody else's, without their own person's."""
    without: tuple[str, ...] = ()
    """Pictures in which no face was found."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Pictures that could not be read, and why."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "faces": [each.to_dict() for each in self.faces],
            "without": [*self.without],
            "refused": dict(self.refused),
            "limit": self.limit.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Naming:
    """What became of the stored faces when they were given names."""

    faces: int
    named: Mapping[str, int]
    """How many faces each person has now."""
    changed: int
    """Faces that have another name now, or none."""
    limit: Limit

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "faces": self.faces,
            "named": dict(self.named),
            "changed": self.changed,
            "limit": self.limit.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class FaceComparison:
    """Whether two faces, or a face and an enrolled person's, are taken for one person's."""

    same: bool
    distance: float
    """Euclidean; with a person, to the nearest of their faces."""
    limit: Limit
    """`wrong_rate` is of two faces of different people, or of a face and the nearest of another person's."""
    person: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "same": self.same,
            "distance": self.distance,
            "person": self.person,
            "limit": self.limit.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Clusters:
    """Stored faces that nobody has a name for, together with those like them."""

    groups: tuple[tuple[StoredFace, ...], ...]
    """The largest first."""
    alone: int
    """Faces of smaller groups than were asked for."""
    limit: Limit
    """Two faces are linked up to its distance; `wrong_rate` is of two faces of different people."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "groups": [[face.to_dict() for face in each] for each in self.groups],
            "alone": self.alone,
            "limit": self.limit.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted of a person."""

    person: str
    enrolled: int
    """Faces that they were known by."""
    faces: int
    """Faces of stored pictures that had their name."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"person": self.person, "enrolled": self.enrolled, "faces": self.faces}
