"""A connection to Milvus Lite or a Milvus server: its capabilities and its collections."""

from __future__ import annotations

import re
from contextlib import suppress
from difflib import get_close_matches
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pymilvus import MilvusClient
from pymilvus.client.cache import GlobalCache

from imgvec.definition import Definition
from imgvec.errors import BackendError, BackendUnavailable, CollectionExists, CollectionNotFound
from imgvec.milvus import described, schema
from imgvec.milvus.capabilities import Capabilities, capabilities
from imgvec.milvus.errors import RAISED, StatusCode, grpc_details, grpc_state, milvus_code, reason_of, translated
from imgvec.milvus.link import Link
from imgvec.milvus.lite import LiteFile, open_lite
from imgvec.milvus.store import Store
from imgvec.milvus.vector_index import FORMER, create_index, put_back_lost
from imgvec.rows import VECTOR

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
_SCHEMES = {"http": "http", "https": "https", "tcp": "http", "grpc": "http", "grpcs": "https"}
_WRONG_DATABASE = 800


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

    def collections(self) -> list[str]:
        """The names of the collections, sorted."""
        with translated("list the collections"):
            return sorted(self.link.client.list_collections(timeout=self.link.timeout))

    def has(self, name: str) -> bool:
        _check_name(name)
        with translated(f"look for the collection {name!r}"):
            return bool(self.link.client.has_collection(name, timeout=self.link.timeout))

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
    ) -> Store:
        """Create the collection with its indexes and load it; if that fails, anything half made is dropped.

        Raises `CollectionExists`, `UnsupportedByBackend` (before any call), `BackendError`.
        """
        _check_name(name)
        plan = schema.plan(definition, self.capabilities, dim=dim, description=description, device=device)
        if self.has(name):
            raise CollectionExists(f"the collection {name!r} already exists: open it, or drop it first")
        # outside the `try`: where somebody else was faster, the collection is theirs, and not to be dropped
        with self.link.writing, translated(f"create the collection {name!r}"):
            self.link.client.create_collection(name, schema=plan.schema, timeout=self.link.timeout, **plan.options)
        try:
            for index in plan.indexes:
                create_index(self.link, name, index)
            store = self._store(name)
            _check_read_back(store, plan)
            store.load()
        except BaseException:
            with suppress(*RAISED, BackendError):
                if self.description(name) == description:  # not one that somebody else has made since
                    self.link.client.drop_collection(name, timeout=self.link.timeout)
            raise
        return store

    def open(self, name: str) -> Store:
        """Open a collection and load it; raises `CollectionNotFound`, which suggests a similar name."""
        _check_name(name)
        try:
            store = self._store(name)
        except CollectionNotFound as exc:
            raise self._not_found(name) from exc
        store.load()
        return store

    def description(self, name: str) -> str:
        """What a collection's creator wrote of it; does not load it."""
        return described.description_of(self.link.describe(name))

    def drop(self, name: str) -> None:
        """Drop a collection and all of its rows; raises `CollectionNotFound`."""
        if not self.has(name):
            raise self._not_found(name)
        with self.link.writing, translated(f"drop the collection {name!r}"):
            self.link.client.drop_collection(name, timeout=self.link.timeout)

    def drop_opened(self, store: Store) -> None:
        """Drop the store's collection and all its rows; raises if a different one has its name by now."""
        with self.link.writing, translated(f"drop {store.name!r}"):
            store.check_same()
            self.link.client.drop_collection(store.name, timeout=store.link.timeout)

    def _not_found(self, name: str) -> CollectionNotFound:
        known = self.collections()
        close = get_close_matches(name, known, n=1)
        meant = f": did you mean {close[0]!r}?" if close else f" (existing: {', '.join(known) or 'none'})"
        return CollectionNotFound(f"there is no collection {name!r} at {self.uri}{meant}")

    def _store(self, name: str) -> Store:
        # pymilvus would go by the schema of whatever had that name, at that address, earlier in this process
        GlobalCache.schema.clear()
        found = self.link.describe(name)
        index = self.link.describe_index(name)
        if index is None and VECTOR in (field["name"] for field in found["fields"]):
            put_back_lost(self.link, name, described.remembered(found).get(FORMER))
            index = self.link.describe_index(name)
        return Store(self.link, described.read_schema(found, index))


def connect(uri: str, *, token: SecretStr | None = None, db_name: str = "", timeout: float = 10.0) -> Connection:
    """Connect to a Milvus Lite file (a path that ends in `.db`) or to a server (`http(s)://host:port`).

    `timeout` limits connecting and each later call, in seconds. A login in the URI (`http://user:password@host`) is
    used if there is no token, and never shown. Raises `BackendUnavailable`, whose message says what is wrong and what
    to do.
    """
    if "://" in uri and not uri.startswith("file://"):
        return _connect_server(uri, token, db_name, timeout)
    if not uri.endswith(".db"):
        raise BackendUnavailable(
            f"{redacted(uri)!r} is neither a Milvus Lite file (a path that ends in .db) nor a server (http://host:port)"
        )
    lite = open_lite(uri)
    try:
        return _opened(lite.uri, uri, SecretStr(""), db_name, timeout, lite)
    except BaseException:
        lite.release()
        raise


