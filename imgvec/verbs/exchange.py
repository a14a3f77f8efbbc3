"""Vectors into a collection and out of it, and collections for vectors that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from imgvec import exchange
from imgvec.collection import ImageCollection
from imgvec.definition import Definition, bundled, description
from imgvec.errors import UsageError
from imgvec.exchange import (
    ExportReport,
    ImportReport,
    NoEncoder,
    VectorSource,
    made_for,
    open_source,
    unbound,
    unbound_binding,
)
from imgvec.filters import Filter
from imgvec.milvus import bulk
from imgvec.progress import OnProgress, Telling
from imgvec.retry import Retry
from imgvec.rows import VECTOR
from imgvec.settings import Settings


def import_vectors(
    collection: ImageCollection,
    source: str | Path | VectorSource,
    *,
    ids: str | None = None,
    metadata: str | Path | None = None,
    vector_column: str | None = None,
    dim: int | None = None,
    metric: str | None = None,
    normalize: bool = False,
    errors: str | Path | None = None,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> ImportReport:
    """Bring in vectors that are there already, by upsert: the same call may be repeated.

    `source` is an .npy array, Parquet with a vector column (a file or a folder), a Faiss index, an Annoy file, what
    `export_vectors` wrote, or the folder that `ingest(via=folder)` wrote. `ids`, `metadata`, `vector_column`, `dim` and
    `metric` say what a file does not (`imgvec.exchange.open_source`), and belong to none that imgvec wrote by `via`:
    there each row is whole, and its vector the encoder's. `normalize` makes the vectors unit vectors. The vectors must
    be the collection's encoder's: only what imgvec itself wrote is checked. Refused rows are counted, and written to
    the JSON-lines file `errors`. Raises `UsageError`, `SourceError`, `EncoderMismatch`, and the store's errors.
    """
    collection = collection.pinned()
    if isinstance(source, str | Path) and _is_staged(source):
        given = {
            "ids": ids, "metadata": metadata, "vector_column": vector_column, "dim": dim, "metric": metric,
            "normalize": normalize or None,
        }  # fmt: skip
        if unfit := [name.replace("_", "-") for name, value in given.items() if value is not None]:
            raise UsageError(
                f"{source} was written by an ingest, whole rows with the encoder's own vectors: leave out "
                + ", ".join(unfit)
            )
        return _import_staged(collection, source, errors, on_progress)
    if isinstance(source, str | Path):
        source = open_source(
            source, ids=ids, metadata=metadata, vector_column=vector_column or "vector", dim=dim, metric=metric
        )
    return exchange.import_vectors(
        collection,
        source,
        normalize=normalize,
        errors=errors,
        retry_seconds=collection.settings.retry_seconds,
        on_progress=on_progress,
        on_notice=on_notice,
    )


def _is_staged(source: str | Path) -> bool:
    return (Path(source).expanduser() / bulk.DESCRIPTION).is_file()


def _import_staged(
    collection: ImageCollection, folder: str | Path, errors: str | Path | None, on_progress: OnProgress | None
) -> ImportReport:
    """The rows of a folder that `ingest(via=folder)` wrote; none of them can be refused, so `errors` stays empty."""
    remembered = description.read(collection.name, bulk.description(folder))
    description.check_binding(collection.name, collection.binding, remembered.binding)
    if errors is not None:
        Path(errors).open("w", encoding="utf-8").close()
    report, tell = ImportReport(), Telling("import", on_progress)

    def retrying(_error: Exception, _wait: float) -> None:
        report.retries += 1

    retry = Retry(collection.settings.retry_seconds, on_retry=retrying)
    for rows, vectors in bulk.read(folder, collection.store):
        written = retry.call(partial(collection.store.upsert, rows, vectors.pop(VECTOR), vectors))
        report.seen += len(rows)
        report.written += written
        tell("writing rows", report.seen, counts={"written": report.written, "refused": 0})
    report.seconds = tell.seconds
    return report


def export_vectors(
    collection: ImageCollection,
    target: str | Path,
    *,
    where: Filter | str | None = None,
    on_progress: OnProgress | None = None,
) -> ExportReport:
    """Write every row, or those that match, to `FILE.parquet`, `FILE.npy` (and `FILE.ids.csv`), or a folder of Parquet.

    The same call goes on where a stopped one ended; Parquet has every field, and remembers encoder and definition. Rows
    written or deleted meanwhile may be there or not. Raises `UsageError`, `TargetError`, `MissingExtra`.
    """
    collection = collection.pinned()
    return exchange.export_vectors(
        collection,
        target,
        where=where,
        retry_seconds=collection.settings.retry_seconds,
        on_progress=on_progress,
    )


def create_for_vectors(
    name: str,
    source: str | Path | VectorSource | None = None,
    *,
    dim: int | None = None,
    metric: str | None = None,
    vector_column: str | None = None,
    definition: str | Path | Mapping[str, Any] | Definition | None = None,
    normalize: bool = False,
    settings: Settings | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> ImageCollection:
    """Make a collection for vectors that are there already: those of `source`, or, without one, of `dim` elements.

    For what imgvec wrote itself it is the collection that the rows came from, of its encoder and, unless another is
    given, its definition. For others it is the definition (the bundled one called like the collection, else `photos`)
    without its encoder, with the metric that finds the file's own neighbours: it is searched by vector and by stored
    id. `normalize` says that the vectors will be made unit vectors; `dim`, `metric` and `vector_column` say of a file
    what `import_vectors` is told. Raises `UsageError`, and as `open_source` and
    `ImageCollection.create` do.
    """
    wanted = Definition.load(definition or (name if name in bundled() else "photos"))
    made: Definition | Mapping[str, Any]
    if source is None:
        if dim is None:
            raise UsageError("give the source of the vectors, or how many elements they have")
        made, encoder = unbound(wanted), NoEncoder(unbound_binding(dim))
    elif isinstance(source, str | Path) and _is_staged(source):
        remembered = description.read(str(source), bulk.description(source))
        encoder = NoEncoder(remembered.binding)
        made = remembered.definition if definition is None else wanted
    else:
        opened = (
            source
            if isinstance(source, VectorSource)
            else open_source(source, vector_column=vector_column or "vector", dim=dim, metric=metric)
        )
        made, encoder = made_for(opened, wanted, normalize=normalize)
        if definition is not None and opened.description is not None:
            made = wanted  # the export's encoder all the same
    return ImageCollection.create(name, definition=made, encoder=encoder, settings=settings, on_notice=on_notice)
