"""Rows with vectors and no pictures, for what is learned of a collection's vectors."""

from __future__ import annotations

import numpy as np

from imgvec import ImageCollection
from imgvec.vectors import Vectors

DIM = 16
DEFINITION = {
    "encoder": {"model": "none"},
    "fields": {"kind": {"type": "VARCHAR", "max_length": 8, "default": ""}},
    "index": {"cpu": {"type": "FLAT"}},
}


def unit(rows: int, seed: int) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((rows, DIM))
    scaled: Vectors = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def fill(collection: ImageCollection, vectors: Vectors, start: int = 0) -> None:
    rows = [
        {"id": f"{n:05d}", "uri": f"/nowhere/{n}.jpg", "content_hash": f"{n}", "width": 1, "height": 1,
         "media_type": "image/jpeg", "ingested_at": 0, "kind": "ab"[n % 2]}
        for n in range(start, start + len(vectors))
    ]  # fmt: skip
    collection.store.upsert(rows, vectors)
