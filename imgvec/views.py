"""Rows that are views of pictures: how many hold so many pictures, and the best one of each."""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.errors import QueryError
from imgvec.rows import IMAGE_ID
from imgvec.stored import MOST_HITS, Found

MOST_ROWS = MOST_HITS
"""That Milvus gives to one query."""


def rows_to_ask(pictures: int, most_views: int | None) -> int:
    """How many rows hold that many pictures for certain; raises `QueryError` where Milvus does not give so many.

    Where each of n - 1 pictures has all of its views before the next, that is in the first (n - 1) x most + 1 rows.
    None stands for rows that are whole pictures.
    """
    if most_views is None:
        return pictures
    rows = pictures * most_views
    if rows > MOST_ROWS:
        raise QueryError(
            f"limit + offset = {pictures:,} pictures of up to {most_views} views each are {rows:,} rows, and Milvus "
            f"gives {MOST_ROWS:,} to one query: ask for at most {MOST_ROWS // most_views:,}, or for views"
        )
    return rows


def best_views(found: Sequence[Found]) -> list[Found]:
    """The best row of each picture, best first, equal scores in the order of the pictures' ids."""
    best: dict[str, Found] = {}
    for row in found:
        best.setdefault(row.fields[IMAGE_ID], row)
    return sorted(best.values(), key=lambda row: (-row.score, row.fields[IMAGE_ID]))
