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
        self._kind = catalog.INDEX_TYPES.get(index.type)
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
