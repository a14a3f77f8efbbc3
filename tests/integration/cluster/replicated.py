"""Collections as a cluster has them: in two shards, and in two replicas on its two query nodes."""

from __future__ import annotations

from typing import Any

from imgvec import ImageCollection

SHARDS = 2
REPLICAS = 2
ON_A_CLUSTER: dict[str, Any] = {"num_shards": SHARDS, "replicas": REPLICAS}
"""What a definition says for them."""


def check_replicas(photos: ImageCollection) -> None:
    """AssertionError unless it has its replicas, on different query nodes, and each has every shard with a leader."""
    found = photos.store.link.client.describe_replica(photos.name)
    assert len(found) == REPLICAS, found
    for replica in found:
        assert len(replica.shards) == SHARDS, found
        assert {shard.shard_leader for shard in replica.shards} <= set(replica.group_nodes), found
    nodes = [node for replica in found for node in replica.group_nodes]
    assert len(set(nodes)) == len(nodes), found
