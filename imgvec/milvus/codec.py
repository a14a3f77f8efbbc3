"""Converts vectors between float32 arrays and the collection's vector type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.vectors import UNIT_TOLERANCE, Vectors

INT8_SCALE = 127.0
"""A unit vector's elements, -1 to 1, as an INT8_VECTOR's."""
_LARGEST = {"FLOAT16_VECTOR": 65504.0, "INT8_VECTOR": 1 + UNIT_TOLERANCE}
"""What an element may be at most, before it is scaled; larger ones would become infinite, or be cut short."""


def problem(vectors: Vectors, vector_type: str) -> str | None:
    """Why vectors of that type cannot hold these numbers, all of them finite; None where they can."""
    largest = _LARGEST.get(vector_type)
    if largest is None or not vectors.size or -largest <= vectors.min() <= vectors.max() <= largest:
        return None
    beyond = np.abs(vectors).max(axis=1)
    first = int(np.argmax(beyond > largest))
    return f"vector {first} has an element of size {beyond[first]:.4g}: {vector_type} holds {round(largest):,} at most"


def to_rows(vectors: Vectors, vector_type: str) -> Sequence[Any]:
    """One value a vector, as pymilvus takes them in rows of that vector type."""
    if vector_type == "FLOAT_VECTOR":
        return list(vectors)
    return [
        encoded.tobytes() if vector_type == "BFLOAT16_VECTOR" else encoded for encoded in _encode(vectors, vector_type)
    ]


def as_stored(vectors: Vectors, vector_type: str) -> Vectors:
    """(n, dim) float32 vectors as they are read back, rounded to what that type holds."""
    if vector_type == "FLOAT_VECTOR" or not len(vectors):
        return vectors
    return np.stack([from_row(row, vector_type) for row in to_rows(vectors, vector_type)])


def to_query(vectors: Vectors, vector_type: str) -> list[bytes]:
    """One bytes object a query vector; pymilvus packs bytes without touching each number."""
    return [row.tobytes() for row in _encode(vectors, vector_type)]


def from_row(value: Any, vector_type: str) -> Vectors:
    """A vector as Milvus gives it back, to (dim,) float32."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], bytes):
        value = value[0]
    if isinstance(value, bytes):
        if vector_type == "BFLOAT16_VECTOR":
            widened: Vectors = (np.frombuffer(value, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
            return widened
        raw = np.frombuffer(value, "<f2" if vector_type == "FLOAT16_VECTOR" else np.int8)
        return raw.astype(np.float32) / np.float32(scale(vector_type))
    return np.asarray(value, np.float32) / np.float32(scale(vector_type))


def scale(vector_type: str) -> float:
    """What elements are multiplied by on the way in."""
    return INT8_SCALE if vector_type == "INT8_VECTOR" else 1.0


def _encode(vectors: Vectors, vector_type: str) -> NDArray[Any]:
    if vector_type == "FLOAT_VECTOR":
        return vectors
    if vector_type == "FLOAT16_VECTOR":
        return vectors.astype(np.float16)
    if vector_type == "BFLOAT16_VECTOR":  # the upper half of a float32, rounded to the nearest, ties to even
        bits, half = vectors.view(np.uint32), np.uint32(16)
        return ((bits + np.uint32(0x7FFF) + ((bits >> half) & np.uint32(1))) >> half).astype(np.uint16)
    if vector_type == "INT8_VECTOR":
        scaled: Vectors = np.clip(vectors, -1, 1) * np.float32(INT8_SCALE)
        return scaled.round().astype(np.int8)
    raise ValueError(f"{vector_type} does not hold float vectors")
