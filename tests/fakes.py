"""An encoder without weights and a store without Milvus; both keep the promises of the real ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from imgvec.encoders.protocol import Binding, Pixels
from imgvec.filters import FieldType
from imgvec.vectors import Vectors


class FakeEncoder:
    """Vectors that are a fixed random projection of the pixels, so that similar pictures have similar vectors."""

    def __init__(self, *, dim: int = 16, image_size: int = 32, batch_size: int = 4, text: bool = False, seed: int = 0):
        self.binding = Binding("fake", None, f"{seed:032x}", None, "cls", image_size, dim)
        self.batch_size = batch_size
        self.supports_text = text
        self.encoded = 0
        """Images that went through `encode`."""
        self._turn = threading.Lock()
        pixels = 3 * image_size * image_size
        # whole numbers, whose sums are the same in every order: vectors do not depend on what was encoded beside
        self._matrix = np.round(1024 * np.random.default_rng(seed).standard_normal((pixels, dim)))

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        return partial(_resized, self.binding.image_size)

    def encode(self, pixels: Pixels) -> Vectors:
        with self._turn:
            self.encoded += len(pixels)
            flat = pixels.reshape(len(pixels), -1).astype(np.float64) - 115
            return _unit(flat @ self._matrix)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        if not images:
            return np.empty((0, self.binding.dim), np.float32)
        return self.encode(np.stack([self.prepare(image) for image in images]))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) for text in texts]
        return _unit(np.stack([np.random.default_rng(s).standard_normal(self.binding.dim) for s in seeds]))


def _resized(side: int, image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image.resize((side, side))).transpose(2, 0, 1))


def _unit(vectors: np.ndarray[Any, Any]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class FakeFound:
    id: str
    distance: float
    score: float
    fields: Mapping[str, Any]


@dataclass
class FakeStore:
    """Rows in a dict, searched exactly by cosine; filters are not looked at."""

    dim: int = 16
    dynamic: bool = True
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    upserts: list[int] = field(default_factory=list)
    """How many rows each call wrote."""
    fields: Mapping[str, FieldType] = field(
        default_factory=lambda: {"id": FieldType("VARCHAR"), "uri": FieldType("VARCHAR"), "album": FieldType("VARCHAR")}
    )

    def check_same(self) -> None:
        """It stays the same one."""

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        assert vectors.shape == (len(rows), self.dim)
        assert vectors.dtype == np.float32
        for row, vector in zip(rows, vectors, strict=True):
            self.rows[row["id"]] = {**row, "vector": vector.copy()}
        self.upserts.append(len(rows))
        return len(rows)

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> dict[str, dict[str, Any]]:
        return {id_: self._picked(self.rows[id_], output_fields, with_vector) for id_ in ids if id_ in self.rows}

    def _picked(self, row: Mapping[str, Any], names: Sequence[str], with_vector: bool) -> dict[str, Any]:
        picked = {k: v for k, v in row.items() if k != "vector" and (k in names or "*" in names)}
        return {**picked, "vector": row["vector"]} if with_vector else picked

    def search(
        self,
        vectors: Vectors,
        *,
        limit: int,
        filter: str = "",
        output_fields: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        consistency_level: str | None = None,
    ) -> list[list[FakeFound]]:
        answers = []
        for vector in vectors:
            scored = [(float(row["vector"] @ vector), id_) for id_, row in self.rows.items()]
            best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:limit]
            answers.append(
                [FakeFound(id_, s, s, self._picked(self.rows[id_], [*output_fields, "uri"], False)) for s, id_ in best]
            )
        return answers

    def count(self, filter: str = "") -> int:
        return len(self.rows)

    def scan(self, output_fields: Sequence[str], filter: str = "") -> Iterator[list[dict[str, Any]]]:
        ids = sorted(self.rows)
        for start in range(0, len(ids), 10):
            yield [{name: self.rows[id_][name] for name in output_fields} for id_ in ids[start : start + 10]]

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self.rows.pop(id_, None) is not None for id_ in ids)
