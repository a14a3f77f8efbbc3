"""The vector index of a collection: built, looked at, and how it is searched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from imgvec import catalog
from imgvec.collection import ImageCollection
from imgvec.definition import Definition, IndexSection
from imgvec.errors import DefinitionError, UsageError
from imgvec.indexes.plan import Proposal, plan
from imgvec.indexes.workload import Updates
from imgvec.milvus import Store, defaults
from imgvec.milvus.scratch import scratch
from imgvec.progress import OnProgress


def build_index(
    collection: ImageCollection,
    type: str | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    definition: str | Path | Mapping[str, Any] | Definition | None = None,
    gpu: bool = False,
    timeout: float = 3600.0,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> float:
    """Replace the vector index; returns the seconds from the request to the true end of building.

    It is of `type` with its build `params`, or that of `definition`, or else of the collection's own definition; `gpu`
    takes the one that the definition has for a GPU. The search parameters of a `definition` that is given become the
    collection's. What the backend cannot build is refused before anything is dropped; when a build fails or takes
    longer than `timeout` seconds the former index comes back. The collection cannot be searched meanwhile. `on_notice`
    is told what a person should know of such an index here. Raises `UsageError`, `DefinitionError`,
    `UnsupportedByBackend`, `BackendError`.
    """
    collection = collection.pinned()
    if type is not None and (definition is not None or gpu):
        raise UsageError("use either the type of an index, or definition and gpu, not both")
    if params and type is None:
        raise UsageError("build parameters need the type of the index")
    if type is not None:
        wanted = IndexSection(type=type, params=dict(params or {}))
    else:
        wanted = _described(collection.definition if definition is None else Definition.load(definition), gpu)
    store = collection.store
    if definition is not None:
        store.capabilities.check_search(wanted.type, wanted.search)
    if on_notice and (danger := store.capabilities.danger(wanted.type)):
        on_notice(danger)
    seconds = store.build_index(wanted.type, wanted.params, timeout=timeout, on_progress=on_progress)
    if definition is not None and wanted.search:
        named = definition if isinstance(definition, str | Path) else "a definition"
        set_search_defaults(collection, wanted.search, about={"definition": str(named)})
    if on_notice and (ignored := collection.search_defaults.ignored):
        on_notice(ignored)
    return seconds


def scratch_copy(
    collection: ImageCollection, *, without: Collection[str] = (), only: Sequence[str] | None = None
) -> AbstractContextManager[Store]:
    """A temporary copy of the rows in a collection of its own, to try indexes on (`copy.build_index`).

    The ids in `without` are left out; `only` gives the ids to copy, if not all. Every vector is copied, with a FLAT
    index at first. It takes as much disk and memory as the collection, and is dropped when the block ends, or with the
    collection where a killed process has left one behind.
    """
    connection = collection.handle.connection
    return scratch(connection, collection.store, collection.definition, without=without, only=only)


def _described(definition: Definition, gpu: bool) -> IndexSection:
    section = definition.index.gpu if gpu else definition.index.cpu
    if section is None:
        raise DefinitionError("the definition has no GPU index: give a type, or add one", where="index.gpu")
    return section


def set_search_defaults(
    collection: ImageCollection, search: Mapping[str, Any], *, about: Mapping[str, Any] | None = None
) -> None:
    """Make these the search parameters of every client that opens the collection from now on; {} forgets them.

    They hold for the index as it is: not after a build of another type, or with other parameters. `about` is kept
    beside them, as JSON. Raises `QueryError` for what the index does not take.
    """
    defaults.write(collection.pinned().store, search, about or {})


def plan_index(
    collection: ImageCollection,
    *,
    rows: int | None = None,
    memory: int | None = None,
    gpu_memory: int | None = None,
    recall: float = 0.95,
    filtered: float = 0.0,
    updates: Updates = "rarely",
    limit: int = 10,
    replicas: int = 1,
) -> list[Proposal]:
    """The index types ranked for a collection's rows, the best first, with memory, build cost and reasons.

    `rows` stands for those that will be there. The others are those of `imgvec.indexes.plan.plan`, which ranks without
    a collection. What the backend lacks comes last, and says why. Raises `DefinitionError` for an invalid number.
    """
    collection = collection.pinned()
    store = collection.store
    names = (*catalog.INDEX_TYPES, *catalog.VECTOR_TYPES, *catalog.LATER_PARAMETERS)
    return plan(
        rows or max(1, store.count()),
        store.dim,
        memory=memory,
        gpu_memory=gpu_memory,
        recall=recall,
        filtered=filtered,
        updates=updates,
        limit=limit,
        vector_type=store.vector_type,
        replicas=replicas,
        lacks={each: why for each in names if (why := store.capabilities.why_not(each))},
    )


def index_status(collection: ImageCollection) -> dict[str, Any]:
    """The vector index: what it is, how far it is, and how it is searched, for JSON."""
    collection = collection.pinned()
    store, chosen = collection.store, collection.search_defaults
    state = store.index_state()
    return {
        "name": collection.name,
        "type": store.index.type,
        "params": dict(store.index.params),
        "metric_type": store.metric_type,
        "state": state.state,
        "indexed_rows": state.indexed_rows,
        "pending_rows": state.pending_rows,
        "rewritten_rows": state.rewritten_rows,
        "total_rows": state.total_rows,
        "loaded": state.loaded,
        "rows": collection.count(),
        "pictures": collection.count_pictures(),
        "search": {
            "params": store.check_search(chosen.params),
            "from": chosen.source,
            "about": dict(chosen.about),
            "ignored": chosen.ignored,
        },
    }
