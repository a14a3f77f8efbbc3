"""What requests are behind on their way from pymilvus: calls that are abandoned end theirs, strong pages are strong.

A call that is abandoned ends its request to Milvus at once, instead of holding a thread until it is answered.

pymilvus waits inside gRPC, where nothing can reach it. So each method of its stub is put behind one that, whenever the
thread works at a `Call`, sends the same request as one whose answer is a stream, of one message: that can be cancelled
from any thread, and Milvus is told. On the wire the two are the same. A future could be cancelled as well, but gRPC
serves those by a thread of its own, which it starts for each call that comes alone: an awaited search took 0.37 to
0.56 ms more of a processor than a plain one by it, and 0.23 to 0.29 ms more where, by `STREAMED`, the thread that waits
reads the stream itself (four runs each, Milvus 2.3.5, a busy machine).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import grpc  # type: ignore[import-untyped]  # it comes without types
import grpc.experimental  # type: ignore[import-untyped]  # it comes without types
from pymilvus import MilvusClient
from pymilvus.grpc_gen import milvus_pb2_grpc

from imgvec import abandoned
from imgvec.milvus.strong_pages import StrongPages

STREAMED = {grpc.experimental.ChannelOptions.SingleThreadedUnaryStream: 1}
"""The option of a channel; without it streams are read by gRPC's thread, too."""

_lock = threading.Lock()


class _Cancellable:
    """A method of a stub; `stream` is the same one, whose answer is a stream."""

    def __init__(self, method: Any, stream: Any) -> None:
        self._method, self._stream = method, stream

    def __call__(self, request: Any, **options: Any) -> Any:
        if (call := abandoned.current()) is None:
            return self._method(request, **options)
        call.check()
        sent = self._stream(request, **options)
        with call.ended_by(sent.cancel):
            return _only(sent)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)


def _only(sent: Iterable[Any]) -> Any:
    """The one message; read to the end, where the status comes that says whether it counts."""
    answer = None
    for message in sent:
        answer = message
    return answer


class _Streams:
    """A channel on which each method that gives one message gives a stream."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        return self._channel.unary_stream(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def let_cancel(client: MilvusClient) -> None:
    """Have the client's requests end with the call that they belong to; costs nothing where that is so already."""
    handler = client._get_connection()  # pymilvus has no other way in
    stub = handler._stub
    if isinstance(stub.Search, _Cancellable):
        return
    with _lock:
        streams = vars(milvus_pb2_grpc.MilvusServiceStub(_Streams(handler._final_channel)))
        pages = _strong_pages(stub)
        if not isinstance(pages.query, _Cancellable):
            pages.query = _Cancellable(pages.query, streams["Query"])
        methods = {
            name: method for name, method in vars(stub).items() if isinstance(method, grpc.UnaryUnaryMultiCallable)
        }
        # `Search` last: it says that all are
        for name in sorted(methods, key="Search".__eq__):
            setattr(stub, name, _Cancellable(methods[name], streams[name]))


def let_pages_be_strong(client: MilvusClient) -> None:
    """Have the client send `STRONG` pages as such; costs nothing where that is so already."""
    stub = client._get_connection()._stub
    if not isinstance(stub.Query, StrongPages):
        with _lock:
            _strong_pages(stub)


def _strong_pages(stub: Any) -> StrongPages:
    if not isinstance(stub.Query, StrongPages):
        stub.Query = StrongPages(stub.Query)
    pages: StrongPages = stub.Query
    return pages
