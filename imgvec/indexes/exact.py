"""Exact search: the nearest rows to many queries at once, over a stream of rows.

The scores of a block of queries with a block of rows are one matrix product, small enough to stay in the processor's
cache. A full top-k of each product would cost more than the product. So each query keeps its current `limit`-th score
as a threshold, only the maxima of groups of scores are compared with it, and the few groups that pass are looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from imgvec import forked
from imgvec.errors import OptionError, QueryError
from imgvec.indexes.neighbours import Neighbours
from imgvec.store import Searches
from imgvec.vectors import MAX_NORM, MIN_NORM, Vectors, norms

_QUERY_BLOCK, _ROW_BLOCK, _GROUP = 512, 4096, 32
"""On a CPU: a product takes 8 MiB. `_GROUP` scores share one maximum."""
_CUDA_QUERY_BLOCK, _CUDA_ROW_BLOCK = 8192, 16_384


class ExactSearch:
    """The `limit` nearest of the rows that are added, for many queries at once.

    Products are float32, on CUDA too (no TF32), so scores that differ by less than about 1e-6 of the vectors' lengths
    may change places. Rows that are not finite are never found, nor those of length zero under COSINE, nor longer than
    1e19: they have no score. Memory: the queries, `queries * limit` hits, and a block of rows and scores, however many
    rows there are.
    """

    def __init__(self, queries: Vectors, *, limit: int, metric_type: str, device: str = "auto") -> None:
        """`queries` is (q, dim) float32; `device` is `auto` (CUDA where there is one), `cpu` or `cuda`.

        Raises `QueryError` if a query is not finite or has length zero under COSINE.
        """
        if limit < 1:
            raise OptionError("limit", f"limit must be at least 1, not {limit}")
        if metric_type not in ("COSINE", "IP", "L2"):
            raise QueryError(f"exact search supports COSINE, IP and L2, not {metric_type}")
        if queries.ndim != 2 or queries.dtype != np.float32:
            raise QueryError(f"queries must be a (q, dim) float32 array, not {queries.dtype} {queries.shape}")
        forked.guard()
        forked.one_thread()  # logs a warning in such a child
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() and not forked.gpu_left_behind() else "cpu"
        if device.partition(":")[0] not in ("cpu", "cuda"):
            raise OptionError("device", f"the device of exact search must be auto, cpu or cuda, not {device}")
        if device != "cpu" and not torch.cuda.is_available():
            raise OptionError("device", f"no CUDA device for exact search on {device}: use cpu or auto")
        if device != "cpu" and forked.gpu_left_behind():
            raise OptionError(
                "device",
                f"this process was forked from one that had used a GPU, so it cannot search on {device}: use cpu or "
                "start processes by spawn",
            )
        self._metric_type, self._device = metric_type, torch.device(device)
        # distances do not change, and products of vectors near the origin lose less to rounding
        self._origin = queries.mean(0) if metric_type == "L2" and len(queries) else np.zeros((), np.float32)
        wanted, usable = self._prepared(queries)
        if not usable.all():
            raise QueryError(f"query {int(np.flatnonzero(~usable)[0])} is not finite or has length zero")
        self._queries = torch.from_numpy(wanted).to(self._device)
        cuda = self._device.type == "cuda"
        self._query_block = _CUDA_QUERY_BLOCK if cuda else _QUERY_BLOCK
        self._row_block = _CUDA_ROW_BLOCK if cuda else _ROW_BLOCK
        shape = (len(queries), limit)
        self._scores = torch.full(shape, -torch.inf, device=self._device)
        self._rows = torch.full(shape, -1, dtype=torch.int64, device=self._device)
        """Of each hit, how many rows came before."""
        self._ids: dict[int, str] = {}
        """Ids of the rows that are hits, and of some that were."""
        self._pending: list[tuple[Sequence[str], Vectors]] = []
        self._pending_rows = self._seen = 0

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """A block of rows, of any size: (n, dim) float32, an id each. The vectors are not kept."""
        if vectors.ndim != 2 or len(ids) != len(vectors) or vectors.shape[1] != self._queries.shape[1]:
            dim = self._queries.shape[1]
            raise QueryError(f"{len(ids)} ids need a ({len(ids)}, {dim}) array of vectors, not {vectors.shape}")
        for start in range(0, len(ids), self._row_block):
            part = slice(start, start + self._row_block)
            # the caller may use the array again
            block = vectors[part] if len(ids) - start >= self._row_block else vectors[part].copy()
            self._pending.append((ids[part], block))
            self._pending_rows += len(block)
            if self._pending_rows >= self._row_block:
                self._flush()

    def neighbours(self) -> Neighbours:
        """The nearest of the rows so far."""
        self._flush()
        scores, rows = self._scores.cpu().numpy(), self._rows.cpu().numpy()
        ids = [[self._ids[row] for row in found if row >= 0] for found in rows.tolist()]
        if self._metric_type == "L2":
            squares = torch.linalg.vector_norm(self._queries, dim=1, dtype=torch.float64).square()
            scores = (scores + (1 - squares[:, None].cpu().numpy() / 2)).astype(np.float32)
        return Neighbours(ids, np.where(rows >= 0, scores, np.float32(np.nan)))

    def _prepared(self, vectors: Vectors) -> tuple[Vectors, NDArray[np.bool_]]:
        """The vectors whose products are the scores, but for L2's squares; and which of them have a score."""
        centred = vectors - self._origin
        lengths = norms(centred)
        usable = lengths < MAX_NORM  # and so not NaN
        if self._metric_type == "COSINE":
            usable &= lengths >= MIN_NORM
            with np.errstate(all="ignore"):
                centred = centred / lengths[:, None].astype(np.float32)
        return np.ascontiguousarray(centred, np.float32), usable

    def _flush(self) -> None:
        """Search the pending rows, and forget them."""
        if not self._pending:
            return
        ids = [id_ for part, _ in self._pending for id_ in part]
        vectors, usable = self._prepared(np.concatenate([block for _, block in self._pending]))
        self._pending, self._pending_rows = [], 0
        if not usable.all():
            ids, vectors = [id_ for id_, fits in zip(ids, usable, strict=True) if fits], vectors[usable]
        if not ids or not len(self._queries):
            return
        with torch.inference_mode(), _full_precision():
            rows = torch.from_numpy(vectors).to(self._device)
            bias = rows.square().sum(1).mul_(-0.5) if self._metric_type == "L2" else None
            for start in range(0, len(self._queries), self._query_block):
                self._search(slice(start, start + self._query_block), rows, bias)
            hits = np.unique(self._rows[self._rows >= self._seen].cpu().numpy()).tolist()
        self._ids |= {row: ids[row - self._seen] for row in hits}
        self._seen += len(ids)
        if len(self._ids) > 2 * self._rows.numel():
            self._ids = {row: self._ids[row] for row in np.unique(self._rows.cpu().numpy()).tolist() if row >= 0}

    def _search(self, block: slice, rows: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Merge `rows` into the hits of a block of queries."""
        queries, best, best_rows = self._queries[block], self._scores[block], self._rows[block]
        limit = best.shape[1]
        groups = -(-len(rows) // _GROUP)
        # (group, member, query): maxima over members are maxima of whole lines, which vectorize
        scores = torch.empty((groups * _GROUP, len(queries)), device=self._device)
        products = scores[: len(rows)]
        scores[len(rows) :] = -torch.inf
        if bias is None:
            torch.mm(rows, queries.T, out=products)
        else:
            torch.addmm(bias[:, None], rows, queries.T, out=products)
        scores = scores.view(groups, _GROUP, len(queries))
        maxima = scores.amax(1)
        # `limit` groups whose maxima reach a score hold `limit` rows that do, so the `limit`-th of the rows does
        threshold = best[:, -1]
        if limit <= groups:
            threshold = torch.maximum(threshold, maxima.topk(limit, dim=0, sorted=True).values[-1])
        # by query first, so that each query's candidates are neighbours
        query, group = (maxima >= threshold).T.nonzero(as_tuple=True)
        members = scores[group, :, query]
        passed, member = (members >= threshold[query, None]).nonzero(as_tuple=True)
        query, row = query[passed], group[passed] * _GROUP + member
        # past the last row there are no rows, where fewer than `limit` have been seen
        there = row < len(rows)
        query, row, score = query[there], row[there], members[passed, member][there]
        if not len(query):
            return
        counts = query.bincount(minlength=len(queries))
        changed, which = counts.nonzero()[:, 0], ((counts > 0).cumsum(0) - 1)[query]
        position = torch.arange(len(query), device=self._device) - (counts.cumsum(0) - counts)[query]
        width = int(counts.max())
        # the hits so far come first: of equal scores they stay
        candidates = torch.full((len(changed), limit + width), -torch.inf, device=self._device)
        numbers = torch.full((len(changed), limit + width), -1, dtype=torch.int64, device=self._device)
        candidates[:, :limit], numbers[:, :limit] = best[changed], best_rows[changed]
        candidates[which, limit + position], numbers[which, limit + position] = score, row + self._seen
        best[changed], chosen = candidates.topk(limit, dim=1, sorted=True)
        best_rows[changed] = numbers.gather(1, chosen)


def nearest(
    store: Searches,
    queries: Vectors,
    *,
    limit: int,
    filter: str = "",
    device: str = "auto",
    on_rows: Callable[[int], None] | None = None,
    by: str = "id",
) -> Neighbours:
    """The `limit` nearest of a collection's rows, or of those that match, to each of (q, dim) queries.

    The rows stream by once; `on_rows` gets how many did so far. `by` is the field that stands for a row in the outcome.
    """
    search = ExactSearch(queries, limit=limit, metric_type=store.metric_type, device=device)
    seen = 0
    for rows in store.scan(["vector", *([] if by == "id" else [by])], filter):
        search.add([row[by] for row in rows], np.stack([row["vector"] for row in rows]))
        seen += len(rows)
        if on_rows:
            on_rows(seen)
    return search.neighbours()


@contextmanager
def _full_precision() -> Iterator[None]:
    """float32 products are float32, whatever the process chose for its own."""
    chosen = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(chosen)
