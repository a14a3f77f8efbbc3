"""The ranks of the relevant pictures for each query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imgvec.quality.gallery import Asked, Gallery, Searched
from imgvec.quality.labels import labels_of
from imgvec.quality.metrics import Ranks
from imgvec.quality.options import JudgeOptions
from imgvec.search.forms import VectorQuery
from imgvec.vectors import Vectors

_BLOCK_HITS = 100_000
_BLOCK_SCORES = 2**23


class Ranking(Protocol):
    @property
    def block(self) -> int:
        """How many queries to rank at once."""

    def ranks(self, queries: Sequence[Asked], vectors: Vectors) -> Iterator[Ranks]:
        """For each query, the ranks of the relevant rows, counted from 1 and skipping its own rows."""


@dataclass
class IndexRanking:
    """The collection's own search, `depth` hits deep: what its users get."""

    collection: Searched
    gallery: Gallery
    wanted: JudgeOptions
    depth: int

    @property
    def block(self) -> int:
        return max(1, min(1024, _BLOCK_HITS // self.depth))

    def ranks(self, queries: Sequence[Asked], vectors: Vectors) -> Iterator[Ranks]:
        label = self.wanted["label"]
        answers = self.collection.search_many(
            [VectorQuery(vector) for vector in vectors],
            limit=self.depth + max((len(query.own) for query in queries), default=0),  # more, for a query's own rows
            where=self.wanted["where"],
            output_fields=[label],
            params=self.wanted["params"],
            vector=self.wanted["vector"],
        )
        for query, hits in zip(queries, answers, strict=True):
            own = {self.gallery.ids[row] for row in query.own}
            others = [hit for hit in hits if hit.image_id not in own][: self.depth]
            shares = [not query.labels.isdisjoint(labels_of(hit.fields.get(label))) for hit in others]
            yield np.flatnonzero(shares) + 1


class ExactRanking:
    """Every picture by the true score of its best row, equal scores in the order of the pictures; scores are matrix
    products in float32.
    """

    def __init__(self, gallery: Gallery, metric_type: str) -> None:
        self._gallery, self._metric = gallery, metric_type
        self.block = max(1, min(1024, _BLOCK_SCORES // max(1, len(gallery.owners))))
        # the rows picture by picture; where each has one they are already
        self._order = np.argsort(gallery.owners, kind="stable") if gallery.views else None
        self._starts = np.searchsorted(gallery.owners[self._order], np.arange(len(gallery))) if gallery.views else None
        # the order of rows by IP is that by COSINE over rows of unit length, and by L2 when |row|²/2 is taken off
        lengths = np.sqrt(np.einsum("ij,ij->i", gallery.vectors, gallery.vectors))
        self._lengths = np.maximum(lengths, np.finfo(np.float32).tiny)

    def ranks(self, queries: Sequence[Asked], vectors: Vectors) -> Iterator[Ranks]:
        scores = vectors @ self._gallery.vectors.T
        if self._metric == "COSINE":
            scores /= self._lengths
        elif self._metric == "L2":
            scores -= self._lengths**2 / 2
        if self._order is not None and self._starts is not None:
            scores = np.maximum.reduceat(scores[:, self._order], self._starts, axis=1)
        for query, row in zip(queries, scores, strict=True):
            relevant = self._gallery.labels.rows(query.labels)
            row[list(query.own)] = -np.inf  # the last places of all
            relevant[list(query.own)] = False
            yield np.flatnonzero(relevant[_best_first(row)]) + 1


def _best_first(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Positions by falling score, equal scores by position.

    A stable argsort, five times as fast as NumPy's: one integer holds a score's bits, turned so that integers rise as
    floats do, and below them the position.
    """
    bits = (0 - scores).view(np.int32).astype(np.int64)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = (bits << 32) | np.arange(len(scores))
    keys.sort()
    return keys & 0xFFFFFFFF
