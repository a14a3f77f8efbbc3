"""Import a source of vectors: each row is checked, converted to the definition's types, and upserted by id."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from typing_extensions import Unpack

from imgvec.dates import iso
from imgvec.definition import Definition, FieldSection, convert, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import SourceError
from imgvec.exchange.options import WriteOptions
from imgvec.exchange.parquet import DYNAMIC
from imgvec.exchange.source import Chunk, Row, VectorSource
from imgvec.filters import FieldType
from imgvec.options import documented, settled
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.retry import Retry
from imgvec.rows import (
    CONTENT_HASH,
    FROM_IMAGE,
    HEIGHT,
    ID,
    INGESTED_AT,
    MAX_ID_BYTES,
    MEDIA_TYPE,
    OWN_FIELDS,
    URI,
    VECTOR,
    WIDTH,
)
from imgvec.sources.records import record_id
from imgvec.store import Store
from imgvec.vectors import Vectors, flaw, norms

REASONS = ("no vector", "not finite", "zero length", "not of unit length", "unusable id", "metadata refused")
"""Every reason a row can be refused for."""
_COARSE = ("BFLOAT16_VECTOR", "INT8_VECTOR")
_OWN = {name: FieldSection(type=own.type, max_length=own.max_bytes, required=True) for name, own in OWN_FIELDS.items()}


class Rows(Protocol):
    """A `Definition`, of which its `row_fields` is used."""

    def row_fields(self, metadata: Mapping[str, Any]) -> dict[str, Any]: ...


class Target(Protocol):
    """An `ImageCollection`."""

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Store: ...
    @property
    def definition(self) -> Rows: ...
    @property
    def bindings(self) -> Mapping[str, Binding]: ...


@dataclass
class ImportReport:
    """What became of the rows of a source: `seen` is `written` plus all `refused`."""

    seen: int = 0
    written: int = 0
    """Rows that Milvus acknowledged; of rows with the same id the last one counts in the collection."""
    refused: Counter[str] = field(default_factory=Counter)
    """How many for each of `REASONS`."""
    retries: int = 0
    seconds: float = 0.0
    build_seconds: float = 0.0
    """Of the index that waited for the last row, after `seconds`; 0 where none did."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        seconds = {name: round(getattr(self, name), 3) for name in ("seconds", "build_seconds")}
        return {**vars(self), "refused": dict(sorted(self.refused.items())), **seconds}


@documented(WriteOptions)
def import_vectors(
    collection: Target,
    source: VectorSource,
    *,
    retry_seconds: float = 60.0,
    **options: Unpack[WriteOptions],
) -> ImportReport:
    """Upsert the rows of a source, so that the call can be repeated safely; returns what became of them.

    The vectors must come from the collection's encoder; only exports by imgvec can be checked for that. With COSINE or
    IP they must have unit length; `normalize` scales them.

    A row's id is what the source says (an integer as its decimal text), else `record_id` of its uri; its uri that of
    the column `uri` or `path`, else `SOURCE#NUMBER`. Other columns are fields, as in an ingest's metadata. Refused rows
    are counted, and written to the JSON-lines file `errors` (row, id, reason, detail). Temporary failures of Milvus are
    retried for `retry_seconds`. Memory holds one chunk. Raises `SourceError`, `EncoderMismatch`, and the store's
    errors.
    """
    asked = settled(WriteOptions, options)
    normalize, errors, on_notice = asked["normalize"], asked["errors"], asked["on_notice"]
    store = collection.store
    if source.dim != store.dim:
        raise SourceError(f"{source.path} has vectors of dim {source.dim}, but {collection.name!r} has dim {store.dim}")
    exported = _exported(collection, source)
    further = {name: each for name, each in store.vectors.items() if name != VECTOR}
    if {name: each.dim for name, each in further.items()} != dict(source.further):
        raise SourceError(
            f"{collection.name!r} has the vectors {', '.join(store.vectors)}, and {source.path} does not hold all of "
            "them: an export of such a collection to Parquet does"
        )
    exact = source.copied and exported == collection.definition
    if on_notice:
        for note in (*source.notes, *_difference(source.metric_type, store.metric_type, normalize)):
            on_notice(note)
    # two thirds of INT8 vectors are not unit vectors as they are read back; made so, they round to what they were again
    unit = {
        name: "made" if normalize or (exact and each.vector_type in _COARSE) else "asked"
        for name, each in store.vectors.items()
        if each.unit or normalize
    }
    report, tell = ImportReport(), Telling("import", asked["on_progress"])
    empty = store.count() == 0

    def retrying(_error: Exception, _wait: float) -> None:
        report.retries += 1

    retry = Retry(retry_seconds, on_retry=retrying)
    with ExitStack() as stack:
        log = stack.enter_context(Path(errors).open("w", encoding="utf-8")) if errors is not None else None
        rows_of = _Rows(source, store.fields, collection.definition, exported, exact)
        for chunk in source.chunks():
            rows, vectors = _checked(chunk, rows_of, report, log, unit)
            if rows:
                retry.call(partial(store.upsert, rows, vectors.pop(VECTOR), **({"more": vectors} if vectors else {})))
            report.written += len(rows)
            counts = {"written": report.written, "refused": report.refused.total()}
            tell("writing rows", report.seen, source.rows, counts=counts)
    if on_notice and empty and (held := store.count()) < report.written:
        on_notice(f"{counted(report.written - held, 'row')} replaced by later rows with the same id")
    report.seconds = tell.seconds
    return report


