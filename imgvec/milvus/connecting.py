"""How a connection is made: the address, the login, and what is wrong where nothing answers."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pymilvus import MilvusClient

from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus.cancelling import STREAMED
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.connection import Connection
from imgvec.milvus.errors import RAISED, StatusCode, grpc_details, grpc_state, milvus_code, reason_of
from imgvec.milvus.forked import calling
from imgvec.milvus.link import Link
from imgvec.milvus.lite import LiteFile, open_lite, refuse_beside_the_parents

_SCHEMES = {"http": "http", "https": "https", "tcp": "http", "grpc": "http", "grpcs": "https"}
_WRONG_DATABASE = 800


def connect(
    uri: str, *, token: SecretStr | None = None, db_name: str = "", timeout: float = 10.0, retry_seconds: float = 10.0
) -> Connection:
    """Connect to a Milvus Lite file (a path that ends in `.db`) or to a server (`http(s)://host:port`).

    `timeout` limits connecting and each later call, in seconds; a server's reads are repeated within `retry_seconds`. A
    login in the URI (`http://user:password@host`) is used if there is no token, and never shown. Raises
    `BackendUnavailable`, whose message says what is wrong and what to do.
    """
    refuse_beside_the_parents(redacted(uri))
    if "://" in uri and not uri.startswith("file://"):
        return _connect_server(uri, token, db_name, timeout, retry_seconds)
    if not uri.endswith(".db"):
        raise BackendUnavailable(
            f"{redacted(uri)!r} is neither a Milvus Lite file (a path that ends in .db) nor a server (http://host:port)"
        )
    lite = open_lite(uri)
    try:
        return _opened(lite.uri, uri, SecretStr(""), db_name, timeout, retry_seconds, lite)
    except BaseException:
        lite.release()
        raise


def _connect_server(
    uri: str, token: SecretStr | None, db_name: str, timeout: float, retry_seconds: float
) -> Connection:
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
    return _opened(bare, bare, token or SecretStr(""), database, timeout, retry_seconds, None)


def _opened(
    address: str,
    shown: str,
    token: SecretStr,
    db_name: str,
    timeout: float,
    retry_seconds: float,
    lite: LiteFile | None,
) -> Connection:
    client = None
    try:
        with calling():
            client = MilvusClient(
                address,
                token=token.get_secret_value(),
                db_name=db_name,
                timeout=timeout,
                # a shared one would be reused by address: https:// after http:// would go in plain text
                dedicated=True,
                # gRPC would send what is meant for this process to a proxy that the environment names
                grpc_options={**STREAMED, **({"grpc.enable_http_proxy": 0} if lite else {})},
            )
            version = client.get_server_version(timeout=timeout)
            client.list_collections(timeout=timeout)  # the first call that looks at the login and the database
        return Connection(
            Link(
                client,
                shown,
                capabilities(version),
                timeout=timeout,
                retry_seconds=retry_seconds,
                lite=lite,
                db_name=db_name,
            )
        )
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
