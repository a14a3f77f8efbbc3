"""A connection to Milvus Lite or a Milvus server: its capabilities and its collections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pymilvus import MilvusClient
from pymilvus.client.cache import GlobalCache

from imgvec.definition import Definition
from imgvec.errors import BackendError, BackendUnavailable, CollectionExists, CollectionNotFound
from imgvec.milvus import aliases, companions, described, names, schema
from imgvec.milvus.capabilities import Capabilities, capabilities
from imgvec.milvus.companions import Companion, Kind
from imgvec.milvus.errors import RAISED, StatusCode, grpc_details, grpc_state, milvus_code, reason_of, translated
from imgvec.milvus.incarnation import Incarnation
from imgvec.milvus.link import Link
from imgvec.milvus.lite import LiteFile, open_lite
from imgvec.milvus.store import Store
from imgvec.milvus.vector_index import create_index, former_key, put_back_lost

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
        """Whether a collection, or an alias, has that name."""
        names.check(name)
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
        dims: Mapping[str, int] | None = None,
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
        """Open a collection, or the one that an alias leads to, and load it; the store's name is its own.

        Raises `CollectionNotFound`, which suggests a similar name.
        """
        names.check(name)
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
        companions.drop_with(self.link, store)
        with self.link.writing, translated(f"drop {store.name!r}"):
            store.check_same()
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
        renamed = self.open(name)
        if aliases.RENAMED in renamed.remembered:
            renamed.remember(aliases.RENAMED, None)
        return renamed

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
                put_back_lost(self.link, name, described.remembered(found).get(former_key(vector)), vector)
                index = self.link.describe_index(name, vector)
            indexes[vector] = index
        return Store(self.link, described.read_schema(found, indexes), None if alias == name else alias)


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
        return BackendUnavailable(f"Milvus at {uri} has no database {db_name!r}: create it, or name another", code=code)
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


def _check_read_back(store: Store, plan: schema.Plan) -> None:
    """Check that the backend stored what it was told to: Milvus Lite ignores what it does not understand."""
    if lost_vectors := {index.field for index in plan.vector_indexes} - store.vectors.keys():
        raise BackendError(f"Milvus did not keep the vectors {', '.join(sorted(lost_vectors))}")
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
