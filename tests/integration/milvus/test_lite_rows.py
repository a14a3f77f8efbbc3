"""Rows that are taken from Milvus Lite's columns are those that Milvus Lite gives itself, when it is asked for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from milvus_rows import FIELDS, definition, full_row, unit_vectors
from rows import id_of

from imgvec.abandoned import Abandoned, Call, of_call
from imgvec.errors import BackendUnavailable, CollectionNotFound, CollectionReplaced, FilterError
from imgvec.milvus import Connection, Store, connect, lite_rows
from imgvec.milvus.lite_rows import LiteRows

DIM = 4
MORE: dict[str, Any] = {
    **{name: each for name, each in FIELDS.items() if name != "exif"},
    "price": {"type": "FLOAT", "nullable": True},
    "liked": {"type": "BOOL", "nullable": True},
    "small": {"type": "INT8", "default": -1},
    "heights": {"type": "ARRAY", "element_type": "FLOAT", "default": []},
    "place": {"type": "GEOMETRY", "nullable": True},
}
WHERE = ["", 'album == "cats"', "rank > 3 and liked == true", 'array_contains(tags, "b")', "price is null", "free > 5"]
ASKED = [
    [],
    ["id"],
    ["album", "tags"],
    ["*"],
    ["vector"],
    ["*", "vector", "texture"],
    ["free", "nobody", "rank"],
    ["$meta"],
    ["price", "liked", "small", "heights", "place", "said"],
]


@contextmanager
def asked_for() -> Iterator[None]:
    """The block asks Milvus Lite for rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LiteRows, "live", lambda *_: None)
        yield


