"""A collection made again in a projected space, without reading a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from imgvec import kept
from imgvec.collection import ImageCollection
from imgvec.encoders.options import FitOptions
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection, load_named
from imgvec.encoders.protocol import Encoder
from imgvec.errors import UsageError
from imgvec.exchange import NoEncoder
from imgvec.ingest.journal import TORN
from imgvec.options import documented
from imgvec.progress import OnProgress, Telling
from imgvec.quality import travelling
from imgvec.retry import Retry
from imgvec.rows import CONTENT_HASH, FROM_IMAGE, ID, JOURNAL_FIELDS, VECTOR, VIEWS, view_counts, view_ids
from imgvec.store import Reads
from imgvec.stored import taken_out
from imgvec.vectors import Vectors, has_direction, norms
from imgvec.verbs.fitting import BATCH, fit_projection

_PICTURES = 100
"""Of a collection of views, whose rows are looked at together."""


@documented(FitOptions)
def projected_copy(
    collection: ImageCollection,
    name: str,
    projection: Projection | str | Path | None = None,
    *,
    vector: str = VECTOR,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
    **options: Unpack[FitOptions],
) -> ImageCollection:
    """Make the collection `name` of the same rows, with the vectors called `vector` projected; reads no picture.

    The projection is fitted to them (`fit_projection`, with its options), unless one is given: itself, a file of one,
    or the name of one that comes with imgvec, such as `shipped:dinov2-small-11/classes`. It is kept with the new
    collection in Milvus, and every client that opens that has it behind the encoder. Definition, rows, views and
    further vectors are the same, and so are the calibrations of these; `on_notice` is told where the projected one
    should have a new one. The index is the definition's, so tune it again. Of rows written meanwhile some may be
    missing: an ingest of the source adds them, and passes over the others. When `compare` says that it is better, let
    `set_alias` lead there. Raises `UsageError`, `CollectionExists`, `EncoderUnavailable`; then, and when it is
    interrupted, nothing of the new collection is left.
    """
    collection = collection.pinned()
    store, definition = collection.store, collection.definition
    store.vector(vector)
    bound = collection.bindings[vector]
    if bound.projection is not None:
        raise UsageError(
            f"the vectors of {collection.name!r} are projected already ({bound.projection}): take the collection that "
            "they came from, or make one without a projection"
        )
    if projection is None:
        projection = fit_projection(collection, vector=vector, on_progress=on_progress, **options)
    elif options:
        raise UsageError(f"a projection that is given is not fitted: omit {', '.join(options)}")
    elif not isinstance(projection, Projection):
        projection, _ = load_named(str(projection))
    encoders: dict[str, Encoder] = {each: NoEncoder(binding) for each, binding in collection.bindings.items()}
    encoders[vector] = ProjectedEncoder(encoders[vector], projection, projection.learned_name)
    gpu = definition.index.gpu is not None and store.index.type.startswith("GPU_")
    made = ImageCollection.create(name, definition=definition, encoders=encoders, gpu=gpu, settings=collection.settings)
    try:
        kept.keep_missing(made.store, made.bindings, kept.of_all(store, collection.bindings))  # those of other vectors
        calibrations = travelling.packed_calibrations(store)
        _fill(collection, made, projection, vector, Telling("project", on_progress))
        whole = made.store.count() == store.count()
        left = travelling.keep_calibrations(made.store, calibrations, all_rows=whole)
        if left and on_notice is not None:
            on_notice(travelling.again(name, left))
        loaded = collection.handle.target.encoders.loaded  # what is in memory serves the new one too
        return ImageCollection.open(name, encoders=loaded, settings=collection.settings)
    except BaseException:
        made.drop()
        raise
    finally:
        made.close()


def _fill(source: ImageCollection, made: ImageCollection, projection: Projection, vector: str, tell: Telling) -> None:
    """Every row with its vector projected; then, of a collection of views, what is kept of each picture: last, as an
    ingest does, so that those it calls complete are."""
    store, target = source.store, made.store
    retry, total, written = Retry(source.settings.retry_seconds), store.count(), 0
    unit = store.vector(vector).unit or source.bindings[vector].normalize  # as its encoder makes them
    for rows in store.scan(("*", *store.vectors, FROM_IMAGE), batch_size=BATCH):
        if not rows:
            continue
        vectors = {name: taken_out(rows, name, field) for name, field in store.vectors.items()}
        vectors[vector] = _projected(projection, vectors[vector], unit, rows)
        retry.call(partial(target.upsert, rows, vectors.pop(VECTOR), vectors))
        written += len(rows)
        tell("projecting the rows", written, max(total, written))
    journal, new = source.handle.target.journal, made.handle.target.journal
    if journal is not None and new is not None:
        for entries in journal.scan([*JOURNAL_FIELDS], batch_size=_PICTURES):
            retry.call(partial(new.upsert, _complete(entries, target)))


def _complete(entries: Sequence[Mapping[str, Any]], target: Reads) -> list[Mapping[str, Any]]:
    """The journal's entries of pictures, those torn whose rows were not all copied, or of an earlier picture."""
    ids = {entry[ID]: list(view_ids(entry[ID], view_counts(entry[VIEWS]))) for entry in entries}
    rows = target.get([row for each in ids.values() for row in each], output_fields=[CONTENT_HASH])
    found = {id_: {rows[row][CONTENT_HASH] if row in rows else None for row in each} for id_, each in ids.items()}
    return [entry if found[entry[ID]] <= {entry[CONTENT_HASH]} else {**entry, CONTENT_HASH: TORN} for entry in entries]


def _projected(projection: Projection, vectors: Vectors, unit: bool, rows: Sequence[Mapping[str, Any]]) -> Vectors:
    """(n, dim), with `unit` of length 1."""
    found = projection(vectors)
    if not unit:
        return found
    lengths = norms(found)
    if len(gone := np.flatnonzero(~has_direction(lengths))):
        raise UsageError(f"nothing is left of the vector of {rows[gone[0]]['id']!r}: take another projection")
    scaled: Vectors = (found / lengths[:, None]).astype(np.float32)
    return scaled
