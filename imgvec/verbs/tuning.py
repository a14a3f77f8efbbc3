"""Verify a collection's index against exact search, and tune it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from imgvec.by_vector import indexes_by
from imgvec.collection import ImageCollection
from imgvec.filters import Filter
from imgvec.indexes.compare import Comparison, suggested
from imgvec.indexes.compare import compare as compared
from imgvec.indexes.findings import Verification
from imgvec.indexes.options import CheckOptions, MeasureOptions, RecallOptions, TuneOptions, VerifyOptions
from imgvec.indexes.tune import tune as tuned
from imgvec.indexes.tuned import Tuned
from imgvec.indexes.unseen import Scratch
from imgvec.indexes.verify import verify as verified
from imgvec.milvus import deferred
from imgvec.options import documented, settled, taken
from imgvec.progress import OnProgress
from imgvec.verbs.index import scratch_copy, set_search_defaults
from imgvec.verbs.queries import query_vectors

_INDEX_SECONDS = 3600.0


@documented(VerifyOptions)
def verify(collection: ImageCollection, **options: Unpack[VerifyOptions]) -> Verification:
    """Check what Milvus answers against exact search over what it stores; `findings` names what is wrong.

    Looks at every stored vector, at the number of rows and their ids, searches for `probes` stored rows by their own
    vectors, and compares the hits and scores of `queries` of them with the true ones; `recall` is the least lower bound
    of their recall@`limit`, None for whatever it is. `params` go before the collection's search defaults. `device` is
    where exact search runs, by default as the settings say. In a collection of views recall is that of pictures, as a
    search by default finds them, and all else is about rows. Memory holds a block of rows. Raises `OptionError`,
    `QueryError` (where there is no such `vector`, too), `FilterError`.
    """
    collection = collection.pinned()
    asked = settled(VerifyOptions, options)
    check = taken(CheckOptions, asked)
    vector, store = asked["vector"], indexes_by(collection.store, asked["vector"])
    check["params"] = {**collection.handle.target.search_defaults(vector).params, **(asked["params"] or {})}
    check["device"] = asked["device"] or _device(collection)
    return replace(verified(store, store.rendered(asked["where"]), **check), vector=vector)


@documented(TuneOptions)
def tune(collection: ImageCollection, **options: Unpack[TuneOptions]) -> Tuned:
    """Find the cheapest search parameters whose recall@`limit` is `recall`, with that one-sided confidence.

    Pictures of your own are the best `queries`: a folder of images, an .npy file or an (n, dim) array of vectors, of
    which `sample` are taken at most; or how many stored rows stand for such, on a copy of the collection that lacks
    them (`imgvec.indexes.unseen` says why; `on_notice` is told before it is filled). The recall is reached without a
    filter and under each of `where`. In a collection of views it is that of pictures, at the depth at which a search by
    default looks for them (`imgvec.indexes.pictures`). Nothing is changed: `apply_tuning` makes the outcome every
    client's default. Raises `OptionError`, also where there are too few queries to show it, `QueryError` where there is
    no such `vector` or there are no rows, `FilterError` for a filter that no row matches.
    """
    collection = collection.pinned()
    asked = settled(TuneOptions, options)
    vector, store = asked["vector"], indexes_by(collection.store, asked["vector"])
    _wait_for_the_index(collection, vector, asked["on_notice"])
    return replace(tuned(store, _copies(collection, vector), **_measured(collection, asked)), vector=vector)


@documented(TuneOptions)
def compare_indexes(
    collection: ImageCollection,
    types: Sequence[str] | Mapping[str, Mapping[str, Any]],
    **options: Unpack[TuneOptions],
) -> Comparison:
    """Build each of the index types over a copy of the collection in turn, and tune it; the best first.

    `types` are names, or names with the parameters to build with; without them the collection's own type is built as
    it is, another as `imgvec index plan` proposes. The options, and what is raised, are those of `tune`; a type that
    cannot be built or searched is named in `failed`. Raises `UnsupportedByBackend` for one that is not to be had.
    """
    collection = collection.pinned()
    asked = settled(TuneOptions, options)
    vector, store = asked["vector"], indexes_by(collection.store, asked["vector"])
    builds = types if isinstance(types, Mapping) else suggested(store, types)
    can = collection.store.capabilities
    for name in builds:
        if lacks := can.why_not(name):
            raise can.refusal(f"no {name} index ({lacks})", can.index_types)
    _wait_for_the_index(collection, vector, asked["on_notice"])
    found = compared(store, _copies(collection, vector), builds, **_measured(collection, asked))
    return replace(found, ranking=tuple(replace(each, vector=vector) for each in found.ranking))


def apply_tuning(
    collection: ImageCollection,
    best: Tuned,
    *,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> None:
    """Make what `tune` or `compare_indexes` found the default of every client that searches by that vector.

    Where it was measured on another index than the collection has, that index is built first: the
    collection cannot be searched meanwhile. Raises `UsageError` if no setting reached the recall, `BackendError`.
    """
    collection = collection.pinned()
    params = best.chosen()
    store = collection.store
    if not best.is_of(store.vector(best.vector).index):
        if on_notice and (danger := store.capabilities.danger(best.type)):
            on_notice(danger)
        store.build_index(best.type, best.build, on_progress=on_progress, vector=best.vector)
    deferred.forget(store, best.vector)
    lowest = min(choice.applied.recall.low for choice in best.choices if choice.applied)
    about = {
        "recall": best.target,
        "at_least": round(lowest, 4),
        "limit": best.limit,
        "ranked": best.ranked,
        "queries": best.queries[1],
        "basis": best.basis,
        "filters": [choice.filter for choice in best.choices],
    }
    set_search_defaults(collection, params, vector=best.vector, about=about)


def _copies(collection: ImageCollection, vector: str) -> Scratch:
    """With that vector alone: the others would only take time and memory."""
    return partial(scratch_copy, collection, vector=vector)


def _wait_for_the_index(collection: ImageCollection, vector: str, on_notice: Callable[[str], None] | None) -> None:
    """Rows that are not indexed are found without the index, and would be measured as if it found them."""
    if collection.store.index_state(vector).covers(collection.count()):
        return
    if on_notice:
        on_notice("waiting until all rows are indexed, because Milvus finds the others without the index")
    collection.store.wait_until_indexed(_INDEX_SECONDS)


def _measured(collection: ImageCollection, asked: TuneOptions) -> MeasureOptions:
    """The same for the collection's store: files as the vectors in them, filters as Milvus's expressions."""
    queries, where = asked["queries"], asked["where"]
    filters = [where] if isinstance(where, Filter) else where
    measure: MeasureOptions = {
        **taken(RecallOptions, asked),
        "queries": query_vectors(collection, queries, asked) if isinstance(queries, str | Path) else queries,
        "filters": [
            "",
            *(collection.store.rendered(each) for each in filters),
        ],
        "device": _device(collection),
    }
    return measure


def _device(collection: ImageCollection) -> str:
    """Exact search wants float64, which MPS has not."""
    return "cpu" if collection.settings.device == "mps" else collection.settings.device
