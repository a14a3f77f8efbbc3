"""Aliases and new names mean the same on both backends; what one of them would do and the other refuse is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.errors import BackendError, CollectionExists, CollectionNotFound, UsageError
from imgvec.milvus import aliases
from imgvec.milvus.link import Link

DEFINITION = {"encoder": {"model": "fake"}}
Make = Callable[[str], ImageCollection]


@pytest.fixture
def make(uri: str) -> Iterator[Make]:
    """Makes collections that are dropped after the test, with the aliases."""
    made: list[ImageCollection] = []

    def create(name: str) -> ImageCollection:
        made.append(ImageCollection.create(name, definition=DEFINITION, uri=uri, encoder=FakeEncoder()))
        return made[-1]

    yield create
    if made:
        client = made[0].store.link.client
        for alias in client.list_aliases()["aliases"]:
            client.drop_alias(alias)
        for name in client.list_collections():
            client.drop_collection(name)
    for each in made:
        each.close()


@pytest.fixture
def run(uri: str) -> Callable[..., Result]:
    return lambda *words: CliRunner().invoke(main, ["--uri", uri, "collections", *words])


def test_an_alias_is_made_moved_and_removed(make: Make, uri: str) -> None:
    first, second = make("first"), make("second")
    assert imgvec.set_alias(first, "live") is None
    assert imgvec.set_alias(first, "live") == "first"
    assert first.describe()["aliases"] == ["live"]
    with ImageCollection.open("live", uri=uri) as opened:
        assert (opened.name, opened.alias) == ("first", "live")
    assert imgvec.set_alias(second, "live") == "first"
    assert (first.describe()["aliases"], second.describe()["aliases"]) == ([], ["live"])
    with ImageCollection.open("live", uri=uri) as opened:
        assert opened.name == "second"
        assert imgvec.set_alias(opened, "other") is None  # of what the alias leads to
    assert second.describe()["aliases"] == ["live", "other"]
    with pytest.raises(CollectionNotFound, match="not an alias of 'first': it leads to 'second'"):
        imgvec.drop_alias(first, "live")
    imgvec.drop_alias(second, "live")
    with pytest.raises(CollectionNotFound, match="no such alias"):
        imgvec.drop_alias(second, "live")
    with pytest.raises(CollectionNotFound, match="did you mean"):
        ImageCollection.open("othr", uri=uri)


def test_names_that_cannot_be(make: Make) -> None:
    first, second = make("first"), make("second")
    with pytest.raises(CollectionExists, match="'second' is a collection"):
        imgvec.set_alias(first, "second")
    imgvec.set_alias(second, "live")
    for taken in ("second", "live", "first"):
        with pytest.raises(CollectionExists):
            imgvec.rename(first, taken)
    with pytest.raises(CollectionExists):
        make("live")
    for bad in ("1a", "a-b", "x" * 241, "photos__learned"):
        with pytest.raises(BackendError, match="collection name"):
            imgvec.set_alias(first, bad)
        with pytest.raises(BackendError, match="collection name"):
            imgvec.rename(first, bad)


def test_a_renamed_collection_goes_on(make: Make, uri: str, tmp_path: Path) -> None:
    for i in range(5):
        picture(i).save(tmp_path / f"{i}.jpg")
    photos = make("before")
    photos.ingest(tmp_path)
    imgvec.set_alias(photos, "live")
    imgvec.set_search_defaults(photos, {"ef": 77})
    found = [hit.id for hit in photos.search(picture(3), limit=5)]
    imgvec.rename(photos, "after")
    assert photos.name == "after"
    picture(9).save(tmp_path / "9.jpg")
    report = photos.ingest(tmp_path)
    assert (report.written, report.unchanged) == (1, 5)
    with pytest.raises(CollectionNotFound):
        ImageCollection.open("before", uri=uri)
    for name in ("after", "live"):
        with ImageCollection.open(name, uri=uri, encoder=FakeEncoder()) as opened:
            assert (opened.name, opened.count()) == ("after", 6)
            assert opened.search_defaults.params == {"ef": 77}
            assert opened.store.remembered.keys() == {"search_defaults"}
            assert [hit.id for hit in opened.search(picture(3), limit=6) if hit.id in found] == found


def test_drop_and_rename_through_an_alias_are_refused(make: Make, uri: str) -> None:
    first = make("first")
    imgvec.set_alias(first, "live")
    with ImageCollection.open("live", uri=uri) as opened:
        with pytest.raises(UsageError, match="'live' is an alias of 'first': drop that by its own name"):
            opened.drop()
        with pytest.raises(UsageError, match="'live' is an alias of 'first': rename that by its own name"):
            imgvec.rename(opened, "other")
        with pytest.raises(UsageError, match="is an alias"):
            opened.handle.connection.drop("live")
    with pytest.raises(UsageError, match="the alias live leads to 'first'"):
        first.drop()
    assert first.count() == 0
    imgvec.drop_alias(first, "live")
    first.drop()
    assert first.handle.connection.collections() == []


def test_the_alias_of_a_collection_that_another_client_dropped(make: Make, uri: str) -> None:
    first = make("first")
    imgvec.set_alias(first, "live")
    first.store.link.client.drop_collection("first")
    second = make("second")
    assert imgvec.set_alias(second, "live") is None
    with ImageCollection.open("live", uri=uri) as opened:
        assert opened.name == "second"


def test_the_commands(make: Make, run: Callable[..., Result], tmp_path: Path) -> None:
    picture(1).save(tmp_path / "1.jpg")
    first, _ = make("first"), make("second")
    first.ingest(tmp_path)
    assert run("alias", "first", "live").stdout == "live: now stands for first\n"
    assert run("alias", "live", "shop").stdout == "shop: now stands for first\n"
    assert run("alias", "second", "shop").stdout == "shop: now stands for second, moved from first\n"
    listed = {each["name"]: each["aliases"] for each in json.loads(run("list", "-o", "json").stdout)}
    assert listed == {"first": ["live"], "second": ["shop"]}
    assert ["first", "live"] in [line.split()[:2] for line in run("list").stdout.splitlines()]
    assert "aliases: live" in run("show", "live").stdout
    assert run("count", "live").stdout == "1\n"
    for words in (("drop", "live", "--yes"), ("rename", "live", "other")):
        refused = run(*words)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "'live' is an alias of 'first'" in refused.stderr
    assert "the alias live leads to 'first'" in run("drop", "first", "--yes").stderr
    assert run("rename", "first", "third").stdout == "first: now called third\n"
    assert run("count", "live").stdout == "1\n"
    assert "not an alias of 'third'" in run("alias", "third", "shop", "--drop").stderr
    assert run("alias", "third", "live", "--drop").stdout == "live: removed\n"
    assert run("drop", "third", "--yes").stdout == "third: dropped\n"


def test_a_search_by_vector_through_an_alias_looks_nothing_up(make: Make, uri: str, tmp_path: Path) -> None:
    picture(1).save(tmp_path / "1.jpg")
    photos = make("first")
    photos.ingest(tmp_path)
    imgvec.set_alias(photos, "live")
    with ImageCollection.open("live", uri=uri) as opened:
        client = opened.store.link.client
        ask, calls = client.describe_collection, list[str]()

        def counted(name: str, **options: object) -> object:
            calls.append(name)
            return ask(name, **options)

        client.describe_collection = counted
        for _ in range(3):
            assert opened.search(np.eye(1, 16, dtype=np.float32)[0], limit=1).collection == "first"
        assert calls == []


def test_whoever_asks_for_a_name_finishes_giving_it_away_and_looks_at_few_collections(
    make: Make, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, *_ = (make(name) for name in ("photos", "another", "second", "third"))
    looked_at: list[str] = []
    describe = Link.describe

    def seen(self: Link, name: str, **options: Any) -> Any:
        looked_at.append(name)
        return describe(self, name, **options)

    monkeypatch.setattr(Link, "describe", seen)
    assert not new.handle.connection.has("fresh")
    assert set(looked_at) <= {"fresh"}
    old.store.remember(aliases.GIVING, {"name": "photos", "to": "another"})
    aliases.rename(old.store, "photos_1")  # and is killed
    looked_at.clear()
    with ImageCollection.open("photos", uri=uri) as opened:
        assert (opened.name, opened.alias) == ("another", "photos")
    assert set(looked_at) <= {"photos", "photos_1", "another"}


def test_a_name_that_was_given_away_leaves_no_note(make: Make, uri: str) -> None:
    old, new = make("photos"), make("another")
    imgvec.set_alias(old, "live")
    old.handle.give_name(new.store, "photos_1")
    for name, leads_to in (("photos", "another"), ("live", "another"), ("photos_1", "photos_1")):
        with ImageCollection.open(name, uri=uri) as opened:
            assert opened.name == leads_to
            assert aliases.GIVING not in opened.store.remembered
