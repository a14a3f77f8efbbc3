"""Pages that see every write acknowledged before them, whichever replica gives them.

pymilvus sends no consistency level with the pages of what it calls an iterator: they have the collection's own, by
which a replica may be seconds behind the one that answered before (seen on 2.3.5 with two: rows that had been deleted
came again, and new ones were left out). So the request is changed on its way.
"""

from __future__ import annotations

from typing import Any

from pymilvus.client.types import ConsistencyLevel

STRONG: dict[str, Any] = {"guarantee_timestamp": 1}
"""Options of a query that is a page and is to be strong: for Milvus itself, all that was written before 1970."""


class StrongPages:
    """The stub's `Query`, which is `query` behind it."""

    def __init__(self, query: Any) -> None:
        self.query = query

    def __call__(self, request: Any, **options: Any) -> Any:
        if request.guarantee_timestamp == STRONG["guarantee_timestamp"] and _is_page(request):
            request.use_default_consistency = False
            request.consistency_level = ConsistencyLevel.Strong
            request.guarantee_timestamp = 0  # Milvus takes its own time
        return self.query(request, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.query, name)


def _is_page(request: Any) -> bool:
    return any(each.key == "iterator" for each in request.query_params)
