"""A request to Milvus ends with the call that it belongs to: against a gRPC server that does not answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from imgvec import abandoned
from imgvec.abandoned import Abandoned, Call
from imgvec.errors import BackendError, BackendUnavailable
from imgvec.milvus.cancelling import STREAMED, let_cancel
from imgvec.milvus.errors import translated
from imgvec.milvus.repeating import repeated, together

PATIENCE = 30.0


class Silent(milvus_pb2_grpc.MilvusServiceServicer):  # type: ignore[misc]  # untyped
    """Answers no search, unless it is `released`."""

    def __init__(self) -> None:
        self.asked, self.released, self.cancelled = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def Search(self, request: Any, context: Any) -> Any:
        context.add_callback(lambda: None if self.released.is_set() else self.cancelled.release())
        self.asked.release()
        assert self.released.wait(PATIENCE)
        return milvus_pb2.SearchResults()


class Served:
    """The server, a channel to it, and what stands for a client of pymilvus."""

    def __init__(self, options: Mapping[str, int]) -> None:
        self.silent = Silent()
        self.server = grpc.server(ThreadPoolExecutor(8))
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self.silent, self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[*options.items()])
        self.stub = milvus_pb2_grpc.MilvusServiceStub(self.channel)
        self.client: Any = SimpleNamespace(
            _get_connection=lambda: SimpleNamespace(_stub=self.stub, _final_channel=self.channel)
        )

    def search(self, seconds: float = PATIENCE) -> Any:
        with translated("search"):
            return self.stub.Search(milvus_pb2.SearchRequest(), timeout=seconds)


@pytest.fixture(params=[STREAMED, {}], ids=["streamed", "by gRPC's thread"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    made = Served(request.param)
    let_cancel(made.client)
    yield made
    made.silent.released.set()
    made.channel.close()
    made.server.stop(None).wait()


def begun(call: Call, function: Any) -> Future[Any]:
    threads = ThreadPoolExecutor(1)
    try:
        return threads.submit(abandoned.of_call(call, function))
    finally:
        threads.shutdown(wait=False)


@pytest.mark.parametrize(
    ("ask", "requests"),
    [
        (lambda search: search(), 1),
        (lambda search: repeated(search, PATIENCE, hedged=False), 1),
        (lambda search: repeated(search, PATIENCE, hedged=True), 1),
        (lambda search: together(search, 3), 3),
    ],
    ids=["alone", "repeated", "hedged", "together"],
)
def test_whoever_abandons_a_call_ends_its_requests(served: Served, ask: Any, requests: int) -> None:
    call = Call()
    work = begun(call, lambda: ask(served.search))
    for _ in range(requests):
        assert served.silent.asked.acquire(timeout=PATIENCE)
    call.abandon()
    with pytest.raises(Abandoned):
        work.result(PATIENCE)
    for _ in range(requests):  # a hedged one may have begun a second request, which ends as well
        assert served.silent.cancelled.acquire(timeout=PATIENCE)
    with pytest.raises(Abandoned):  # nor does another begin
        begun(call, served.search).result(PATIENCE)


def test_a_pause_between_attempts_ends_too() -> None:
    call, failed = Call(), threading.Event()

    def fail() -> None:
        failed.set()
        raise BackendError("busy", retryable=True)

    work = begun(call, lambda: repeated(fail, 10_000.0, hedged=False))
    assert failed.wait(PATIENCE)
    call.abandon()
    with pytest.raises(Abandoned):
        work.result(PATIENCE)


def test_other_calls_are_as_before(served: Served) -> None:
    call = Call()
    late = begun(call, lambda: served.search(0.2))
    with pytest.raises(BackendUnavailable, match="did not answer in time"):
        late.result(PATIENCE)
    with pytest.raises(BackendUnavailable, match="did not answer in time"):
        served.search(0.2)
    methods = dict(vars(served.stub))
    let_cancel(served.client)
    assert vars(served.stub) == methods  # once
    served.silent.released.set()
    assert begun(call, served.search).result(PATIENCE) == served.search() == milvus_pb2.SearchResults()
    assert served.stub.Search.future(milvus_pb2.SearchRequest()).result(PATIENCE) == milvus_pb2.SearchResults()


def test_a_connection_that_is_closed_meanwhile_is_an_error(served: Served) -> None:
    work = begun(Call(), served.search)
    assert served.silent.asked.acquire(timeout=PATIENCE)
    served.channel.close()
    with pytest.raises(BackendUnavailable, match="Milvus is unreachable"):
        work.result(PATIENCE)
