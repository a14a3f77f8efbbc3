"""Replicas: what is asked of servers of each release, against a client that behaves like theirs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from pymilvus import DataType
from pymilvus.client.types import LoadState
from pymilvus.exceptions import MilvusException

from imgvec.errors import BackendError, BackendUnavailable, UnsupportedByBackend, UsageError
from imgvec.milvus import replicas
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.collection_link import CollectionLink
from imgvec.milvus.deployment import DEFAULT_GROUP, Deployment, lacking_nodes
from imgvec.milvus.described import read_schema
from imgvec.milvus.link import Link

INDEX = {"index_type": "FLAT", "metric_type": "COSINE", "field_name": "vector"}


class Server:
    """A collection on a server with query nodes in groups, as pymilvus's client shows it."""

    def __init__(self, *, live: bool = False, **nodes: int) -> None:
        self.live = live
        self.nodes = {DEFAULT_GROUP: 2, **nodes}
        self.state = LoadState.NotLoad
        self.loaded: tuple[int, tuple[str, ...]] = (0, ())
        self.properties: dict[str, str] = {}
        self.loads: list[dict[str, Any]] = []
        self.polls = 0
        """How many looks at its state a load takes."""
        self.no_leader = 0
        """How many looks at its replicas two take to have leaders."""
        self.fail_loads = 0
        self.before_load: Any = None

    def describe_collection(self, name: str, **_: Any) -> dict[str, Any]:
        fields = [
            {"name": "id", "type": DataType.VARCHAR, "is_primary": True, "params": {"max_length": 64}},
            {"name": "vector", "type": DataType.FLOAT_VECTOR, "params": {"dim": 4}},
        ]
        found = {"collection_name": name, "description": "{}", "fields": fields, "collection_id": 1, "num_shards": 2}
        return {**found, "properties": dict(self.properties)}

    def alter_collection_properties(self, _name: str, properties: dict[str, str], **_: Any) -> None:
        self.properties |= properties

    def get_load_state(self, _name: str, **_: Any) -> dict[str, Any]:
        if self.state == LoadState.Loading:
            self.polls -= 1
            if self.polls <= 0:
                self.state = LoadState.Loaded
        return {"state": self.state}

    def load_collection(self, _name: str, **given: Any) -> None:
        self.loads.append({key: value for key, value in given.items() if key not in ("timeout", "_async")})
        if self.before_load:
            self.before_load()
        if self.fail_loads:
            self.fail_loads -= 1
            raise MilvusException(65535, "out of memory")
        wanted = (given.get("replica_number") or 1, tuple(given.get("resource_groups") or ()) or (DEFAULT_GROUP,))
        if self.state != LoadState.NotLoad and not self.live and wanted[0] != self.loaded[0]:
            raise MilvusException(1100, "can't change the replica number for loaded collection: invalid parameter")
        if self.state == LoadState.NotLoad:
            self.state = LoadState.Loading
        self.loaded = wanted

    def release_collection(self, _name: str, **_: Any) -> None:
        self.state, self.loaded = LoadState.NotLoad, (0, ())

    def describe_replica(self, _name: str, **_: Any) -> list[Any]:
        number, groups = self.loaded
        if not number:
            raise MilvusException(400, "replica not found")
        leader = 5 if self.no_leader <= 0 or number == 1 else -1
        self.no_leader -= 1
        shard = SimpleNamespace(channel_name="v0", shard_leader=leader, shard_nodes={5, 4})
        return [
            SimpleNamespace(resource_group=groups[i % len(groups)], group_nodes=(5, 4), shards=[shard])
            for i in range(number)
        ]

    def list_resource_groups(self, **_: Any) -> list[str]:
        return list(self.nodes)

    def describe_resource_group(self, name: str, **_: Any) -> Any:
        return SimpleNamespace(num_available_node=self.nodes[name])


def opened(server: Server, version: str = "v2.3.5") -> CollectionLink:
    found = server.describe_collection("photos")
    database = Link(server, "http://server", capabilities(version), timeout=1.0)  # type: ignore[arg-type]
    return CollectionLink(database, read_schema(found, {"vector": INDEX}))


def test_what_is_not_loaded_is_loaded_in_as_many_replicas_as_are_wanted_now() -> None:
    server = Server(a=1, b=1)
    link = opened(server)
    replicas.load(link)
    assert server.loads == [{}]  # nobody said a number: the database's own counts
    replicas.load(link)
    assert len(server.loads) == 1  # what is loaded stays as it is
    server.release_collection("photos")
    # another client has changed it since
    server.properties["imgvec.deployment"] = json.dumps({"replicas": 2, "resource_groups": ["a", "b"]})
    server.polls = 3
    replicas.load(link)
    assert server.loads[1:] == [{"replica_number": 2, "resource_groups": ["a", "b"]}]


def test_a_companion_is_loaded_like_its_owner() -> None:
    server = Server()
    owner = opened(server)
    server.properties["imgvec.deployment"] = json.dumps({"replicas": 2, "resource_groups": []})
    beside = CollectionLink(owner.database, owner.schema, like=owner)
    replicas.load(beside)
    assert server.loads == [{"replica_number": 2, "resource_groups": []}]


