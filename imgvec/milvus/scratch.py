"""A temporary copy of a collection, for a `with` block, so that indexes can be tried without touching the original."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from imgvec.definition import Definition, IndexChoice, IndexSection
from imgvec.errors import BackendError
from imgvec.milvus.connection import Connection
from imgvec.milvus.store import Store
from imgvec.rows import FROM_IMAGE, VECTOR
from imgvec.stored import taken_out

_NAME = re.compile(r"_scratch_[0-9a-f]{8}\Z")
_ABANDONED_SECONDS = 24 * 3600.0
"""After which a copy of another machine's is taken for left behind: whether its process lives cannot be seen."""
_BATCH = 1000

_ours: set[str] = set()
"""The copies that this process has made and not dropped."""

log = logging.getLogger(__name__)


@contextmanager
def scratch(
    connection: Connection,
    store: Store,
    definition: Definition,
    *,
    without: Collection[str] = (),
    only: Sequence[str] | None = None,
    vector: str | None = None,
) -> Iterator[Store]:
    """A store of the collection's rows, with its fields, and an index FLAT to begin with.

    Those whose ids are in `without` are left out; `only` names those to copy, if not all. Every vector is copied, or
    the one called `vector` alone, which the copy calls `vector` then. Rows are read and written in
    batches, and what is written to the original meanwhile may be missing. The copy is dropped at the end; one that a
    killed process has left behind is dropped first. `collections list` shows none.
    """
    drop_leftovers(connection, store.name)
    name = f"{store.name[:220]}_scratch_{secrets.token_hex(4)}"
    exact = {"index": IndexChoice(cpu=IndexSection(type="FLAT"))}
    now = store.link.deployment()  # it is measured as the collection is searched
    # isolation wants another index
    loaded = {"replicas": now.number, "resource_groups": now.resource_groups, "partition_key_isolation": False}
    source = {each: each for each in store.vectors} if vector is None else {VECTOR: vector}
    sections = {each: definition.vector_fields[name].model_copy(update=exact) for each, name in source.items()}
    flat = definition.model_copy(update={**exact, **loaded, "vector": sections.pop(VECTOR).vector, "vectors": sections})
    made_by = {
        "scratch_of": store.name,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "made_at": time.time(),
        # a copy of views is one too
        "definition": flat.model_dump(exclude_defaults=True),
    }
    _ours.add(name)
    try:
        dims = {each: store.vector(name).dim for each, name in source.items()}
        dim = dims.pop(VECTOR)
        copy = connection.create(name, flat, dim=dim, description=json.dumps(made_by), dims=dims)
        try:
            for found in _rows(store, only, source.values()):
                rows = [row for row in found if row["id"] not in without]
                if not rows:
                    continue
                vectors = {each: taken_out(rows, name, store.vector(name)) for each, name in source.items()}
                copy.upsert(rows, vectors.pop(VECTOR), vectors)
            # not flushed: whoever builds on it does, and 2.3 lets a collection be flushed once in ten seconds
            yield copy
        finally:
            _drop(connection, copy)
    finally:
        _ours.discard(name)


def _rows(store: Store, only: Sequence[str] | None, vectors: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    whole = ("*", *vectors, FROM_IMAGE)
    if only is None:
        yield from store.scan(whole, batch_size=_BATCH)
        return
    for start in range(0, len(only), _BATCH):
        yield list(store.get(only[start : start + _BATCH], output_fields=whole).values())


def drop_leftovers(connection: Connection, name: str) -> None:
    """Drop the copies of that collection whose process is gone."""
    for candidate in connection.collections():
        if _NAME.search(candidate) and candidate not in _ours and _is_left(connection, candidate, name):
            connection.drop(candidate)


def _is_left(connection: Connection, candidate: str, name: str) -> bool:
    try:
        made_by = json.loads(connection.description(candidate))
        if made_by["scratch_of"] != name:
            return False
        host, pid, made_at = str(made_by["host"]), int(made_by["pid"]), float(made_by["made_at"])
    except (ValueError, TypeError, KeyError, BackendError):  # somebody else's, or dropped meanwhile
        return False
    if connection.capabilities.kind == "lite":
        return True  # one process has the file open: this one
    if host == socket.gethostname():
        return not _lives(pid)
    return time.time() - made_at > _ABANDONED_SECONDS


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False  # an earlier process of that number, as of a container that was started again
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _drop(connection: Connection, copy: Store) -> None:
    try:
        connection.drop_opened(copy)
    except BackendError as exc:  # not instead of what the block raised
        log.warning("%s was left behind: %s", copy.name, exc)
