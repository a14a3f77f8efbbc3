"""Rows with vectors and no pictures, for what is learned of a collection's vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgvec import ImageCollection, Settings, create_for_vectors, import_vectors
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


def eight(uri: str, folder: Path) -> None:
    """Make the collection `eight`, of vectors that came from elsewhere: no encoder is loaded for it."""
    file = folder / "vectors.npy"
    np.save(file, np.eye(8, dtype=np.float32))
    with create_for_vectors("eight", file, settings=Settings(uri=uri)) as made:
        import_vectors(made, file)
