"""What all calls to Milvus share: the client and its process, timeouts and failures.

`Link` is the way to a database, `CollectionLink` to one collection in it. `Connection`, `Reader`, `Writer` and
`VectorIndex` hold one, and none of them another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from pymilvus import MilvusClient
from pymilvus.exceptions import AmbiguousIndexName

from imgvec import abandoned
from imgvec.errors import BackendUnavailable
from imgvec.milvus.cancelling import let_cancel
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.errors import translated
from imgvec.milvus.forked import Owner
from imgvec.milvus.lite import LiteFile
from imgvec.milvus.repeating import repeated
from imgvec.rows import VECTOR


class Link:
    """A client of one Milvus database. `timeout` is the time in seconds that a call may take, `retry_seconds` that in
    which a read that fails for the moment is repeated."""

    def __init__(
        self,
        client: MilvusClient,
        uri: str,
        capabilities: Capabilities,
        *,
        timeout: float = 10.0,
        retry_seconds: float = 10.0,
        lite: LiteFile | None = None,
        db_name: str = "",
    ) -> None:
        self.uri, self.capabilities, self.timeout, self.retry_seconds = uri, capabilities, timeout, retry_seconds
        self._given, self._lite, self._db_name = client, lite, db_name
        self.owner = Owner()
        self._closed = False

    @property
    def client(self) -> MilvusClient:
        """Raises `BackendUnavailable` in a forked child, and once it is closed."""
        self.owner.check(f"the connection to {self.uri}")
        if self._closed:
            raise BackendUnavailable(f"the connection to {self.uri} is closed")
        if abandoned.current() is not None:
            let_cancel(self._given)
        return self._given

    @property
    def writing(self) -> AbstractContextManager[object]:
        """On Milvus Lite no handle writes meanwhile: what one looked at first stays true until it has written.

        Raises `BackendUnavailable` in a forked child, where whoever writes in the parent would be waited for for ever.
        """
        self.owner.check(f"the connection to {self.uri}")
        return self._lite.writing if self._lite else nullcontext()

    def share(self) -> None:
        """Let other processes of this user work through this one, where it has a Milvus Lite file open."""
        if self._lite:
            self._lite.share()

    @contextmanager
    def leaving(self, name: str, key: str) -> Iterator[None]:
        """The block drops or renames the collection of that incarnation's key: what is read meanwhile is not given."""
        left = self._lite.left if self._lite else set()
        left.add((name, key))
        try:
            yield
        except BaseException:
            left.discard((name, key))
            raise

    def has_left(self, name: str, key: str) -> bool:
        """Whether the collection was dropped or renamed in this process, on Milvus Lite."""
        return self._lite is not None and (name, key) in self._lite.left

    def came(self, name: str, key: str) -> None:
        """A collection was made, or renamed, and has that name now."""
        if self._lite:
            self._lite.left.discard((name, key))

    def opened(self, name: str) -> Any | None:
        """Milvus Lite's own object of a collection; None where no database of it is open in this process."""
        return None if self._lite is None else self._lite.collection(name, self._db_name)

    def close(self) -> None:
        """Close; a Milvus Lite file that no other connection of this process uses can then be opened elsewhere."""
        if self._closed:
            return
        self._closed = True
        if not self.owner.is_this:
            return  # it is the parent's to close
        self._given.close()
        if self._lite:
            self._lite.release()

    def describe(self, name: str, *, timeout: float | None = None) -> Mapping[str, Any]:
        """A collection as Milvus describes it; raises `CollectionNotFound`."""

        def call() -> Mapping[str, Any]:
            with translated(f"read the description of the collection {name!r}"):
                found: Mapping[str, Any] = self.client.describe_collection(name, timeout=timeout or self.timeout)
                return found

        return call() if self._lite else repeated(call, self.retry_seconds, hedged=False)

    def describe_index(
        self, name: str, vector: str = VECTOR, *, timeout: float | None = None
    ) -> Mapping[str, Any] | None:
        """The index of a collection's vector field as Milvus describes it; None if there is none."""
        with translated(f"read the index of {name!r}"):
            try:
                found: Mapping[str, Any] | None = self.client.describe_index(
                    name, vector, timeout=timeout or self.timeout
                )
            except AmbiguousIndexName:  # where it has none of that name, Milvus Lite tells of all others
                return None
            return found if found and found["field_name"] == vector else None
