"""A collection's index through the collection and the command: built, looked at, searched by what was chosen for it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import id_of, numbered

from imgvec import ImageCollection, scratch_copy, set_search_defaults
from imgvec.cli import main
from imgvec.database import list_collections
from imgvec.errors import BackendError, QueryError
from imgvec.milvus import Store, scratch
from imgvec.settings import Settings

ROWS = 1200  # a segment below 1024 rows stays without an index
DEFINITION: dict[str, Any] = {
    "encoder": {"model": "fake"},
    "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"}},
    "index": {
        "cpu": {"type": "IVF_FLAT", "params": {"nlist": 8}, "search": {"nprobe": 3}},
        "gpu": {"type": "GPU_CAGRA"},
    },
}


def vectors(rows: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    made = np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def rows(count: int) -> list[dict[str, Any]]:
    return [numbered(i, album=f"a{i % 3}", **({"place": {"n": i}} if i % 2 else {})) for i in range(count)]


@pytest.fixture
def trip(backend_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    monkeypatch.setenv("IMGVEC_URI", backend_uri)
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=FakeEncoder()) as made:
        made.store.upsert(rows(ROWS), vectors(ROWS))
        yield made


def imgvec(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def test_what_was_chosen_holds_for_the_index_it_was_chosen_for(
    trip: ImageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (trip.search_defaults.params, trip.search_defaults.source) == ({"nprobe": 3}, "definition")
    set_search_defaults(trip, {"nprobe": 5}, about={"recall": 0.95, "by": "é"})
    sent: list[Any] = []
    with ImageCollection.open("trip", uri=trip.uri) as other:
        chosen = other.search_defaults
        assert (chosen.params, chosen.source, chosen.about) == ({"nprobe": 5}, "chosen", {"recall": 0.95, "by": "é"})
        search = other.store.search
        monkeypatch.setattr(other.store, "search", lambda *a, params, **k: sent.append(params) or search(*a, **k))
        other.search(vectors(1)[0])
        other.search(vectors(1)[0], params={"nprobe": 8})
        assert sent == [{"nprobe": 5}, {"nprobe": 8}]
        with pytest.raises(QueryError, match="ef is not a search parameter of IVF_FLAT"):
            set_search_defaults(other, {"ef": 64})

    trip.store.build_index("IVF_FLAT", {"nlist": 16})
    with ImageCollection.open("trip", uri=trip.uri) as other:
        assert (other.search_defaults.params, other.search_defaults.source) == ({"nprobe": 3}, "definition")
        assert other.search_defaults.ignored == (
            "{'nprobe': 5} was chosen for IVF_FLAT nlist=8, but the index is IVF_FLAT nlist=16: tune it again"
        )
        set_search_defaults(other, {})
        assert other.search_defaults.ignored == ""


def test_the_command_builds_and_tells_what_there_is(trip: ImageCollection) -> None:
    set_search_defaults(trip, {"nprobe": 5}, about={"recall": 0.95})
    built = imgvec(
        "index", "build", "-c", "trip", "--type", "HNSW", "-p", "M=8", "-p", "efConstruction=40", "--no-verify"
    )
    assert built.stdout.startswith(f"trip: HNSW M=8 efConstruction=40 built over {ROWS:,} rows in ")
    assert "was chosen for IVF_FLAT nlist=8, but the index is HNSW M=8 efConstruction=40: tune it again" in built.stderr
    told = json.loads(imgvec("index", "status", "-c", "trip", "-o", "json").stdout)
    assert (told["type"], told["params"], told["rows"]) == ("HNSW", {"M": 8, "efConstruction": 40}, ROWS)
    assert (told["indexed_rows"], told["pending_rows"], told["loaded"]) == (told["total_rows"], 0, True)
    assert told["rewritten_rows"] == 0
    assert (told["search"]["params"], told["search"]["from"]) == ({"ef": 64}, "catalogue")
    text = imgvec("index", "status", "-c", "trip").stdout
    assert f"; {ROWS:,} of {ROWS:,} rows indexed\n" in text
    assert "trip: HNSW M=8 efConstruction=40, COSINE\n" in text
    assert "  search: ef=64 (the index type's defaults)\n" in text

    again = imgvec("index", "build", "-c", "trip").stdout  # the definition's own
    assert again.startswith("trip: IVF_FLAT nlist=8 built over")
    assert "  recall@10 of stored rows: " in again
    assert "(new images are harder: `imgvec index tune` measures those)\n" in again
    assert "  no problems found\n" in again
    # chosen for this very index, so it holds again
    assert "  search: nprobe=5 (chosen for this index)\n" in imgvec("index", "status", "-c", "trip").stdout


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("--gpu",), 1, "has no GPU, required by GPU_CAGRA: it accepts AUTOINDEX, FLAT, HNSW"),
    (("--type", "GPU_IVF_FLAT", "-p", "nlist=8"), 1, "has no GPU, required by GPU_IVF_FLAT"),
    (("--type", "HNSW", "-p", "M=many"), 1, "M must be an integer from 2 to 2048, not 'many'"),
    (("--type", "HNSW", "-p", "m=8"), 1, "m is not a build parameter of HNSW (valid: M, efConstruction)"),
    (("--type", "HSNW"), 1, "'HSNW' is not an index type"),
    (("--from", "photos", "--gpu", "--type", "HNSW"), 2, "not both"),
    (("-p", "M=8"), 2, "-p needs --type"),
    (("--type", "HNSW", "-p", "M"), 2, "'M' is not NAME=VALUE"),
]


def test_an_index_that_answers_wrongly_is_said_after_the_build(lite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()) as made:
        made.store.upsert(rows(50), vectors(50))
    search = Store.search
    # the row that fits best is never found
    monkeypatch.setattr(Store, "search", lambda *a, **k: [hits[1:] for hits in search(*a, **k)])
    built = imgvec("--uri", lite_uri, "index", "build", "-c", "trip", status=1)
    assert "built over 50 rows" in built.stdout
    assert "unfindable row" in built.stdout


def test_what_cannot_be_built_is_refused_and_nothing_is_dropped(trip: ImageCollection) -> None:
    for words, status, says in REFUSED:
        refused = imgvec("index", "build", "-c", "trip", *words, status=status)
        assert says in " ".join(refused.stderr.split())
    refused = imgvec("collections", "create", "other", "--definition", "photos", "--gpu", status=1)
    assert "has no GPU, required by GPU_CAGRA" in refused.stderr
    with ImageCollection.open("trip", uri=trip.uri) as other:
        assert (other.store.index.type, dict(other.store.index.params)) == ("IVF_FLAT", {"nlist": 8})
        assert other.store.index_state().loaded
        assert other.count() == ROWS
        assert [each.name for each in list_collections(Settings.load(uri=trip.uri))] == ["trip"]


def test_a_definitions_search_parameters_come_with_its_index(lite_uri: str, tmp_path: Any) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder()):
        pass
    other = {**DEFINITION, "index": {"cpu": {"type": "HNSW", "params": {"M": 4}, "search": {"ef": 33}}}}
    (tmp_path / "other.yaml").write_text(json.dumps(other))
    words = ("index", "build", "-c", "trip", "--from", str(tmp_path / "other.yaml"), "--no-verify")
    imgvec("--uri", lite_uri, *words)
    with ImageCollection.open("trip", uri=lite_uri) as opened:
        assert (opened.store.index.type, opened.search_defaults.params) == ("HNSW", {"ef": 33})


def test_a_scratch_copy_has_all_rows_and_goes_even_on_an_error(trip: ImageCollection) -> None:
    names: list[str] = []

    def try_an_index() -> None:
        with scratch_copy(trip) as copy:
            names.append(copy.name)
            assert copy.count() == ROWS
            ids = [id_of(0), id_of(1), id_of(ROWS - 1)]
            read, original = (store.get(ids, output_fields=["*"], with_vector=True) for store in (copy, trip.store))
            np.testing.assert_equal(read, original)
            copy.build_index("HNSW", {"M": 8, "efConstruction": 40})
            assert [hit.id for hit in copy.search(vectors(1), limit=1)[0]] == [id_of(0)]
            assert trip.store.index.type == "IVF_FLAT"
            assert [each.name for each in list_collections(Settings.load(uri=trip.uri))] == ["trip"]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        try_an_index()
    assert names[0].startswith("trip_scratch_")
    assert not trip.handle.connection.has(names[0])


def test_a_scratch_copy_that_was_left_behind_is_dropped_by_the_next(
    lite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=FakeEncoder())) as trip:
        trip.store.upsert(rows(5), vectors(5))
        monkeypatch.setattr(scratch, "_drop", lambda *_: None)  # as when the process is killed
        with scratch_copy(trip) as first:
            pass
        monkeypatch.undo()
        with scratch_copy(trip) as second, scratch_copy(trip) as third:
            assert not trip.handle.connection.has(first.name)
            assert trip.handle.connection.has(second.name)
            assert trip.handle.connection.has(third.name)
        assert trip.handle.connection.collections() == ["trip"]


@pytest.mark.parametrize(
    ("made_by", "left"),
    [
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, True),  # no such process: above the kernel's most
        ({"host": socket.gethostname(), "pid": os.getppid()}, False),
        ({"host": socket.gethostname(), "pid": os.getpid()}, True),  # this process's own are known by name
        ({"host": "elsewhere", "pid": 1}, False),
        ({"host": "elsewhere", "pid": 1, "made_at": time.time() - 90_000}, True),
        ({"host": "elsewhere", "pid": 1, "made_at": 0, "scratch_of": "another"}, False),
    ],
)
def test_whose_process_may_live_is_not_left_behind(made_by: dict[str, Any], left: bool) -> None:
    class Server:
        class capabilities:
            kind = "server"

        def description(self, name: str) -> str:
            if name == "gone":
                raise BackendError("gone")
            return json.dumps({"scratch_of": "trip", "made_at": time.time(), **made_by})

    assert scratch._is_left(Server(), "trip_scratch_01234567", "trip") == left  # type: ignore[arg-type]
    assert not scratch._is_left(Server(), "gone", "trip")  # type: ignore[arg-type]
