"""Replicas on a real cluster with two query nodes: kept by every load, changed in use, and never fewer than wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from milvus_cluster import MilvusCluster
from replicated import ON_A_CLUSTER, check_replicas
from rows import row

import imgvec
from imgvec import ImageCollection, Settings, VectorQuery
from imgvec.errors import BackendUnavailable, CollectionNotFound, UnsupportedByBackend

pytestmark = pytest.mark.cluster

DEFINITION: dict[str, Any] = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}, **ON_A_CLUSTER}
ROWS = 500


def filled(uri: str, encoder: FakeEncoder) -> ImageCollection:
    photos = ImageCollection.create("photos", definition=DEFINITION, uri=uri, encoder=encoder)
    vectors = np.random.default_rng(3).normal(size=(ROWS, encoder.binding.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    photos.store.upsert([row(f"{i:032x}") for i in range(ROWS)], vectors)
    return photos


@pytest.fixture
def photos(cluster_uri: str, encoder: FakeEncoder) -> Iterator[ImageCollection]:
    with filled(cluster_uri, encoder) as collection:
        yield collection


def replicas_of(photos: ImageCollection) -> int:
    return len(photos.store.loaded()["on"])


def test_every_load_keeps_the_replicas(photos: ImageCollection) -> None:
    check_replicas(photos)
    imgvec.release(photos)
    assert replicas_of(photos) == 0
    assert photos.count() == ROWS  # the read loads it again
    check_replicas(photos)
    imgvec.build_index(photos, "IVF_FLAT", {"nlist": 8})
    check_replicas(photos)
    photos.learned.write("key", {"array": np.ones(3)})
    with imgvec.scratch_copy(photos, only=[f"{i:032x}" for i in range(20)]) as copied:
        client = photos.store.link.client
        loaded = {name: len(client.describe_replica(name)) for name in client.list_collections()}
        assert loaded == {"photos": 2, "photos__learned": 2, copied.name: 2}
    imgvec.release(photos)
    with ImageCollection.open("photos", uri=photos.uri) as again:
        check_replicas(again)


def test_replicas_are_changed_in_use_and_no_row_is_lost(photos: ImageCollection) -> None:
    """Another client, which opened the collection before, goes on searching.

    While 2.3 releases the collection and loads it again, that client waits, fails, or finds nothing; never wrong rows.
    """
    wrong: list[str] = []
    right: list[float] = []
    done = threading.Event()
    wanted = f"{7:032x}"
    vector = photos.get([wanted], with_vector=True)[wanted]["vector"]

    def search() -> None:
        with ImageCollection.open("photos", uri=photos.uri) as searching:
            while not done.is_set():
                try:
                    hits = [hit.id for hit in searching.search(VectorQuery(vector), limit=1)]
                except BackendUnavailable:
                    hits = []
                if hits == [wanted]:
                    right.append(time.monotonic())
                elif hits:
                    wrong.extend(hits)
                time.sleep(0.02)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for number in (1, 2):
            seconds = imgvec.load(photos, replicas=number)
            assert 0 < seconds < 60
            assert replicas_of(photos) == number
            back = time.monotonic()
            while not (right and right[-1] > back):
                assert time.monotonic() - back < 20
                time.sleep(0.05)
    finally:
        done.set()
        thread.join()
    assert not wrong
    check_replicas(photos)
    assert photos.count() == ROWS
    with ImageCollection.open("photos", uri=photos.uri) as again:
        assert again.store.deployment.replicas == 2


def test_more_replicas_than_query_nodes_are_refused_at_once(photos: ImageCollection, encoder: FakeEncoder) -> None:
    started = time.monotonic()
    with pytest.raises(UnsupportedByBackend, match="has 2 query nodes, and 3 replicas need one each"):
        imgvec.load(photos, replicas=3)
    with pytest.raises(UnsupportedByBackend, match="has no resource group nosuch"):
        imgvec.load(photos, resource_groups=["nosuch"])
    with pytest.raises(UnsupportedByBackend, match="3 replicas need one each"):
        ImageCollection.create("three", definition={**DEFINITION, "replicas": 3}, uri=photos.uri, encoder=encoder)
    assert time.monotonic() - started < 5
    with pytest.raises(CollectionNotFound):
        ImageCollection.open("three", uri=photos.uri)
    check_replicas(photos)


def test_replicas_that_another_client_loaded_are_opened_as_they_are(photos: ImageCollection) -> None:
    client = photos.store.link.client
    client.release_collection("photos")
    client.load_collection("photos", replica_number=1)
    with ImageCollection.open("photos", uri=photos.uri) as again:
        assert again.count() == ROWS
        assert replicas_of(again) == 1
        assert imgvec.load(again, replicas=2) > 0
        check_replicas(again)


def test_resource_groups(photos: ImageCollection) -> None:
    client = photos.store.link.client
    client.create_resource_group("search")
    try:
        with pytest.raises(UnsupportedByBackend, match="no query node in the resource group search"):
            imgvec.load(photos, replicas=1, resource_groups=["search"])
        client._get_connection().transfer_node("__default_resource_group", "search", 1)
        imgvec.load(photos, replicas=1, resource_groups=["search"])
        assert [each["resource_group"] for each in photos.store.loaded()["on"]] == ["search"]
        imgvec.release(photos)
        assert photos.count() == ROWS
        assert [each["resource_group"] for each in photos.store.loaded()["on"]] == ["search"]
        imgvec.release(photos)
    finally:
        photos.drop()
        if client.describe_resource_group("search").num_available_node:
            client._get_connection().transfer_node("search", "__default_resource_group", 1)
        client.drop_resource_group("search")


def test_where_a_query_node_is_gone_fewer_replicas_are_loaded_only_when_asked_for(
    own_cluster: MilvusCluster, encoder: FakeEncoder
) -> None:
    settings = Settings(read_retry_seconds=1)
    with (
        filled(own_cluster.uri, encoder) as made,
        ImageCollection.open("photos", uri=own_cluster.uri, settings=settings) as photos,
    ):
        made.store.flush()
        imgvec.release(photos)
        own_cluster.kill("querynode2")
        group = "__default_resource_group"
        deadline = time.monotonic() + 60
        while photos.store.link.client.describe_resource_group(group).num_available_node > 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        started = time.monotonic()
        with pytest.raises(BackendUnavailable, match="1 query node, and 2 replicas need one each") as raised:
            photos.count()
        assert raised.value.retryable
        assert time.monotonic() - started < 5
        with ImageCollection.open("photos", uri=own_cluster.uri, load=False) as again:
            imgvec.load(again, replicas=1)
        assert photos.count() == ROWS


def test_what_was_written_and_deleted_is_read_so_from_either_replica(photos: ImageCollection) -> None:
    """By another client, at once: a replica that is behind answers none of its reads, and no page.

    A scan counts before its first page, which most often takes long enough for the other replica, too. So pages are
    read without that as well: each of them showed what had been deleted before they were strong.
    """
    vector = np.eye(1, photos.store.vectors["vector"].dim, dtype=np.float32)
    with ImageCollection.open("photos", uri=photos.uri) as reading:
        assert reading.count() == ROWS  # it knows the replicas
        for i in range(ROWS, ROWS + 20):
            new, old = f"{i:032x}", f"{i - ROWS:032x}"
            photos.store.upsert([row(new)], vector)
            assert new in {each["id"] for page in reading.store.scan(["id"]) for each in page}, i
            photos.store.delete([old])
            assert old not in {each["id"] for each in reading.store._paging._page('id >= ""', ["id"], 1000)}, i
            assert old not in {each["id"] for page in reading.store.scan(["id"]) for each in page}, i
            assert reading.get([old, new]).keys() == {new}, i
