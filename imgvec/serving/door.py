"""What every request and every answer passes first and last: an id, where a page comes from, headers, the log.

A HEAD is answered as the GET would be, without the body (RFC 9110, section 9.3.2).
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgvec.serving.logs import FIELDS, described, log
from imgvec.serving.metrics import Metrics
from imgvec.serving.problems import Problem, kind_of_status, problem_of

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer. Nothing that is served here runs, is framed, or is taken for another type than it says."""
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNROUTED = "unknown"
_STREAMS = re.compile(r"/mcp(/.*)?|/v1/jobs/[^/]*/events")
"""Where a GET opens a stream: there is no HEAD of one."""


class Door:
    """Gives each request an id, refuses pages of strangers, and logs and counts what became of it.

    A page is a stranger's if it says an `Origin` that is neither this server's own nor allowed, or if the browser says
    so in `Sec-Fetch-Site`: also where nothing but an address is asked for, as by `<img src>`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, origins: Collection[str]) -> None:
        self._app, self._metrics, self._origins = app, metrics, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["state"] = {**scope.get("state", {}), "request_id": given if _WORD.fullmatch(given) else uuid.uuid4().hex}
        answer, asked = _Answer(send, scope), scope["method"]
        if asked == "HEAD" and not _STREAMS.fullmatch(scope["path"]):
            scope = {**scope, "method": "GET"}  # FastAPI's routes have none of their own; _Answer leaves the body out
        try:
            if (problem := None if _is_visit(scope, headers) else self._stranger(headers)) is not None:
                await answer.refuse(problem, receive)
            else:
                await self._app(scope, receive, answer.send)
        except Exception as exc:  # noqa: BLE001  the last place that can answer
            scope["state"]["failure"] = exc
            if answer.status is None:
                await answer.refuse(problem_of(exc), receive)
        finally:
            self._tell({**scope, "method": asked}, answer, time.perf_counter() - began)

    def _stranger(self, headers: Headers) -> Problem | None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None:
            own = origin.partition("://")[2]
            if origin not in self._origins and (own != host or not host):
                return Problem(403, "origin", "pages of this origin may not ask")
        elif headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return Problem(403, "origin", "pages of other origins may not ask")
        return None

    def _tell(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        state = scope["state"]
        route = getattr(scope.get("route"), "path_format", _UNROUTED)
        status = answer.status if answer.status is not None else 499
        reason = state.get("problem") or (kind_of_status(status) if status >= 400 and status != 499 else None)
        self._metrics.request(_method(scope["method"]), route, status, seconds, reason)
        failure = state.get("failure")
        fields: dict[str, Any] = {
            "request_id": state["request_id"],
            "method": _method(scope["method"]),
            "route": route,
            "status": status,
            "milliseconds": round(1000 * seconds, 2),
            "bytes": answer.bytes,
            "client": (scope.get("client") or ("",))[0],
            "user": getattr(scope.get("user"), "display_name", ""),
            **({"reason": reason} if reason else {}),
            **(described(failure) if failure is not None else {}),
        }
        level = logging.ERROR if failure is not None and status >= 500 else logging.INFO
        log.log(level, "request", extra={FIELDS: fields})


class _Answer:
    """What is sent, with the headers that all answers have; an error in plain text becomes a problem document."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self._scope, self._head = send, scope, scope["method"] == "HEAD"
        self.status: int | None = None
        self.bytes = 0
        self._text: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            plain = headers.get("content-type", "").startswith("text/plain")
            if message["status"] >= 400 and plain:
                self._text = message
                return
            self._start(message["status"], headers)
        elif self._text is not None and message["type"] == "http.response.body":
            if not message.get("more_body", False):
                status, self._text = self._text["status"], None
                # a library's own words are few and its own; they say nothing of this machine
                said = message.get("body", b"").decode("latin-1")[:200]
                await self.refuse(Problem(status, _KINDS.get(said, kind_of_status(status)), said), _nothing)
            return
        elif self._head:
            message = {**message, "body": b""}
        self.bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, problem: Problem, receive: Receive) -> None:
        state = self._scope["state"]
        state["problem"] = problem.kind
        response = problem.response(state["request_id"])
        await response(self._scope, receive, self.send)

    def _start(self, status: int, headers: MutableHeaders) -> None:
        self.status = status
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
        headers["X-Request-ID"] = self._scope["state"]["request_id"]


_KINDS = {"Invalid host header": "host"}


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the page, which may stand anywhere: a page of its own opens, with no answer
    that the other one could read, and no frame shows it."""
    kind = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
    return scope["path"] == "/" and scope["method"] == "GET" and kind == ("navigate", "document")


def _method(name: str) -> str:
    """Of those that are known: any other word is a stranger's, and would be a label of its own."""
    return name if name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
