"""Ranks the rows of one query for its pages, and says which of them are matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from imgvec.rows import ID, IMAGE_ID
from imgvec.search.answer import Hit
from imgvec.search.grouping import hit
from imgvec.search.pages import Pages, ranked
from imgvec.search.ranking import Ask, Ranking
from imgvec.search.request import PageOptions
from imgvec.search.verdicts import Judging
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.vectors import Vectors


def paged(
    store: Searches,
    vectors: Vectors,
    ranking: Ranking,
    judging: Judging | None,
    asked: PageOptions,
    *,
    expression: str,
    shown: Sequence[str],
) -> Pages:
    """The pages of the query whose vector is `vectors[0]`; `shown` are the fields of each hit."""

    def nearest(limit: int, most: float | None, where: str = expression, least: float | None = None) -> Sequence[Found]:
        return store.search(
            vectors,
            limit=limit,
            filter=where,
            output_fields=[] if store.most_views is None else [IMAGE_ID],
            params=asked["params"],
            consistency_level=asked["consistency_level"],
            min_score=least,
            max_score=most,
            vector=asked["vector"],
            thorough=True,
        )[0]

    if judging is not None:
        # a verdict is about the best row, whatever it scores
        judging.seen([0], Ask(judging.rows), [nearest(judging.rows, None)])
        [ranking] = judging.rankings([ranking], lambda _, ask, __: [nearest(ask.limit, None, "")])
    kept, truncated, complete = ranked(partial(nearest, least=asked["min_score"]), ranking, asked["most"])

    def made(found: Found, row: Mapping[str, Any]) -> Hit:
        one = hit(replace(found, fields=row), views=store.most_views is not None, hidden=frozenset({ID}))
        return one if judging is None else judging.hit(0, one)

    return Pages(
        kept,
        truncated=truncated,
        complete=complete,
        size=asked["size"],
        fetch=partial(store.get, output_fields=shown),
        made=made,
        verdict=None if judging is None else judging.verdict(0),
    )
