"""The rows and hits of one collection in Milvus. The same call means the same on Milvus Lite and on a server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from pymilvus import DataType

from imgvec.errors import BackendError, CollectionNotFound, EncoderMismatch, QueryError, WriteFailed
from imgvec.milvus import codec, reading, writing
from imgvec.milvus.collection import Collection
from imgvec.milvus.errors import translated
from imgvec.milvus.reading import Columns, Found
from imgvec.rows import ID, VECTOR
from imgvec.vectors import Vectors, problem

_SCAN_BATCH = 1000
_READ_BATCH = 8192
"""Ids asked for at once: a Strong read on a server waits 0.2 s and more, whatever its size."""
_LITE_PAGE = 16_384
_ANSWER_BYTES = 32 * 2**20
"""What one call's answer is kept to, by an estimate."""


class Store(Collection):
    """A loaded collection; made by `Connection.create` and `Connection.open`.

    Any number of threads may read; on Milvus Lite writes take turns. A read without a consistency level sees this
    store's own earlier writes, and others' as the collection's level says. Failures are `BackendError`s; those after
    which the same call may succeed later are `retryable`.
    """

    @cached_property
    def _scoring(self) -> reading.Scoring:
        return reading.Scoring(self._schema)

    @cached_property
    def _wire(self) -> Mapping[str, Any]:
        """Tells pymilvus what the bytes of a query are, where it would ask the server."""
        return {"fields": [{"name": VECTOR, "type": DataType[self.vector_type]}]}

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
        """Write rows, each in place of the one of the same id if there is one; returns how many were written.

        `vectors` is (n, dim) float32, a row's vector at its position, of unit length where the metric is COSINE or IP.
        Of rows with equal ids the last is written. All is checked before anything is sent. Raises `WriteFailed`, and
        like `check_same` where the collection that was opened is there no more.
        """
        if len(rows) != len(vectors):
            raise self._refused(f"{len(rows)} rows with {len(vectors)} vectors", len(rows))
        if not rows:
            return 0
        if wrong := problem(vectors, self.dim, unit=self.metric_type != "L2"):
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
            data = writing.wire_rows(rows, vectors, batch, self._schema)
            sent = False
            try:
                with self._owning(f"write to {self.name!r}"):
                    sent = True
                    send(self.name, data, timeout=self.timeout)
            except EncoderMismatch:
                if sent:
                    self._take_back(data)
                raise
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
        if wrong := problem(vectors, self.dim, unit=False):
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
            data = codec.to_query(vectors[start : start + step], self.vector_type)
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
        # a Strong read: the pages see what it saw, and cannot be Strong themselves; with the filter alone, so that what
        # Milvus says of it is said of the caller's own words
        self.count(filter)
        last: str | None = None
        while rows := self._query(
            reading.after(last, filter),
            columns.names,
            limit=page,
            # without these two a page is not the smallest ids that are left
            iterator="True",
            reduce_stop_for_best="True",
        ):
            self.check_same()  # afterwards: then the page was this collection's
            last = rows[-1][ID]
            for start in range(0, len(rows), batch_size):
                yield [columns.of(row) for row in rows[start : start + batch_size]]

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the rows with those ids; returns how many there were."""
        there = list(self.get(ids))
        for start in range(0, len(there), _READ_BATCH):
            with self._owning(f"delete rows of {self.name!r}"):
                part = there[start : start + _READ_BATCH]
                self._client.delete(self.name, filter=reading.among(part), timeout=self.timeout)
            self._deleted_at = time.monotonic()
        return len(there)

    def _take_back(self, sent: Sequence[Mapping[str, Any]]) -> None:
        """Delete rows that reached another encoder's collection, made while they were on their way; theirs stay.

        What a collection holds under those ids and with those very vectors came from here. A row of its own that was
        overwritten is gone with it: its next ingest brings it again.
        """
        ours = {row[ID]: codec.from_row(row[VECTOR], self.vector_type) for row in sent}
        with translated(f"take back what reached another collection {self.name!r}"):
            found = self._client.query(
                self.name,
                filter=reading.among(list(ours)),
                output_fields=[ID, VECTOR],
                consistency_level="Strong",
                timeout=self.timeout,
            )
            there = [
                row[ID] for row in found if np.array_equal(codec.from_row(row[VECTOR], self.vector_type), ours[row[ID]])
            ]
            if there:
                self._client.delete(self.name, filter=reading.among(there), timeout=self.timeout)

    def _refused(self, why: str, pending: int) -> WriteFailed:
        return WriteFailed(f"nothing was written to {self.name!r}: {why}", written=0, pending=pending)
