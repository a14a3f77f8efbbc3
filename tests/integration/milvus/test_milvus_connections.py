"""Collections of a connection, and connections that fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from milvus_rows import FIELDS, definition, full_row, unit_vectors
from milvus_server import MilvusServer, why_unavailable
from pydantic import SecretStr
from pymilvus.client.cache import GlobalCache
from rows import row

from imgvec.errors import (
    BackendError,
    BackendUnavailable,
    CollectionExists,
    CollectionNotFound,
    UnsupportedByBackend,
    WriteFailed,
)
from imgvec.milvus import Connection, Store, connect
from imgvec.milvus.vector_index import VectorIndex

SECRET = "geheim-7"


def test_a_reopened_collection_is_as_it_was_made(backend: Connection, make: Callable[..., Store], uri: str) -> None:
    index = {"cpu": {"type": "HNSW", "params": {"M": 12, "efConstruction": 77}}}
    about = '{"imgvec": 1, "about": "é漢\\n\\"quoted\\" 😀"}'
    made = make(definition(fields=FIELDS, index=index), dim=6, description=about)
    with connect(uri) as other:
        # what pymilvus remembers of a collection that had the name before
        GlobalCache.schema.set(other.link.client._handler.server_address, "", made.name, {"fields": []})
        opened = other.open(made.name)
        assert opened.upsert([full_row("a")], unit_vectors(1, 6)) == 1
        assert opened.count() == 1
        assert made.name in other.collections()
        assert other.has(made.name)
        with pytest.raises(CollectionExists):
            other.create(made.name, definition(), dim=8, description="")
        with pytest.raises(CollectionNotFound, match=r"did you mean '\w+'"):
            other.open(made.name + "x")
        for name in "name description dim vector_type metric_type index fields dynamic consistency_level".split():
            assert getattr(opened, name) == getattr(made, name), name
    assert (made.description, made.dim, made.metric_type) == (about, 6, "COSINE")
    assert (made.index.type, dict(made.index.params)) == ("HNSW", {"M": 12, "efConstruction": 77})
    assert made.fields["album"].max_length == 8
    assert (made.fields["tags"].type, made.fields["tags"].element) == ("ARRAY", "VARCHAR")
    assert backend.description(made.name) == about
    # ARRAY has no scalar index on either, so AUTO builds none
    text, number = {"lite": ("INVERTED", "INVERTED"), "server": ("Trie", "STL_SORT")}[backend.capabilities.kind]
    assert {
        each: backend.link.client.describe_index(made.name, each)["index_type"]
        for each in backend.link.client.list_indexes(made.name)
    } == {"vector": "HNSW", "album": text, "rank": number}


def test_what_the_backend_lacks_is_refused_before_anything_is_made(backend: Connection) -> None:
    lacks = "IVF_PQ" if backend.capabilities.kind == "lite" else "HNSW_SQ"
    params = {"m": 4} if lacks == "IVF_PQ" else {}
    with pytest.raises(UnsupportedByBackend, match=f"no index type {lacks}"):
        backend.create("refused", definition(index={"cpu": {"type": lacks, "params": params}}), dim=8, description="")
    assert not backend.has("refused")


def test_nulls_are_kept_or_refused(backend: Connection, make: Callable[..., Store]) -> None:
    nullable = definition(fields={"rank": {"type": "INT64", "nullable": True}})
    if not backend.capabilities.nullable:
        with pytest.raises(UnsupportedByBackend, match="no nullable fields: give rank a default"):
            make(nullable)
        return
    store = make(nullable)
    store.upsert([row("a", rank=None), row("b", rank=3)], unit_vectors(2, 8))
    assert store.get(["a", "b"], output_fields=["rank"]) == {"a": {"rank": None}, "b": {"rank": 3}}


def test_names_and_collections(backend: Connection) -> None:
    with pytest.raises(CollectionNotFound, match="no collection 'zzzzzzzz' at"):
        backend.drop("zzzzzzzz")
    for bad in ("", "1a", "a-b", "a b", "é", "a" * 256, "a\n"):
        for call in (backend.open, backend.has, backend.drop):
            with pytest.raises(BackendError, match="is not a valid collection name"):
                call(bad)


def test_a_foreign_collection_is_not_opened(backend: Connection) -> None:
    backend.link.client.create_collection("foreign", dimension=4)
    try:
        with pytest.raises(BackendError, match="was not made by imgvec"):
            backend.open("foreign")
    finally:
        backend.drop("foreign")


def test_a_creation_that_fails_half_way_leaves_nothing(backend: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymilvus.exceptions import MilvusException

    def fail(*_: Any, **__: Any) -> None:
        raise MilvusException(code=1100, message="index refused")

    monkeypatch.setattr(backend.link.client, "create_index", fail)
    with pytest.raises(BackendError, match="index refused"):
        backend.create("half_way", definition(), dim=8, description="")
    assert not backend.has("half_way")


def test_a_collection_that_was_dropped_elsewhere_is_missed(backend: Connection, uri: str) -> None:
    store = backend.create("dropped", definition(), dim=8, description="")
    with connect(uri) as other:
        other.drop("dropped")
    with pytest.raises(CollectionNotFound):
        store.get(["a"])
    with pytest.raises(CollectionNotFound):
        store.upsert([row("a")], unit_vectors(1, 8))


def test_a_database_that_is_not_there(uri: str) -> None:
    with pytest.raises(BackendUnavailable, match="has no database 'nowhere': create it"):
        connect(uri, db_name="nowhere")


def test_a_closed_connection_says_so(uri: str) -> None:
    connection = connect(uri)
    assert "Milvus" in repr(connection)
    connection.close()
    connection.close()
    with pytest.raises(BackendUnavailable, match="is closed"):
        connection.collections()


class TestLite:
    """Milvus Lite files."""

    def test_a_file_closed_can_be_opened_by_another_process(self, lite_uri: str) -> None:
        with connect(lite_uri) as first, connect(lite_uri):
            first.create("c", definition(), dim=8, description="kept").upsert([row("a")], unit_vectors(1, 8))
            assert f"process {os.getpid()} (" in (said := _elsewhere(lite_uri))
            assert "has it open; stop that process" in said
        assert _elsewhere(lite_uri) == "['c']"

    def test_two_connections_share_a_file_until_the_last_is_closed(self, lite_uri: str) -> None:
        first, second = connect(lite_uri), connect(str(Path(lite_uri).parent / "." / Path(lite_uri).name))
        first.create("c", definition(), dim=8, description="")
        first.close()
        assert second.collections() == ["c"]
        second.close()

    def test_a_file_that_someone_else_here_has_open_stays_open(self, lite_uri: str) -> None:
        from milvus_lite.server_manager import server_manager_instance
        from pymilvus import MilvusClient

        theirs = MilvusClient(lite_uri)
        try:
            connect(lite_uri).close()
            assert theirs.list_collections() == []
        finally:
            theirs.close()
            server_manager_instance.release_server(lite_uri)

    def test_a_symbolic_link_is_followed(self, tmp_path: Path) -> None:
        link = tmp_path / "link.db"
        link.symlink_to(tmp_path / "target.db")
        connect(str(link)).close()
        assert (tmp_path / "target.db").is_dir()

    @pytest.mark.parametrize(
        ("content", "says"), [(b"SQLite format 3\0...", "Milvus Lite 2.x"), (b"hello", "not a Milvus Lite database")]
    )
    def test_a_file_that_is_no_database(self, tmp_path: Path, content: bytes, says: str) -> None:
        path = tmp_path / "old.db"
        path.write_bytes(content)
        with pytest.raises(BackendUnavailable, match=says):
            connect(str(path))
        assert path.read_bytes() == content

    def test_a_folder_that_is_missing_or_not_writable(self, tmp_path: Path) -> None:
        with pytest.raises(BackendUnavailable, match="does not exist, create it first"):
            connect(str(tmp_path / "none" / "x.db"))
        # /sys is not even root's to write to
        folder = tmp_path if os.geteuid() else Path("/sys")
        if os.geteuid():
            folder.chmod(0o500)
        with pytest.raises(BackendUnavailable, match="no permission to write there"):
            connect(str(folder / "x.db"))

    def test_a_proxy_of_the_environment_is_not_asked(self, lite_uri: str) -> None:
        assert _elsewhere(lite_uri, http_proxy="http://127.0.0.1:9") == "[]"


def _elsewhere(uri: str, **environment: str) -> str:
    """What another process says that opens the file."""
    code = (
        "import sys\nfrom imgvec.milvus import connect\n"
        "try:\n    with connect(sys.argv[1], timeout=5) as c: print(c.collections())\n"
        "except Exception as exc: print(exc)"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        env={**os.environ, "PYTHONPATH": root, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server of this module's own, which needs a login and may be paused and killed."""
    if reason := why_unavailable():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMON_SECURITY_AUTHORIZATIONENABLED", "true")
        with MilvusServer(tmp_path_factory.mktemp("guarded") / "milvus") as server:
            yield server