def spelled(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """With their types: an array of floats is none of integers, and a list no vector."""
    return [{name: repr(value) for name, value in row.items()} for row in rows]


def compared(store: Store, where: str) -> None:
    for asked in ASKED:
        found = [row for some in store.scan(asked, where, 7) for row in some]
        first = store.first(asked, where, 5, id_of(6))
        with asked_for():
            there = [row for some in store.scan(asked, where) for row in some]
            assert spelled(store.first(asked, where, 5, id_of(6))) == spelled(first)
        assert spelled(found) == spelled(there), asked
        assert [row["id"] for row in first] == [row["id"] for row in found if row["id"] > id_of(6)][:5]
    counted = store.count(where)
    with asked_for():
        assert store.count(where) == counted


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with connect(str(tmp_path_factory.mktemp("rows") / "rows.db")) as connection:
        yield connection


def made(lite: Connection, name: str, description: str = "{}") -> Store:
    further = {"texture": {"encoder": {"model": "t"}, "index": {"cpu": {"type": "FLAT"}}}}
    dims = {"texture": 3}
    return lite.create(name, definition(fields=MORE, vectors=further), dim=DIM, dims=dims, description=description)


def rows(numbers: range) -> list[dict[str, Any]]:
    found = []
    for number in numbers:
        row = full_row(
            id_of(number), rank=number % 9, album=["cats", "dogs"][number % 2], tags=["a", "b"][: number % 3]
        )
        del row["exif"]
        row |= {"price": None if number % 4 == 0 else number / 3, "liked": [None, True, False][number % 3]}
        row |= {
            "small": number % 5,
            "heights": [0.1 * number],
            "place": None if number % 5 else f"POINT ({number} 2.5)",
        }
        if number % 2:
            row["free"] = number
        if number % 3 == 0:
            row["said"] = {"a": [1, "é", None, True], "b": {"c": 1.5}}
        found.append(row)
    return found


def put(store: Store, numbers: range, seed: int = 0) -> None:
    given = rows(numbers)
    store.upsert(given, unit_vectors(len(given), DIM, seed), {"texture": unit_vectors(len(given), 3, seed + 1)})


def test_all_that_was_written_replaced_and_deleted(lite: Connection) -> None:
    """In segments, beside them, in both, deleted from either, and written again."""
    store = made(lite, "written")
    for where in WHERE[:2]:
        compared(store, where)  # nothing is there
    put(store, range(20))
    compared(store, "")
    store.flush()
    put(store, range(15, 30), seed=5)
    store.discard([id_of(number) for number in (0, 3, 17, 25, 29, 500)])
    put(store, range(3, 4), seed=6)
    for where in WHERE:
        compared(store, where)
    store.flush()
    store.discard([id_of(3), id_of(28)])
    put(store, range(28, 33), seed=7)
    for where in WHERE:
        compared(store, where)


def test_what_is_wrong_is_said_as_milvus_says_it(lite: Connection) -> None:
    store = made(lite, "wrong")
    put(store, range(3))
    for wrong in ("rank >", "rnk > 3 and", "rank > 'x'"):
        with asked_for(), pytest.raises(FilterError) as there:
            store.count(wrong)
        with pytest.raises(FilterError) as here:
            list(store.scan(["album"], wrong))
        assert str(here.value) == str(there.value)


def test_types_that_only_milvus_lite_spells_are_asked_for(lite: Connection) -> None:
    fields = {"at": {"type": "TIMESTAMPTZ", "default": "2000"}, "exif": {"type": "JSON", "default": {}}}
    store = lite.create("spelled", definition(fields=fields), dim=DIM, description="{}")
    given = [
        full_row(id_of(number), at=f"2024-06-0{number + 1}T00:00:00Z", exif={"iso": number}) for number in range(4)
    ]
    store.upsert(given, unit_vectors(4, DIM))
    [found] = store.scan(["at", "exif"])
    assert [(row["at"], row["exif"]) for row in found] == [(row["at"], row["exif"]) for row in given]


def test_another_collection_of_its_name_is_not_read(lite: Connection) -> None:
    store = made(lite, "again")
    put(store, range(3))
    lite.drop_opened(store)
    with pytest.raises(CollectionNotFound):
        store.count()
    other = made(lite, "again", '{"another": 1}')
    put(other, range(5))
    for read in (lambda: list(store.scan(["album"])), lambda: store.first([], "", 2)):
        with pytest.raises(CollectionReplaced):
            read()
    assert other.count() == 5


def test_a_release_that_nobody_compared_is_asked(lite: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made(lite, "later")
    put(store, range(3))
    assert store._reader.live("") is not None
    monkeypatch.setattr("imgvec.milvus.lite_rows._COMPARED", ("2.",))
    lite_rows._is_compared.cache_clear()
    try:
        assert store._reader.live("") is None
        assert store.version() is None
        assert store.count("rank >= 0") == 3
    finally:
        lite_rows._is_compared.cache_clear()


def test_a_closed_connection_is_said_to_be_closed(tmp_path: Path) -> None:
    with connect(str(tmp_path / "closed.db")) as one, connect(str(tmp_path / "closed.db")) as _:
        store = made(one, "closed")
        put(store, range(3))
        one.close()
        with pytest.raises(BackendUnavailable, match="closed"):
            store.count()


def test_rows_stay_while_they_are_moved_into_segments(lite: Connection) -> None:
    """Milvus Lite's own reads miss them for a moment; these never do, and see each write once it has ended."""
    store = made(lite, "moved")
    put(store, range(40))
    done, wrong = threading.Event(), []

    def read(look: Callable[[], object]) -> None:
        while not done.is_set():
            if (found := look()) != 40:
                wrong.append(found)

    looks = [lambda: store.count("rank >= 0"), lambda: len([row for some in store.scan([]) for row in some])]
    readers = [threading.Thread(target=read, args=(look,)) for look in looks]
    for each in readers:
        each.start()
    try:
        for turn in range(12):
            put(store, range(40), seed=turn)
            store.flush()
    finally:
        done.set()
        for each in readers:
            each.join()
    assert not wrong


def test_a_write_that_failed_is_waited_for_once(lite: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number never comes; until the next write Milvus Lite is asked."""
    store = made(lite, "failed")
    put(store, range(3))
    opened: Any = store.link.database.opened("failed")
    reader = store._reader
    assert reader.live("") is not None
    opened._next_seq += 1
    monkeypatch.setattr("imgvec.milvus.lite_rows._TRIES", 3)
    assert reader.live("") is None
    monkeypatch.setattr("imgvec.milvus.lite_rows._TRIES", 2)
    monkeypatch.setattr("imgvec.milvus.lite_rows._WAIT", 20.0)
    assert reader.live("") is None
    assert store.count("rank >= 0") == 3
    put(store, range(4))
    live = reader.live("")
    assert live is not None
    assert len(live) == 4


def test_the_version_is_another_one_after_each_write(lite: Connection) -> None:
    store = made(lite, "versioned")
    seen = [store.version()]

    def changed(write: Callable[[], object]) -> None:
        write()
        version = store.version()
        assert version is not None
        assert version not in seen
        assert store.version() == version
        seen.append(version)

    changed(lambda: put(store, range(3)))
    changed(lambda: put(store, range(3), seed=1))
    changed(lambda: store.discard([id_of(1)]))
    put(store, range(1, 2))
    changed(store.flush)
    changed(lambda: store.discard([id_of(2)]))
    lite.drop_opened(store)
    other = made(lite, "versioned", '{"another": 1}')
    put(other, range(3))
    assert other.version() not in seen


def test_a_scan_that_nobody_waits_for_ends(lite: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.milvus.lite_rows._AT_ONCE", 2)
    store, call = made(lite, "abandoned"), Call()
    put(store, range(9))
    found: list[Any] = []

    def look() -> None:
        for some in store.scan([], batch_size=1):
            found.append(some)
            if len(found) == 3:
                call.abandon()

    with pytest.raises(Abandoned):
        of_call(call, look)()
    assert len(found) == 4, "what was taken already comes"
