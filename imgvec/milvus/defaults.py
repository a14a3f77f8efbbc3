"""Default search parameters of a collection: the tuned ones, else its definition's, else the index type's.

Tuned parameters (from `imgvec index tune --apply`) are kept with the collection, for every client that opens it. They
are valid only for the index they were tuned for: a different type or different build parameters need new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from imgvec.definition import Definition
from imgvec.milvus.store import Store
from imgvec.store import IndexInfo

_KEY = "search_defaults"


@dataclass(frozen=True, slots=True)
class SearchDefaults:
    """The search parameters that go before the index type's own."""

    params: Mapping[str, Any]
    source: Literal["chosen", "definition", "catalogue"]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was written down with the choice: the recall it reached, on how many queries."""
    ignored: str = ""
    """Why a choice that is there does not hold."""


def read(store: Store, definition: Definition) -> SearchDefaults:
    """What holds for the store's index as it is now."""
    ignored = ""
    if kept := store.remembered.get(_KEY):
        chosen_for = IndexInfo(kept["index"]["type"], kept["index"]["params"])
        if chosen_for == IndexInfo(store.index.type, dict(store.index.params)):
            return SearchDefaults(kept["search"], "chosen", kept["about"])
        ignored = (
            f"{kept['search']} was chosen for {_said(chosen_for)}, but the index is {_said(store.index)}: tune it again"
        )
    for section in (definition.index.cpu, definition.index.gpu):
        if section is not None and section.type == store.index.type and section.search:
            return SearchDefaults(section.search, "definition", ignored=ignored)
    return SearchDefaults({}, "catalogue", ignored=ignored)


def write(store: Store, search: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Keep a choice for the store's index as it is now; an empty one forgets. Raises `QueryError`, `BackendError`."""
    store.check_search(search)
    index = {"type": store.index.type, "params": dict(store.index.params)}
    kept = {"index": index, "search": dict(search), "about": dict(about)}
    store.remember(_KEY, kept if search else None)


def _said(index: IndexInfo) -> str:
    return " ".join([index.type, *(f"{name}={value}" for name, value in index.params.items())])
