"""Which collection was made of which by `reembed`: what each remembers of the other, as a property in Milvus."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, TypeAlias

from imgvec import abandoned
from imgvec.errors import BackendError, CollectionNotFound
from imgvec.milvus import Connection, Store

INTO = "reembedding"
"""The property of a collection that is being re-embedded: `name`, that of the new one."""
OF = "reembedded"
"""The property of a collection that was made of another's pictures: a `Succession`."""

BY = "reembedded_by"
"""The property of a collection that is being filled: `run`, the one run of `reembed` that may, the last that began."""

State: TypeAlias = Literal["filling", "swapping", "swapped", "finished"]


_WAITS = (0.05, 0.1, 0.2, 0.4)
"""Seconds between looks at a name that stands for nothing."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Succession:
    """What a collection remembers of the one whose pictures it was made of."""

    name: str = ""
    """That one's; by then it may have been given another for this one to have the first."""
    key: str = ""
    """Which collection of that name: its incarnation's."""
    before: tuple[str, ...] = ()
    """The keys of that one and of those that it was made of in its turn."""
    alias: str = ""
    """The name by which clients find this one, or will."""
    state: State = "filling"
    at: int = 0
    """Unix milliseconds: when the name was swapped."""
    back: bool = False
    """Whether it was there before, and the swap is back to it."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "before": list(self.before)}

    @classmethod
    def of_dict(cls, data: Mapping[str, Any]) -> Self:
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "before": tuple(known.get("before", ()))})


def of(remembered: Mapping[str, Mapping[str, Any]]) -> Succession:
    """From the properties of a collection; an empty one where it was made of none."""
    return Succession.of_dict(remembered.get(OF, {}))


def moved(connection: Connection, store: Store) -> Store | None:
    """The store's collection by the name that it has now, where one that was made of it has taken its former name.

    None where none has, or nobody answers; the store itself where its collection was dropped since.
    """
    for wait in (*_WAITS, None):
        try:
            now, _ = connection.which(store.name)
            told = of(connection.open(now, load=False).remembered)
            if store.incarnation.key not in told.before:
                return None
            with suppress(CollectionNotFound):
                own = connection.open(told.name, load=False)
                if own.incarnation == store.incarnation:
                    return own
            return store
        except CollectionNotFound as exc:  # the name stands for nothing: perhaps for the moment of a swap
            log.info("%s is not there: %s", store.name, exc)
            if wait is None:
                return None
            abandoned.pause(wait)
        except BackendError as exc:
            log.info("where %s went could not be read: %s", store.name, exc)
            return None
    return None