def _connect_server(uri: str, token: SecretStr | None, db_name: str, timeout: float) -> Connection:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise BackendUnavailable(f"{redacted(uri)!r} is not a valid address: {_what_is_wrong(exc)}") from None
    if parts.scheme not in _SCHEMES or not host:
        raise BackendUnavailable(
            f"{redacted(uri)!r} is not the address of a Milvus server: use http://host:port or https://host:port"
        )
    scheme = _SCHEMES[parts.scheme]
    address = f"[{host}]" if ":" in host else host
    # pymilvus puts the whole URI into its errors, so the login never goes in there
    bare = f"{scheme}://{address}:{port or (443 if scheme == 'https' else 19530)}"
    if not (token and token.get_secret_value()) and parts.username:
        login = [unquote(part) for part in (parts.username, parts.password) if part]
        token = SecretStr(":".join(login))
    database = db_name or unquote(parts.path.strip("/").split("/")[0])
    return _opened(bare, bare, token or SecretStr(""), database, timeout, None)


def _opened(
    address: str, shown: str, token: SecretStr, db_name: str, timeout: float, lite: LiteFile | None
) -> Connection:
    client = None
    try:
        client = MilvusClient(
            address,
            token=token.get_secret_value(),
            db_name=db_name,
            timeout=timeout,
            # a shared one would be reused by address: https:// after http:// would go in plain text
            dedicated=True,
            # gRPC would send what is meant for this process to a proxy that the environment names
            grpc_options={"grpc.enable_http_proxy": 0} if lite else {},
        )
        version = client.get_server_version(timeout=timeout)
        client.list_collections(timeout=timeout)  # the first call that looks at the login and the database
        return Connection(Link(client, shown, capabilities(version), timeout=timeout, lite=lite))
    except RAISED as exc:
        if client:
            client.close()
        raise _why_not(exc, shown, db_name, timeout, has_token=bool(token.get_secret_value())) from exc
    except BaseException:
        if client:
            client.close()
        raise


def _why_not(exc: Exception, uri: str, db_name: str, timeout: float, *, has_token: bool) -> BackendError:
    state, code, reason = grpc_state(exc), milvus_code(exc), reason_of(exc)
    if state is StatusCode.UNAUTHENTICATED or "auth check failure" in reason:
        what = "rejects the token; check it" if has_token else "needs a login: give a token (user:password or API key)"
        return BackendUnavailable(f"Milvus at {uri} {what}", code=code)
    if db_name and (code == _WRONG_DATABASE or "database" in reason):
        return BackendUnavailable(f"Milvus at {uri} has no database {db_name!r}: create or change it", code=code)
    if state is StatusCode.UNIMPLEMENTED:
        return BackendUnavailable(f"the server at {uri} is not Milvus: check the port (the default is 19530)")
    if state is StatusCode.DEADLINE_EXCEEDED or "Retry timeout" in reason:
        what = f"did not answer within {timeout:g} s: is it running, and is the port right?"
        return BackendUnavailable(f"Milvus at {uri} {what}", code=code, retryable=True)
    if state is StatusCode.UNAVAILABLE:
        if "resolv" in grpc_details(exc) or "DNS" in grpc_details(exc):
            return BackendUnavailable(f"unknown host in {uri}: check its name", code=code)
        what = "check that the server is running, the port, and http or https"
        return BackendUnavailable(f"no Milvus server answers at {uri}: {what}", code=code, retryable=True)
    return BackendUnavailable(f"cannot connect to Milvus at {uri}: {reason}", code=code)


def redacted(uri: str) -> str:
    """The URI without what stands before the last @, which may be a login."""
    if "://" not in uri and uri.endswith(".db"):
        return uri  # a file of Milvus Lite, whose name may hold an @
    scheme, sign, rest = uri.rpartition("://")
    return scheme + sign + rest.rpartition("@")[2]


def _what_is_wrong(exc: ValueError) -> str:
    return "the port must be a number from 1 to 65535" if "ort" in str(exc) else "check the host"


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise BackendError(
            f"{name!r} is not a valid collection name: use a letter or _, then letters, digits and _, at most 255 "
            f"characters"
        )


def _check_read_back(store: Store, plan: schema.Plan) -> None:
    """Check that the backend stored what it was told to: Milvus Lite ignores what it does not understand."""
    wanted = plan.vector_index
    if store.index.type != wanted.type or store.metric_type != wanted.metric_type:
        raise BackendError(f"Milvus made an index {store.index.type} ({store.metric_type}) instead of {wanted.type}")
    lost = {name: value for name, value in wanted.params.items() if store.index.params.get(name) != value}
    if lost:
        raise BackendError(f"Milvus did not keep the index parameters {lost}: it has {dict(store.index.params)}")
    if store.description != plan.description:
        raise BackendError("Milvus did not keep the collection's description")
