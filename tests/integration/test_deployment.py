"""Loading and releasing, and what a backend with one query node, or none, refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pymilvus import MilvusClient

import imgvec
from imgvec import ImageCollection
from imgvec.cli import main
from imgvec.errors import DefinitionError, UnsupportedByBackend

DEFINITION = {"encoder": {"model": "m"}, "index": {"cpu": {"type": "FLAT"}}}


@pytest.fixture
def trip(backend_uri: str, encoder: FakeEncoder) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=encoder) as collection:
        yield collection


def refused(uri: str, encoder: FakeEncoder, **parts: Any) -> str:
    with pytest.raises(UnsupportedByBackend) as raised:
        ImageCollection.create("no", definition={**DEFINITION, **parts}, uri=uri, encoder=encoder)
    with pytest.raises(imgvec.errors.CollectionNotFound):
        ImageCollection.open("no", uri=uri)
    return str(raised.value)


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ({"replicas": 2}, "replicas"),
        ({"num_shards": 2}, "num_shards"),
        ({"resource_groups": ["search"]}, "resource_groups"),
    ],
)
def test_lite_refuses_by_name_what_it_would_ignore(
    lite_uri: str, encoder: FakeEncoder, parts: dict[str, Any], name: str
) -> None:
    ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=encoder).close()
    said = refused(lite_uri, encoder, **parts)
    assert "has one replica of a collection" in said
    assert f"leave out {name}, or use a server" in said


def test_what_a_backend_does_not_do_for_a_partition_key_is_said(backend_uri: str, encoder: FakeEncoder) -> None:
    said: list[str] = []
    fields = {"owner": {"type": "INT64", "default": 0}}
    for key in ({}, {"partition_key": "owner", "num_partitions": 4}):
        ImageCollection.create(
            f"trip{len(key)}", definition={**DEFINITION, "fields": fields, **key}, uri=backend_uri, encoder=encoder,
            on_notice=said.append,
        ).close()  # fmt: skip
    [notice] = said
    lite = "looks through all partitions, whatever a filter says of owner"
    server = "so owner becomes an ordinary field: same hits, slower search"
    assert (lite if backend_uri.endswith(".db") else server) in notice


@pytest.mark.server
def test_a_standalone_has_one_query_node(server_uri: str, encoder: FakeEncoder) -> None:
    said = refused(server_uri, encoder, replicas=2)
    assert "has 1 query node, and 2 replicas need one each" in said
    assert "has no resource group nosuch" in refused(server_uri, encoder, resource_groups=["nosuch"])
    key = {"fields": {"owner": {"type": "INT64", "default": 0}}, "partition_key": "owner"}
    isolated = {**key, "partition_key_isolation": True, "index": {"cpu": {"type": "HNSW"}}}
    assert "no partition_key_isolation, which Milvus has from 2.5.4" in refused(server_uri, encoder, **isolated)


def test_more_replicas_than_there_can_be_are_refused_and_it_stays_loaded(trip: ImageCollection) -> None:
    with pytest.raises(UnsupportedByBackend):
        imgvec.load(trip, replicas=2)
    with pytest.raises(UnsupportedByBackend):
        imgvec.load(trip, resource_groups=["nosuch"])
    told = imgvec.index_status(trip)["deployment"]
    assert (told["replicas"], told["shards"], told["loaded"]) == (1, 1, True)
    assert imgvec.load(trip, replicas=1) == 0.0


def test_a_released_collection_is_loaded_by_the_next_read(trip: ImageCollection) -> None:
    trip.learned.write("key", {})  # a companion goes with it
    imgvec.release(trip)
    assert not trip.store.loaded()["loaded"]
    with ImageCollection.open("trip", uri=trip.uri, load=False) if "://" in trip.uri else trip.pinned() as again:
        assert not again.store.loaded()["loaded"]
    if "://" not in trip.uri:
        return
    assert trip.count() == 0
    assert trip.store.loaded()["loaded"]
    imgvec.release(trip)
    assert imgvec.load(trip) == 0.0
    assert trip.store.loaded()["loaded"]


def test_the_commands(trip: ImageCollection) -> None:
    uri = trip.uri
    if "://" not in uri:
        trip.close()

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, ["--uri", uri, *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert run("collections", "release", "trip") == "trip: released\n"
    assert run("collections", "load", "trip").startswith("trip: loaded\n  replicas: 1, of 1 shard; loaded\n")
    told = json.loads(run("collections", "show", "trip", "-o", "json"))["deployment"]
    assert (told["replicas"], told["loaded"]) == (1, True)
    assert "replicas: 1, of 1 shard; loaded" in run("index", "status", "-c", "trip")
    failed = CliRunner().invoke(main, ["--uri", uri, "collections", "load", "trip", "--replicas", "2"])
    assert failed.exit_code == 1
    assert failed.stderr.startswith("Error: Milvus ")


@pytest.mark.server
def test_replicas_that_an_administrator_loaded_are_left_alone(server_uri: str, encoder: FakeEncoder) -> None:
    """A load of what is loaded in another number is refused by 2.3: opening must not ask for one."""
    with ImageCollection.create("trip", definition=DEFINITION, uri=server_uri, encoder=encoder) as trip:
        asked = []
        client: MilvusClient = trip.store.link.client
        client.load_collection = lambda *_, **given: asked.append(given)  # type: ignore[method-assign]
        trip.store.load()
        assert not asked
        trip.drop()


def test_a_definition_that_wants_other_replicas_says_how_to_change_them(
    trip: ImageCollection, encoder: FakeEncoder
) -> None:
    uri = trip.uri
    imgvec.load(trip, replicas=1)
    trip.close()
    with pytest.raises(DefinitionError, match="imgvec collections load trip --replicas 2"):
        ImageCollection.create(
            "trip", definition={**DEFINITION, "replicas": 2}, uri=uri, encoder=encoder, exist_ok=True
        )
    ImageCollection.create("trip", definition=DEFINITION, uri=uri, encoder=encoder, exist_ok=True).close()
