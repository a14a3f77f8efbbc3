"""The application put together, and the server that runs it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging.config
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from typing_extensions import Unpack

from imgvec import __version__
from imgvec.collection import ImageCollection
from imgvec.errors import ImgvecError, MissingExtra, UsageError
from imgvec.home import at_home
from imgvec.options import documented, settled
from imgvec.serving import (
    asking,
    bodies,
    browsing,
    faces,
    following,
    front,
    health,
    logs,
    ordering,
    pictures,
    reading,
    reasons,
    removing,
    taking,
)
from imgvec.serving.door import Door
from imgvec.serving.limits import Limits, Rate, client_of, refused
from imgvec.serving.listening import listening
from imgvec.serving.options import ServeOptions
from imgvec.serving.patience import patient
from imgvec.serving.problems import DOCUMENTED, Problem, respond
from imgvec.serving.served import STOP_SECONDS, Served
from imgvec.serving.tokens import Bearer, Tokens, new_token

if TYPE_CHECKING:
    from imgvec.serving.agents import Agents

__all__ = ["create_app", "new_token", "run"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PROBE_SECONDS = 600.0
"""Between two looks at standing probes."""


@documented(ServeOptions)
def create_app(collections: Mapping[str, ImageCollection], **options: Unpack[ServeOptions]) -> FastAPI:
    """An ASGI application that serves these collections by these names, and closes them when it ends.

    Stored pictures are opened below the collections' own `settings.roots` alone; of one without roots none is. Raises
    `OptionError`, `SettingsError` for the token file, `UsageError` for a host that is not loopback without tokens.
    """
    asked = settled(ServeOptions, options)
    tokens = None if asked["token_file"] is None else Tokens(asked["token_file"])
    if tokens is None and not is_loopback(asked["host"]):
        raise UsageError(
            f"{asked['host']} can be reached from other machines: that takes tokens; make one by --new-token NAME "
            "--token-file FILE"
        )
    for name, collection in collections.items():
        if collection.settings.roots is None:
            raise UsageError(f"{name!r} was opened without roots: open it with Settings(roots=()) to show no pictures")
    if (uploads := asked["upload_dir"]) is not None and not at_home(uploads).is_dir():
        raise UsageError(f"the folder for uploads {uploads} is not there: make it first")
    served, rate = Served(collections, asked), Rate(asked["rate"])
    agents = _agents(collections, asked) if asked["mcp"] else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(served.begin)
        probing = asyncio.create_task(served.probe(_PROBE_SECONDS))
        try:
            async with nullcontext() if agents is None else agents.running():
                yield
        finally:
            probing.cancel()
            await asyncio.gather(probing, return_exceptions=True)
            await asyncio.to_thread(served.close)

    app = FastAPI(
        title="imgvec", version=__version__, summary="Image search on Milvus.", lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.served = served
    for each in (
        asking, reasons, faces, browsing, pictures, taking, removing, reading, ordering, following, health, front,
    ):  # fmt: skip
        app.include_router(each.router, responses=DOCUMENTED)
    app.router.routes.extend([] if agents is None else agents.routes)
    for kind in (Problem, ImgvecError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, respond)

    def refuse(conn: HTTPConnection, exc: Exception) -> Response:
        problem = rate.refusal(client_of(conn)) or Problem(
            401, "token", str(exc), headers={"WWW-Authenticate": 'Bearer realm="imgvec"'}
        )
        return refused(conn.scope, problem)

    # from the innermost to the outermost; FastAPI's own limit of bodies would stand outside the door
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=asked["max_body"])
    most = 2 * len(served.lanes) * (asked["at_once"] + asked["queue"])
    app.add_middleware(Limits, rate=rate, most=most, deadline=asked["deadline"])
    app.add_middleware(AuthenticationMiddleware, backend=Bearer(tokens), on_error=refuse)
    origins = list(asked["allow_origin"] or ())
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )  # fmt: skip
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(asked, tokens), www_redirect=False)
    app.add_middleware(Door, metrics=served.metrics, origins=origins)
    _describe(app)
    return app


def run(
    collections: Mapping[str, ImageCollection],
    *,
    log_level: str = "INFO",
    on_listening: Callable[[int], None] | None = None,
    **options: Unpack[ServeOptions],
) -> None:
    """Serve until SIGINT or SIGTERM: then requests that are under way end, for at most half a minute.

    Measuring an encoder ends. Jobs stop where they can go on from, and do when the collections are served again. A line
    is logged for each request, unless the `log_level` is above INFO. `on_listening` is told the port once whoever
    connects will be answered. Raises as `create_app`, and `UsageError` where it cannot listen.
    """
    asked = settled(ServeOptions, options)
    app = create_app(collections, **asked)
    sockets = listening(asked["host"], asked["port"])
    logging.config.dictConfig(logs.config(log_level))
    for collection in collections.values():
        collection.handle.connection.link.share()
    if on_listening is not None:
        on_listening(sockets[0].getsockname()[1])
    Server(configured(app, asked)).run(sockets=sockets)


class Server(uvicorn.Server):
    """Tells the application that it is to stop before it waits for requests: streams of events would not end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.served.pause()  # not in a thread: until this is done, connections are still let in
        await super().shutdown(sockets)


def configured(app: FastAPI, asked: ServeOptions) -> uvicorn.Config:
    """What uvicorn is told: logs are this package's own, and nothing is believed of a proxy."""
    return uvicorn.Config(
        app, host=asked["host"], port=asked["port"], lifespan="on", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, ws="none", http=patient(asked["deadline"]),
        timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _agents(collections: Mapping[str, ImageCollection], asked: ServeOptions) -> Agents:
    try:
        from imgvec.serving.agents import Agents
    except ImportError as exc:
        raise MissingExtra("mcp", "agents are answered by the MCP SDK") from exc
    return Agents(collections, asked)


def _hosts(asked: ServeOptions, tokens: Tokens | None) -> list[str]:
    """What `Host` may say. A page whose name was made to lead here (DNS rebinding) says its own, and has no token."""
    allowed = list(asked["allow_host"] or ())
    if tokens is not None and not allowed:
        return ["*"]
    address = asked["host"]
    return [*LOOPBACK, f"[{address}]" if ":" in address else address, *allowed]


def _describe(app: FastAPI) -> None:
    """Put the bodies, which are read by hand so that pictures can be uploaded too, into what OpenAPI says."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schema.setdefault("components", {}).setdefault("schemas", {}).update(bodies.schemas())
        found: dict[str, Any] = app.openapi_schema or {}
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says
