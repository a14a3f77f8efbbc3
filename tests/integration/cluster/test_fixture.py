"""The Milvus cluster of these tests itself: it starts, loses roles and gets them back, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from backends import without
from milvus_cluster import MilvusCluster, why_no_cluster
from process_keeper import ProcessKeeper
from pymilvus import MilvusClient, MilvusException

pytestmark = pytest.mark.cluster

TESTS = Path(__file__).parents[2]

HOLDS_A_CLUSTER = """
import sys, threading, time
from pathlib import Path
from backends import without
from milvus_cluster import MilvusCluster

cluster = MilvusCluster(Path(sys.argv[1]))
starter = threading.Thread(target=cluster.start)  # which ends, and may not take the cluster along
starter.start()
starter.join()
time.sleep(0.5)
assert cluster.running == cluster.roles
print(*cluster.pids.values(), flush=True)
time.sleep(600)
"""


def _alive(pids: list[int]) -> list[int]:
    """The processes among `pids` that still run; those that nobody has reaped yet do not."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    alive = []
    for pid, stat in states.items():
        try:
            if stat.read_text().rpartition(")")[2].split()[0] != "Z":
                alive.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return alive


def _listening(pids: list[int]) -> dict[int, str]:
    """Port and address of each TCP socket on which one of `pids` listens."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            target = str(handle.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                found[int(port, 16)] = address
    return found


def test_a_query_node_is_killed_and_comes_back(cluster: MilvusCluster, cluster_uri: str) -> None:
    client = MilvusClient(cluster_uri)
    client.create_collection("killed", 8, num_shards=2, metric_type="L2", consistency_level="Strong")
    vectors = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    client.insert("killed", [{"id": i, "vector": vector} for i, vector in enumerate(vectors)])
    client.release_collection("killed")
    client.load_collection("killed", replica_number=2)

    old = cluster.pids["querynode1"]
    cluster.kill("querynode1")
    assert not _alive([old])
    assert cluster.running == tuple(role for role in cluster.roles if role != "querynode1")

    cluster.respawn("querynode1")
    assert cluster.pids["querynode1"] != old
    assert cluster.running == cluster.roles
    wanted = np.argsort(((vectors - vectors[7]) ** 2).sum(axis=1))[:5].tolist()
    deadline = time.monotonic() + 30
    right = 0
    while right < 20:  # in a row: two replicas take turns
        assert time.monotonic() < deadline, "the respawned node still answers wrongly"
        try:
            hits = client.search("killed", [vectors[7]], limit=5, timeout=5)[0]
        except MilvusException:  # sent to the node that was killed
            hits = []
        right = right + 1 if [hit["id"] for hit in hits] == wanted else 0
    client.close()


def test_every_other_role_comes_back(cluster: MilvusCluster, cluster_uri: str) -> None:
    others = ("proxy", "datanode", "indexnode", "datacoord", "querycoord")
    old = {role: cluster.pids[role] for role in others}
    for role in others:
        cluster.kill(role)
    assert _alive(list(old.values())) == []
    for role in others:
        cluster.respawn(role, wait=False)
    cluster.wait_until_ready()
    assert cluster.running == cluster.roles
    client = MilvusClient(cluster_uri)
    client.create_collection("again", 8, consistency_level="Strong")
    client.insert("again", [{"id": i, "vector": [float(i)] * 8} for i in range(10)])
    client.flush("again")
    assert client.query("again", "", output_fields=["count(*)"])[0]["count(*)"] == 10
    client.close()


def test_a_query_node_ends_on_sigterm(cluster: MilvusCluster) -> None:
    cluster.terminate("querynode2")
    assert "querynode2" not in cluster.running
    cluster.respawn("querynode2")


def test_two_clusters_side_by_side_and_a_stop_that_leaves_nothing(cluster: MilvusCluster, tmp_path: Path) -> None:
    with MilvusCluster(tmp_path / "second", query_nodes=1) as second:
        pids = list(second.pids.values())
        assert len(pids) == 9
        assert second.rss() > second.pss() > 100 << 20
        ports = _listening(pids)
        assert not ports.keys() & _listening(list(cluster.pids.values())).keys()
        client = MilvusClient(second.uri)
        client.create_collection("here", 8)
        client.close()
    assert _alive(pids) == []
    assert second.running == ()
    left = {path.name for path in second.directory.iterdir()}
    assert left == {"configs", "logs"}
    client = MilvusClient(cluster.uri)
    assert "here" not in client.list_collections()
    client.close()


def test_a_role_that_ends_while_starting_is_named_and_nothing_stays(tmp_path: Path) -> None:
    if reason := why_no_cluster():
        without("cluster", reason)
    cluster = MilvusCluster(tmp_path, settings={"KAFKA_BROKERLIST": "", "MQ_TYPE": "no such queue"}, patience=60)
    with pytest.raises(RuntimeError, match=r"of the Milvus cluster \[.*coord.*\] ended"):
        cluster.start()
    assert cluster.pids == {}


def test_the_death_of_the_parent_leaves_nothing(tmp_path: Path) -> None:
    if reason := why_no_cluster():
        without("cluster", reason)
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_CLUSTER, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(_alive(pids)) == 10
    parent.kill()
    parent.wait(10)
    deadline = time.monotonic() + 10
    while (alive := _alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive == []
    parent.stdout.close()


def test_the_death_of_the_keeper_leaves_nothing(tmp_path: Path) -> None:
    with ProcessKeeper() as keeper:
        pid = keeper.start("sleeper", ["sleep", "600"], cwd=tmp_path, environment=dict(os.environ), log=tmp_path / "x")
        os.kill(keeper.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while _alive([pid]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert _alive([pid]) == []
        with pytest.raises(RuntimeError, match="the process keeper has ended"):
            keeper.ended()
