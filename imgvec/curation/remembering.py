"""What is kept between runs, with the collection: the pairs that were found, and how far the search has come.

Only what was found is kept, not what was held against each other in vain: a run looks at rows in the order of their
ids, so that one id says which were done, and the next run begins with what was ingested since.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imgvec.curation.groups import Edge
from imgvec.curation.judging import Relation
from imgvec.filters import field as field_of
from imgvec.plurals import counted
from imgvec.rows import INGESTED_AT, MAX_ID_BYTES, VECTOR
from imgvec.store import Reads

_FORMAT = 1
MARGIN_MS = 600_000
"""Rows come in with the moment at which they were sent: of so many milliseconds before a run their ids are kept, as
others of that time may still arrive."""


class Keeps(Protocol):
    """`imgvec.milvus.learned.Learned`."""

    def write(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> None: ...
    def read(self, key: str) -> dict[str, NDArray[Any]] | None: ...


@dataclass
class Remembered:
    """How far the search of one kind, by one vector, has come."""

    asked: Mapping[str, Any]
    """What it was told that decides what it finds."""
    since: int = 0
    """Rows that were ingested before this moment, in Unix milliseconds, were looked at by former runs."""
    recent: list[str] = field(default_factory=list)
    """The ids of rows after `since` that were, with their moment: `id@ingested_at`."""
    rows: int = 0
    """How many rows there were before `since`, at the end of the last run."""
    begun: int | None = None
    """When the run began that has not ended; None where the last one has."""
    cursor: str = ""
    """The last id that this run has done."""
    last: int = 0
    """When the last run that ended began."""
    unseen: list[str] = field(default_factory=list)
    """The ids of pictures that could not be reopened: the next run tries again."""
    edges: dict[tuple[str, str], Edge] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """By id, the content hash that each of the edges' pictures had."""

    def add(self, edge: Edge, first_hash: str, second_hash: str) -> None:
        self.edges[edge.first, edge.second] = edge
        self.hashes[edge.first], self.hashes[edge.second] = first_hash, second_hash

    def has(self, first: str, second: str) -> bool:
        return (first, second) in self.edges or (second, first) in self.edges

    def forget(self, ids: Iterable[str]) -> None:
        """Pictures that are gone or are other ones now."""
        gone = set(ids)
        if gone:
            self.edges = {pair: each for pair, each in self.edges.items() if gone.isdisjoint(pair)}
            self.hashes = {id_: each for id_, each in self.hashes.items() if id_ not in gone}

    def ids(self) -> list[str]:
        """Of all pictures that have an edge, sorted."""
        return sorted({id_ for pair in self.edges for id_ in pair})


def key(vector: str, *, exact: bool) -> str:
    """What it is kept as: `exact` runs, and those by other vectors, do not take each other's place."""
    parts = ["duplicates", *(["exact"] if exact else []), *([] if vector == VECTOR else [vector])]
    found = ".".join(parts)
    return found if len(found) <= MAX_ID_BYTES else blake2b(found.encode(), digest_size=16).hexdigest()


def load(keeps: Keeps, key: str, asked: Mapping[str, Any]) -> Remembered:
    """What is kept, where it is of the same question; else nothing."""
    found = keeps.read(key)
    if found is None:
        return Remembered(asked)
    told = json.loads(zlib.decompress(found["json"].tobytes()))
    if told.pop("format", None) != _FORMAT or told["asked"] != dict(asked):
        return Remembered(asked)
    hashes = dict(told["hashes"])
    edges = {}
    for first, second, relation in told.pop("edges"):
        relation["colours"] = tuple(relation["colours"])
        edges[first, second] = Edge(first, second, Relation(**relation))
    return Remembered(**{**told, "edges": edges, "hashes": hashes})


def save(keeps: Keeps, key: str, state: Remembered) -> None:
    """Keep it in place of what was kept."""
    told = {
        "format": _FORMAT,
        "asked": dict(state.asked),
        "since": state.since,
        "recent": state.recent,
        "rows": state.rows,
        "begun": state.begun,
        "cursor": state.cursor,
        "last": state.last,
        "unseen": state.unseen,
        "hashes": state.hashes,
        "edges": [[each.first, each.second, asdict(each.relation)] for each in state.edges.values()],
    }
    data = zlib.compress(json.dumps(told, separators=(",", ":")).encode())
    keeps.write(key, {"json": np.frombuffer(data, np.uint8)})


Saving = Callable[[Remembered], None]


def warn_of_old_rows(store: Reads, state: Remembered, on_notice: Callable[[str], None] | None) -> None:
    """Say so where rows have come in with an earlier date than the last run looked at."""
    if not state.since or on_notice is None or INGESTED_AT not in store.fields:
        return
    more = store.count(store.rendered(field_of(INGESTED_AT) < state.since)) - state.rows
    if more > 0:
        on_notice(
            f"{counted(more, 'row')} came in with a date before the last run, such as copied ones: look at all "
            "pictures again with --again (again=True in Python)"
        )