@pytest.mark.server
class TestServer:
    """A server that refuses, freezes and dies."""

    LOGIN = SecretStr("root:Milvus")

    def test_logins(self, guarded: MilvusServer) -> None:
        assert connect(guarded.uri, token=self.LOGIN).collections() == []
        assert connect(guarded.uri.replace("//", "//root:Milvus@")).uri == guarded.uri
        with pytest.raises(BackendUnavailable, match="needs a login"):
            connect(guarded.uri)
        for uri, token in (
            (guarded.uri, SecretStr(f"root:{SECRET}")),
            (guarded.uri.replace("//", f"//root:{SECRET}@"), None),
        ):
            with pytest.raises(BackendUnavailable, match="rejects the token") as raised:
                connect(uri, token=token)
            assert SECRET not in "".join(traceback.format_exception(raised.value))
        with pytest.raises(BackendUnavailable, match="has no database 'nowhere'"):
            connect(guarded.uri, token=self.LOGIN, db_name="nowhere")

    def test_a_server_that_freezes_and_dies(self, guarded: MilvusServer) -> None:
        patient = connect(guarded.uri, token=self.LOGIN)
        rows, vectors = [full_row(f"{number}") for number in range(10)], unit_vectors(10, 8)
        patient.create("c", definition(fields=FIELDS), dim=8, description="").upsert(rows, vectors)
        # in all a pause must be shorter than the server's lease of 10 s
        connection = connect(guarded.uri, token=self.LOGIN, timeout=1, retry_seconds=0)
        store = connection.open("c")
        calls: list[Callable[[], object]] = [
            lambda: connect(guarded.uri, token=self.LOGIN, timeout=1),
            lambda: store.search(vectors[:1], limit=1),
            lambda: store.get(["1"]),
            lambda: store.upsert(rows, vectors),
            connection.collections,
        ]
        guarded.pause()
        for call in calls:
            _fails_in_time(call, r"did not answer (in time|within)")
        guarded.resume()
        assert patient.open("c").count() == 10
        guarded.kill()
        for call in calls:
            _fails_in_time(call, "no Milvus server answers|unreachable|did not answer within")
        connection.close()
        patient.close()


