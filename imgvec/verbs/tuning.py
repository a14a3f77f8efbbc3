"""Verify a collection's index against exact search, and tune it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from imgvec.collection import ImageCollection
from imgvec.filters import Filter, render
from imgvec.indexes.compare import Comparison, suggested
from imgvec.indexes.compare import compare as compared
from imgvec.indexes.findings import Verification
from imgvec.indexes.options import CheckOptions, MeasureOptions, RecallOptions, TuneOptions, VerifyOptions
from imgvec.indexes.tune import tune as tuned
from imgvec.indexes.tuned import Tuned
from imgvec.indexes.verify import verify as verified
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
    where exact search runs, by default as the settings say. Memory holds a block of rows. Raises `OptionError`,
    `QueryError`, `FilterError`.
    """
    collection = collection.pinned()
    asked = settled(VerifyOptions, options)
    check = taken(CheckOptions, asked)
    check["params"] = {**collection.search_defaults.params, **(asked["params"] or {})}
    check["device"] = asked["device"] or _device(collection)
    return verified(collection.store, _rendered(collection, asked["where"]), **check)


@documented(TuneOptions)
def tune(collection: ImageCollection, **options: Unpack[TuneOptions]) -> Tuned:
    """Find the cheapest search parameters whose recall@`limit` is `recall`, with that one-sided confidence.

    Pictures of your own are the best `queries`: a folder of images, an .npy file or an (n, dim) array of vectors, of
    which `sample` are taken at most; or how many stored rows stand for such, on a copy of the collection that lacks
    them (`imgvec.indexes.unseen` says why; `on_notice` is told before it is filled). The recall is reached without a
    filter and under each of `where`. Nothing is changed: `apply_tuning` makes the outcome every client's default.
    Raises `OptionError`, also where there are too few queries to show it, `QueryError` where there are no rows,
    `FilterError` for a filter that no row matches.
    """
    collection = collection.pinned()
    asked = settled(TuneOptions, options)
    _wait_for_the_index(collection, asked["on_notice"])
    return tuned(collection.store, partial(scratch_copy, collection), **_measured(collection, asked))


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
    store = collection.store
    builds = types if isinstance(types, Mapping) else suggested(store, types)
    for name in builds:
        if lacks := store.capabilities.why_not(name):
            raise store.capabilities.refusal(f"no {name} index ({lacks})", store.capabilities.index_types)
    _wait_for_the_index(collection, asked["on_notice"])
    return compared(store, partial(scratch_copy, collection), builds, **_measured(collection, asked))


def apply_tuning(
    collection: ImageCollection,
    best: Tuned,
    *,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> None:
    """Make what `tune` or `compare_indexes` found the default of every client.

    Where it was measured on another index than the collection has, that index is built first: the
    collection cannot be searched meanwhile. Raises `UsageError` if no setting reached the recall, `BackendError`.
    """
    collection = collection.pinned()
    params = best.chosen()
    store = collection.store
    if not best.is_of(store.index):
        if on_notice and (danger := store.capabilities.danger(best.type)):
            on_notice(danger)
        store.build_index(best.type, best.build, on_progress=on_progress)
    lowest = min(choice.applied.recall.low for choice in best.choices if choice.applied)
    about = {
        "recall": best.target,
        "at_least": round(lowest, 4),
        "limit": best.limit,
        "queries": best.queries[1],
        "basis": best.basis,
        "filters": [choice.filter for choice in best.choices],
    }
    set_search_defaults(collection, params, about=about)


def _wait_for_the_index(collection: ImageCollection, on_notice: Callable[[str], None] | None) -> None:
    """Rows that are not indexed are found without the index, and would be measured as if it found them."""
    if collection.store.index_state().covers(collection.count()):
        return
    if on_notice:
        on_notice("waiting until all rows are indexed, because Milvus finds the others without the index")
    collection.store.wait_until_indexed(_INDEX_SECONDS)


def _measured(collection: ImageCollection, asked: TuneOptions) -> MeasureOptions:
    """The same for the collection's store: files as the vectors in them, filters as Milvus's expressions."""
    queries, where = asked["queries"], asked["where"]
    measure: MeasureOptions = {
        **taken(RecallOptions, asked),
        "queries": query_vectors(collection, queries, asked) if isinstance(queries, str | Path) else queries,
        "filters": ["", *(_rendered(collection, each) for each in ([where] if isinstance(where, Filter) else where))],
        "device": _device(collection),
    }
    return measure


def _rendered(collection: ImageCollection, where: Filter | str | None) -> str:
    return render(where, collection.store.fields, dynamic=collection.store.dynamic)


def _device(collection: ImageCollection) -> str:
    """Exact search wants float64, which MPS has not."""
    return "cpu" if collection.settings.device == "mps" else collection.settings.device
