"""One collection in Milvus: rows in, hits out. The same call means the same on Milvus Lite and on a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from pymilvus import DataType, MilvusClient
from pymilvus.client.types import LoadState

from imgvec.errors import BackendError, BackendUnavailable, DefinitionError, QueryError, WriteFailed
from imgvec.filters.fields import text_literal
from imgvec.indexes import catalog
from imgvec.milvus import vectors as vector_codec
from imgvec.milvus import writing
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.errors import translated
from imgvec.milvus.schema import ID, VECTOR, IndexInfo, Schema
from imgvec.milvus.vectors import Vectors

__all__ = ["Found", "IndexInfo", "Store"]

DYNAMIC = "$meta"
"""As an output field: everything in the dynamic field."""
EVERYTHING = "*"
"""As an output field: every scalar field, and the dynamic ones."""

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


@dataclass(frozen=True, slots=True)
class Found:
    """One row that a search found."""

    id: str
    distance: float
    """What Milvus gave: a similarity for COSINE and IP, the squared Euclidean distance for L2."""
    score: float
    """Higher is better: the distance for COSINE and IP; 1 - distance / 2 for L2, the cosine of unit vectors."""
    fields: Mapping[str, Any]


class Store:
    """A loaded collection; made by `Connection.create` and `Connection.open`.

    Any number of threads may read; on Milvus Lite writes take turns. A read without a consistency level sees this
    store's own earlier writes, and others' as the collection's level says.
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
        self.schema, self.capabilities = schema, capabilities
        # Milvus Lite builds indexes within the call, and no network can swallow it
        self.timeout = max(timeout, _LITE_TIMEOUT) if capabilities.kind == "lite" else timeout
        self._client = client
        self._writing = writing or nullcontext()
        self._written_at = -_OWN_WRITES_SECONDS
        self._wire = {"fields": [{"name": VECTOR, "type": DataType[schema.vector_type]}]}
        self._kind = catalog.INDEX_TYPES.get(schema.index.type)
        self._search_defaults = _search_defaults(self._kind, schema.index.params)
        scale = vector_codec.scale(schema.vector_type) ** 2
        # Milvus's L2 is the squared distance; for unit vectors that is 2 - 2 cos
        self._slope, self._offset = (-0.5 / scale, 1.0) if schema.metric_type == "L2" else (1.0, 0.0)
        if schema.metric_type == "IP":
            self._slope = 1.0 / scale

    def __repr__(self) -> str:
        return f"Store({self.name!r}, dim={self.dim}, {self.index.type}, {self.capabilities.name})"

    @property
    def name(self) -> str:
        return self.schema.name

    @property
    def description(self) -> str:
        return self.schema.description

    @property
    def dim(self) -> int:
        return self.schema.dim

    @property
    def vector_type(self) -> str:
        return self.schema.vector_type

    @property
    def metric_type(self) -> str:
        """The index's; a search always uses it."""
        return self.schema.metric_type

    @property
    def index(self) -> IndexInfo:
        return self.schema.index

    @property
    def fields(self) -> Mapping[str, Any]:
        """Every scalar field by name, `id` among them; the vector is not."""
        return self.schema.fields

    @property
    def dynamic(self) -> bool:
        return self.schema.dynamic

    @property
    def consistency_level(self) -> str:
        return self.schema.consistency_level

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        """Write rows, each over the one of the same id if there is one; returns how many were written.

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
            sizes = writing.checked_sizes(rows, self.schema)
        except writing.RefusedRowError as exc:
            raise self._refused(str(exc), len(rows)) from exc
        positions = writing.last_of_each_id(rows)
        # Milvus Lite's upsert keeps old values of fields that the new row lacks; its insert replaces the row
        send = self._client.insert if self.capabilities.kind == "lite" else self._client.upsert
        written = 0
        for batch in writing.batches(positions, sizes, vectors.shape[1] * 4):
            data = writing.wire_rows(rows, vectors, batch, self.vector_type)
            try:
                with self._writing, translated(f"write to {self.name!r}"):
                    send(self.name, data, timeout=self.timeout)
            except BackendError as exc:
                pending = len(positions) - written
                raise WriteFailed(
                    f"{written} rows were written to {self.name!r} and {pending} were not: {exc}",
                    written=written,
                    pending=pending,
                    code=exc.code,
                    retryable=exc.retryable,
                ) from exc
            finally:
                self._written_at = time.monotonic()
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
        sent = {"metric_type": self.metric_type, "params": self._search_params(params, limit)}
        wanted = self._output(output_fields)
        hit_bytes = limit * self._row_bytes(wanted)
        step = max(1, min(self.capabilities.max_queries, _ANSWER_BYTES // hit_bytes, _ANSWER_BYTES // (self.dim * 8)))
        answers: list[list[Found]] = []
        for start in range(0, len(vectors), step):
            data = vector_codec.to_query(vectors[start : start + step], self.vector_type)
            level = self._level(consistency_level)

            def search(data: list[bytes] = data, level: str | None = level) -> Any:
                return self._client.search(
                    self.name,
                    data=data,
                    anns_field=VECTOR,
                    schema=self._wire,
                    filter=filter,
                    limit=limit,
                    output_fields=wanted,
                    search_params=sent,
                    consistency_level=level,
                    timeout=self.timeout,
                )

            found = self._read(search, f"search {self.name!r}")
            answers.extend(
                self._found(hits, keep_id=ID in output_fields or EVERYTHING in output_fields) for hits in found
            )
        return answers

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
        asked = [*output_fields, *([VECTOR] if with_vector and VECTOR not in output_fields else [])]
        wanted = self._output(asked)
        keep_id = ID in output_fields or EVERYTHING in output_fields
        unique = list(dict.fromkeys(ids))
        step = max(1, min(_READ_BATCH, _ANSWER_BYTES // self._row_bytes(wanted)))
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(unique), step):
            missing = unique[start : start + step]
            level = self._level(consistency_level)
            for _ in range(self._attempts):
                for row in self._query(_among(missing), wanted, consistency_level=level):
                    found[row[ID]] = self._clean(row, keep_id=keep_id)
                missing = [each for each in missing if each not in found]
                if not missing:
                    break
                level = "Eventually"  # the first read has waited
        return {each: found[each] for each in unique if each in found}

    def content_hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """The stored `content_hash` by id, of the rows that are there."""
        return {each: row["content_hash"] for each, row in self.get(ids, output_fields=["content_hash"]).items()}

    def count(self, filter: str = "") -> int:
        """How many rows there are, or match; sees every write that was acknowledged before."""
        return int(self._query(filter, ["count(*)"], consistency_level="Strong")[0]["count(*)"])

    def scan(
        self, output_fields: Sequence[str], filter: str = "", batch_size: int = _SCAN_BATCH
    ) -> Iterator[list[dict[str, Any]]]:
        """All rows, or those that match, in the order of their ids: lists of at most `batch_size` rows.

        Each row comes once, with its `id`. Rows written meanwhile may be there or not. Memory holds one page.
        """
        wanted = self._output([ID, *(name for name in output_fields if name != ID)])
        page = min(batch_size, self.capabilities.max_limit)
        if self.capabilities.kind == "lite":
            page = max(page, _LITE_PAGE)  # each page goes over all rows there
        page = max(1, min(page, _ANSWER_BYTES // self._row_bytes(wanted)))
        self.count()  # a Strong read: what was written before is seen by the pages, which cannot be Strong themselves
        after = f'{ID} >= ""'
        while True:
            rows = self._query(
                f"({filter}) and {after}" if filter else after,
                wanted,
                limit=page,
                # without these two a page is not the smallest ids that are left
                iterator="True",
                reduce_stop_for_best="True",
            )
            if not rows:
                return
            after = f"{ID} > {text_literal(rows[-1][ID])}"
            for start in range(0, len(rows), batch_size):
                yield [self._clean(row, keep_id=True) for row in rows[start : start + batch_size]]

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        there = list(self.get(ids))
        for start in range(0, len(there), _READ_BATCH):
            with self._writing, translated(f"delete rows of {self.name!r}"):
                self._client.delete(self.name, filter=_among(there[start : start + _READ_BATCH]), timeout=self.timeout)
            self._written_at = time.monotonic()
        return len(there)

    def flush(self, timeout: float = 120.0) -> None:
        """Seal what was written, so that indexes are built over it."""
        with self._writing, translated(f"flush {self.name!r}"):
            self._client.flush(self.name, timeout=max(timeout, self.timeout))

    def wait_until_indexed(self, timeout: float) -> None:
        """Flush, and wait until the vector index covers every row; raises `BackendError` after `timeout` seconds.

        A server says "Finished" before it is, so rows are counted. Segments below 1024 rows are searched without an
        index and count as indexed.
        """
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        rows = self.count()
        while True:
            with translated(f"read the index of {self.name!r}"):
                state = self._client.describe_index(self.name, VECTOR, timeout=self.timeout)
            total, pending = int(state["total_rows"]), int(state["pending_index_rows"])
            if state["state"] == "Failed":
                raise BackendError(f"Milvus failed to build {self.index.type}: {state.get('index_state_fail_reason')}")
            # a statistic lags: as long as it tells of fewer rows than there are, it does not tell of the last ones
            if total >= rows and pending == 0 and int(state["indexed_rows"]) == total:
                return
            if time.monotonic() >= deadline:
                raise BackendError(
                    f"the index of {self.name!r} covers {state['indexed_rows']} of {max(total, rows)} rows after "
                    f"{timeout:g} s",
                    retryable=True,
                )
            time.sleep(0.2)

    def load(self, timeout: float = 600.0) -> None:
        """Load into memory what searches need, and wait for it."""
        deadline = time.monotonic() + timeout
        with translated(f"load {self.name!r}"):
            # not waiting there: that would give each call of it the whole time
            self._client.load_collection(self.name, timeout=self.timeout, _async=True)
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
        with self._writing, translated(f"drop {self.name!r}"):
            self._client.drop_collection(self.name, timeout=self.timeout)

    @property
    def _attempts(self) -> int:
        """How often a read by id asks for what it did not find: 2.3 may hide a row while it is being replaced."""
        return 1 if self.capabilities.kind == "lite" else 2

    def _refused(self, why: str, pending: int) -> WriteFailed:
        return WriteFailed(f"nothing was written to {self.name!r}: {why}", written=0, pending=pending)

    def _level(self, asked: str | None) -> str | None:
        """The consistency level to send; None is the collection's own."""
        if asked is None and time.monotonic() - self._written_at < _OWN_WRITES_SECONDS:
            return None if self.consistency_level == "Strong" else "Session"
        return asked

    def _query(self, expression: str, output_fields: list[str], **options: Any) -> list[dict[str, Any]]:
        def query() -> Any:
            return self._client.query(
                self.name, filter=expression, output_fields=output_fields, timeout=self.timeout, **options
            )

        return list(self._read(query, f"read from {self.name!r}"))

    def _read(self, call: Callable[[], T], doing: str) -> T:
        """The call's answer; a collection that someone released meanwhile is loaded again, once."""
        try:
            with translated(doing):
                return call()
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                raise
        self.load()
        with translated(doing):
            return call()

    def _search_params(self, params: Mapping[str, Any] | None, limit: int) -> dict[str, Any]:
        if not 1 <= limit <= self.capabilities.max_limit:
            raise QueryError(f"limit = {limit} is refused: give 1 to {self.capabilities.max_limit}")
        given = {**self._search_defaults, **(params or {})}
        if self._kind is None:
            return given
        try:
            raised = self._kind.search_params(given, limit=limit)
            self._kind.check_search(raised, limit=limit)
        except DefinitionError as exc:
            raise QueryError(exc.problem) from exc
        return raised

    def _output(self, names: Sequence[str]) -> list[str]:
        """Output fields as both backends take them: without any, Milvus Lite would send all."""
        wanted = [] if EVERYTHING not in names else [*self.fields, *([DYNAMIC] if self.dynamic else [])]
        wanted += [name for name in names if name != EVERYTHING]
        return list(dict.fromkeys(wanted)) or [ID]

    def _row_bytes(self, output_fields: Sequence[str]) -> int:
        """About what a row of an answer takes here."""
        size = 100
        for name in output_fields:
            kind = self.fields.get(name)
            if name == VECTOR:
                size += self.dim * 32  # it comes as a list of Python's floats
            elif kind is None or kind.type in ("JSON", "ARRAY"):
                size += 1024
            else:
                size += min(kind.max_length or 8, 256)
        return size

    def _clean(self, row: Mapping[str, Any], *, keep_id: bool) -> dict[str, Any]:
        cleaned = {name: value for name, value in row.items() if keep_id or name != ID}
        if VECTOR in cleaned:
            cleaned[VECTOR] = vector_codec.from_row(cleaned[VECTOR], self.vector_type)
        return cleaned

    def _found(self, hits: Any, *, keep_id: bool) -> list[Found]:
        slope, offset = self._slope, self._offset
        found = [
            Found(
                hit["id"],
                hit["distance"],
                offset + slope * hit["distance"],
                self._clean(hit["entity"], keep_id=keep_id),
            )
            for hit in hits
        ]
        found.sort(key=lambda each: (-each.score, each.id))
        return found


def _among(ids: Sequence[str]) -> str:
    """A filter for those ids; pymilvus's own `ids=` does not escape them."""
    return f"{ID} in [{', '.join(map(text_literal, ids))}]"


def _search_defaults(kind: catalog.IndexType | None, built: Mapping[str, Any]) -> dict[str, Any]:
    """Search parameters where a search gives none: the catalogue's, so that both backends search alike."""
    if kind is None:
        return {}
    # refine_k is refused by an index that was built without refine
    defaults = {name: value for name, value in kind.defaults("search").items() if name != "refine_k"}
    if "nprobe" in defaults and "nlist" in built:
        defaults["nprobe"] = min(int(defaults["nprobe"]), int(built["nlist"]))
    return defaults
