"""An encoder without weights and a store without Milvus: they inherit what the real ones promise."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from typing_extensions import Unpack

from imgvec.encoders.protocol import Binding, Pixels
from imgvec.filters import Dialect, FieldType
from imgvec.indexes.scores import true_scores
from imgvec.progress import OnProgress, Telling
from imgvec.store import NearestOf, Store, check_keywords
from imgvec.stored import Found, IndexInfo, IndexState, VectorField
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
    made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return made


class FakeStore(Store):
    """Rows in a dict, searched exactly by their metric; filters are not looked at, and any index is built at once."""

    name: str = "fake"
    description: str = "{}"
    dim: int = 16
    vector_type: str = "FLOAT_VECTOR"
    metric_type: str = "COSINE"
    index: IndexInfo = IndexInfo("FLAT", {})
    dynamic: bool = True
    dialect: Dialect = Dialect("the fake")
    most_views: int | None = None
    fields: Mapping[str, FieldType] = MappingProxyType(
        {"id": FieldType("VARCHAR"), "uri": FieldType("VARCHAR"), "album": FieldType("VARCHAR")}
    )
    page: int = 10
    """Rows that `scan` gives at a time."""

    def __init__(
        self,
        *,
        dim: int = 16,
        metric_type: str = "COSINE",
        vector_type: str = "FLOAT_VECTOR",
        fields: Mapping[str, FieldType] | None = None,
        index: IndexInfo | None = None,
        rows: Mapping[str, Mapping[str, Any]] | None = None,
        further: Mapping[str, VectorField] | None = None,
    ) -> None:
        self.dim, self.metric_type, self.vector_type = dim, metric_type, vector_type
        self.fields, self.index = fields or self.fields, index or self.index
        self.rows: dict[str, dict[str, Any]] = {id_: dict(row) for id_, row in (rows or {}).items()}
        self.further = dict(further or {})
        self.upserts: list[int] = []
        """How many rows each call wrote."""

    @property
    def vectors(self) -> Mapping[str, VectorField]:
        return {
            "vector": VectorField(self.dim, self.vector_type, self.metric_type, self.index),
            **self.further,
        }

    def check_same(self) -> None:
        """It stays the same one."""

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        every = {"vector": vectors, **(more or {})}
        assert every.keys() == self.vectors.keys()
        for name, each in every.items():
            assert each.shape == (len(rows), self.vectors[name].dim)
            assert each.dtype == np.float32
        for place, row in enumerate(rows):
            self.rows[row["id"]] = {**row, **{name: each[place].copy() for name, each in every.items()}}
        self.upserts.append(len(rows))
        return len(rows)

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        return {id_: self._picked(self.rows[id_], output_fields, with_vector) for id_ in ids if id_ in self.rows}

    def _picked(self, row: Mapping[str, Any], names: Sequence[str], with_vector: bool) -> dict[str, Any]:
        picked = {k: v for k, v in row.items() if k in names or ("*" in names and k not in self.vectors)}
        return {**picked, "vector": row["vector"]} if with_vector else picked

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        check_keywords(asked)
        vector = asked.get("vector", "vector")
        ids, by = sorted(self.rows), self.vectors[vector]
        stored = np.stack([self.rows[id_][vector] for id_ in ids]) if ids else np.empty((0, by.dim), np.float32)
        fields = asked.get("output_fields", ())
        answers = []
        for query in vectors:
            scores = true_scores(by.metric_type, query, stored)
            most = asked.get("max_score")
            ranked = sorted(zip(-scores, ids, strict=True))
            best = [each for each in ranked if most is None or -each[0] <= most + 1e-6][: asked["limit"]]
            answers.append([self._found(id_, -float(less), fields, by.metric_type) for less, id_ in best])
        return answers

    def _found(self, id_: str, score: float, output_fields: Sequence[str], metric_type: str) -> Found:
        distance = 2 * (1 - score) if metric_type == "L2" else score
        return Found(id_, distance, score, self._picked(self.rows[id_], [*output_fields, "uri"], False))

    def count(self, filter: str = "") -> int:
        return len(self.rows)

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        ids, step = sorted(self.rows), batch_size or self.page
        for start in range(0, len(ids), step):
            rows = (self.rows[id_] for id_ in ids[start : start + step])
            yield [{name: row[name] for name in ("id", *output_fields) if name in row} for row in rows]

    def discard(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.rows.pop(id_, None)

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self.rows.pop(id_, None) is not None for id_ in ids)

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 1.0,
        on_progress: OnProgress | None = None,
        vector: str = "vector",
    ) -> float:
        if vector == "vector":
            self.index = IndexInfo(type, params)
        else:
            self.further[vector] = replace(self.further[vector], index=IndexInfo(type, params))
        Telling("build", on_progress)("indexing rows", self.count(), self.count())
        return 0.0

    def index_state(self, vector: str = "vector") -> IndexState:
        return IndexState("Finished", self.count(), 0, self.count(), loaded=True)


class FakeNotes:
    """Rows without vectors, in a dict."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ("*",)) -> dict[str, dict[str, Any]]:
        return {
            id_: {
                name: value for name, value in self.rows[id_].items() if name in output_fields or "*" in output_fields
            }
            for id_ in ids
            if id_ in self.rows
        }

    def upsert(self, rows: Sequence[Mapping[str, Any]]) -> int:
        self.rows |= {row["id"]: dict(row) for row in rows}
        return len(rows)

    def delete(self, ids: Sequence[str]) -> int:
        return sum(self.rows.pop(id_, None) is not None for id_ in ids)

    def count(self, filter: str = "") -> int:
        return len(self.rows)

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = 1000
    ) -> Iterator[list[dict[str, Any]]]:
        yield [{name: row[name] for name in ("id", *output_fields)} for _, row in sorted(self.rows.items())]
