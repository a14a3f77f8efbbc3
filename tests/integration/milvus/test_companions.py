"""Companions: small collections beside a collection, made, found, kept apart and dropped with it, on both backends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fakes import FakeEncoder
from milvus_rows import definition
from pictures import picture

from imgvec import ImageCollection
from imgvec.database import list_collections
from imgvec.definition import description
from imgvec.errors import BackendError, CollectionNotFound, CollectionReplaced, WriteFailed
from imgvec.milvus import Connection, Store, names
from imgvec.milvus.companions import Companion, Kind
from imgvec.rows import MAX_VARCHAR_BYTES, RowField
from imgvec.settings import Settings

LEARNED = Kind("learned", {"data": RowField("VARCHAR", MAX_VARCHAR_BYTES), "part": RowField("INT32")})
PICTURES = Kind("pictures", {"views": RowField("JSON"), "at": RowField("INT64")})
BINDING = FakeEncoder(dim=8).binding


@pytest.fixture
def owned(backend: Connection) -> Iterator[Callable[..., Store]]:
    """Makes collections as imgvec does; what is there after the test is dropped."""
    before = set(backend.collections())

    def create(name: str, **companions: str) -> Store:
        made = definition()
        named = companions or backend.companion_names(name)
        return backend.create(name, made, dim=8, description=description.write(made, BINDING, named))

    yield create
    for name in set(backend.collections()) - before:
        backend.drop(name)


def learned(backend: Connection, store: Store) -> Companion:
    return backend.companion(store, LEARNED)


def row(id_: str, data: str = "x", part: int = 0) -> dict[str, Any]:
    return {"id": id_, "data": data, "part": part}


def test_rows_in_and_out(backend: Connection, owned: Callable[..., Store]) -> None:
    found = learned(backend, owned("photos"))
    assert (found.get(["a"]), found.count(), list(found.scan(["data"])), found.delete(["a"])) == ({}, 0, [], 0)
    assert found.name is None
    assert backend.collections().count("photos__learned") == 0

    longest = "é" * (MAX_VARCHAR_BYTES // 2)
    assert found.upsert([row("a", longest, 1), row("b", "", 2), row("c"), row("c", "last")]) == 3
    assert found.name == "photos__learned"
    assert found.get(["c", "a", "missing"]) == {"c": row("c", "last"), "a": row("a", longest, 1)}
    assert found.get(["b"], output_fields=["part"]) == {"b": {"part": 2}}
    assert found.upsert([row("b", "again", 7)]) == 1
    assert [each for page in found.scan(["data"], "part > 0") for each in page] == [
        {"id": "a", "data": longest},
        {"id": "b", "data": "again"},
    ]
    assert (found.count(), found.count("part == 7")) == (3, 1)
    assert (found.delete(["a", "missing"]), found.count()) == (1, 2)
    with pytest.raises(WriteFailed, match="65537 bytes"):
        found.upsert([row("d", "é" * (MAX_VARCHAR_BYTES // 2) + "xyz")])
    with pytest.raises(WriteFailed, match="no such field"):
        found.upsert([{**row("d"), "other": 1}])


def test_another_handle_and_another_kind(backend: Connection, owned: Callable[..., Store]) -> None:
    store = owned("photos")
    learned(backend, store).upsert([row("a")])
    pictures = backend.companion(store, PICTURES)
    pictures.make()
    assert (pictures.name, pictures.count()) == ("photos__pictures", 0)
    kept = {"id": "p", "views": {"whole": 1, "region": 13}, "at": 2**40}
    pictures.upsert([kept])
    again = backend.open("photos")
    assert learned(backend, again).get(["a"]) == {"a": row("a")}
    assert backend.companion(again, PICTURES).get(["p"]) == {"p": kept}


def test_they_are_not_listed_and_go_with_their_collection(uri: str, tmp_path: Any) -> None:
    with ImageCollection.create(
        "photos", definition={"encoder": {"model": "f"}}, uri=uri, encoder=FakeEncoder()
    ) as photos:
        picture(1).save(tmp_path / "1.jpg")
        photos.ingest(tmp_path)
        connection = photos.handle.connection
        learned(connection, photos.store).upsert([row("a")])
        assert "photos__learned" in connection.collections()
        assert "photos__learned" not in [each.name for each in list_collections(Settings.load(uri=uri))]
        with pytest.raises(CollectionNotFound) as not_found:
            ImageCollection.open("photos__learnt", uri=uri)
        assert "photos__learned" not in str(not_found.value)
        with pytest.raises(CollectionNotFound, match="was not made by imgvec"):
            ImageCollection.open("photos__learned", uri=uri)
        photos.drop()
        assert not {"photos", "photos__learned"} & set(connection.collections())


def test_one_of_another_collection_is_never_used(backend: Connection, owned: Callable[..., Store]) -> None:
    first = owned("photos")
    learned(backend, first).upsert([row("a", "first")])
    backend.link.client.rename_collection("photos", "before")
    moved = backend.open("before")
    assert learned(backend, moved).get(["a"]) == {"a": row("a", "first")}

    # claims the very name that the other one has
    second = owned("photos", learned="photos__learned")
    found = learned(backend, second)
    assert (found.get(["a"]), found.count(), found.delete(["a"])) == ({}, 0, 0)
    found.upsert([row("a", "second")])
    assert found.name == "photos__learned2"
    assert learned(backend, backend.open("photos")).get(["a"]) == {"a": row("a", "second")}
    assert learned(backend, moved).get(["a"]) == {"a": row("a", "first")}

    backend.drop_opened(backend.open("photos"))
    assert "photos__learned2" not in backend.collections()
    assert learned(backend, moved).get(["a"]) == {"a": row("a", "first")}
    assert backend.companion_names("photos", ["learned"]) == {"learned": "photos__learned2"}


def test_what_is_left_over_is_dropped_when_its_name_is_needed(backend: Connection, owned: Callable[..., Store]) -> None:
    learned(backend, owned("photos")).upsert([row("a")])
    backend.drop("photos")  # as a client does that knows no companions
    assert "photos__learned" in backend.collections()
    again = owned("photos")
    found = learned(backend, again)
    assert (found.count(), found.name) == (0, None)
    found.upsert([row("b")])
    assert (found.name, found.count()) == ("photos__learned", 1)


def test_one_that_went_away_is_made_again(backend: Connection, owned: Callable[..., Store]) -> None:
    found = learned(backend, owned("photos"))
    found.upsert([row("a")])
    backend.drop("photos__learned")
    assert found.get(["a"]) == {}
    found.upsert([row("b")])
    assert (found.count(), found.get(["b"])) == (1, {"b": row("b")})


def test_one_that_another_client_made_again_is_used(backend: Connection, owned: Callable[..., Store]) -> None:
    """On a server it is another one by its number."""
    store = owned("photos")
    found = learned(backend, store)
    found.upsert([row("a")])
    backend.drop("photos__learned")
    learned(backend, store).upsert([row("b")])
    assert (found.get(["a", "b"]), found.count()) == ({"b": row("b")}, 1)
    assert found.upsert([row("a")]) == 1


def test_they_stay_for_a_copy_of_their_collection(backend: Connection, owned: Callable[..., Store]) -> None:
    """A backup that is restored under another name has the same description."""
    store = owned("photos")
    learned(backend, store).upsert([row("a")])
    copied = backend.create("copied", definition(), dim=8, description=store.description)
    backend.drop_opened(copied)
    assert learned(backend, store).get(["a"]) == {"a": row("a")}
    backend.drop_opened(store)
    assert not {"photos", "photos__learned"} & {*backend.collections()}


def test_a_collection_whose_description_names_none(backend: Connection, owned: Callable[..., Store]) -> None:
    """Those of 0.1.0 do not, and have no random bits either."""
    former = json.loads(description.write(definition(), BINDING))
    del former["incarnation"]
    old = backend.create("old", definition(), dim=8, description=json.dumps(former))
    learned(backend, old).upsert([row("a")])
    assert learned(backend, backend.open("old")).get(["a"]) == {"a": row("a")}
    other = owned("other")
    learned(backend, other).upsert([row("a", "other")])
    assert learned(backend, old).get(["a"]) == {"a": row("a")}
    backend.drop_opened(old)
    assert "old__learned" not in backend.collections()


def test_the_companion_of_a_collection_that_is_gone(backend: Connection, owned: Callable[..., Store]) -> None:
    store = owned("photos")
    backend.drop_opened(store)
    with pytest.raises(CollectionNotFound):
        learned(backend, store).upsert([row("a")])
    owned("photos")
    with pytest.raises(CollectionReplaced):
        learned(backend, store).upsert([row("a")])
    assert "photos__learned" not in backend.collections()


def test_one_killed_while_it_was_made_is_completed(
    backend: Connection, owned: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    from imgvec.milvus import companions

    store = owned("photos")
    with monkeypatch.context() as patch:
        patch.setattr(companions, "create_index", killed)
        with pytest.raises(MemoryError):
            learned(backend, store).make()
    found = learned(backend, store)
    assert (found.count(), found.name) == (0, "photos__learned")
    assert found.upsert([row("a")]) == 1


def killed(*_: Any) -> None:
    raise MemoryError


def test_names(backend: Connection, owned: Callable[..., Store]) -> None:
    longest = "x" * names.MAX_NEW_NAME
    found = learned(backend, owned(longest))
    found.upsert([row("a")])
    assert found.name == f"{longest}__learned"
    for bad, said in {
        longest + "x": "at most 240 characters",
        "photos__learned": "are imgvec's own",
        "photos__pictures7": "are imgvec's own",
    }.items():
        with pytest.raises(BackendError, match=said):
            owned(bad)
        assert bad not in backend.collections()
    owned("photos__learned_by_heart")
