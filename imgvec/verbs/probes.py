"""Chooses standing probes: queries that are near to what is stored, and are not stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import numpy as np

from imgvec import filling
from imgvec.collection import ImageCollection
from imgvec.errors import EncoderError, UnreadableImage, UsageError
from imgvec.images import decode
from imgvec.images.edits import EDITS
from imgvec.indexes.options import WatchOptions
from imgvec.indexes.probes import scored
from imgvec.noted import Probes
from imgvec.plurals import counted
from imgvec.progress import Telling
from imgvec.rows import CONTENT_HASH, URI, VECTOR
from imgvec.search.forms import ImageBytes
from imgvec.store import Searches
from imgvec.vectors import MIN_NORM, Vectors, has_direction, norms
from imgvec.verbs.queries import query_vectors, some_of

PROBES = 200
_SAMPLE = 4096
_FEWEST = 0.5
"""Of the probes that edited copies are to be, so that they are used."""
_IN_VAIN = 20
"""Pictures that cannot be reopened, after which no more are tried."""
_TWIN = 1 - 1e-4
_AT_ONCE = 32


def sample(store: Searches, most: int = _SAMPLE) -> list[str]:
    """The ids of some rows, each with the same chance."""
    return some_of((row["id"] for rows in store.scan([]) for row in rows), most)


def chosen(collection: ImageCollection, vector: str, asked: WatchOptions, tell: Telling) -> Probes:
    """New probes, of no epoch yet: those that are given, else edited copies of stored pictures, else vectors that are
    halfway between stored rows. Raises `UsageError` where there is no row.
    """
    from imgvec.by_vector import searches_by

    store, notice = searches_by(collection.store, vector), asked["on_notice"] or (lambda _: None)
    ids = sample(store)
    if not ids:
        raise UsageError(f"{collection.name!r} has no rows yet: ingest first, then watch")
    sources: list[str] = []
    if (queries := asked["queries"]) is not None:
        basis, vectors = "given", _given(collection, queries, vector, asked)
    else:
        basis = "edited"
        vectors, sources = _edited(collection, vector, ids, tell)
        if len(vectors) < _FEWEST * min(PROBES, len(ids)):
            notice(
                f"only {counted(len(vectors), 'picture')} could be reopened and encoded, so the probes are vectors "
                f"halfway between stored rows, which an index finds more easily than new pictures; queries of your own "
                f"are better"
            )
            basis, vectors, sources = "between", _between(store, ids), []
    vectors = np.ascontiguousarray(vectors[has_direction(norms(vectors))], np.float32)
    if not len(vectors):
        raise UsageError("there is no probe with a direction among the queries")
    floors = np.full(len(vectors), -np.inf, np.float32)
    return Probes("", vector, vectors, floors, np.zeros(63, np.float32), frozenset(sources), basis)


def _given(collection: ImageCollection, queries: Vectors | str | Path, vector: str, asked: WatchOptions) -> Vectors:
    if not isinstance(queries, str | Path):
        if queries.ndim != 2 or queries.shape[1] != (dim := collection.store.vector(vector).dim):
            raise UsageError(f"the queries are an array of {queries.shape}, and (n, {dim}) is needed")
        return queries[:PROBES]
    known = {name: asked[name] for name in ("on_progress", "on_notice")}
    return query_vectors(collection, queries, {**known, "sample": PROBES, "vector": vector})  # type: ignore[typeddict-item]  # those it reads


def _edited(collection: ImageCollection, vector: str, ids: list[str], tell: Telling) -> tuple[Vectors, list[str]]:
    """Vectors of edited copies, and the ids of the rows whose pictures were edited."""
    edits = cycle(edit for name, edit in EDITS.items() if name != "exif rotation")  # which is undone in decoding
    made: list[bytes] = []
    sources: list[str] = []
    rows, failed = collection.store.get(ids[: 2 * PROBES], output_fields=[URI, CONTENT_HASH]), 0
    for id_, row in rows.items():
        if len(made) == PROBES or (failed >= _IN_VAIN and not made):
            break
        try:
            data = filling.reopened(collection.settings, row[URI], row[CONTENT_HASH] or None, None, None)
            made.append(next(edits)(decode(data, uri=row[URI]).image))
            sources.append(id_)
        except (UnreadableImage, KeyError):
            failed += 1
    found: list[Vectors] = []
    usable: list[str] = []
    try:
        for start in range(0, len(made), _AT_ONCE):
            tell("encoding the standing probes", start, len(made))
            for vectors, own in _encoded(collection, vector, made[start : start + _AT_ONCE], sources[start:]):
                found.append(vectors)
                usable += own
    except EncoderError:
        found = []
    if not found:
        return np.empty((0, collection.store.vector(vector).dim), np.float32), []
    return np.concatenate(found), usable


def _encoded(
    collection: ImageCollection, vector: str, made: list[bytes], sources: list[str]
) -> Iterator[tuple[Vectors, list[str]]]:
    """The vectors of edited copies and what they were made of, without those that are no query, as without a face."""
    try:
        yield collection.vectors([ImageBytes(data) for data in made], vector=vector), sources[: len(made)]
    except UnreadableImage:
        for data, source in zip(made, sources, strict=False):
            with suppress(UnreadableImage):
                yield collection.vectors([ImageBytes(data)], vector=vector), [source]


def _between(store: Searches, ids: list[str]) -> Vectors:
    """Vectors halfway from a stored row to one that is near it and not the same."""
    rows = store.get(ids, with_vector=True)
    stored = np.stack([row["vector"] for row in rows.values()])
    some = stored[:PROBES]
    scores = scored(store.metric_type, some, stored)
    own = np.arange(len(some))
    least = scores[own, own] - (1 - _TWIN) * np.maximum(1, np.abs(scores[own, own]))
    scores[scores >= least[:, None]] = -np.inf
    middle = some + stored[scores.argmax(1)]
    lengths = norms(middle)[:, None]
    found: Vectors = middle / (np.maximum(lengths, MIN_NORM) if store.vectors[VECTOR].unit else 2)
    return found
