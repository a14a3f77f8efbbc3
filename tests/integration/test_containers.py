"""Milvus in a container answers as Milvus does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

pytestmark = pytest.mark.container

ROWS, DIM = 200, 16


@pytest.fixture
def client(container_uri: str) -> Iterator[MilvusClient]:
    client = MilvusClient(container_uri)
    yield client
    client.close()


def test_rows_go_in_are_found_counted_and_dropped(client: MilvusClient) -> None:
    vectors = np.random.default_rng(7).standard_normal((ROWS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="COSINE")
    client.create_collection("containers", schema=schema, index_params=index, consistency_level="Strong")
    try:
        client.upsert("containers", [{"id": f"{i:04}", "vector": vector} for i, vector in enumerate(vectors)])
        assert client.query("containers", output_fields=["count(*)"])[0]["count(*)"] == ROWS

        found = client.search("containers", data=list(vectors[:3]), limit=5, output_fields=["id"])
        exact = np.argsort(-vectors[:3] @ vectors.T, axis=1)[:, :5]
        assert [[hit["id"] for hit in hits] for hits in found] == [[f"{i:04}" for i in row] for row in exact]
        assert [hits[0]["distance"] for hits in found] == pytest.approx([1.0] * 3, abs=1e-5)
    finally:
        client.drop_collection("containers")
    assert not client.has_collection("containers")


def test_the_image_holds_the_version_that_its_tag_names(client: MilvusClient, container_image: str) -> None:
    tag = container_image.rpartition(":")[2].removeprefix("v")
    version = client.get_server_version().removeprefix("v").removesuffix("-lite")
    assert version == tag
