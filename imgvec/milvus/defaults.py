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
from imgvec.rows import VECTOR
from imgvec.stored import IndexInfo

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


def read(store: Store, definition: Definition, vector: str = VECTOR) -> SearchDefaults:
    """What holds for the index of that vector as it is now; raises `QueryError` where there is none of that name."""
    ignored, index = "", store.vector(vector).index
    if kept := store.remembered.get(_key(vector)):
        chosen_for = IndexInfo(kept["index"]["type"], kept["index"]["params"])
        if chosen_for == IndexInfo(index.type, dict(index.params)):
            return SearchDefaults(kept["search"], "chosen", kept["about"])
        ignored = f"{kept['search']} was chosen for {_said(chosen_for)}, but the index is {_said(index)}: tune it again"
    choice = definition.index if vector == VECTOR else definition.vectors[vector].index
    for section in (choice.cpu, choice.gpu):
        if section is not None and section.type == index.type and section.search:
            return SearchDefaults(section.search, "definition", ignored=ignored)
    return SearchDefaults({}, "catalogue", ignored=ignored)


def write(store: Store, search: Mapping[str, Any], about: Mapping[str, Any], vector: str = VECTOR) -> None:
    """Keep a choice for the index of that vector as it is now; an empty one forgets.

    Raises `QueryError`, `BackendError`.
    """
    store.check_search(search, vector=vector)
    index = store.vector(vector).index
    kept = {
        "index": {"type": index.type, "params": dict(index.params)}, "search": dict(search), "about": dict(about)
    }  # fmt: skip
    store.remember(_key(vector), kept if search else None)


def _key(vector: str) -> str:
    return _KEY if vector == VECTOR else f"{_KEY}.{vector}"


def _said(index: IndexInfo) -> str:
    return " ".join([index.type, *(f"{name}={value}" for name, value in index.params.items())])
