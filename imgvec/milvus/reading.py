"""Reads the rows and hits of one collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pymilvus import DataType

from imgvec import catalog
from imgvec.errors import BackendError, CollectionReplaced, DefinitionError, EncoderMismatch, OptionError, QueryError
from imgvec.filters.fields import text_literal
from imgvec.milvus import codec
from imgvec.milvus.answers import Columns, Scoring
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.described import Schema
from imgvec.milvus.errors import translated
from imgvec.milvus.link import CollectionLink
from imgvec.rows import ID, VECTOR
from imgvec.store import Found, IndexInfo, NearestOf, check_keywords
from imgvec.vectors import Vectors, problem

SCAN_BATCH = 1000
READ_BATCH = 8192
"""Ids asked for at once: a Strong read on a server waits 0.2 s and more, whatever its size."""
_LITE_PAGE = 16_384
_ANSWER_BYTES = 32 * 2**20
"""What one call's answer is kept to, by an estimate."""
_NOT_LOADED = 101

T = TypeVar("T")


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


class Searching:
    """What searches by one vector have in common."""

    def __init__(self, name: str, schema: Schema, backend: Capabilities) -> None:
        self.field = schema.vector(name)
        self.scoring = Scoring(self.field)
        self.params = SearchParams(self.field.index, backend)
        # tells pymilvus what the bytes of a query are, where it would ask the server
        self.wire = {"fields": [{"name": name, "type": DataType[self.field.vector_type]}]}


class Reader:
    """Reads the rows and hits of one collection; `load` reloads a collection that another client released."""

    def __init__(self, link: CollectionLink, load: Callable[[], None]) -> None:
        self._link, self._load = link, load
        self._searching: tuple[Schema, dict[str, Searching]] = (link.schema, {})

    def count(self, filter: str = "") -> int:
        """`Store.count`."""
        return int(self._query(filter, ["count(*)"], consistency_level="Strong")[0]["count(*)"])

    def search(self, vectors: Vectors, asked: NearestOf) -> list[list[Found]]:
        """`Store.search`."""
        check_keywords(asked)
        vector, limit = asked.get("vector", VECTOR), asked["limit"]
        searching = self._by(vector)
        field = searching.field
        if wrong := problem(vectors, field.dim, unit=False):
            raise QueryError(wrong)
        options = {
            "anns_field": vector,
            "schema": searching.wire,
            "filter": asked.get("filter", ""),
            "limit": limit,
            "search_params": {
                "metric_type": field.metric_type,
                "params": searching.params.checked(asked.get("params"), limit),
            },
            "consistency_level": self._link.level(asked.get("consistency_level")),
            "timeout": self._link.timeout,
        }
        columns = Columns(asked.get("output_fields", ()), self._link.schema)
        bytes_a_query = max(limit * columns.row_bytes, field.dim * 4)
        step = max(1, min(self._link.capabilities.max_queries, _ANSWER_BYTES // bytes_a_query))
        answers: list[list[Found]] = []
        for start in range(0, len(vectors), step):
            data = codec.to_query(vectors[start : start + step], field.vector_type)
            hits = self._reading(self._link.client.search, data=data, output_fields=columns.names, **options)
            answers += [searching.scoring.found(each, columns) for each in hits]
        return answers

    def search_params(self, given: Mapping[str, Any] | None, limit: int, vector: str = VECTOR) -> dict[str, Any]:
        """What a search with those parameters sends for `limit` hits; raises `QueryError`."""
        return self._by(vector).params.checked(given, limit)

    def _by(self, vector: str) -> Searching:
        schema, known = self._searching
        if schema is not self._link.schema:  # refreshed, or an index was rebuilt
            schema, known = self._link.schema, {}
            self._searching = (schema, known)
        if vector not in known:
            known[vector] = Searching(vector, schema, self._link.capabilities)
        return known[vector]

    def get(
        self,
        ids: Sequence[str],
        *,
        output_fields: Sequence[str] = (),
        with_vector: bool = False,
        consistency_level: str | None = "Strong",
    ) -> dict[str, dict[str, Any]]:
        """`Store.get`."""
        columns = Columns([*output_fields, VECTOR] if with_vector else output_fields, self._link.schema)
        asked = [*columns.names, *([] if ID in columns.names else [ID])]
        unique = list(dict.fromkeys(ids))
        step = max(1, min(READ_BATCH, _ANSWER_BYTES // columns.row_bytes))
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(unique), step):
            missing, level = unique[start : start + step], self._link.level(consistency_level)
            # a server may hide a row for the moment in which it is replaced, so what is missing is asked for again
            for _ in range(1 if self._link.is_lite else 2):
                for row in self._query(among(missing), asked, consistency_level=level):
                    found[row[ID]] = columns.of(row)
                missing = [each for each in missing if each not in found]
                if not missing:
                    break
                level = "Eventually"  # the first read has waited
        return {each: found[each] for each in unique if each in found}

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """`Store.scan`."""
        columns = Columns([ID, *output_fields], self._link.schema)
        # each page goes over all rows on Milvus Lite, so there are few
        page = max(batch_size, _LITE_PAGE) if self._link.is_lite else batch_size
        page = max(1, min(page, self._link.capabilities.max_limit, _ANSWER_BYTES // columns.row_bytes))
        # a Strong read: the pages see what it saw, and cannot be Strong themselves; with the filter alone, so that what
        # Milvus says of it is said of the caller's own words
        self.count(filter)
        last: str | None = None
        while rows := self._query(
            after(last, filter),
            columns.names,
            limit=page,
            # without these two a page is not the smallest ids that are left
            iterator="True",
            reduce_stop_for_best="True",
        ):
            self._link.check_same()  # afterwards: then the page was this collection's
            last = rows[-1][ID]
            for start in range(0, len(rows), batch_size):
                yield [columns.of(row) for row in rows[start : start + batch_size]]

    def _query(self, expression: str, output_fields: list[str], **options: Any) -> list[dict[str, Any]]:
        return list(
            self._reading(
                self._link.client.query,
                filter=expression,
                output_fields=output_fields,
                timeout=self._link.timeout,
                **options,
            )
        )

    def _reading(self, call: Callable[..., T], **options: Any) -> T:
        """The call's answer; a collection that someone released meanwhile is loaded again, once."""
        answer = self._answer(call, **options)
        self._link.check_there()
        return answer

    def _answer(self, call: Callable[..., T], **options: Any) -> T:
        doing = f"read from {self._link.name!r}"
        try:
            with translated(doing):
                return call(self._link.name, **options)
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                if not exc.retryable:
                    self._say_if_replaced(exc)
                raise
        self._load()
        with translated(doing):
            return call(self._link.name, **options)

    def _say_if_replaced(self, failure: BackendError) -> None:
        """A read that failed may have asked another collection for what it does not have: say that instead."""
        try:
            self._link.check_same()
        except (CollectionReplaced, EncoderMismatch) as exc:
            raise exc from failure
        except BackendError:
            return


def among(ids: Sequence[str]) -> str:
    """A filter for the rows of those ids; pymilvus's own `ids=` escapes nothing."""
    return f"{ID} in [{', '.join(map(text_literal, ids))}]"


def after(last: str | None, condition: str) -> str:
    """A filter for the rows that match and whose id comes after `last`."""
    page = f'{ID} >= ""' if last is None else f"{ID} > {text_literal(last)}"
    return f"({condition}) and {page}" if condition else page
