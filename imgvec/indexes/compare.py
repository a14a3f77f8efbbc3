"""Index types against each other: each is built over the same rows and tuned with the same queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from imgvec import catalog
from imgvec.errors import BackendError, DefinitionError, QueryError
from imgvec.indexes.measure import check_rows, questions, shuffled
from imgvec.indexes.plan import plan
from imgvec.indexes.tune import Tuned, Tuning, check
from imgvec.indexes.unseen import Ask, Scratch, Unseen, unseen_copies
from imgvec.progress import OnProgress, Telling
from imgvec.store import Searches
from imgvec.vectors import Vectors


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
    store: Searches,
    scratch: Scratch,
    types: Mapping[str, Mapping[str, Any]],
    *,
    recall: float = 0.95,
    limit: int = 10,
    queries: Vectors | int = 2000,
    filters: Sequence[str] = ("",),
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Comparison:
    """Build each of `types` (with its build parameters) over a copy of `store` in turn, and `tune` it.

    `scratch` makes the copy, for as long as its block; nothing is built on `store` itself. Where stored rows are the
    queries the copy lacks them. The other arguments, and what is raised, are those of `tune`; a type that cannot be
    built or searched is named in `failed` instead.
    """
    tell = Telling("compare", on_progress)
    check(recall, queries, confidence)
    check_rows(store, filters)
    ask = partial(questions, filters=filters, limit=limit, device=device, tell=tell)
    with _copies(store, scratch, queries, ask, seed, tell) as made:
        found, failed = [], {}
        for name, build in types.items():
            tell(f"{name}: building")
            try:
                seconds = [copy.build_index(name, build, on_progress=tell.part(name)) for copy in made.copies]
                tuned = Tuning(
                    made.copies[0], made.asked, recall, confidence, tell, basis=made.basis, indexed=store.count()
                ).tuned()
            except (BackendError, DefinitionError, QueryError) as exc:
                failed[name] = str(exc)
                continue
            found.append(replace(tuned, collection=store.name, build_seconds=max(seconds)))
    return Comparison(tuple(sorted(found, key=_rank)), failed)


@contextmanager
def _copies(
    store: Searches, scratch: Scratch, queries: Vectors | int, ask: Ask, seed: int, tell: Telling
) -> Iterator[Unseen]:
    if isinstance(queries, int):
        with unseen_copies(store, scratch, queries, ask, seed=seed, tell=tell) as made:
            yield made
        return
    tell("a copy of all rows to try the types on")
    with scratch() as copy:
        yield Unseen("given", ask(copy, shuffled(queries, seed)), [copy])


def suggested(store: Searches, types: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Build parameters to compare each type with: the store's own for its own type, else what `plan` proposes.

    Raises `DefinitionError` for what is not an index type.
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
