"""How much one client, and all of them together, may ask for; and how long a body may take to come."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgvec.serving.problems import Problem, busy
from imgvec.serving.tokens import OPEN

_MOST_CLIENTS = 10_000
"""Whose rate is remembered: of more, those that were not seen for the longest time are forgotten."""


class Rate:
    """A bucket of tokens for each client: `rate` come in a second, up to twice as many; 0 lets everything pass."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, max(1.0, 2 * rate), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one, and 0; or how many seconds there are until there is one."""
        if not self._rate:
            return 0.0
        now = self._clock()
        left, then = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        self._left[client] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) / self._rate

    def refusal(self, client: str) -> Problem | None:
        if not (wait := self.wait(client)):
            return None
        return busy("rate", "too many requests in a short time", 429, math.ceil(wait))


def client_of(conn: HTTPConnection) -> str:
    """Whose rate it is: the token's by name, or else the address's."""
    name = conn.user.display_name if "user" in conn.scope and conn.user.is_authenticated else ""
    return f"token {name}" if name else f"address {conn.client.host if conn.client else ''}"


class Limits:
    """Refuses what is too much before any of its body is read. `most` requests are under way at once."""

    def __init__(self, app: ASGIApp, *, rate: Rate, most: int, deadline: float) -> None:
        self._app, self._rate, self._most, self._deadline = app, rate, most, deadline
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        problem = self._rate.refusal(client_of(HTTPConnection(scope)))
        if problem is None and self._under_way >= self._most:
            problem = busy("overload", "too many requests are under way: ask again later")
        if problem is not None:
            await refused(scope, problem)(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, _Body(receive, self._deadline).receive, send)
        finally:
            self._under_way -= 1


def refused(scope: Scope, problem: Problem) -> Response:
    """The answer of a middleware, noted for the log."""
    scope["state"]["problem"] = problem.kind
    return problem.response(scope["state"]["request_id"])


class _Body:
    """A body that has to be there whole within so many seconds."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive, self._until, self._whole = receive, asyncio.get_running_loop().time() + seconds, False

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request did not come in time", {"Connection": "close"}) from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message
