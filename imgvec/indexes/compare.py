"""Compares index types: each is built on the same rows and tuned with the same queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from typing_extensions import Unpack

from imgvec import catalog
from imgvec.errors import BackendError, DefinitionError, QueryError
from imgvec.indexes.measure import shuffled
from imgvec.indexes.options import MeasureOptions
from imgvec.indexes.plan import plan
from imgvec.indexes.tune import Tuning, asking, check
from imgvec.indexes.tuned import Tuned
from imgvec.indexes.unseen import Scratch, Unseen, unseen_copies
from imgvec.options import documented, settled
from imgvec.progress import Telling
from imgvec.store import Searches


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


@documented(MeasureOptions)
def compare(
    store: Searches,
    scratch: Scratch,
    types: Mapping[str, Mapping[str, Any]],
    **options: Unpack[MeasureOptions],
) -> Comparison:
    """Build each of `types` (with its build parameters) over a copy of `store` in turn, and `tune` it.

    `scratch` makes the copy, for as long as its block; nothing is built on `store` itself. Where stored rows are the
    queries the copy lacks them. The other arguments, and what is raised, are those of `tune`; a type that cannot be
    built or searched is named in `failed` instead.
    """
    wanted = settled(MeasureOptions, options)
    tell = Telling("compare", wanted["on_progress"])
    check(store, wanted)
    with _copies(store, scratch, wanted, tell) as made:
        found, failed = [], {}
        for name, build in types.items():
            tell(f"{name}: building")
            try:
                seconds = [copy.build_index(name, build, on_progress=tell.part(name)) for copy in made.copies]
                tuned = Tuning(
                    made.copies[0], made.asked, wanted, tell, basis=made.basis, indexed=store.count()
                ).tuned()
            except (BackendError, DefinitionError, QueryError) as exc:
                failed[name] = str(exc)
                continue
            found.append(replace(tuned, collection=store.name, build_seconds=max(seconds)))
    return Comparison(tuple(sorted(found, key=_rank)), failed)


@contextmanager
def _copies(store: Searches, scratch: Scratch, wanted: MeasureOptions, tell: Telling) -> Iterator[Unseen]:
    queries, ask = wanted["queries"], asking(wanted, tell)
    if not isinstance(queries, np.ndarray):
        with unseen_copies(store, scratch, queries, ask, wanted, tell) as made:
            yield made
        return
    tell("a copy of all rows to try the types on")
    with scratch() as copy:
        yield Unseen("given", ask(copy, shuffled(queries, wanted["seed"])), [copy])


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
