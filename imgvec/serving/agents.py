"""The same collections for agents: a server of the Model Context Protocol each, at /mcp/NAME; an only one also at /mcp.

Requests pass the same door, tokens and limits as all others, and are answered without a session. The extra `mcp` is
needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import BaseRoute, Route

from imgvec.adapters.mcp.server import make_server
from imgvec.aio import AsyncImageCollection
from imgvec.collection import ImageCollection
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
            self.routes += app.routes
            if len(collections) == 1:
                self.routes += [Route(PATH, each.endpoint) for each in app.routes if isinstance(each, Route)]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answers within the block; then what is under way ends, and the collections are closed."""
        async with AsyncExitStack() as stack:
            for photos in self._photos.values():
                stack.push_async_callback(photos.close)
            for server in self._servers.values():
                await stack.enter_async_context(server.session_manager.run())
            yield
