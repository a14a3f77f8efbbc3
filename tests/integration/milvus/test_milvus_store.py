"""Rows in and out, on both backends: what a call means must not depend on which of them answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from milvus_rows import FIELDS, definition, full_row, unit_vectors
from rows import row

from imgvec.errors import FilterError, WriteFailed
from imgvec.milvus import Connection, Store, connect

NASTY_IDS = [
    'x"] or id != "',
    "back\\slash",
    "line\nbreak\r\ttab",
    "quo'te",
    "é漢字😀",
    "%_",
    'id in ["a"]',
    "$meta",
    "a" * 64,
]


@pytest.fixture(scope="module")
def shared(make: Callable[..., Store]) -> Store:
    return make(definition(fields=FIELDS), description='{"imgvec": 1, "about": "é"}')


@pytest.fixture
def store(shared: Store) -> Store:
    """The module's collection, empty: creating one takes seconds on a server."""
    shared.delete([each["id"] for page in shared.scan([]) for each in page])
    return shared


def test_an_empty_collection_answers_with_nothing(store: Store) -> None:
    assert store.search(unit_vectors(3, 8), limit=5, output_fields=["*"]) == [[], [], []]
    assert store.search(np.empty((0, 8), np.float32), limit=5) == []
    assert (store.count(), store.get(["a"]), list(store.scan([])), store.delete(["a"])) == (0, {}, [], 0)


def test_every_field_comes_back_as_it_went(store: Store) -> None:
    vectors = unit_vectors(2, 8)
    rows = [full_row("a", extra={"k": [1, "é"]}), full_row("b", album="", tags=[], exif={})]
    assert store.upsert(rows, vectors) == 2
    read = store.get(["b", "a", "missing"], output_fields=["*"], with_vector=True)
    assert list(read) == ["b", "a"]
    for expected, vector in zip(rows, vectors, strict=True):
        found = read[expected["id"]]
        assert found.pop("vector").dtype == np.float32
        assert found == expected
        np.testing.assert_array_equal(store.get([expected["id"]], with_vector=True)[expected["id"]]["vector"], vector)


def test_only_the_fields_asked_for_come_back(store: Store) -> None:
    store.upsert([full_row("a", extra=1, other=2)], unit_vectors(1, 8))
    assert store.get(["a"]) == {"a": {}}
    assert store.get(["a"], output_fields=["rank", "extra"]) == {"a": {"rank": 1, "extra": 1}}
    assert store.get(["a"], output_fields=["id", "$meta"]) == {"a": {"id": "a", "extra": 1, "other": 2}}
    (hit,) = store.search(unit_vectors(1, 8), limit=5, output_fields=["album", "vector"])[0]
    assert set(hit.fields) == {"album", "vector"}
    assert store.search(unit_vectors(1, 8), limit=5)[0][0].fields == {}


def test_an_upsert_replaces_the_whole_row(store: Store) -> None:
    store.upsert([full_row("a", gone=1, stays=1)], unit_vectors(1, 8))
    store.upsert([full_row("a", stays=2, rank=7)], unit_vectors(1, 8, seed=1))
    read = store.get(["a"], output_fields=["*"], with_vector=True)["a"]
    assert (read["rank"], read["stays"], "gone" in read) == (7, 2, False)
    np.testing.assert_array_equal(read["vector"], unit_vectors(1, 8, seed=1)[0])
    assert store.count() == 1


def test_of_equal_ids_in_one_upsert_the_last_is_kept(store: Store) -> None:
    assert store.upsert([full_row("a", rank=1), full_row("b"), full_row("a", rank=2)], unit_vectors(3, 8)) == 2
    assert store.get(["a"], output_fields=["rank"]) == {"a": {"rank": 2}}
    assert store.count() == 2


def test_a_varchar_holds_its_length_in_bytes(store: Store) -> None:
    store.upsert([full_row("a", album="éééé")], unit_vectors(1, 8))  # 8 bytes
    assert store.get(["a"], output_fields=["album"]) == {"a": {"album": "éééé"}}
    with pytest.raises(WriteFailed, match="10 bytes"):
        store.upsert([full_row("a", album="ééééé")], unit_vectors(1, 8))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0], ids=str)
def test_vectors_that_would_be_lost_are_refused(store: Store, bad: float) -> None:
    vectors = unit_vectors(3, 8)
    vectors[1] = bad
    with pytest.raises(WriteFailed, match="vector 1"):
        store.upsert([full_row(each) for each in "abc"], vectors)
    assert store.count() == 0


def test_own_writes_are_seen_at_once_and_others_by_a_strong_read(store: Store, uri: str) -> None:
    with connect(uri) as other:
        elsewhere = other.open(store.name)
        for number in range(3):
            id_ = f"{number}"
            store.upsert([full_row(id_, rank=number)], unit_vectors(1, 8, seed=number))
            hits = store.search(unit_vectors(1, 8, seed=number), limit=1)
            assert hits[0][0].id == id_
            assert store.get([id_], consistency_level=None)
            assert elsewhere.get([id_], output_fields=["rank"]) == {id_: {"rank": number}}
            assert elsewhere.count() == store.count() == number + 1


