"""The way to one opened collection: which one it is, how fresh its reads are, and what all calls to it share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pymilvus import MilvusClient
from pymilvus.client.cache import GlobalCache
from pymilvus.client.types import LoadState

from imgvec.errors import BackendError, CollectionNotFound, CollectionReplaced
from imgvec.milvus import described
from imgvec.milvus.deployment import DEPLOYMENT, Deployment
from imgvec.milvus.described import PROPERTY, Schema
from imgvec.milvus.errors import translated
from imgvec.milvus.link import Link
from imgvec.rows import VECTOR
from imgvec.store import Observer

LOAD_SECONDS = 600.0
WATCHED = "probes"
"""The property that says what is watched."""
_LITE_TIMEOUT = 600.0
_OWN_WRITES_SECONDS = 10.0
"""Longer than the 5 s by which a Bounded read may lag on a server."""


class CollectionLink:
    """One opened collection, and never a later one with the same name, or another that its alias is moved to.

    `alias` is the name that it was opened by, where that is an alias.
    """

    def __init__(
        self, database: Link, schema: Schema, alias: str | None = None, *, like: CollectionLink | None = None
    ) -> None:
        self.database, self.name, self.incarnation = database, schema.name, schema.incarnation
        self._key = schema.incarnation.key
        self.alias = alias
        self._like = like
        """It is loaded like that one, to which it belongs."""
        self.schema = schema
        """As of opening, of the last `refresh`, and of what was changed through here."""
        self.capabilities = database.capabilities
        # Milvus Lite builds indexes within the call, and no network can swallow it
        self.timeout = max(database.timeout, _LITE_TIMEOUT) if self.is_lite else database.timeout
        self._written_at = self._deleted_at = -_OWN_WRITES_SECONDS
        self.observer: Observer | None = None
        self.watched: Mapping[str, str] = schema.remembered.get(WATCHED, {})
        """What its observer is to watch, as of the last look at the collection."""

    @property
    def client(self) -> MilvusClient:
        self.database.owner.check(f"the collection {self.name!r}")
        return self.database.client

    @property
    def is_lite(self) -> bool:
        return self.capabilities.kind == "lite"

    def check_same(self) -> None:
        """Raise if the opened collection no longer exists: one call, which takes half a millisecond to one.

        `EncoderMismatch` or `CollectionReplaced` if a different one has its name, `CollectionNotFound` if none has.
        """
        self.described()

    def check_there(self) -> None:
        """Raise like `check_same` where it was dropped or renamed in this process, on Milvus Lite; calls nothing else.

        What was read before such a check is this collection's, and all that was asked for.
        """
        if self.database.has_left(self.name, self._key):
            self.check_same()
            raise CollectionNotFound(f"the collection {self.name!r} was dropped or renamed since it was opened")

    def check_meant(self) -> None:
        """`check_same`, and where it was opened by an alias raise `CollectionReplaced` once that leads elsewhere."""
        if self.alias is None:
            self.check_same()
            return
        try:
            now = self.database.describe(self.alias, timeout=self.timeout)
        except CollectionNotFound as exc:
            said = f"the alias {self.alias!r} of {self.name!r} was removed since it was opened"
            raise CollectionNotFound(said, code=exc.code) from exc
        name = now["collection_name"]
        if (name, described.incarnation(now)) != (self.name, self.incarnation):
            raise CollectionReplaced(
                f"the alias {self.alias!r} was moved from {self.name!r} to {name!r} since this began: start again"
            )
        self.watched = described.remembered_as(now, WATCHED)

    def refresh(self) -> None:
        """Read the schema again: index, search defaults and fields may have been changed by others.

        Raises like `check_same`, and `BackendError` while somebody is building the index.
        """
        now = self.described()
        indexes = {name: self.described_index(name) for name in described.vector_names(now)}
        if None in indexes.values():
            raise BackendError(
                f"{self.name!r} has no index at the moment: another client is building it, or was killed during "
                f"the build (then open the collection again)",
                retryable=True,
            )
        GlobalCache.schema.clear()  # pymilvus would go on by the schema that it has read first
        self.schema = described.read_schema(now, indexes)

    def described(self) -> Mapping[str, Any]:
        """As Milvus describes it now; raises like `check_same`."""
        self.database.owner.check(f"the collection {self.name!r}")
        try:
            found = self.database.describe(self.name, timeout=self.timeout)
        except CollectionNotFound as exc:
            said = f"the collection {self.name!r} was dropped or renamed since it was opened"
            raise CollectionNotFound(said, code=exc.code) from exc
        now = described.incarnation(found)
        if now != self.incarnation:
            raise self.incarnation.error(self.name, now)
        self.watched = described.remembered_as(found, WATCHED)
        return found

    def described_index(self, vector: str = VECTOR) -> Mapping[str, Any] | None:
        """The index of that vector as Milvus describes it now; None if there is none."""
        return self.database.describe_index(self.name, vector, timeout=self.timeout)

    @contextmanager
    def changing(self, doing: str) -> Iterator[None]:
        """A call that changes something: one at a time on Milvus Lite, and later reads wait for it."""
        with self.database.writing, translated(doing):
            try:
                yield
            finally:
                self._written_at = time.monotonic()

    @contextmanager
    def owning(self, doing: str) -> Iterator[None]:
        """`changing`, of the collection that was opened and no other.

        On Milvus Lite no other can come between: making and dropping take the same lock. A server takes a write by the
        collection's name alone, so there it is looked at again afterwards, and the error says what the look before it
        could not see.
        """
        with self.changing(doing):
            self.check_meant()
            yield
            if not self.is_lite:
                self.check_meant()

    def deleted(self) -> None:
        """Note that rows were deleted just now."""
        self._deleted_at = time.monotonic()

    def level(self, asked: str | None) -> str | None:
        """The consistency level to send; None is the collection's own.

        Session waits until this client's last write is seen. A server does not tell when it deleted, so after a
        delete only Strong does, which is then sent for it, too.
        """
        now = time.monotonic()
        if asked not in (None, "Session") or (asked or self.schema.consistency_level) == "Strong":
            return asked
        if now - self._deleted_at < _OWN_WRITES_SECONDS:
            return "Strong"
        return "Session" if now - self._written_at < _OWN_WRITES_SECONDS else asked

    def flush(self, timeout: float) -> None:
        """Seal what was written, so that indexes are built over it."""
        with self.changing(f"flush {self.name!r}"):
            self.client.flush(self.name, timeout=max(timeout, self.timeout))

    def load_state(self) -> LoadState:
        with translated(f"read whether {self.name!r} is loaded"):
            state: LoadState = self.client.get_load_state(self.name, timeout=self.timeout)["state"]
            return state

    def is_loaded(self) -> bool:
        return bool(self.load_state() == LoadState.Loaded)

    def deployment(self) -> Deployment:
        """How the collection is to be loaded, as Milvus has it now; raises like `check_same`."""
        if self._like is not None:
            return self._like.deployment()
        return Deployment.of_json(described.remembered(self.described()).get(DEPLOYMENT))

    def release(self) -> None:
        """Free the memory that `replicas.load` took."""
        with translated(f"release {self.name!r}"):
            self.client.release_collection(self.name, timeout=self.timeout)

    def remember(self, key: str, value: Mapping[str, Any] | None) -> None:
        """Keep a JSON object with the collection, for whoever opens it, also after a restart; None forgets it."""
        # an empty text, since a server before 2.5 takes no property back
        text = "" if value is None else json.dumps(value, ensure_ascii=False)
        with self.owning(f"write a property of {self.name!r}"):
            # a server of 2.3 writes to disk what the property was before the change: the second puts the first there
            for _ in range(1 if self.is_lite else 2):
                self.client.alter_collection_properties(self.name, {PROPERTY + key: text}, timeout=self.timeout)
        kept = {name: known for name, known in self.schema.remembered.items() if name != key}
        self.schema = replace(self.schema, remembered=kept if value is None else {**kept, key: value})
