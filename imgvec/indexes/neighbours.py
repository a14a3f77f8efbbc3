"""The nearest rows to queries, as exact search finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest rows to each query, best first."""

    ids: list[list[str]]
    """One list a query; shorter than `limit` where there are fewer rows."""
    scores: NDArray[np.float32]
    """(queries, limit): the cosine, the inner product, or 1 - d²/2 for L2, as Milvus's scores; NaN past the end."""

    def without(self, own: Sequence[str]) -> Neighbours:
        """The neighbours of each query other than the row it was taken from; one column fewer."""
        columns = self.scores.shape[1]
        ids, scores = [], np.full((len(self.ids), max(0, columns - 1)), np.nan, np.float32)
        for query, (found, self_id) in enumerate(zip(self.ids, own, strict=True)):
            kept = [column for column, id_ in enumerate(found) if id_ != self_id][: columns - 1]
            ids.append([found[column] for column in kept])
            scores[query, : len(kept)] = self.scores[query, kept]
        return Neighbours(ids, scores)

    def once(self) -> Neighbours:
        """Where several rows have one id, their picture's, each id by the best of them."""
        ids, scores = [], np.full_like(self.scores, np.nan)
        for query, found in enumerate(self.ids):
            first: dict[str, int] = {}
            for column, id_ in enumerate(found):
                first.setdefault(id_, column)
            ids.append(list(first))
            scores[query, : len(first)] = self.scores[query, list(first.values())]
        return Neighbours(ids, scores)
