"""What waits for the end of an import, while other clients do the same, or build an index themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from imgvec.errors import BackendError
from imgvec.milvus import compaction, deferred
from imgvec.milvus.deferred import build_deferred, defer
from imgvec.stored import IndexInfo

HNSW, FLAT, IVF = IndexInfo("HNSW", {"M": 8}), IndexInfo("FLAT", {}), IndexInfo("IVF_FLAT", {"nlist": 64})


@dataclass
class Server:
    """What all clients of a collection share."""

    index: IndexInfo = HNSW
    remembered: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0
    built: list[str] = field(default_factory=list)


class Client:
    """A store of that collection, which knows of others' changes what it knew when it last looked."""

    name, capabilities = "photos", SimpleNamespace(kind="server")

    def __init__(self, server: Server, away: Callable[[], None] = lambda: None) -> None:
        self._server, self._away = server, away
        self._known, self.remembered = server.index, server.remembered

    @property
    def vectors(self) -> Mapping[str, Any]:
        return {"vector": SimpleNamespace(index=self._known)}

    def vector(self, name: str) -> Any:
        return self.vectors[name]

    def count(self) -> int:
        return self._server.rows

    def refresh(self) -> None:
        self._away()
        self._known, self.remembered = self._server.index, self._server.remembered

    def remember(self, key: str, value: Any) -> None:
        kept = {name: known for name, known in self.remembered.items() if name != key}
        self.remembered = self._server.remembered = kept if value is None else {**kept, key: value}

    def build_index(self, type: str, params: Mapping[str, Any], **_options: Any) -> float:
        self._known = self._server.index = IndexInfo(type, dict(params))
        self._server.built.append(type)
        return 1.0


def client(server: Server) -> Any:
    """What stands for a `Store`."""
    return Client(server)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(compaction, "FROM_ROWS", 10)
    return Server()


def test_a_client_that_was_there_before_builds_what_a_killed_one_left(server: Server) -> None:
    long_lived, killed = client(server), client(server)
    defer(killed, 10)
    server.rows = 5
    defer(long_lived, 10)
    assert (server.index, build_deferred(long_lived)) == (FLAT, 1.0)
    assert (server.index, server.remembered) == (HNSW, {})
    assert build_deferred(killed) == 0
    assert server.built == ["FLAT", "HNSW"]


def test_an_index_that_somebody_builds_meanwhile_stays(server: Server) -> None:
    importing, other = client(server), client(server)
    defer(importing, 10)
    other.refresh()
    other.build_index(IVF.type, IVF.params)
    deferred.forget(other, "vector")
    assert build_deferred(importing) == 0
    assert server.index == IVF


def test_what_waits_is_the_index_of_now(server: Server) -> None:
    importing = client(server)
    server.index = IVF
    defer(importing, 10)
    assert (server.index, build_deferred(importing), server.index) == (FLAT, 1.0, IVF)


def test_where_nobody_can_look_what_was_known_is_built(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "_MOMENT_SECONDS", 0.0)

    def away() -> None:
        raise BackendError("no index at the moment", retryable=True)

    importing = Client(server, away)
    defer(importing, 10)
    assert (server.index, build_deferred(importing), server.index) == (FLAT, 1.0, HNSW)
