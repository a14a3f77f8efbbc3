"""Indexes that wait until an import into an empty collection has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from imgvec.errors import BackendError, DefinitionError, ImgvecError, UnsupportedByBackend
from imgvec.milvus import compaction
from imgvec.milvus.store import Store
from imgvec.progress import OnProgress
from imgvec.retry import Retry

log = logging.getLogger(__name__)

WAITING = "waiting_index"
"""The property that holds what is to be built, by vector."""
_EXACT = "FLAT"
_MOMENT_SECONDS = 30.0
"""Between the drop of an index and the next one, in which there is none to be looked at."""
_LONGEST = 86_400.0
"""Seconds that a build at the end of an import may take: it ends with the import, of any size."""


def defer(store: Store, rows: int, on_notice: Callable[[str], object] | None = None) -> None:
    """Before an import of so many rows: an empty collection of a server has FLAT until `build_deferred`.

    Every upsert is also a delete, after which a server compacts its segments and builds their indexes again, once or
    twice (see `compact`). Searches meanwhile are exact. What waits is remembered with the collection, so that after an
    import that was killed the next one builds it, or `imgvec index build`. Milvus Lite, which builds when it loads, and
    a collection with rows are left as they are.
    """
    if store.capabilities.kind == "lite" or rows < compaction.FROM_ROWS or store.count():
        return
    _look_again(store)
    of = {name: each.index for name, each in store.vectors.items() if each.index.type != _EXACT}
    if not of:
        return
    # first of all: a process that is killed between the two leaves the index as it was
    store.remember(WAITING, {name: {"type": index.type, "params": dict(index.params)} for name, index in of.items()})
    try:
        for name in of:
            store.build_index(_EXACT, {}, vector=name)
    except (UnsupportedByBackend, DefinitionError) as exc:
        log.info("%s: the index does not wait for the import: %s", store.name, exc)
        return
    if on_notice:
        types = " and ".join(sorted({index.type for index in of.values()}))
        on_notice(f"{types} will be built once all rows are in; until then {store.name!r} is searched exactly")


def deferred(store: Store) -> Mapping[str, Mapping[str, Any]]:
    """What waits for an import's end: type and params by vector, of those that are FLAT as yet."""
    indexes = store.remembered.get(WAITING, {})
    return {name: index for name, index in indexes.items() if store.vector(name).index.type == _EXACT}


def build_deferred(store: Store, on_progress: OnProgress | None = None) -> float:
    """After an import: build what waits, whoever left it; returns the seconds, 0.0 where nothing does.

    Raises `BackendError` where that fails; the rows are in.
    """
    seconds = 0.0
    if store.capabilities.kind == "lite":
        return seconds
    _look_again(store)
    try:
        for name, index in deferred(store).items():
            seconds += store.build_index(
                index["type"], index["params"], vector=name, timeout=_LONGEST, on_progress=on_progress
            )
            forget(store, name)
    except BackendError as exc:
        said = f"the rows are in, but their index is not built: {exc}; run `imgvec index build -c {store.name}`"
        raise BackendError(said, code=exc.code) from exc
    return seconds


def _look_again(store: Store) -> None:
    """An import takes hours: another client may have left an index to be built meanwhile, or have built one."""
    try:
        Retry(_MOMENT_SECONDS).call(store.refresh)
    except ImgvecError as exc:
        log.info("%s: what is known of its index may be old: %s", store.name, exc)


def forget(store: Store, vector: str) -> None:
    """The index of that vector waits no longer: it was built, or another."""
    waiting = store.remembered.get(WAITING, {})
    if vector in waiting:
        store.remember(WAITING, {name: index for name, index in waiting.items() if name != vector} or None)
