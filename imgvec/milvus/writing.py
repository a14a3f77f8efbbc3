"""Writes rows: checked before any call, without duplicate ids, in batches that fit one message."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from imgvec.errors import BackendError, CollectionNotFound, CollectionReplaced, EncoderMismatch, WriteFailed
from imgvec.milvus import codec
from imgvec.milvus.by_id import among
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.described import Schema
from imgvec.milvus.errors import translated
from imgvec.milvus.reading import READ_BATCH, Reader
from imgvec.plurals import counted
from imgvec.rows import FROM_IMAGE, ID, INGESTED_AT, MAX_ID_BYTES, MAX_JSON_BYTES, VECTOR
from imgvec.vectors import Vectors, problem

MAX_BATCH_BYTES = 16 * 2**20
"""Well below the 64 MiB that a server takes in one message; an estimate decides."""

Row = Mapping[str, Any]


class RefusedRowError(ValueError):
    """A row that Milvus would refuse, or store as something else."""


def checked_sizes(rows: Sequence[Row], schema: Schema) -> list[int]:
    """About how many bytes each row takes in a message, without its vector; raises `RefusedRowError`."""
    required = {name for name, kind in schema.fields.items() if not kind.nullable}
    sizes = []
    for position, row in enumerate(rows):
        try:
            sizes.append(_size(row, schema, required))
        except RefusedRowError as exc:
            raise RefusedRowError(f"row {position} (id {row.get(ID)!r}): {exc}") from exc
    return sizes


def last_of_each_id(rows: Sequence[Row]) -> list[int]:
    """Positions of the rows to send: the last one of each id, in the order of the rows.

    In one message with an id twice a server keeps the first row and Milvus Lite the last.
    """
    last = {row[ID]: position for position, row in enumerate(rows)}
    return list(range(len(rows))) if len(last) == len(rows) else sorted(last.values())


def batches(positions: Sequence[int], sizes: Sequence[int], vector_bytes: int) -> Iterator[Sequence[int]]:
    """The positions in runs whose rows fit one message."""
    start, total = 0, 0
    for end, position in enumerate(positions):
        size = sizes[position] + vector_bytes
        if total + size > MAX_BATCH_BYTES and end > start:
            yield positions[start:end]
            start, total = end, 0
        total += size
    if start < len(positions):
        yield positions[start:]


def vectors_problem(rows: int, vectors: Mapping[str, Vectors], schema: Schema) -> str | None:
    """Why these vectors, by name, cannot be those of so many rows; None where they can."""
    for name, each in vectors.items():
        if len(each) != rows:
            return f"{rows} rows with {len(each)} {'vectors' if name == VECTOR else f'vectors {name}'}"
    if missing := [name for name in schema.vectors if name not in vectors]:
        return f"each row has the further vectors {', '.join(schema.further)}: {', '.join(missing)} missing"
    for name, each in vectors.items():
        field = schema.vector(name)
        if wrong := problem(each, field.dim, unit=field.unit) or codec.problem(each, field.vector_type):
            return wrong if name == VECTOR else f"{name}: {wrong}"
    return None


def wire_rows(
    rows: Sequence[Row], vectors: Mapping[str, Vectors], positions: Sequence[int], schema: Schema
) -> list[dict[str, Any]]:
    """The rows at those positions with their vectors, by name, as pymilvus takes them."""
    wire = [dict(noted(rows[position], schema)) for position in positions]
    for name, each in vectors.items():
        for row, vector in zip(wire, codec.to_rows(each[positions], schema.vector(name).vector_type), strict=True):
            row[name] = vector
    return wire


def noted(row: Row, schema: Schema) -> Row:
    """The row with its note of what the picture filled where the collection keeps it: in the dynamic field or apart."""
    if schema.dynamic:
        return row
    others = {name: value for name, value in row.items() if name != FROM_IMAGE}
    return {**others, FROM_IMAGE: row.get(FROM_IMAGE) or ""} if schema.noted else others


class Writer:
    """Writes the rows of one collection."""

    def __init__(self, link: CollectionLink, reader: Reader) -> None:
        self._link, self._reader = link, reader

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        """`Store.upsert`."""
        schema = self._link.schema
        every = {VECTOR: vectors, **(more or {})}
        if unknown := every.keys() - schema.vectors.keys():
            raise self._refused(f"it has no vector {', '.join(sorted(unknown))}", len(rows))
        if not rows and not len(vectors):
            return 0
        if wrong := vectors_problem(len(rows), every, schema):
            raise self._refused(wrong, len(rows))
        try:
            sizes = checked_sizes(rows, schema)
        except RefusedRowError as exc:
            raise self._refused(str(exc), len(rows)) from exc
        positions = last_of_each_id(rows)
        # Milvus Lite's upsert keeps old values of fields that the new row lacks; its insert replaces the row
        send = self._link.client.insert if self._link.is_lite else self._link.client.upsert
        written = 0
        for batch in batches(positions, sizes, sum(each.dim for each in schema.vectors.values()) * 4):
            data = wire_rows(rows, every, batch, schema)
            sent = False
            try:
                with self._link.owning(f"write to {self._link.name!r}"):
                    sent, watched = True, self._link.watched
                    with self._observed(watched, rows, every, batch):
                        send(self._link.name, data, timeout=self._link.timeout)
                if self._link.watched != watched:  # since the look before the write
                    with self._observed(self._link.watched, rows, every, batch):
                        pass
            except (EncoderMismatch, CollectionReplaced):
                if sent and self._is_anothers():
                    self._take_back(data)
                raise
            except CollectionNotFound:
                raise  # what was written before is gone with the collection
            except BackendError as exc:
                pending = len(positions) - written
                raise WriteFailed(
                    f"wrote {counted(written, 'row')} to {self._link.name!r}, but not {pending:,} more: {exc}",
                    written=written,
                    pending=pending,
                    code=exc.code,
                    retryable=exc.retryable,
                ) from exc
            written += len(batch)
        return written

    def delete(self, ids: Sequence[str]) -> int:
        """`Store.delete`."""
        there = list(self._reader.get(ids))
        self.discard(there)
        return len(there)

    def _observed(
        self, watched: Mapping[str, str], rows: Sequence[Row], vectors: Mapping[str, Vectors], batch: Sequence[int]
    ) -> AbstractContextManager[None]:
        """The observer's block for a write of the rows at those positions; an empty one where nothing is watched."""
        observer = self._link.observer
        if observer is None or not watched:
            return nullcontext()
        types = {name: field.vector_type for name, field in self._link.schema.vectors.items()}
        stored = {name: codec.as_stored(each[batch], types[name]) for name, each in vectors.items() if name in watched}
        return observer.writing(watched, [rows[position][ID] for position in batch], stored)

    def discard(self, ids: Sequence[str]) -> None:
        """`Store.discard`."""
        for start in range(0, len(ids), READ_BATCH):
            with self._link.owning(f"delete rows of {self._link.name!r}"):
                part = ids[start : start + READ_BATCH]
                if self._link.observer is not None and self._link.watched:
                    self._link.observer.deleting(self._link.watched, part)
                self._link.client.delete(self._link.name, filter=among(part), timeout=self._link.timeout)
            self._link.deleted()

    def _is_anothers(self) -> bool:
        """Whether the name is another collection's by now; where an alias was moved, it is not."""
        try:
            self._link.check_same()
        except (EncoderMismatch, CollectionReplaced):
            return True
        except BackendError:
            return False
        return False

    def _take_back(self, sent: Sequence[Mapping[str, Any]]) -> None:
        """Delete rows that reached another collection, made while they were on their way; its own stay.

        What it holds under those ids, with those very vectors and of that moment, came from here. A row of its own that
        was overwritten is gone with it: its next ingest brings it again.
        """
        types = {name: field.vector_type for name, field in self._link.schema.vectors.items()}
        ours = {row[ID]: {name: codec.from_row(row[name], kind) for name, kind in types.items()} for row in sent}
        moments = {row[ID]: row.get(INGESTED_AT) for row in sent}
        stamp = [INGESTED_AT] if INGESTED_AT in self._link.schema.fields else []
        with translated(f"take back what reached another collection {self._link.name!r}"):
            found = self._link.client.query(
                self._link.name,
                filter=among(list(ours)),
                output_fields=[ID, *stamp, *types],
                consistency_level="Strong",
                timeout=self._link.timeout,
            )
            there = [
                row[ID]
                for row in found
                # a vector that the other collection has no field for lies in its dynamic field, or nowhere
                if row.get(INGESTED_AT, moments[row[ID]]) == moments[row[ID]]
                and all(
                    name not in row or np.array_equal(codec.from_row(row[name], kind), ours[row[ID]][name])
                    for name, kind in types.items()
                )
            ]
            if there:
                self._link.client.delete(self._link.name, filter=among(there), timeout=self._link.timeout)

    def _refused(self, why: str, pending: int) -> WriteFailed:
        return WriteFailed(f"nothing was written to {self._link.name!r}: {why}", written=0, pending=pending)


