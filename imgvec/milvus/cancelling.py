"""Lets a call that is abandoned end its request to Milvus at once, instead of holding a thread until it is answered.

pymilvus waits inside gRPC, where nothing can reach it. So each method of its stub is put behind one that sends the same
request as a future whenever the thread works at a `Call`: that can be cancelled from any thread, and Milvus is told.
"""

from __future__ import annotations

import threading
from typing import Any

import grpc  # type: ignore[import-untyped]  # it comes without types
from pymilvus import MilvusClient

from imgvec import abandoned

_lock = threading.Lock()


class _Cancellable:
    """A method of a stub."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def __call__(self, request: Any, **options: Any) -> Any:
        if (call := abandoned.current()) is None:
            return self._method(request, **options)
        call.check()
        sent = self._method.future(request, **options)
        with call.ended_by(sent.cancel):
            try:
                return sent.result()
            except grpc.FutureCancelledError:  # a closed connection says so, too
                raise sent from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)


def let_cancel(client: MilvusClient) -> None:
    """Have the client's requests end with the call that they belong to; costs nothing where that is so already."""
    stub = client._get_connection()._stub  # pymilvus has no other way in
    if isinstance(stub.Search, _Cancellable):
        return
    with _lock:
        # `Search` last: it says that all are
        methods = {name: method for name, method in vars(stub).items() if not isinstance(method, _Cancellable)}
        for name in sorted(methods, key="Search".__eq__):
            setattr(stub, name, _Cancellable(methods[name]))
