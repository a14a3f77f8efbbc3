"""What a search by default finds, by its index and exactly: rows, or of a collection of views its pictures.

Recall is that of what users see. A search for k pictures of up to m views asks for k x m rows and keeps the best one of
each picture (`imgvec.views`), so the share of the k nearest pictures among its hits is measured at that depth: the k
nearest rows alone may all be views of one picture, and how well an index finds them says little about the k-th
picture, which may be as far down as row (k - 1) x m + 1. Search parameters that Milvus wants no smaller than the rows
asked for (`ef`) are raised to them in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from imgvec.indexes.exact import nearest
from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.recall import MARGIN
from imgvec.rows import IMAGE_ID
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.vectors import Vectors
from imgvec.views import best_views, rows_to_ask

Ranked = Literal["rows", "pictures"]
"""What is ranked, and has a place among the hits."""


def ranked(store: Searches) -> Ranked:
    return "rows" if store.most_views is None else "pictures"


def key(store: Searches) -> str:
    """The field by which two rows are the same hit."""
    return "id" if store.most_views is None else IMAGE_ID


def found(
    store: Searches, vectors: Vectors, *, limit: int, filter: str, params: Mapping[str, Any]
) -> list[Sequence[Found]]:
    """The hits of each query as a search for `limit` of them gets them: of a collection of views each picture, called
    by its own id, with the score of its best view; there may be more than `limit`.
    """
    rows = rows_to_ask(limit, store.most_views)
    if store.most_views is None:
        return list(store.search(vectors, limit=rows, filter=filter, params=params))
    hits = store.search(vectors, limit=rows, filter=filter, params=params, output_fields=[IMAGE_ID])
    return [as_pictures(each) for each in hits]


def as_pictures(rows: Sequence[Found]) -> list[Found]:
    """The pictures that these rows are views of, called by their own ids, best first."""
    return [replace(row, id=row.fields[IMAGE_ID]) for row in best_views(rows)]


def neighbours(
    store: Searches,
    vectors: Vectors,
    *,
    limit: int,
    filter: str,
    device: str,
    on_rows: Callable[[int], None],
) -> Neighbours:
    """The true neighbours of each query, the `limit` nearest and some more: rows, or of a collection of views its
    pictures, each by its best view.
    """
    depth = rows_to_ask(limit, store.most_views) + MARGIN
    exact = nearest(store, vectors, limit=depth, filter=filter, device=device, on_rows=on_rows, by=key(store))
    return exact if store.most_views is None else exact.once()