def _fails_in_time(call: Callable[[], object], says: str) -> None:
    start = time.monotonic()
    with pytest.raises((BackendUnavailable, WriteFailed), match=says) as raised:
        call()
    assert time.monotonic() - start < 4
    assert raised.value.retryable


@pytest.mark.parametrize("rows", [3000])
def test_waiting_for_the_index_waits_for_every_row(
    make: Callable[..., Store], backend: Connection, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = {"cpu": {"type": "HNSW", "params": {"M": 4, "efConstruction": 32}}}
    store = make(definition(index=index))
    vectors = unit_vectors(rows, 8)
    store.upsert([row(f"{number}") for number in range(rows)], vectors)
    store.wait_until_indexed(60)
    real = store.index_state()
    with monkeypatch.context() as patch:  # a quick server has built it before it could be asked
        patch.setattr(VectorIndex, "state", lambda _: replace(real, indexed_rows=rows - 1, pending_rows=1))
        with pytest.raises(BackendError, match=f"covers only {rows - 1:,} of {rows:,} rows after 0 s") as raised:
            store.wait_until_indexed(0)
    assert raised.value.retryable
    state = backend.link.client.describe_index(store.name, "vector")
    assert (state["total_rows"], state["indexed_rows"], state["pending_index_rows"]) == (rows, rows, 0)
    found = store.search(vectors[:20], limit=1)
    assert [hits[0].id for hits in found] == [str(number) for number in range(20)]
    assert np.allclose([hits[0].score for hits in found], 1, atol=1e-5)