def _exported(collection: Target, source: VectorSource) -> Definition | None:
    """The definition of the collection that the source is an export of, if it is one; checks the encoder.

    Of one with the same definition the rows go in as they are.
    """
    if source.description is None:
        return None
    exported = description.read(str(source.path), source.description)
    description.check_bindings(collection.name, collection.bindings, exported.bindings)
    return exported.definition


def _difference(source: str | None, target: str, normalize: bool) -> tuple[str, ...]:
    """Notices to show if the metrics may order neighbours differently.

    On unit vectors COSINE, IP and L2 order them alike: their cosine c is the inner product, and 2 - 2c the squared
    distance. A collection of COSINE or IP takes no others.
    """
    if source is None:
        return ()
    if source not in ("COSINE", "IP", "L2"):
        return (f"{target} gives different neighbours from the file's {source}",)
    from_cosine = source == "COSINE" and (normalize or target != "L2")
    from_length = source != "COSINE" and not normalize and target in (source, "COSINE", "IP")
    if from_cosine or from_length:
        return ()
    return (f"{target} gives the same neighbours as the file's {source} only for vectors of unit length",)


class _RefusedError(ValueError):
    """A row that cannot be written: one of `REASONS`, with details."""


class _Rows:
    """A source's rows as the collection's."""

    def __init__(
        self,
        source: VectorSource,
        fields: Mapping[str, FieldType],
        definition: Rows,
        exported: Definition | None,
        exact: bool,
    ) -> None:
        self._source, self._definition, self._exact = source, definition, exact
        # milliseconds for certain, however much they look like seconds or like 20240601
        self._dates = frozenset(
            name
            for name, declared in (exported.fields if exported else {}).items()
            if declared.format == "unix_ms" and name in fields and fields[name].format
        )
        self._json = frozenset(name for name, kind in fields.items() if kind.type == "JSON")
        self._now = int(time.time() * 1000)

    def of(self, given: Row, number: int) -> Row:
        """The row but for its vector; raises `ValueError`, a `_RefusedError` where it is the id."""
        given = dict(given)
        uri = given.pop("uri", None) or given.pop("path", None) or f"{self._source.path}#{number}"
        own = {URI: uri, CONTENT_HASH: "", WIDTH: 0, HEIGHT: 0, MEDIA_TYPE: "", INGESTED_AT: self._now}
        row = {
            ID: _id(given.pop(ID)) if ID in given else record_id(str(uri)),
            **{name: convert(name, _OWN[name], given.pop(name, unknown)) for name, unknown in own.items()},
        }
        dynamic = given.pop(DYNAMIC, None)
        if isinstance(dynamic, str):
            more = json.loads(dynamic)
            if not isinstance(more, dict):
                raise ValueError(f"{DYNAMIC} is not a JSON object: {dynamic[:40]}")
            given |= more
        if isinstance(noted := given.pop(FROM_IMAGE, None), str):
            row[FROM_IMAGE] = noted
        if self._exact:
            given |= {name: json.loads(given[name]) for name in self._json & given.keys()}
            return given | row
        given |= {name: iso(given[name]) for name in self._dates & given.keys() if type(given[name]) is int}
        return row | self._definition.row_fields(given)


def _checked(
    chunk: Chunk, rows_of: _Rows, report: ImportReport, log: IO[str] | None, unit: Mapping[str, str]
) -> tuple[list[Row], dict[str, Vectors]]:
    """The rows of a chunk that can be written, and their vectors by name; the others are counted and logged.

    `unit` names the vectors that are of unit length, which is `asked` of them, or `made`.
    """
    given_vectors = {VECTOR: chunk.vectors, **chunk.more}
    lengths = {name: norms(each) for name, each in given_vectors.items()}
    rows, kept = [], []
    for position, given in enumerate(chunk.rows):
        number = chunk.first + position
        report.seen += 1
        try:
            if position in chunk.problems:
                raise _RefusedError("no vector", chunk.problems[position])
            for name, each in lengths.items():
                _check_length(name, float(each[position]), unit.get(name))
            row = rows_of.of(given, number)
        except ValueError as exc:
            reason, detail = _reason(exc)
            report.refused[reason] += 1
            if log:
                entry = {"row": number, "id": str(given.get("id", "")), "reason": reason, "detail": detail}
                print(json.dumps(entry, ensure_ascii=False), file=log, flush=True)
        else:
            rows.append(row)
            kept.append(position)
    vectors = {name: each[kept] for name, each in given_vectors.items()}
    for name in vectors:
        if unit.get(name) == "made":
            vectors[name] = (vectors[name] / lengths[name][kept, None]).astype(np.float32)
    return rows, vectors


def _check_length(name: str, length: float, unit: str | None) -> None:
    details = {
        "not finite": "NaN or infinity among the elements",
        "zero length": "",
        "too long": f"length {length:.4g}, which Milvus cannot square; scale it down",
        "not of unit length": f"length {length:.4g}; normalize makes it 1",
    }
    found = flaw(length, unit=unit == "asked")
    if found and not (found == "too long" and unit == "made"):
        raise _RefusedError(found, details[found] if name == VECTOR else f"{name}: {details[found]}".rstrip(": "))


def _reason(exc: ValueError) -> tuple[str, str]:
    if isinstance(exc, _RefusedError):
        reason, detail = exc.args
        return reason, detail
    return "metadata refused", str(exc)


def _id(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise _RefusedError("unusable id", f"{value!r} is neither text nor an integer")
    if (size := len(value.encode(errors="replace"))) > MAX_ID_BYTES:
        raise _RefusedError("unusable id", f"{size} bytes long in UTF-8, but ids are limited to {MAX_ID_BYTES}")
    return value