def _size(row: Row, schema: Schema, required: set[str]) -> int:
    if missing := required - row.keys():
        raise RefusedRowError(f"{', '.join(sorted(missing))} missing")
    size = 0
    others: dict[str, Any] = {}
    for name, value in row.items():
        kind = schema.fields.get(name)
        if kind is None and name == FROM_IMAGE and not schema.dynamic:
            size += _text_size(name, value, None)
        elif kind is None:
            others[name] = value
        elif value is None:
            if not kind.nullable:
                raise RefusedRowError(f"{name} is null, but its field is not nullable")
        elif kind.type == "VARCHAR":
            size += _text_size(name, value, MAX_ID_BYTES if name == ID else kind.max_length)
        elif kind.type == "JSON":
            if not isinstance(value, dict):
                raise RefusedRowError(f"{name} is not a JSON object")  # anything else breaks Milvus Lite's answers
            size += _json_size(name, value)
        elif kind.type == "ARRAY":
            size += sum(len(item.encode(errors="replace")) if isinstance(item, str) else 8 for item in value)
        else:
            size += 8
    if not row[ID]:
        raise RefusedRowError("the id is empty")
    if others:
        if apart := [name for name in schema.vectors if name in others]:
            raise RefusedRowError(f"the {', '.join(apart)} must be passed separately from the rows")
        if not schema.dynamic:
            raise RefusedRowError(f"{', '.join(others)}: no such field, and there is no dynamic field")
        size += _json_size("the dynamic field", others)
    return size


def _text_size(name: str, value: Any, most: int | None) -> int:
    if not isinstance(value, str):
        raise RefusedRowError(f"{name} = {value!r} is not text")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as exc:
        raise RefusedRowError(f"{name} is not Unicode text") from exc
    if most is not None and size > most:  # Milvus Lite counts characters, a server these bytes
        raise RefusedRowError(f"{name} is {size} bytes long in UTF-8, but the field holds at most {most}")
    return size


def _json_size(name: str, value: Mapping[str, Any]) -> int:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError) as exc:
        raise RefusedRowError(f"{name} cannot be written as JSON: {exc}") from exc
    if size > MAX_JSON_BYTES:
        raise RefusedRowError(f"{name} is {size} bytes of JSON, but Milvus accepts at most {MAX_JSON_BYTES}")
    return size
