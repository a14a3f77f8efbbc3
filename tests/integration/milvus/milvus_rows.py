"""Rows, vectors and definitions for the tests of `imgvec.milvus`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import row

from imgvec.definition import Definition

Vectors = NDArray[np.float32]

FIELDS: dict[str, Any] = {
    "album": {"type": "VARCHAR", "max_length": 8, "default": "", "index": "AUTO"},
    "rank": {"type": "INT64", "default": 0, "index": "AUTO"},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_length": 16, "default": [], "index": "AUTO"},
    "exif": {"type": "JSON", "default": {}},
}


def definition(**parts: Any) -> Definition:
    """A definition without fields, with an exact index, unless `parts` say otherwise."""
    return Definition.load({"encoder": {"model": "m"}, "index": {"cpu": {"type": "FLAT"}}, **parts})


def full_row(id_: str, **others: Any) -> dict[str, Any]:
    """A row of a collection with `FIELDS`."""
    return row(id_, **{"album": "cats", "rank": 1, "tags": ["a", "b"], "exif": {"iso": 100}, **others})


def unit_vectors(count: int, dim: int, seed: int = 0) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made
