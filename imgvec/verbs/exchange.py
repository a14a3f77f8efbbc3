"""Vectors into a collection and out of it, and collections for vectors that were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from imgvec import exchange, kept, noting
from imgvec.collection import ImageCollection
from imgvec.definition import Definition, bundled, description
from imgvec.encoders.projection import LEARNED, Projection
from imgvec.errors import UsageError
from imgvec.exchange import (
    ExportReport,
    ImportReport,
    NoEncoder,
    VectorSource,
    made_for,
    no_encoders,
    open_source,
    unbound,
    unbound_binding,
)
from imgvec.exchange.options import (
    ExportOptions,
    FileOptions,
    FormatOptions,
    ImportOptions,
    MakeOptions,
    WriteOptions,
)
from imgvec.home import at_home
from imgvec.milvus import bulk, deferred
from imgvec.options import documented, settled, taken
from imgvec.progress import Telling
from imgvec.quality import travelling
from imgvec.retry import Retry
from imgvec.rows import VECTOR
from imgvec.settings import Settings

_NO_VIEWS = (
    "a collection of views keeps which rows a picture has, and vectors from elsewhere do not say: ingest its pictures, "
    "or give a definition without views"
)


@documented(ImportOptions)
def import_vectors(
    collection: ImageCollection,
    source: str | Path | VectorSource,
    **options: Unpack[ImportOptions],
) -> ImportReport:
    """Bring in vectors that are there already, by upsert: the same call may be repeated.

    `source` is an .npy array, Parquet with a vector column (a file or a folder), a Faiss index, an Annoy file, what
    `export_vectors` wrote, or the folder that `ingest(via=folder)` wrote. `ids`, `metadata`, `vector_column`, `dim` and
    `metric` say what a file does not (`imgvec.exchange.open_source`), and belong to none that imgvec wrote by `via`:
    there each row is whole, and its vector the encoder's. `normalize` makes the vectors unit vectors. The vectors must
    be the collection's encoder's: only what imgvec itself wrote is checked. Refused rows are counted, and written to
    the JSON-lines file `errors`. A collection of views takes none. Where a server's empty collection is given 100,000
    rows or more, its index is built once they are in, and searches are exact until then. Into an empty collection an
    export of a whole one brings its calibration; else `on_notice` is told that it was not taken. Raises `UsageError`,
    `SourceError`, `EncoderMismatch`, and the store's errors.
    """
    collection = collection.pinned()
    if collection.definition.views is not None:
        raise UsageError(_NO_VIEWS)
    asked = settled(ImportOptions, options)
    told, write = taken(FileOptions, asked), taken(WriteOptions, asked)
    if isinstance(source, str | Path) and _is_staged(source):
        given = {**told, "normalize": asked["normalize"] or None}
        if unfit := [name.replace("_", "-") for name, value in given.items() if value is not None]:
            raise UsageError(f"{source} was written by an ingest and contains complete rows: omit " + ", ".join(unfit))
        return _import_staged(collection, source, write)
    if isinstance(source, str | Path):
        source = open_source(source, **told)
    empty = bool(source.calibrations) and collection.store.count() == 0
    deferred.defer(collection.store, source.rows, write["on_notice"])
    report = exchange.import_vectors(collection, source, retry_seconds=collection.settings.retry_seconds, **write)
    noting.settle(collection.store)
    kept.keep_missing(collection.store, collection.bindings, _unpacked(source.projections))
    report.build_seconds = deferred.build_deferred(collection.store, write["on_progress"])
    whole = empty and report.written == source.rows == collection.store.count()
    if (left := travelling.keep_calibrations(collection.store, source.calibrations, all_rows=whole)) and write[
        "on_notice"
    ]:
        write["on_notice"](travelling.again(collection.name, left))
    return report


def _is_staged(source: str | Path) -> bool:
    return (at_home(source) / bulk.DESCRIPTION).is_file()


def _import_staged(collection: ImageCollection, folder: str | Path, write: WriteOptions) -> ImportReport:
    """The rows of a folder that `ingest(via=folder)` wrote; none of them can be refused, so `errors` stays empty."""
    remembered = description.read(collection.name, bulk.description(folder))
    description.check_bindings(collection.name, collection.bindings, remembered.bindings)
    if write["errors"] is not None:
        Path(write["errors"]).open("w", encoding="utf-8").close()
    deferred.defer(collection.store, bulk.row_count(folder), write["on_notice"])
    report, tell = ImportReport(), Telling("import", write["on_progress"])

    def retrying(_error: Exception, _wait: float) -> None:
        report.retries += 1

    retry = Retry(collection.settings.retry_seconds, on_retry=retrying)
    for rows, vectors in bulk.read(folder, collection.store):
        written = retry.call(partial(collection.store.upsert, rows, vectors.pop(VECTOR), vectors))
        report.seen += len(rows)
        report.written += written
        tell("writing rows", report.seen, counts={"written": report.written, "refused": 0})
    kept.keep_missing(collection.store, collection.bindings, _staged_projections(folder))
    report.seconds = tell.seconds
    report.build_seconds = deferred.build_deferred(collection.store, write["on_progress"])
    return report


def _unpacked(projections: Mapping[str, bytes]) -> dict[str, Projection]:
    return {name: Projection.unpacked(data, name) for name, data in projections.items()}


def _staged_projections(folder: str | Path) -> dict[str, Projection]:
    return _unpacked({f"{LEARNED}@{digest}": data for digest, data in bulk.projections(folder).items()})


@documented(ExportOptions)
def export_vectors(
    collection: ImageCollection,
    target: str | Path,
    **options: Unpack[ExportOptions],
) -> ExportReport:
    """Write every row, or those that match, to `FILE.parquet`, `FILE.npy` (and `FILE.ids.csv`), or a folder of Parquet.

    The same call resumes; Parquet has every field, and remembers encoder, definition, the projections that the
    collection keeps, and, of all rows, its calibrations. Rows written or deleted meanwhile may be there or not. Raises
    `UsageError`, `TargetError`, `MissingExtra`.
    """
    collection = collection.pinned()
    projections = {
        name: projection.packed() for name, projection in kept.of_all(collection.store, collection.bindings).items()
    }
    retry_seconds = collection.settings.retry_seconds
    return exchange.export_vectors(
        collection,
        target,
        retry_seconds=retry_seconds,
        projections=projections,
        calibrations=travelling.packed_calibrations(collection.store),
        **options,
    )


@documented(MakeOptions)
def create_for_vectors(
    name: str,
    source: str | Path | VectorSource | None = None,
    *,
    definition: str | Path | Mapping[str, Any] | Definition | None = None,
    settings: Settings | None = None,
    **options: Unpack[MakeOptions],
) -> ImageCollection:
    """Make a collection for vectors that are there already: those of `source`, or, without one, of `dim` elements.

    For what imgvec wrote itself it is the collection that the rows came from, of its encoder, with the projection that
    was kept behind it, and, unless another is given, its definition. For others it is the definition (the bundled one
    called like the collection, else `photos`) without its encoder, with the metric that finds the file's own
    neighbours: it is searched by vector and by stored id. `normalize` says that the vectors will be made unit vectors;
    `dim`, `metric` and `vector_column` say of a file what `import_vectors` is told. Raises `UsageError`, and as
    `open_source` and `ImageCollection.create` do.
    """
    asked = settled(MakeOptions, options)
    wanted = Definition.load(definition or (name if name in bundled() else "photos"))
    made: Definition | Mapping[str, Any]
    projections: Mapping[str, Projection] = {}
    if source is None:
        if asked["dim"] is None:
            raise UsageError("give the source of the vectors, or their dimension")
        made, encoders = unbound(wanted), {VECTOR: NoEncoder(unbound_binding(asked["dim"]))}
    elif isinstance(source, str | Path) and _is_staged(source):
        remembered = description.read(str(source), bulk.description(source))
        encoders, projections = no_encoders(remembered), _staged_projections(source)
        made = remembered.definition if definition is None else wanted
    else:
        opened = source if isinstance(source, VectorSource) else open_source(source, **taken(FormatOptions, asked))
        made, encoders = made_for(opened, wanted, normalize=asked["normalize"])
        projections = _unpacked(opened.projections)
        if definition is not None and opened.description is not None:
            made = wanted  # the export's encoder all the same
    if Definition.load(made).views is not None:
        raise UsageError(_NO_VIEWS)
    collection = ImageCollection.create(
        name, definition=made, encoders=encoders, settings=settings, on_notice=asked["on_notice"]
    )
    try:
        kept.keep_missing(collection.store, collection.bindings, projections)
    except BaseException:
        with collection:
            collection.drop()
        raise
    return collection
