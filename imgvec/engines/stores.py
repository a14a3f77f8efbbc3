"""The driver's store, for workers that cannot open it: one process has a Milvus Lite file, or a folder of Parquet.

worker ── call ──▶ exchange (an actor) ──▶ a thread of the driver ──▶ store
       ◀─ answer ──                    ◀──
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from imgvec.errors import ImgvecError
from imgvec.ingest import Journal
from imgvec.store import Writes
from imgvec.vectors import Vectors

Request = tuple[int, str, tuple[Any, ...], dict[str, Any]]


class Exchange:
    """Where workers put their calls, and the driver its answers; an asynchronous actor."""

    def __init__(self) -> None:
        self._calls: asyncio.Queue[Request | None] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._number = 0

    async def call(self, method: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """A worker's call: waits for the driver's answer, a value or an error."""
        self._number += 1
        number = self._number
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._calls.put((number, method, args, options))
        try:
            return await answer
        finally:
            del self._answers[number]

    async def next_call(self) -> Request | None:
        """The driver waits here; None says that there will be no more."""
        return await self._calls.get()

    async def answer(self, number: int, value: Any) -> None:
        if number in self._answers:
            self._answers[number].set_result(value)

    async def close(self) -> None:
        await self._calls.put(None)


class _Drivers:
    """Something of the driver's; picklable, and made in a worker by calling it."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    def __call__(self) -> Self:
        return self

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        import ray

        answer = ray.get(self._exchange.call.remote(method, args, options))
        if isinstance(answer, ImgvecError):
            raise answer
        return answer


class DriversStore(_Drivers):
    """A `Writes` whose calls the driver makes."""

    def get(
        self, ids: Sequence[str], *, output_fields: Sequence[str] = (), with_vector: bool = False
    ) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self._call(
            "get", list(ids), output_fields=list(output_fields), with_vector=with_vector
        )
        return found

    def upsert(
        self, rows: Sequence[Mapping[str, Any]], vectors: Vectors, more: Mapping[str, Vectors] | None = None
    ) -> int:
        return int(self._call("upsert", list(rows), vectors, more))

    def discard(self, ids: Sequence[str]) -> None:
        self._call("discard", list(ids))


class DriversNotes(_Drivers):
    """The driver's `imgvec.ingest.Journal`: makes its calls there."""

    def get(self, ids: Sequence[str], *, output_fields: Sequence[str] = ("*",)) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self._call("get", list(ids), output_fields=list(output_fields))
        return found

    def upsert(self, rows: Sequence[Mapping[str, Any]]) -> int:
        return int(self._call("upsert", list(rows)))


@contextmanager
def served(store: Writes | Journal) -> Iterator[Any]:
    """What makes calls to `store` for the workers, while the context is open; one at a time."""
    import ray

    exchange: Any = ray.remote(num_cpus=0)(Exchange).remote()

    def serve() -> None:
        while (request := ray.get(exchange.next_call.remote())) is not None:
            number, method, args, options = request
            try:
                value = getattr(store, method)(*args, **options)
            except ImgvecError as exc:
                value = exc
            exchange.answer.remote(number, value)

    thread = threading.Thread(target=serve, name="imgvec-serve", daemon=True)
    thread.start()
    try:
        yield exchange
    finally:
        ray.get(exchange.close.remote())
        thread.join()
        ray.kill(exchange)
