"""The parameters of a search, as one index on one backend takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgvec import catalog
from imgvec.errors import DefinitionError, OptionError, QueryError
from imgvec.milvus.capabilities import Capabilities
from imgvec.stored import IndexInfo


class SearchParams:
    """The search parameters of one vector index on one backend."""

    def __init__(self, index: IndexInfo, backend: Capabilities) -> None:
        self._index, self._kind = index, catalog.INDEX_TYPES.get(index.type)
        self._max_limit = backend.max_limit
        known = self._kind.search if self._kind else ()
        self._lacks = {p.name: why for p in known if p.since and (why := backend.why_not(p.name))}
        # refine_k is for an index that was built with refine
        defaults = {
            p.name: p.default
            for p in known
            if p.default is not None and p.name != "refine_k" and p.name not in self._lacks and p.counts(index.params)
        }
        if "nprobe" in defaults and "nlist" in index.params:
            defaults["nprobe"] = min(int(defaults["nprobe"]), int(index.params["nlist"]))
        self._defaults = defaults

    def checked(self, given: Mapping[str, Any] | None, limit: int) -> dict[str, Any]:
        """What to send for `limit` hits: the catalogue's defaults, so that both backends search alike, and `given`.

        Those that Milvus wants no smaller than the limit are raised to it. Raises `QueryError`.
        """
        if not 1 <= limit <= self._max_limit:
            raise OptionError("limit", f"limit must be from 1 to {self._max_limit}, not {limit}")
        params = {**self._defaults, **(given or {})}
        if self._kind is None:
            return params
        if lacking := next((name for name in params if name in self._lacks), None):
            raise QueryError(f"{lacking} {self._lacks[lacking]}")
        try:
            self._kind.check_search(params)
            raised = self._kind.search_params(params, limit=limit)
            self._kind.check_search(raised, limit=limit)
        except DefinitionError as exc:
            raise QueryError(exc.problem) from exc
        return raised

    def of_every_row(self, given: Mapping[str, Any] | None, matched: int) -> dict[str, Any] | None:
        """What to search with so that the index compares with all of the `matched` rows; None where it cannot.

        What was given beside is kept. Raises `QueryError`.
        """
        every = self._kind.every_row(self._index.params, rerank=max(1, matched)) if self._kind else None
        return None if every is None else {**self.checked(given, 1), **every}

    def wider(self, given: Mapping[str, Any] | None, limit: int, candidates: int) -> dict[str, Any]:
        """What to search with for `limit` hits so that the index considers at least so many rows on the way.

        The same as by `given` where no parameter does that. Raises `QueryError`.
        """
        params = self.checked(given, limit)
        return self._kind.wider(params, self._index.params, candidates=candidates) if self._kind else params
