"""Index types against each other: each is built over the same rows and tuned with the same queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from imgvec.errors import BackendError, DefinitionError, QueryError
from imgvec.indexes import catalog
from imgvec.indexes.measure import questions
from imgvec.indexes.plan import plan
from imgvec.indexes.protocol import BuildStore, SearchStore, Vectors
from imgvec.indexes.tune import OnProgress, Tuned, Tuning, check, silent


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several index types over the same rows and queries."""

    ranking: tuple[Tuned, ...]
    """Those that reach the target by their p50, then the others by their recall."""
    failed: Mapping[str, str]
    """Why a type could not be built or searched."""

    @property
    def winner(self) -> Tuned | None:
        return next((tuned for tuned in self.ranking if tuned.reached), None)


def compare(
    store: SearchStore,
    scratch: Callable[[], AbstractContextManager[BuildStore]],
    types: Mapping[str, Mapping[str, Any]],
    *,
    recall: float = 0.95,
    limit: int = 10,
    queries: Vectors | int = 1000,
    filters: Sequence[str] = ("",),
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Build each of `types` (with its build parameters) over a copy of `store` in turn, and `tune` it.

    `scratch` makes the copy, for as long as its block; nothing is built on `store` itself. The other arguments, and
    what is raised, are those of `tune`; a type that cannot be built or searched is named in `failed` instead.
    """
    tell = on_progress or silent
    check(recall, queries, confidence)
    asked = questions(store, queries, filters, limit=limit, seed=seed, device=device, on_progress=tell)
    tell("a copy of all rows to try the types on")
    with scratch() as copy:
        found, failed = [], {}
        for name, build in types.items():
            tell(f"{name}: building")
            try:
                seconds = copy.build_index(name, build)
                tuned = Tuning(copy, asked, recall, confidence, tell).tuned()
            except (BackendError, DefinitionError, QueryError) as exc:
                failed[name] = str(exc)
                continue
            found.append(replace(tuned, collection=store.name, build_seconds=seconds))
    return Comparison(tuple(sorted(found, key=_rank)), failed)


def suggested(store: SearchStore, types: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Build parameters to compare each type with: the store's own for its own type, else what `plan` proposes.

    Raises `DefinitionError` for what is no index type.
    """
    ranked = plan(max(1, store.count()), store.dim, vector_type=store.vector_type)
    # the best of a type last, so that it stays
    proposals = {p.type: p.build for p in reversed(ranked) if p.vector_type == store.vector_type}
    builds: dict[str, Mapping[str, Any]] = {}
    for name in types:
        kind = catalog.index_type(name)
        builds[name] = store.index.params if name == store.index.type else proposals.get(name, kind.defaults("build"))
    return builds


def _rank(tuned: Tuned) -> tuple[bool, float]:
    """Least first."""
    if tuned.reached:
        return False, tuned.p50_ms
    return True, -min(choice.best.recall.mean for choice in tuned.choices)