def test_fewer_replicas_than_wanted_are_never_loaded() -> None:
    server = Server()
    server.properties["imgvec.deployment"] = json.dumps({"replicas": 2, "resource_groups": []})
    server.nodes[DEFAULT_GROUP] = 1
    with pytest.raises(BackendUnavailable, match=r"1 query node, and 2 replicas need one each.*load photos") as raised:
        replicas.load(opened(server))
    assert raised.value.retryable
    assert not server.loads


def test_another_client_that_was_faster_is_waited_for() -> None:
    server = Server()
    server.properties["imgvec.deployment"] = json.dumps({"replicas": 2, "resource_groups": []})

    def faster() -> None:
        server.state, server.loaded, server.polls = LoadState.Loading, (1, (DEFAULT_GROUP,)), 2

    server.before_load = faster
    replicas.load(opened(server))
    assert server.loaded[0] == 1


def test_an_older_server_releases_and_loads_to_change_them() -> None:
    server = Server()
    link = opened(server)
    replicas.load(link)
    assert replicas.change(link, Deployment(2)) > 0
    assert server.loaded == (2, (DEFAULT_GROUP,))
    assert link.schema.deployment == Deployment(2) == link.deployment()
    assert replicas.change(link, Deployment(2)) == 0.0
    assert len(server.loads) == 2


def test_a_client_that_loads_it_as_it_was_in_between_is_outlasted() -> None:
    server = Server()
    link = opened(server)
    replicas.load(link)
    times = [2]

    def others() -> None:
        if times[0]:
            times[0] -= 1
            server.state, server.loaded = LoadState.Loaded, (1, (DEFAULT_GROUP,))

    server.before_load = others
    replicas.change(link, Deployment(2))
    assert server.loaded[0] == 2
    assert times == [0]


def test_a_newer_server_changes_them_during_searches() -> None:
    server = Server(live=True)
    link = opened(server, "v2.4.13")
    replicas.load(link)
    server.release_collection = None  # type: ignore[method-assign, assignment]
    server.no_leader = 4
    assert replicas.change(link, Deployment(2)) == 0.0
    assert server.loads[1:] == [{"replica_number": 2, "resource_groups": []}]
    assert server.no_leader < 0  # it was waited for


def test_replicas_that_never_come_are_given_up_and_the_former_are_back() -> None:
    server = Server(live=True)
    link = opened(server, "v2.6.24")
    replicas.change(link, Deployment(1))
    server.no_leader = 10**6
    with pytest.raises(BackendUnavailable, match="0 of 2 replicas of 'photos' were ready in time"):
        replicas.change(link, Deployment(2), timeout=0.2)
    assert server.loaded[0] == 1
    assert link.deployment() == Deployment(1)


def test_a_load_that_fails_leaves_it_loaded_as_before() -> None:
    server = Server()
    link = opened(server)
    replicas.load(link)
    server.fail_loads = 1
    with pytest.raises(BackendError, match="out of memory"):
        replicas.change(link, Deployment(2))
    assert (server.state, server.loaded[0]) == (LoadState.Loaded, 1)
    assert link.deployment() == Deployment()


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        (Deployment(3), UnsupportedByBackend, "has 2 query nodes, and 3 replicas need one each"),
        (Deployment(1, ("nosuch",)), UnsupportedByBackend, r"no resource group nosuch \(.* it has: a, empty\)"),
        (Deployment(1, ("empty",)), UnsupportedByBackend, "no query node in the resource group empty, and a replica"),
        (Deployment(2, ("a", "empty")), UnsupportedByBackend, "no query node in the resource group empty"),
        (Deployment(3, ("a", "empty")), UsageError, "3 groups, not 2"),
        (Deployment(65), UsageError, "from 1 to 64"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(wanted: Deployment, kind: type[Exception], said: str) -> None:
    server = Server(a=1, empty=0)
    link = opened(server)
    replicas.load(link)
    with pytest.raises(kind, match=said):
        replicas.change(link, wanted)
    assert (server.loaded[0], server.properties, len(server.loads)) == (1, {}, 1)


def test_a_login_that_may_not_look_at_groups_leaves_it_to_milvus() -> None:
    server = Server()

    def refused(**_: Any) -> None:
        raise MilvusException(65535, "permission deny")

    server.list_resource_groups = refused  # type: ignore[method-assign, assignment]
    assert lacking_nodes(opened(server).database, Deployment(9)) is None


def test_what_is_loaded_where_as_json() -> None:
    server = Server()
    link = opened(server)
    assert replicas.told(link) == {"replicas": 1, "resource_groups": [], "shards": 2, "loaded": False, "on": []}
    replicas.load(link)
    [replica] = replicas.told(link)["on"]
    shard = {"channel": "v0", "leader": 5, "nodes": [4, 5]}
    assert replica == {"resource_group": DEFAULT_GROUP, "nodes": [4, 5], "shards": [shard]}


def test_only_releases_that_can_are_asked_to_change_replicas_live() -> None:
    assert not capabilities("v2.4.12").live_replicas
    assert capabilities("v2.4.13").live_replicas
    assert not capabilities("v2.5.3").partition_key_isolation
    assert capabilities("v2.5.4").partition_key_isolation
    assert not capabilities("milvus_lite-3.2.2").cluster