def test_ids_are_data_whatever_they_spell(store: Store) -> None:
    ids = [*NASTY_IDS, "plain"]
    store.upsert([full_row(each) for each in ids], unit_vectors(len(ids), 8))
    assert list(store.get(ids)) == ids
    assert set(store.content_hashes(ids)) == set(ids)
    assert [each["id"] for page in store.scan([], batch_size=1) for each in page] == sorted(ids)
    assert store.delete(NASTY_IDS[:1]) == 1  # unescaped it would be every row
    assert store.count() == len(ids) - 1
    assert store.delete([*ids, "plain"]) == len(ids) - 1
    assert store.count() == 0


def test_deleting_counts_what_was_there(store: Store) -> None:
    store.upsert([full_row("a"), full_row("b")], unit_vectors(2, 8))
    assert store.delete([]) == 0
    assert store.delete(["missing"]) == 0
    assert store.delete(["b", "missing", "a"]) == 2
    assert store.search(unit_vectors(1, 8), limit=3) == [[]]


def test_a_scan_gives_every_row_once_in_order(store: Store) -> None:
    ids = [f"{number:05}" for number in range(1500)]
    store.upsert([full_row(each, rank=int(each)) for each in ids], unit_vectors(1500, 8))
    store.flush()
    store.upsert([full_row(each, rank=-1) for each in ids[::3]], unit_vectors(500, 8, seed=1))
    for batch_size in (1, 400, 1500, 20_000):
        pages = (
            list(store.scan(["rank"], batch_size=batch_size)) if batch_size > 1 else [next(store.scan(["rank"], "", 1))]
        )
        assert all(0 < len(page) <= batch_size for page in pages)
        read = [each for page in pages for each in page]
        assert [each["id"] for each in read] == (ids if batch_size > 1 else ids[:1])
        assert [each["rank"] for each in read] == [-1 if int(each["id"]) % 3 == 0 else int(each["id"]) for each in read]
    matching = [each for page in store.scan(["vector"], "rank == -1 or rank == 1", batch_size=300) for each in page]
    assert [each["id"] for each in matching] == sorted([*ids[::3], "00001"])
    assert all(each["vector"].shape == (8,) for each in matching)
    assert store.count() == 1500
    assert store.count("rank == -1") == 500


def test_rows_that_are_being_replaced_stay_readable(store: Store, uri: str) -> None:
    ids = [f"{number:03}" for number in range(300)]
    rows, vectors = [full_row(each) for each in ids], unit_vectors(300, 8)
    store.upsert(rows, vectors)
    stop = threading.Event()

    def replace() -> None:
        with connect(uri) as other:
            elsewhere = other.open(store.name)
            while not stop.is_set():
                elsewhere.upsert(rows, vectors)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(6):
            assert len(store.get(ids)) == 300
            assert sum(map(len, store.scan([], batch_size=100))) == 300
    finally:
        stop.set()
        writer.join()


def test_a_released_collection_is_loaded_by_the_next_read(store: Store) -> None:
    store.upsert([full_row("a")], unit_vectors(1, 8))
    store.release()
    assert store.search(unit_vectors(1, 8), limit=1)[0][0].id == "a"


def test_a_name_that_no_row_has_matches_nothing(store: Store) -> None:
    store.upsert([full_row("a", known=1)], unit_vectors(1, 8))
    assert store.count("known == 1") == 1
    assert store.count("unknown == 1") == 0  # on both backends, so names are checked where filters are made


def test_a_filter_that_is_none_is_an_error(store: Store) -> None:
    with pytest.raises(FilterError, match="rejects the filter rank =="):
        store.count("rank ==")


def test_large_batches_are_cut_and_arrive_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgvec.milvus.writing.MAX_BATCH_BYTES", 20_000)
    rows = [full_row(f"{number:04}", text="x" * 100) for number in range(1000)]
    assert store.upsert(rows, unit_vectors(1000, 8)) == 1000
    assert store.count() == 1000


def test_a_partition_key_may_change(backend: Connection, make: Callable[..., Store]) -> None:
    fields: dict[str, Any] = {"owner": {"type": "VARCHAR", "max_length": 16, "required": True}}
    store = make(definition(fields=fields, partition_key="owner", num_partitions=4))
    store.upsert([row(f"{n}", owner=f"o{n}", gone=n) for n in range(20)], unit_vectors(20, 8))
    store.upsert([row("3", owner="other")], unit_vectors(1, 8))
    assert store.count() == 20
    assert store.get(["3"], output_fields=["owner", "$meta"]) == {"3": {"owner": "other"}}
    assert store.count('owner == "o3"') == 0
    # by equality, which looks in one partition only: Milvus before 2.4 would find next to none of them
    assert [store.count(f'owner == "o{n}"') for n in range(20)] == [int(n != 3) for n in range(20)]
    assert store.count('owner == "other"') == 1


def test_without_a_dynamic_field_nothing_undeclared_is_taken(make: Callable[..., Store]) -> None:
    store = make(definition(dynamic=False))
    with pytest.raises(WriteFailed, match="extra: no such field"):
        store.upsert([row("a", extra=1)], unit_vectors(1, 8))
    store.upsert([row("a")], unit_vectors(1, 8))
    assert store.get(["a"], output_fields=["*"]) == {"a": row("a")}
