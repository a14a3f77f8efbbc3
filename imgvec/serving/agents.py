"""The same collections for agents: a server of the Model Context Protocol each, at /mcp/NAME; an only one also at /mcp.

Requests pass the same door, tokens and limits as all others, and are answered without a session. The extra `mcp` is
needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgvec.adapters.mcp.server import make_server
from imgvec.aio import AsyncImageCollection
from imgvec.collection import ImageCollection
from imgvec.serving.lanes import while_awaited
from imgvec.serving.options import ServeOptions

PATH = "/mcp"


class Agents:
    """What answers agents; it runs while the application does, and only reads."""

    def __init__(self, collections: Mapping[str, ImageCollection], options: ServeOptions) -> None:
        self._photos = {
            name: AsyncImageCollection(collection, at_once=options["at_once"])
            for name, collection in collections.items()
        }
        self._servers = {
            name: make_server(photos, deadline=options["deadline"], strangers=True)
            for name, photos in self._photos.items()
        }
        self.routes: list[BaseRoute] = []
        for name, server in self._servers.items():
            app = server.streamable_http_app(
                streamable_http_path=f"{PATH}/{name}",
                stateless_http=True,
                json_response=True,
                max_request_body_size=options["max_body"],
                # which hosts and origins may ask was looked at by the door
                transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            )
            [endpoint] = [each.endpoint for each in app.routes if isinstance(each, Route)]
            paths = [f"{PATH}/{name}", *([PATH] if len(collections) == 1 else [])]
            self.routes += [Route(path, _Awaited(endpoint)) for path in paths]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answers within the block; then what is under way ends, and the collections are closed."""
        async with AsyncExitStack() as stack:
            for photos in self._photos.values():
                stack.push_async_callback(photos.close)
            for server in self._servers.values():
                await stack.enter_async_context(server.session_manager.run())
            yield


class _Awaited:
    """An application whose work ends once nobody waits for it: the SDK does not look, where it answers in JSON."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        talk = _Talk(receive, send)
        await while_awaited(self._app(scope, talk.receive, talk.send), talk.left)


class _Talk:
    """A request that an application reads, while somebody else waits for its client to go."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._read, self._gone = asyncio.Event(), asyncio.Event()
        self._answering = False

    async def receive(self) -> Message:
        """For the application: the body, and then that the client has gone."""
        if self._read.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone.set()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._read.set()
        return message

    async def send(self, message: Message) -> None:
        self._answering = True
        await self._send(message)

    async def left(self) -> Message:
        """That the client has gone before there was an answer for it."""
        await self._read.wait()
        while not self._gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._gone.set()
        if self._answering:  # it has gone with its answer, or the application sees to what follows
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}
