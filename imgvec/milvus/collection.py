"""One collection in Milvus as a whole: counted, flushed, indexed, loaded, dropped; and how reads wait for writes."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

from pymilvus import MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.grpc_gen.common_pb2 import UnexpectedError

from imgvec.errors import (
    BackendError,
    BackendUnavailable,
    CollectionNotFound,
    CollectionReplaced,
    EncoderMismatch,
)
from imgvec.filters import FieldType
from imgvec.milvus import building, reading
from imgvec.milvus import schema as schemas
from imgvec.milvus.building import IndexState
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.errors import translated
from imgvec.milvus.forked import Owner
from imgvec.milvus.schema import PROPERTY, IndexInfo, Schema

_NOT_LOADED = 101
_LITE_TIMEOUT = 600.0
_OWN_WRITES_SECONDS = 10.0
"""Longer than the 5 s by which a Bounded read may lag on a server."""

_LOAD_SECONDS = 600.0
_mending = threading.Lock()

log = logging.getLogger(__name__)

T = TypeVar("T")


class Collection:
    """A loaded collection; `Store` adds its rows and hits."""

    def __init__(
        self,
        client: MilvusClient,
        schema: Schema,
        capabilities: Capabilities,
        *,
        timeout: float = 10.0,
        writing: threading.Lock | None = None,
    ) -> None:
        self.name, self.description = schema.name, schema.description
        self.dim: int = schema.dim
        self.vector_type: str = schema.vector_type
        self.metric_type: str = schema.metric_type
        """The index's; a search always uses it."""
        self.index: IndexInfo = schema.index
        self.fields: Mapping[str, FieldType] = schema.fields
        """Every scalar field, `id` among them; the vector is not."""
        self.dynamic: bool = schema.dynamic
        self.consistency_level: str = schema.consistency_level
        self.incarnation = schema.incarnation
        """Which collection of that name it is."""
        self.remembered: dict[str, Mapping[str, Any]] = dict(schema.remembered)
        """What `remember` has kept, as of opening."""
        self.capabilities = capabilities
        # Milvus Lite builds indexes within the call, and no network can swallow it
        self.timeout = max(timeout, _LITE_TIMEOUT) if capabilities.kind == "lite" else timeout
        self._given, self._owner, self._schema = client, Owner(), schema
        self._writing: AbstractContextManager[object] = writing or nullcontext()
        self._written_at = self._deleted_at = -_OWN_WRITES_SECONDS
        self._params = reading.SearchParams(schema, capabilities.max_limit)

    @property
    def _client(self) -> MilvusClient:
        self._owner.check(f"the collection {self.name!r}")
        return self._given

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim}, {self.index.type}, {self.capabilities.name})"

    def count(self, filter: str = "") -> int:
        """How many rows there are, or match; sees every write that was acknowledged before."""
        return int(self._query(filter, ["count(*)"], consistency_level="Strong")[0]["count(*)"])

    def check_same(self) -> None:
        """Raise where the collection that was opened is there no more: one call, of half a millisecond to one.

        `EncoderMismatch` or `CollectionReplaced` where another one bears its name, `CollectionNotFound` where none.
        """
        try:
            with translated(f"look whether {self.name!r} is still the collection that was opened"):
                described = self._client.describe_collection(self.name, timeout=self.timeout)
        except CollectionNotFound as exc:
            said = f"the collection {self.name!r} was dropped or renamed since it was opened"
            raise CollectionNotFound(said, code=exc.code) from exc
        now = schemas.incarnation(described)
        if now != self.incarnation:
            raise self.incarnation.error(self.name, now)

    def flush(self, timeout: float = 120.0) -> None:
        """Seal what was written, so that indexes are built over it."""
        with self._changing(f"flush {self.name!r}"):
            self._client.flush(self.name, timeout=max(timeout, self.timeout))

    def wait_until_indexed(self, timeout: float) -> None:
        """Flush, and wait until the vector index covers every row; raises `BackendError` after `timeout` seconds.

        A server says "Finished" before it is, so rows are counted. Segments below 1024 rows are searched without an
        index and count as indexed.
        """
        started = time.monotonic()
        self.flush(timeout)
        building.wait(self, self.count(), timeout, started=started)

    def build_index(
        self,
        type: str,
        params: Mapping[str, Any],
        *,
        timeout: float = 3600.0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> float:
        """Replace the vector index, wait for its true end, load; returns the seconds from the request to that end.

        What the backend cannot build is refused before any call: `UnsupportedByBackend`, `DefinitionError`. A build
        that fails, is interrupted or takes longer than `timeout` seconds raises its error with the former index back;
        one that only cannot be loaded stays.
        The collection cannot be searched meanwhile. `on_progress` gets rows indexed and rows in all.
        """
        built, seconds = building.build(self, type, params, timeout=timeout, on_progress=on_progress)
        self._schema = replace(self._schema, index=built)
        self.index = built
        self._params = reading.SearchParams(self._schema, self.capabilities.max_limit)
        try:
            self.load(max(_LOAD_SECONDS, timeout))
        except BackendError as exc:
            said = f"{type} is built, and {self.name!r} could not be loaded: {exc}"
            raise BackendError(said, code=exc.code, retryable=exc.retryable) from exc
        return seconds

    def index_state(self) -> IndexState:
        """How far the vector index is, and whether it is loaded."""
        return building.state(self)

    def remember(self, key: str, value: Mapping[str, Any] | None) -> None:
        """Keep a JSON object with the collection, for whoever opens it, also after a restart; None forgets it."""
        # an empty text, since a server before 2.5 takes no property back
        text = "" if value is None else json.dumps(value, ensure_ascii=False)
        with self._owning(f"write a property of {self.name!r}"):
            # a server of 2.3 writes to disk what the property was before the change: the second puts the first there
            for _ in range(1 if self.capabilities.kind == "lite" else 2):
                self._client.alter_collection_properties(self.name, {PROPERTY + key: text}, timeout=self.timeout)
        self.remembered.pop(key, None)
        if value is not None:
            self.remembered[key] = value

    def load(self, timeout: float = _LOAD_SECONDS) -> None:
        """Load into memory what searches need, and wait for it.

        Milvus Lite writes the files of its indexes in place: one that a killed process or a full disk cut short would
        never load again. So what does not load there gets all of its index files written anew, once.
        """
        try:
            self._load(timeout)
        except BackendError as exc:
            if self.capabilities.kind != "lite" or exc.code != UnexpectedError:
                raise
            self._mend(exc, timeout)

    def release(self) -> None:
        """Free the memory that `load` took; the next read loads again."""
        with translated(f"release {self.name!r}"):
            self._client.release_collection(self.name, timeout=self.timeout)

    def drop(self) -> None:
        """Drop the collection and all of its rows; raises where another one bears its name by now."""
        with self._changing(f"drop {self.name!r}"):
            self.check_same()
            self._client.drop_collection(self.name, timeout=self.timeout)

    def _load(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with translated(f"load {self.name!r}"):
            # waiting in there would give each of its calls the whole time
            # (Milvus Lite waits in any case: that is when it builds)
            patience = max(self.timeout, timeout) if self.capabilities.kind == "lite" else self.timeout
            self._client.load_collection(self.name, timeout=patience, _async=True)
            while self._client.get_load_state(self.name, timeout=self.timeout)["state"] != LoadState.Loaded:
                if time.monotonic() >= deadline:
                    raise BackendUnavailable(f"{self.name!r} was not loaded after {timeout:g} s", retryable=True)
                time.sleep(0.05)

    def _mend(self, failure: BackendError, timeout: float) -> None:
        with _mending:
            try:
                self._load(timeout)  # another thread has mended it, or the file was still being written
            except BackendError:
                log.warning("%s; its indexes are built again", failure)
                building.write_again(self)
                self._load(timeout)

    @contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        with self._writing, translated(doing):
            try:
                yield
            finally:
                self._written_at = time.monotonic()

    @contextmanager
    def _owning(self, doing: str) -> Iterator[None]:
        """`_changing`, of the collection that was opened and no other.

        On Milvus Lite no other can come between: making and dropping take the same lock. A server takes a write by the
        collection's name alone, so there it is looked at again afterwards, and the error says what the look before it
        could not see.
        """
        with self._changing(doing):
            self.check_same()
            yield
            if self.capabilities.kind == "server":
                self.check_same()

    def _level(self, asked: str | None) -> str | None:
        """The consistency level to send; None is the collection's own.

        Session waits until this client's last write is seen. A server does not tell when it deleted, so after a
        delete only Strong does.
        """
        now = time.monotonic()
        if asked is not None or self.consistency_level == "Strong":
            return asked
        if now - self._deleted_at < _OWN_WRITES_SECONDS:
            return "Strong"
        return "Session" if now - self._written_at < _OWN_WRITES_SECONDS else None

    def _query(self, expression: str, output_fields: list[str], **options: Any) -> list[dict[str, Any]]:
        return list(
            self._reading(
                self._client.query, filter=expression, output_fields=output_fields, timeout=self.timeout, **options
            )
        )

    def _reading(self, call: Callable[..., T], **options: Any) -> T:
        """The call's answer; a collection that someone released meanwhile is loaded again, once."""
        doing = f"read from {self.name!r}"
        try:
            with translated(doing):
                return call(self.name, **options)
        except BackendError as exc:
            if exc.code != _NOT_LOADED:
                if not exc.retryable:
                    self._say_if_replaced(exc)
                raise
        self.load()
        with translated(doing):
            return call(self.name, **options)

    def _say_if_replaced(self, failure: BackendError) -> None:
        """A read that failed may have asked another collection for what it does not have: say that instead."""
        try:
            self.check_same()
        except (CollectionReplaced, EncoderMismatch) as exc:
            raise exc from failure
        except BackendError:
            return
