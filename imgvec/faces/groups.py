"""Faces that nobody has a name for, together with those like them: Chinese whispers (Biemann 2006), dlib's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imgvec.errors import MissingExtra
from imgvec.vectors import Vectors

MOST_GROUPED = 20_000
"""Faces: all pairs of them are compared."""


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A stored face."""

    id: str
    uri: str
    box: Sequence[int]
    """x0, y0, x1, y1 in pixels of the upright picture."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"id": self.id, "uri": self.uri, "box": [*map(int, self.box)]}


def groups(faces: Sequence[StoredFace], vectors: Vectors, distance: float, least: int) -> list[list[StoredFace]]:
    """Groups of at least so many faces, the largest first, each in the order given.

    Two faces are linked where they are no further apart than `distance`; each takes over the group that most of those
    linked with it have, until little changes. Not every two of a group are linked. Equal input gives equal groups.
    """
    try:
        import dlib
    except ModuleNotFoundError as exc:
        raise MissingExtra("faces", "grouping faces needs dlib") from exc
    found: dict[int, list[StoredFace]] = defaultdict(list)
    if len(faces):
        # its rows are read as dlib's own vectors of doubles
        labels = dlib.chinese_whispers_clustering([dlib.vector(row.tolist()) for row in vectors], distance)
        for face, label in zip(faces, labels, strict=True):
            found[label].append(face)
    kept = [each for each in found.values() if len(each) >= least]
    return sorted(kept, key=lambda each: (-len(each), each[0].id))
