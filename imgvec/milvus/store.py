"""One collection in Milvus: rows in, hits out. The same call means the same on Milvus Lite and on a server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from pymilvus import DataType, MilvusClient
from pymilvus.client.types import LoadState

from imgvec.errors import BackendError, BackendUnavailable, CollectionNotFound, QueryError, WriteFailed
from imgvec.filters import FieldType
from imgvec.milvus import building, reading, writing
from imgvec.milvus import vectors as vector_codec
from imgvec.milvus.building import IndexState
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.errors import translated
from imgvec.milvus.reading import Columns, Found
from imgvec.milvus.schema import ID, PROPERTY, VECTOR, IndexInfo, Schema
from imgvec.milvus.vectors import Vectors

_NOT_LOADED = 101
_SCAN_BATCH = 1000
_READ_BATCH = 8192
"""Ids asked for at once: a Strong read on a server waits 0.2 s and more, whatever its size."""
_LITE_PAGE = 16_384
_ANSWER_BYTES = 32 * 2**20
"""What one call's answer is kept to, by an estimate."""
_LITE_TIMEOUT = 600.0
_OWN_WRITES_SECONDS = 10.0
"""Longer than the 5 s by which a Bounded read may lag on a server."""

T = TypeVar("T")


class Store:
    """A loaded collection; made by `Connection.create` and `Connection.open`.

    Any number of threads may read; on Milvus Lite writes take turns. A read without a consistency level sees this
    store's own earlier writes, and others' as the collection's level says. Failures are `BackendError`s; those after
    which the same call may succeed later are `retryable`.
    """

    def __init__(
        self,
        client: MilvusClient,
        schema: Schema,
        capabilities: Capabilities,
        *,
        timeout: float = 10.0,
        writing: threading.Lock | None = None,
    ) -> None:
        self.name, self.description = schema.name, schema.description
        self.dim: int = schema.dim
        self.vector_type: str = schema.vector_type
        self.metric_type: str = schema.metric_type
        """The index's; a search always uses it."""
        self.index: IndexInfo = schema.index
        self.fields: Mapping[str, FieldType] = schema.fields
        """Every scalar field, `id` among them; the vector is not."""
        self.dynamic: bool = schema.dynamic
        self.consistency_level: str = schema.consistency_level
        self.remembered: dict[str, Mapping[str, Any]] = dict(schema.remembered)
        """What `remember` has kept, as of opening."""
        self.capabilities = capabilities
        # Milvus Lite builds indexes within the call, and no network can swallow it
        self.timeout = max(timeout, _LITE_TIMEOUT) if capabilities.kind == "lite" else timeout
        self._client, self._schema = client, schema
        self._writing: AbstractContextManager[object] = writing or nullcontext()
        self._written_at = self._deleted_at = -_OWN_WRITES_SECONDS
        self._params = reading.SearchParams(schema, capabilities.max_limit)
        self._scoring = reading.Scoring(schema)
        # tells pymilvus what the bytes of a query are, where it would ask the server
        self._wire = {"fields": [{"name": VECTOR, "type": DataType[schema.vector_type]}]}

    def __repr__(self) -> str:
        return f"Store({self.name!r}, dim={self.dim}, {self.index.type}, {self.capabilities.name})"

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        """Write rows, each in place of the one of the same id if there is one; returns how many were written.

        `vectors` is (n, dim) float32, a row's vector at its position, of unit length where the metric is COSINE or IP.
        Of rows with equal ids the last is written. All is checked before anything is sent. Raises `WriteFailed`.
        """
        if len(rows) != len(vectors):
            raise self._refused(f"{len(rows)} rows with {len(vectors)} vectors", len(rows))
        if not rows:
            return 0
        if wrong := vector_codec.problem(vectors, self.dim, unit=self.metric_type != "L2"):
            raise self._refused(wrong, len(rows))
        try:
            sizes = writing.checked_sizes(rows, self._schema)
        except writing.RefusedRowError as exc:
            raise self._refused(str(exc), len(rows)) from exc
        positions = writing.last_of_each_id(rows)
        # Milvus Lite's upsert keeps old values of fields that the new row lacks; its insert replaces the row
        send = self._client.insert if self.capabilities.kind == "lite" else self._client.upsert
        written = 0
        for batch in writing.batches(positions, sizes, self.dim * 4):
            data = writing.wire_rows(rows, vectors, batch, self.vector_type)
            try:
                with self._changing(f"write to {self.name!r}"):
                    send(self.name, data, timeout=self.timeout)
            except CollectionNotFound:
                raise  # what was written before is gone with the collection
            except BackendError as exc:
                pending = len(positions) - written
                raise WriteFailed(
                    f"{written} rows were written to {self.name!r} and {pending} were not: {exc}",
                    written=written,
                    pending=pending,
                    code=exc.code,
                    retryable=exc.retryable,
                ) from exc
            written += len(batch)
        return written

    def search(
        self,
        vectors: Vectors,
        *,
        limit: int,
        filter: str = "",
        output_fields: Sequence[str] = (),
        params: Mapping[str, Any] | None = None,
        consistency_level: str | None = None,
    ) -> list[list[Found]]:
        """The nearest rows to each of (n, dim) float32 vectors: best first, equal scores in the order of their ids.

        `output_fields` may hold `*` or `$meta`, and `vector`. `params` are the index's search parameters, on top of
        its defaults; those that Milvus wants no smaller than the limit are raised to it. Raises `QueryError`.
        """
        if wrong := vector_codec.problem(vectors, self.dim, unit=False):
            raise QueryError(wrong)
        options = {
            "anns_field": VECTOR,
            "schema": self._wire,
            "filter": filter,
            "limit": limit,
            "search_params": {"metric_type": self.metric_type, "params": self._params.checked(params, limit)},
            "consistency_level": self._level(consistency_level),
            "timeout": self.timeout,
        }
        columns = Columns(output_fields, self._schema)
        bytes_a_query = max(limit * columns.row_bytes, self.dim * 4)
        step = max(1, min(self.capabilities.max_queries, _ANSWER_BYTES // bytes_a_query))
        answers: list[list[Found]] = []
        for start in range(0, len(vectors), step):
            data = vector_codec.to_query(vectors[start : start + step], self.vector_type)
            hits = self._reading(self._client.search, data=data, output_fields=columns.names, **options)
            answers += [self._scoring.found(each, columns) for each in hits]
        return answers

    def check_search(self, params: Mapping[str, Any], *, limit: int = 1) -> dict[str, Any]:
        """What a search with those parameters sends for `limit` hits; raises `QueryError`."""
        return self._params.checked(params, limit)

    def get(
        self,
        ids: Sequence[str],
        *,
        output_fields: Sequence[str] = (),
        with_vector: bool = False,
        consistency_level: str | None = "Strong",
    ) -> dict[str, dict[str, Any]]:
        """The fields of the rows with those ids, by id, in the order asked; ids that are not there are left out.

        `output_fields` as in `search`; with `with_vector` each has its `vector`, (dim,) float32. A Strong read sees
        every write that was acknowledged before, and waits for it: 0.2 to 0.4 s on a server.
        """
        columns = Columns([*output_fields, VECTOR] if with_vector else output_fields, self._schema)
        asked = [*columns.names, *([] if ID in columns.names else [ID])]
        unique = list(dict.fromkeys(ids))
        step = max(1, min(_READ_BATCH, _ANSWER_BYTES // columns.row_bytes))
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(unique), step):
            missing, level = unique[start : start + step], self._level(consistency_level)
            # a server may hide a row for the moment in which it is replaced, so what is missing is asked for again
            for _ in range(1 if self.capabilities.kind == "lite" else 2):
                for row in self._query(reading.among(missing), asked, consistency_level=level):
                    found[row[ID]] = columns.of(row)
                missing = [each for each in missing if each not in found]
                if not missing:
                    break
                level = "Eventually"  # the first read has waited
        return {each: found[each] for each in unique if each in found}

    def content_hashes(self, ids: Sequence[str], *, consistency_level: str | None = "Strong") -> dict[str, str]:
        """The stored `content_hash` by id, of the rows that are there."""
        rows = self.get(ids, output_fields=["content_hash"], consistency_level=consistency_level)
        return {each: row["content_hash"] for each, row in rows.items()}

    def count(self, filter: str = "") -> int:
        """How many rows there are, or match; sees every write that was acknowledged before."""
        return int(self._query(filter, ["count(*)"], consistency_level="Strong")[0]["count(*)"])

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = _SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows, or those that match, in the order of their ids: lists of at most `batch_size` rows.

        Each row comes once, with its `id`. Rows written meanwhile may be there or not. Memory holds one page.
        """
        columns = Columns([ID, *output_fields], self._schema)
        # each page goes over all rows on Milvus Lite, so there are few
        page = max(batch_size, _LITE_PAGE) if self.capabilities.kind == "lite" else batch_size
        page = max(1, min(page, self.capabilities.max_limit, _ANSWER_BYTES // columns.row_bytes))
        self.count()  # a Strong read: the pages see what it saw, and cannot be Strong themselves
        last: str | None = None
        while rows := self._query(
            reading.after(last, filter),
            columns.names,
            limit=page,
            # without these two a page is not the smallest ids that are left
            iterator="True",
            reduce_stop_for_best="True",
        ):
            last = rows[-1][ID]
            for start in range(0, len(rows), batch_size):
                yield [columns.of(row) for row in rows[start : start + batch_size]]

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        there = list(self.get(ids))
        for start in range(0, len(there), _READ_BATCH):
            with self._changing(f"delete rows of {self.name!r}"):
                part = there[start : start + _READ_BATCH]
                self._client.delete(self.name, filter=reading.among(part), timeout=self.timeout)
            self._deleted_at = time.monotonic()
        return len(there)

    def flush(self, timeout: float = 120.0) -> None:
        """Seal what was written, so that indexes are built over it."""
        with self._changing(f"flush {self.name!r}"):
            self._client.flush(self.name, timeout=max(timeout, self.timeout))

    def wait_until_indexed(self, timeout: float) -> None:
        """Flush, and wait until the vector index covers every row; raises `BackendError` after `timeout` seconds.

        A server says "Finished" before it is, so rows are counted. Segments below 1024 rows are searched without an
        index and count as indexed.
        """
        started = time.monotonic()
        self.flush(timeout)
        building.wait(self, self.count(), timeout, started=started)

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 3600.0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> float:
        """Replace the vector index, wait for its true end, load; returns the seconds from the request to that end.

        What the backend cannot build is refused before any call: `UnsupportedByBackend`, `DefinitionError`. A build
        that fails, is interrupted or takes longer than `timeout` seconds raises its error with the former index back.
        The collection cannot be searched meanwhile. `on_progress` gets rows indexed and rows in all.
        """
        built, seconds = building.build(self, type, params, timeout=timeout, on_progress=on_progress)
        self._schema = replace(self._schema, index=built)
        self.index = built
        self._params = reading.SearchParams(self._schema, self.capabilities.max_limit)
        return seconds

    def index_state(self) -> IndexState:
        """How far the vector index is, and whether it is loaded."""
        return building.state(self)

    def remember(self, key: str, value: Mapping[str, Any] | None) -> None:
        """Keep a JSON object with the collection, for whoever opens it; None forgets it."""
        # an empty text, since a server before 2.5 takes no property back
        text = "" if value is None else json.dumps(value, ensure_ascii=False)
        with self._changing(f"write a property of {self.name!r}"):
            self._client.alter_collection_properties(self.name, {PROPERTY + key: text}, timeout=self.timeout)
        self.remembered.pop(key, None)
        if value is not None:
            self.remembered[key] = value

    def load(self, timeout: float = 600.0) -> None:
        """Load into memory what searches need, and wait for it."""
        deadline = time.monotonic() + timeout
        with translated(f"load {self.name!r}"):
            # waiting in there would give each of its calls the whole time
            # (Milvus Lite waits in any case: that is when it builds)
            patience = max(self.timeout, timeout) if self.capabilities.kind == "lite" else self.timeout
            self._client.load_collection(self.name, timeout=patience, _async=True)
            while self._client.get_load_state(self.name, timeout=self.timeout)["state"] != LoadState.Loaded:
                if time.monotonic() >= deadline:
                    raise BackendUnavailable(f"{self.name!r} was not loaded after {timeout:g} s", retryable=True)
                time.sleep(0.05)

    def release(self) -> None:
        """Free the memory that `load` took; the next read loads again."""
        with translated(f"release {self.name!r}"):
            self._client.release_collection(self.name, timeout=self.timeout)

    def drop(self) -> None:
        """Drop the collection and all of its rows."""
        with self._changing(f"drop {self.name!r}"):
            self._client.drop_collection(self.name, timeout=self.timeout)

    def _refused(self, why: str, pending: int) -> WriteFailed:
        return WriteFailed(f"nothing was written to {self.name!r}: {why}", written=0, pending=pending)

    @contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        with self._writing, translated(doing):
            try:
                yield
            finally:
                self._written_at = time.monotonic()

    def _level(self, asked: str | None) -> str | None:
        """The consistency level to send; None is the collection's own.

        Session waits until this client's last write is seen. A server does not tell when it deleted, so after a
        delete only Strong does.
        """
        now = time.monotonic()
        if asked is not None or self.consistency_level == "Strong":
            return asked
        if now - self._deleted_at < _OWN_WRITES_SECONDS:
            return "Strong"
        return "Session" if now - self._written_at < _OWN_WRITES_SECONDS else None

    def _query(self, expression: str, output_fields: list[str], **options: Any) -> list[dict[str, Any]]:
        return list(
            self._reading(
                self._client.query, filter=expression, output_fields=output_fields, timeout=self.timeout, **options
            )
        )

    def _reading(self, call: Callable[..., T], **options: Any) -> T:
        """The call's answer; a collection that someone released meanwhile is loaded again, once."""
        doing = f"read from {self.name!r}"
        try:
            with translated(doing):
                return call(self.name, **options)
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                raise
        self.load()
        with translated(doing):
            return call(self.name, **options)
