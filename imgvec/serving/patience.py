"""Clients that hold a connection and do nothing with it: uvicorn waits for them without end, and here they are let go.

What comes between, the body and the work, is bounded by `limits` and `lanes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

_HEAD_SECONDS = 10.0
"""Longest time from a connection, or the first byte of its next request, to the end of that one's head."""


def patient(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, whose connections are closed where a head does not come in time, or an answer is not read.

    Somebody who takes nothing of an answer for so many `seconds` does not read it.
    """
    head = min(seconds, _HEAD_SECONDS)

    class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, whichever is installed
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._for_head = _Timer(self._end)
            self._for_reader = _Timer(self._end)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._for_head.start(head)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:  # no request is under way
                self._for_head.start(head)
            else:
                self._for_head.stop()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._for_reader.start(seconds)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._for_reader.stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._for_head.stop()
            self._for_reader.stop()
            super().connection_lost(exc)

        def _end(self) -> None:
            self.transport.abort()

    return Patient


class _Timer:
    """Calls once so many seconds after it was first started, unless it is stopped before."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(seconds, self._call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
