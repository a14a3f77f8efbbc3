"""A connection to Milvus Lite or a Milvus server: its capabilities and its collections."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Literal, Self

from pymilvus.client.cache import GlobalCache

from imgvec.definition import Definition
from imgvec.errors import BackendError, CollectionExists, CollectionNotFound, UnsupportedByBackend
from imgvec.milvus import aliases, companions, described, names, schema
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.companions import Companion, Kind
from imgvec.milvus.deployment import Deployment, lacking_nodes
from imgvec.milvus.errors import RAISED, translated
from imgvec.milvus.faults import CollectionFacts
from imgvec.milvus.incarnation import Incarnation
from imgvec.milvus.link import Link
from imgvec.milvus.store import Store
from imgvec.milvus.vector_index import create_indexes, former_key, put_back_lost
from imgvec.rows import VECTOR

log = logging.getLogger(__name__)


class Connection:
    """An open connection; a context manager that closes it. Made by `connect`."""

    def __init__(self, link: Link) -> None:
        self.link = link

    @property
    def uri(self) -> str:
        """The address, without login data."""
        return self.link.uri

    @property
    def capabilities(self) -> Capabilities:
        return self.link.capabilities

    def __repr__(self) -> str:
        return f"Connection({self.uri!r}, {self.capabilities.name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; a Milvus Lite file that no other connection of this process uses can then be opened elsewhere."""
        self.link.close()

    def check_open(self) -> None:
        """Raise `BackendUnavailable` in a forked child, and once it is closed; calls nothing."""
        _ = self.link.client

    def collections(self) -> list[str]:
        """The names of the collections, sorted."""
        with translated("list the collections"):
            return sorted(self.link.client.list_collections(timeout=self.link.timeout))

    def has(self, name: str) -> bool:
        """Whether a collection, or an alias, has that name."""
        names.check(name)
        with translated(f"look for the collection {name!r}"):
            there = bool(self.link.client.has_collection(name, timeout=self.link.timeout))
        return there or aliases.mended(self.link, name)

    def check(self, definition: Definition, *, device: Literal["cpu", "gpu"] = "cpu", dim: int | None = None) -> None:
        """Raise `UnsupportedByBackend` or `DefinitionError` if the definition asks for something unavailable here.

        Calls nothing. `dim` adds the checks that need it.
        """
        schema.check(definition, self.capabilities, device=device, dim=dim)

    def create(
        self,
        name: str,
        definition: Definition,
        *,
        dim: int,
        description: str,
        device: Literal["cpu", "gpu"] = "cpu",
        dims: Mapping[str, int] | None = None,
        load: bool = True,
    ) -> Store:
        """Create the collection with its indexes and load it; if that fails, anything half made is dropped.

        `dim` is that of `vector`, `dims` are those of the definition's further vectors, by name.

        Raises `CollectionExists`, `UnsupportedByBackend` (before any call), `BackendError`.
        """
        names.check_new(name)
        plan = schema.plan(
            definition, self.capabilities, dim=dim, description=description, device=device, dims=dims or {}
        )
        if self.has(name):
            raise CollectionExists(f"the collection {name!r} already exists: open it, or drop it first")
        if lacking := lacking_nodes(self.link, Deployment.of(definition)):
            raise UnsupportedByBackend(lacking)
        # on Milvus Lite nobody opens it before it has its indexes
        with self.link.writing:
            # outside the `try`: where somebody else was faster, the collection is theirs, and not to be dropped
            with translated(f"create the collection {name!r}"):
                self.link.client.create_collection(name, schema=plan.schema, timeout=self.link.timeout, **plan.options)
            return self._completed(name, plan, load=load)

    def _completed(self, name: str, plan: schema.Plan, *, load: bool) -> Store:
        """The new collection with its indexes, loaded where asked; if that fails, it is dropped."""
        try:
            create_indexes(self.link, name, plan)
            store = self._store(name)
            self.link.came(name, store.incarnation.key)
            _check_read_back(store, plan)
            if load:
                store.load()
        except BaseException:
            with suppress(*RAISED, BackendError):
                if self.description(name) == plan.description:  # not one that somebody else has made since
                    self.link.client.drop_collection(name, timeout=self.link.timeout)
            raise
        return store

    def open(self, name: str, *, load: bool = True) -> Store:
        """Open a collection, or the one that an alias leads to; the store's name is its own.

        Without `load` it is left as it is, and the first read loads it. Raises `CollectionNotFound`, which suggests a
        similar name.
        """
        names.check(name)
        try:
            store = self._store(name)
        except CollectionNotFound as exc:
            raise self._not_found(name) from exc
        if load:
            store.load()
        return store

    def description(self, name: str) -> str:
        """What a collection's creator wrote of it; does not load it."""
        return described.description_of(self.link.describe(name))

    def facts(self, name: str) -> CollectionFacts:
        """What the known faults of servers look at in a collection; does not load it.

        Raises `CollectionNotFound`, and `BackendError` where it was not made by imgvec, or has no index.
        """
        found = self.link.describe(name)
        indexes = {vector: self.link.describe_index(name, vector) for vector in described.vector_names(found)}
        schema = described.read_schema(found, indexes)
        rows = max(int((each or {}).get("total_rows") or 0) for each in indexes.values())
        json = schema.dynamic or any(field.type == "JSON" for field in schema.fields.values())
        return CollectionFacts(name, schema.vectors, rows, json)

    def drop(self, name: str) -> None:
        """Drop a collection and all of its rows; raises `CollectionNotFound`, and `UsageError` for an alias."""
        names.check(name)
        try:
            found = self.link.describe(name)["collection_name"]
        except CollectionNotFound as exc:
            raise self._not_found(name) from exc
        aliases.refuse_drop(self.link, found, None if found == name else name)
        with self.link.writing, translated(f"drop the collection {name!r}"):
            self.link.client.drop_collection(name, timeout=self.link.timeout)

    def check_drop(self, store: Store) -> None:
        """Raise what `drop_opened` would, before anybody is asked."""
        store.check_same()
        aliases.refuse_drop(self.link, store.name, store.link.alias)

    def drop_opened(self, store: Store) -> None:
        """Drop the store's collection and all its rows, and before them its companions.

        Raises if a different collection has its name by now, and `UsageError` if it was opened by an alias, or an
        alias leads to it.
        """
        self.check_drop(store)
        with self.link.writing, translated(f"drop {store.name!r}"):
            store.check_same()
            companions.drop_with(self.link, store)
            with self.link.leaving(store.name, store.incarnation.key):
                self.link.client.drop_collection(store.name, timeout=store.link.timeout)

    def companion(self, store: Store, kind: Kind) -> Companion:
        """The small collection of that kind beside the store's; calls nothing before it is read or written."""
        return Companion(self.link, store, kind)

    def companion_names(self, name: str, kinds: Iterable[str] = names.KINDS) -> dict[str, str]:
        """What the companions of a new collection of that name are called, by kind: for its description."""
        names.check_new(name)
        return {kind: companions.free_name(self.link, name, kind) for kind in kinds}

    def which(self, name: str) -> tuple[str, Incarnation]:
        """The own name of a collection, or of the one that an alias leads to, and which one it is: one call."""
        found = aliases.resolved(self.link, name)
        return found["collection_name"], described.incarnation(found)

    def rename(self, store: Store, name: str) -> Store:
        """Give the store's collection another name, and open it by that; `aliases.rename`."""
        aliases.rename(store, name)
        return self._noted(name)

    def _noted(self, name: str) -> Store:
        """A collection that was renamed; what was noted for the case of a kill is forgotten."""
        renamed = self.open(name)
        for note in (aliases.RENAMED, aliases.GIVING):
            if note in renamed.remembered:
                renamed.remember(note, None)
        return renamed

    def take_name(self, new: Store, old: Store, former: str) -> Store:
        """Let the name of `old` lead to `new`; opens `old` by its name of then, `former`. `aliases.take_name`."""
        aliases.take_name(new, old, former)
        return self._noted(former)

    def aliases_of(self, name: str) -> list[str]:
        """The aliases that lead to the collection of that name, sorted."""
        return aliases.of(self.link, name)

    def aliases(self) -> dict[str, str]:
        """All aliases, each with the name of the collection that it leads to."""
        return aliases.every(self.link)

    def _not_found(self, name: str) -> CollectionNotFound:
        known = [*self.aliases(), *(each for each in self.collections() if not names.is_reserved(each))]
        close = get_close_matches(name, known, n=1)
        meant = f": did you mean {close[0]!r}?" if close else f" (existing: {', '.join(known) or 'none'})"
        return CollectionNotFound(f"there is no collection {name!r} at {self.uri}{meant}")

    def _store(self, name: str) -> Store:
        # pymilvus would go by the schema of whatever had that name, at that address, earlier in this process
        GlobalCache.schema.clear()
        found = aliases.resolved(self.link, name)
        alias, name = name, found["collection_name"]
        indexes = {}
        for vector in described.vector_names(found):
            index = self.link.describe_index(name, vector)
            if index is None:
                self._put_back(name, vector)
                index = self.link.describe_index(name, vector)
            indexes[vector] = index
        return Store(self.link, described.read_schema(found, indexes), None if alias == name else alias)

    def _put_back(self, name: str, vector: str) -> None:
        """Ask for an index that a killed build has dropped, or that a killed `create` did not come to."""
        found = self.link.describe(name)  # again: what an index was is remembered before it is dropped
        former, definition = described.remembered(found).get(former_key(vector)), described.definition(found)
        if former or definition is None:
            put_back_lost(self.link, name, former, vector)
            return
        dims = described.dims(found)
        text = described.description_of(found)
        plan = schema.plan(definition, self.capabilities, dim=dims.pop(VECTOR), description=text, dims=dims)
        log.warning("%s was not finished when it was made: making its indexes", name)
        with self.link.writing:
            create_indexes(self.link, name, plan)


def _check_read_back(store: Store, plan: schema.Plan) -> None:
    """Check that the backend stored what it was told to: Milvus Lite ignores what it does not understand."""
    if lost_vectors := {index.field for index in plan.vector_indexes} - store.vectors.keys():
        raise BackendError(f"Milvus did not keep the vectors {', '.join(sorted(lost_vectors))}")
    if lost_words := {index.field for index in plan.word_indexes} - {*store.link.schema.words.values()}:
        raise BackendError(f"Milvus did not keep the words {', '.join(sorted(lost_words))}")
    for wanted in plan.vector_indexes:
        made = store.vectors[wanted.field]
        if made.index.type != wanted.type or made.metric_type != wanted.metric_type:
            raise BackendError(
                f"Milvus made an index {made.index.type} ({made.metric_type}) of {wanted.field!r} instead of "
                f"{wanted.type}"
            )
        lost = {name: value for name, value in wanted.params.items() if made.index.params.get(name) != value}
        if lost:
            raise BackendError(f"Milvus did not keep the index parameters {lost}: it has {dict(made.index.params)}")
    if store.description != plan.description:
        raise BackendError("Milvus did not keep the collection's description")
