"""Projections fitted to vectors: to those that are stored, to those of a file, or to what pictures give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from imgvec import filling
from imgvec.collection import ImageCollection
from imgvec.encoders.fitting import fit
from imgvec.encoders.moments import Moments
from imgvec.encoders.options import FitOptions
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import Encoder, EncoderSpec
from imgvec.encoders.purposes import POWERS, meant
from imgvec.engines import LocalEngine
from imgvec.errors import SourceError, UsageError
from imgvec.exchange import VectorSource, open_source
from imgvec.ingest import Job
from imgvec.migration import no_fields
from imgvec.options import altered, documented, settled
from imgvec.progress import OnProgress, Telling
from imgvec.rows import VECTOR
from imgvec.settings import Settings
from imgvec.sources import Source, Spec
from imgvec.store import Reads, Writes
from imgvec.stored import taken_out
from imgvec.vectors import Vectors, has_direction, norms

BATCH = 1000
"""Rows that are read at once."""


@documented(FitOptions)
def fit_projection(
    source: ImageCollection | VectorSource | Vectors | Source | Spec,
    *,
    vector: str = VECTOR,
    model: str | EncoderSpec | Encoder | None = None,
    settings: Settings | None = None,
    on_progress: OnProgress | None = None,
    **options: Unpack[FitOptions],
) -> Projection:
    """Fit a linear map, (x - mean) · matrix, to vectors; made unit vectors again they are compared as before.

    They are the vectors called `vector` that a collection stores; those of an array (n, dim), or of an .npy, Parquet or
    Faiss file (`imgvec.exchange.open_source` opens others, such as Annoy's), without those of no length; or, where a
    `model` is given, what that makes of the pictures of a folder or another source. None is held in memory: only their
    mean and covariance are. `save` writes the projection to a file, which a definition names (`encoder: {projection:
    FILE}`); `projected_copy` keeps it with a collection. Raises `UsageError`, with the number needed, for too few
    vectors; `SourceError`, `EncoderUnavailable`.
    """
    asked = settled(FitOptions, options)
    tell = Telling("fit", on_progress)
    if isinstance(source, ImageCollection):
        if model is not None:
            raise UsageError("a collection's stored vectors are used as they are: omit the model")
        source = source.pinned()
        source.store.vector(vector)
        store, definition = source.store, source.definition
        if asked["power"] is None:
            purpose = meant(definition.vector_fields[vector].encoder.purpose, of_parts=definition.of_parts)
            asked = altered(asked, {"power": POWERS[purpose]})
        return fit(_of_batches(_stored(store, vector), tell, store.count()), **asked)
    if model is not None:
        return fit(_of_pictures(source, model, settings or Settings.load(), on_progress), **asked)
    if isinstance(source, np.ndarray):
        return fit(_of_batches(iter([_array(source)]), tell, len(source)), **asked)
    if isinstance(source, Source) or not isinstance(source, str | Path | VectorSource):
        raise UsageError("to fit to pictures give the model that is to encode them")
    opened = source if isinstance(source, VectorSource) else open_source(source)
    return fit(_of_batches(_read(opened), tell, opened.rows), **asked)


def _stored(store: Reads, vector: str) -> Iterator[Vectors]:
    field = store.vectors[vector]
    for rows in store.scan([vector], batch_size=BATCH):
        if rows:
            yield taken_out(rows, vector, field)


def _read(source: VectorSource) -> Iterator[Vectors]:
    """What the file has a vector for, a few megabytes at once."""
    for chunk in source.chunks():
        usable = has_direction(norms(chunk.vectors))  # an Annoy file has zeros for numbers that were never added
        usable[list(chunk.problems)] = False
        yield chunk.vectors[usable]


def _array(vectors: Any) -> Vectors:
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not vectors.shape[1]:
        raise UsageError(f"vectors must be an (n, dim) array of numbers, not {vectors.dtype} {vectors.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        found: Vectors = np.asarray(vectors, np.float32)
    lengths = norms(found)
    if not np.isfinite(lengths).all():
        raise UsageError("the vectors are not all finite")
    return found[has_direction(lengths)]


def _of_batches(batches: Iterator[Vectors], tell: Telling, total: int | None) -> Moments:
    moments: Moments | None = None
    for batch in batches:
        moments = moments or Moments(batch.shape[1])
        moments.add(batch)
        tell("reading the vectors", moments.rows, total)
    if moments is None:
        raise UsageError("there are no vectors to fit to")
    return moments


class _Sink(Writes):
    """Stands in a store's place at the end of an ingest: of the rows it keeps the vectors' moments alone."""

    def __init__(self, width: int) -> None:
        self.moments = Moments(width)

    def get(self, *_: Any, **__: Any) -> Mapping[str, Mapping[str, Any]]:
        return {}

    def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, *_: Any, **__: Any) -> int:
        self.moments.add(vectors)
        return len(rows)

    def discard(self, ids: Sequence[str]) -> None:
        """There is nothing to delete."""


def _of_pictures(
    source: Any, model: str | EncoderSpec | Encoder, settings: Settings, on_progress: OnProgress | None
) -> Moments:
    """Of what the encoder makes of the pictures that can be read."""
    if isinstance(model, str | EncoderSpec):
        from imgvec.encoders import load_encoder  # brings torch

        spec = EncoderSpec(model) if isinstance(model, str) else model
        encoder = load_encoder(spec, device=settings.device, dtype=settings.dtype, cache_dir=settings.cache_dir)
    else:
        encoder = model
    sink, pictures = _Sink(encoder.binding.dim), filling.as_source(source)
    job = Job(
        records=partial(pictures.read, guards=filling.guards(settings)),
        row_fields=no_fields,
        resources=filling.resources_of(settings),
        store=sink,
        encoders={VECTOR: lambda: encoder},
    )
    report = LocalEngine().ingest(job, on_progress=on_progress)
    if not report.written:
        raise SourceError("there are no pictures that can be read to fit to")
    return sink.moments
