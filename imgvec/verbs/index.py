"""The vector indexes of a collection: built, looked at, and how they are searched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from imgvec import catalog
from imgvec.collection import ImageCollection
from imgvec.definition import Definition, IndexSection
from imgvec.errors import DefinitionError, UsageError
from imgvec.indexes.plan import Proposal, plan
from imgvec.indexes.workload import PlanOptions
from imgvec.milvus import Store, defaults, deferred
from imgvec.milvus.scratch import scratch
from imgvec.options import documented
from imgvec.progress import OnProgress
from imgvec.rows import VECTOR
from imgvec.target import Target


def build_index(
    collection: ImageCollection,
    type: str | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    vector: str = VECTOR,
    definition: str | Path | Mapping[str, Any] | Definition | None = None,
    gpu: bool = False,
    timeout: float = 3600.0,
    on_progress: OnProgress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> float:
    """Replace the index of `vector`; returns the seconds from the request to the true end of building.

    It is of `type` with its build `params`, or that of `definition`, or else of the collection's own definition; `gpu`
    takes the one that the definition has for a GPU. The search parameters of a `definition` that is given become the
    collection's. What the backend cannot build is refused before anything is dropped; when a build fails or takes
    longer than `timeout` seconds the former index comes back. The collection cannot be searched meanwhile. `on_notice`
    is told what a person should know of such an index here. Raises `UsageError`, `DefinitionError`, `QueryError` where
    there is no vector of that name, `UnsupportedByBackend`, `BackendError`.
    """
    collection = collection.pinned()
    if type is not None and (definition is not None or gpu):
        raise UsageError("use either the type of an index, or definition and gpu, not both")
    if params and type is None:
        raise UsageError("build parameters need the type of the index")
    store = collection.store
    store.vector(vector)
    if type is not None:
        wanted = IndexSection(type=catalog.index_type(type).name, params=dict(params or {}))
    else:
        wanted = _described(collection.definition if definition is None else Definition.load(definition), vector, gpu)
    if definition is not None:
        store.capabilities.check_search(wanted.type, wanted.search)
    if on_notice and (danger := store.capabilities.danger(wanted.type)):
        on_notice(danger)
    seconds = store.build_index(wanted.type, wanted.params, timeout=timeout, on_progress=on_progress, vector=vector)
    deferred.forget(store, vector)
    if definition is not None and wanted.search:
        named = definition if isinstance(definition, str | Path) else "a definition"
        set_search_defaults(collection, wanted.search, vector=vector, about={"definition": str(named)})
    if on_notice and (ignored := collection.handle.target.search_defaults(vector).ignored):
        on_notice(ignored)
    return seconds


def scratch_copy(
    collection: ImageCollection,
    *,
    without: Collection[str] = (),
    only: Sequence[str] | None = None,
    vector: str | None = None,
) -> AbstractContextManager[Store]:
    """A temporary copy of the rows in a collection of its own, to try indexes on (`copy.build_index`).

    The ids in `without` are left out; `only` gives the ids to copy, if not all. Every vector is copied, or the one of
    the name `vector` alone, which is then the copy's `vector`; each has a FLAT index at first. It takes as much disk
    and memory as the collection, and is dropped when the block ends, or with the collection where a killed process has
    left one behind.
    """
    connection = collection.handle.connection
    return scratch(connection, collection.store, collection.definition, without=without, only=only, vector=vector)


def _described(definition: Definition, vector: str, gpu: bool) -> IndexSection:
    known, where = definition.vector_fields, "index" if vector == VECTOR else f"vectors.{vector}.index"
    if vector not in known:
        raise DefinitionError(f"the definition has no vector {vector!r} (vectors: {', '.join(known)})", where="vectors")
    section = known[vector].index.gpu if gpu else known[vector].index.cpu
    if section is None:
        raise DefinitionError("the definition has no GPU index: give a type, or add one", where=f"{where}.gpu")
    return section


def set_search_defaults(
    collection: ImageCollection,
    search: Mapping[str, Any],
    *,
    vector: str = VECTOR,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Make these the parameters of searches by `vector`, of every client that opens the collection from now on; {}
    forgets them.

    They hold for the index as it is: not after a build of another type, or with other parameters. `about` is kept
    beside them, as JSON. Raises `QueryError` for what the index does not take.
    """
    defaults.write(collection.pinned().store, search, about or {}, vector)


@documented(PlanOptions)
def plan_index(
    collection: ImageCollection,
    *,
    vector: str = VECTOR,
    rows: int | None = None,
    pictures: int | None = None,
    **options: Unpack[PlanOptions],
) -> list[Proposal]:
    """The index types ranked for the vectors called `vector`, the best first, with memory, build cost and reasons.

    `rows` stands for those that will be there, or `pictures` for the rows of so many pictures: in a collection of views
    as many as these can have (`definition.views.most`). There `limit` counts rows: those of as many pictures as a
    search is for. `imgvec.indexes.plan.plan` ranks without a collection. What the backend lacks comes last, and says
    why. Raises `DefinitionError` for an invalid number, `QueryError` where there is no vector of that name.
    """
    if rows is not None and pictures is not None:
        raise UsageError("say how many rows or how many pictures there will be, not both")
    if pictures is not None:
        views = collection.definition.views
        rows = pictures * (1 if views is None else views.most)
    store = collection.pinned().store
    field = store.vector(vector)
    names = (*catalog.INDEX_TYPES, *catalog.VECTOR_TYPES, *catalog.LATER_PARAMETERS)
    lacks = {each: why for each in names if (why := store.capabilities.why_not(each))}
    rows = max(1, store.count()) if rows is None else rows
    return plan(rows, field.dim, vector_type=field.vector_type, lacks=lacks, **options)


def index_status(collection: ImageCollection) -> dict[str, Any]:
    """The index of `vector`, and in `vectors` those of the further ones by name: what each is, how far it is, and how
    it is searched, for JSON.
    """
    target = collection.pinned().handle.target
    further = [name for name in target.store.vectors if name != VECTOR]
    return {
        "name": target.store.name,
        **_status(target, VECTOR),
        "rows": target.store.count(),
        "pictures": target.count_pictures(),
        "deployment": target.store.loaded(),
        "vectors": {name: _status(target, name) for name in further},
    }


def _status(target: Target, vector: str) -> dict[str, Any]:
    field, chosen = target.store.vector(vector), target.search_defaults(vector)
    state = target.store.index_state(vector)
    return {
        "type": field.index.type,
        "params": dict(field.index.params),
        "metric_type": field.metric_type,
        "state": state.state,
        "indexed_rows": state.indexed_rows,
        "pending_rows": state.pending_rows,
        "rewritten_rows": state.rewritten_rows,
        "total_rows": state.total_rows,
        "loaded": state.loaded,
        "waiting": dict(deferred.deferred(target.store).get(vector, {})),
        "search": {
            "params": target.store.check_search(chosen.params, vector=vector),
            "from": chosen.source,
            "about": dict(chosen.about),
            "ignored": chosen.ignored,
        },
    }
