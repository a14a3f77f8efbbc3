"""Output fields of a read, and Milvus's answers: distances converted to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec import dates, geometry
from imgvec.milvus import codec
from imgvec.milvus.described import Schema
from imgvec.rows import FROM_IMAGE, ID
from imgvec.stored import Found, VectorField
from imgvec.vectors import Vectors

DYNAMIC = "$meta"
"""As an output field: everything in the dynamic field."""
EVERYTHING = "*"
"""As an output field: every scalar field, and the dynamic ones."""

_GUESSED_TEXT_BYTES = 256
_GUESSED_JSON_BYTES = 1024
_FLOAT_OBJECT_BYTES = 32


class Columns:
    """The output fields that one read asks for."""

    def __init__(self, names: Sequence[str], schema: Schema) -> None:
        vectors = schema.vectors
        everything = EVERYTHING in names
        asked = [*schema.fields, *([DYNAMIC] if schema.dynamic else [])] if everything else []
        asked += [name for name in names if name != EVERYTHING]
        # of a dynamic field that is asked for as a whole it is a part; an old collection without one has it nowhere
        apart = DYNAMIC not in asked if schema.dynamic else schema.noted
        self.names = [name for name in dict.fromkeys(asked) if name != FROM_IMAGE or apart] or [ID]
        """As both backends take them: without any, Milvus Lite would send all."""
        hidden = {*(() if everything or ID in names else (ID,)), *(() if FROM_IMAGE in names else (FROM_IMAGE,))}
        self._hidden = frozenset(hidden)
        self._vector_types = {name: vectors[name].vector_type for name in self.names if name in vectors}
        self._spelled = {
            name: _SPELLED[kind.type]
            for name in self.names
            if (kind := schema.fields.get(name)) is not None and kind.type in _SPELLED
        }
        self.plain = not (self._vector_types or self._spelled) and not (
            self._hidden & {*self.names, *_within(self.names)}
        )
        """A hit's entity is what was asked for, as it comes."""
        self.row_bytes = 100 + sum(_guessed_bytes(name, schema, vectors) for name in self.names)
        """Approximate memory of one row of the answer in this process, in bytes."""

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row without an id or a note that was not asked for, its vectors as (dim,) float32.

        Times and shapes are spelled as `convert` of a definition spells them.
        """
        wanted = {name: value for name, value in row.items() if name not in self._hidden}
        for name, vector_type in self._vector_types.items():
            if name in wanted:
                wanted[name] = codec.from_row(wanted[name], vector_type)
        for name, spelled in self._spelled.items():
            if isinstance(value := wanted.get(name), str):
                wanted[name] = spelled(value)
        return wanted


def _wkt(text: str) -> str:
    try:
        return geometry.wkt(text)
    except ValueError:  # another kind of shape, that somebody else has written
        return text


_SPELLED: Mapping[str, Callable[[str], str]] = {"TIMESTAMPTZ": dates.utc, "GEOMETRY": _wkt}
"""Backends differ in how they spell these, and a row equals its metadata by the text."""


class Scoring:
    """Milvus's distances as scores; Milvus's L2 is the squared distance, for unit vectors 2 - 2 cos."""

    def __init__(self, vector: VectorField) -> None:
        # an INT8 vector is stored 127 times as long; a cosine does not feel it
        unit = codec.scale(vector.vector_type) ** 2
        self._metric = vector.metric_type
        self._slope, self._offset = {"L2": (-0.5 / unit, 1.0), "IP": (1.0 / unit, 0.0)}.get(
            vector.metric_type, (1.0, 0.0)
        )

    def range(self, least: float | None, most: float | None) -> dict[str, float]:
        """The parameters of Milvus's range search for the scores between two, or from one or up to one.

        Milvus leaves out what is at the radius itself, wants one where there is another bound, and may round a distance
        otherwise than it did before: so both are put a millionth further out.
        """
        radius = -float(np.copysign(3e38, self._slope)) if least is None else self._distance(least, -1)
        return {"radius": radius, **({} if most is None else {"range_filter": self._distance(most, 1)})}

    def _distance(self, score: float, out: int) -> float:
        """Of a score, put further out: up for 1, down for -1, as scores go."""
        distance = (score - self._offset) / self._slope
        return distance + out * float(np.copysign(1e-6 * (1 + abs(distance)), self._slope))

    def compared(self, query: Vectors, stored: Vectors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n,) scores and distances of one (dim,) query with (n, dim) vectors, as Milvus would give them.

        NaN where a vector has none: of length zero under COSINE. Equal vectors have equal scores: those are products
        in float64, rounded.
        """
        wide, others = query.astype(np.float64), stored.astype(np.float64)
        with np.errstate(all="ignore"):
            if self._metric == "L2":
                scores = 1 - np.square(others - wide).sum(1) / 2
            else:
                scores = others @ wide
                if self._metric == "COSINE":
                    scores = scores / (np.linalg.norm(others, axis=1) * np.linalg.norm(wide))
        return scores.astype(np.float32), ((scores - self._offset) / self._slope).astype(np.float32)

    def found(self, hits: Any, columns: Columns) -> list[Found]:
        """One query's hits, best first, equal scores in the order of their ids."""
        slope, offset, plain = self._slope, self._offset, columns.plain
        found = [
            Found(id_, distance, offset + slope * distance, hit["entity"] if plain else columns.of(hit["entity"]))
            for id_, distance, hit in zip(hits.ids, hits.distances, hits, strict=True)
        ]
        # Milvus's order is kept where nothing is equal, which costs less than to sort
        if any(one.score <= next_one.score for one, next_one in pairwise(found)):
            found.sort(key=lambda each: (-each.score, each.id))
        return found


def words_found(hits: Any, columns: Columns) -> list[Found]:
    """One text's hits by BM25, best first, equal scores in the order of their ids.

    BM25's scores are above 0; Milvus Lite gives them as distances below 0, and a server as they are.
    """
    found = [
        Found(id_, distance, abs(distance), columns.of(hit["entity"]))
        for id_, distance, hit in zip(hits.ids, hits.distances, hits, strict=True)
    ]
    return sorted(found, key=lambda each: (-each.score, each.id))


def _within(names: Sequence[str]) -> tuple[str, ...]:
    """What may come with the dynamic field without being asked for by name."""
    return (FROM_IMAGE,) if DYNAMIC in names else ()


def _guessed_bytes(name: str, schema: Schema, vectors: Mapping[str, VectorField]) -> int:
    if name in vectors:
        return vectors[name].dim * _FLOAT_OBJECT_BYTES  # pymilvus makes a list of them
    kind = schema.fields.get(name)
    if kind is None or kind.type in ("JSON", "ARRAY", "GEOMETRY"):
        return _GUESSED_JSON_BYTES
    return min(kind.max_length or 8, _GUESSED_TEXT_BYTES)
