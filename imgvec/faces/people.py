"""Who is enrolled: a row a face in a small collection beside the collection of faces, `NAME__people`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from typing_extensions import Unpack

from imgvec.errors import QueryError, UsageError
from imgvec.faces.looking import Seen
from imgvec.filters.fields import text_literal
from imgvec.meant import suggestion
from imgvec.rows import BOX, FACE_FIELDS, ID, INGESTED_AT, PERSON, URI, VECTOR
from imgvec.store import NearestOf, Notes
from imgvec.stored import Found
from imgvec.vectors import Vectors

_MOST_FACES = 200
"""Enrolled faces that are nearest to one that is asked about, among which its candidates are; one person's may be many
of them."""


class Beside(Notes, Protocol):
    """Rows by `id` whose vectors are compared by squared Euclidean distance."""

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors | None = None) -> int:
        """As `Notes.upsert`, with (n, dim) vectors."""
        ...

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        """As `Searches.search`."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An enrolled person, and how far the nearest of their faces is."""

    person: str
    distance: float
    """Euclidean."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"person": self.person, "distance": self.distance}


class People:
    """The enrolled people of one collection."""

    def __init__(self, rows: Beside, dim: int) -> None:
        self._rows, self._dim = rows, dim

    def enrol(self, person: str, faces: Sequence[tuple[str, Seen]]) -> int:
        """Keep faces, each with the uri of its picture, as that person's; returns how many.

        A face that is enrolled as theirs already is not kept twice.
        """
        rows = {
            _id(person, face): {
                ID: _id(person, face),
                PERSON: person,
                URI: uri,
                BOX: list(face.box),
                INGESTED_AT: time.time_ns() // 1_000_000,
            }
            for uri, face in faces
        }
        vectors = {_id(person, face): face.vector for _, face in faces}
        known = self._rows.get(list(rows), output_fields=[PERSON])
        new = [id_ for id_ in rows if id_ not in known]
        if new:
            self._rows.upsert([rows[id_] for id_ in new], np.stack([vectors[id_] for id_ in new]))
        return len(new)

    def faces(self) -> Iterator[tuple[str, Vectors]]:
        """The person and the (dim,) vector of every enrolled face, in the order of their ids."""
        return ((row[PERSON], row[VECTOR]) for rows in self._rows.scan([PERSON, VECTOR]) for row in rows)

    def of(self, person: str) -> Vectors:
        """(n, dim), the vectors of a person's faces; raises `QueryError` where nobody of that name is enrolled."""
        found = [row[VECTOR] for rows in self._rows.scan([VECTOR], _is(person)) for row in rows]
        if not found:
            raise self.nobody(person)
        return np.stack(found)

    def counts(self) -> dict[str, int]:
        """How many faces each person has, by name."""
        found = Counter(row[PERSON] for rows in self._rows.scan([PERSON]) for row in rows)
        return dict(sorted(found.items()))

    def nearest(self, vectors: Vectors, most: int) -> list[list[Candidate]]:
        """For each of (n, dim) vectors the `most` nearest people, each by the nearest of their faces, nearest first."""
        if not len(vectors):
            return []
        found = self._rows.search(vectors, limit=_MOST_FACES, output_fields=[PERSON])
        return [_candidates(each)[:most] for each in found]

    def forget(self, person: str) -> int:
        """Delete every face of a person; returns how many there were."""
        ids = [row[ID] for rows in self._rows.scan([ID], _is(person)) for row in rows]
        return self._rows.delete(ids) if ids else 0

    def nobody(self, person: str) -> QueryError:
        """What says that nobody of that name is enrolled."""
        known = self.counts()
        return QueryError(f"nobody called {person!r} is enrolled{suggestion(person, known)}")


def checked_name(person: str) -> str:
    """A person's name as it is kept; raises `UsageError`."""
    most = FACE_FIELDS[PERSON].max_bytes or 0
    try:
        name = person.strip()
        size = len(name.encode())
    except (AttributeError, UnicodeEncodeError):
        raise UsageError(f"{person!r} is not a person's name: give a text") from None
    if not name or size > most:
        raise UsageError(f"{person!r} is not a person's name: give 1 to {most} bytes of text")
    return name


def _candidates(found: Sequence[Found]) -> list[Candidate]:
    nearest: dict[str, Candidate] = {}
    for row in found:
        person = row.fields[PERSON]
        nearest.setdefault(person, Candidate(person, float(max(row.distance, 0.0)) ** 0.5))
    return sorted(nearest.values(), key=lambda each: (each.distance, each.person))


def _id(person: str, face: Seen) -> str:
    return blake2b(person.encode() + b"\0" + face.vector.tobytes(), digest_size=16).hexdigest()


def _is(person: str) -> str:
    return f"{PERSON} == {text_literal(person)}"
