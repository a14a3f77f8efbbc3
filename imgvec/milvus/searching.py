"""What searches by one vector of a collection have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymilvus import DataType

from imgvec import catalog
from imgvec.milvus.answers import Columns, Scoring
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.described import Schema
from imgvec.milvus.search_params import SearchParams
from imgvec.store import NearestOf

_RANGED_FROM = 1000
"""The limit from which a range search is quicker where few rows score enough."""
_COLUMNS_KEPT = 64


class Searching:
    """What searches by one vector have in common."""

    def __init__(self, name: str, schema: Schema, backend: Capabilities) -> None:
        self.name, self.field = name, schema.vector(name)
        self.scoring = Scoring(self.field)
        self.params = SearchParams(self.field.index, backend)
        self._backend = backend
        # tells pymilvus what the bytes of a query are, where it would ask the server
        self.wire = {"fields": [{"name": name, "type": DataType[self.field.vector_type]}]}
        self._schema = schema
        self._columns: dict[tuple[str, ...], Columns] = {}

    @property
    def family(self) -> str:
        """Of its index, as the catalogue says; empty of one that it does not know."""
        known = catalog.INDEX_TYPES.get(self.field.index.type)
        return known.family if known else ""

    def columns(self, names: Sequence[str]) -> Columns:
        """The output fields of those names; those of most searches are the same."""
        asked = tuple(names)
        if (known := self._columns.get(asked)) is None:
            if len(self._columns) >= _COLUMNS_KEPT:
                self._columns.clear()
            known = self._columns[asked] = Columns(asked, self._schema)
        return known

    def sent(self, asked: NearestOf) -> dict[str, Any]:
        """The parameters of a search, and of its range; raises `QueryError`, `UnsupportedByBackend`."""
        params: dict[str, Any] = self.params.checked(asked.get("params"), asked["limit"])
        least, most = asked.get("min_score") if self.cuts(asked) else None, asked.get("max_score")
        if least is None and most is None:
            return params
        known = catalog.INDEX_TYPES.get(self.field.index.type)
        if known and "range search" in known.cannot:
            raise self._backend.refusal(f"no range search by {known.name}")
        return {**params, **self.scoring.range(least, most)}

    def cuts(self, asked: NearestOf) -> bool:
        """Whether Milvus's range search leaves out low scores rightly, and sooner than who asked can.

        By an index that is not exact it finds less: of the 0.05 % of 12,000 rows nearest to a query HNSW found 56 % on
        2.3.5, where the same `ef` without a range found 89 %. Milvus Lite only looks at five times as many rows. What
        it saves is rows sent for nothing: 109 ms became 12 ms at a limit of 12,000, but 7 ms became 9 ms at one of 10.
        """
        exact = self.field.index.type == "FLAT" and self._backend.kind == "server"
        return exact and asked.get("min_score") is not None and asked["limit"] >= _RANGED_FROM
