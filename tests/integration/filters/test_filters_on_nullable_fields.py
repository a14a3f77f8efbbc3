"""Nullable fields, which Milvus Lite has and Milvus 2.3 does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pymilvus import DataType, MilvusClient

from imgvec.filters import FieldType, Filter, Raw, field, render

FIELDS = {
    "id": FieldType("VARCHAR"),
    "name": FieldType("VARCHAR", nullable=True),
    "size": FieldType("INT64", nullable=True),
    "tags": FieldType("ARRAY", element="VARCHAR", nullable=True),
    "meta": FieldType("JSON", nullable=True),
}
ROWS = [
    {"id": "full", "name": "abc", "size": 1, "tags": ["x"], "meta": {"k": 1}},
    {"id": "other", "name": "z", "size": 2, "tags": [], "meta": {"k": "1"}},
    {"id": "null", "name": None, "size": None, "tags": None, "meta": None},
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusClient]:
    client = MilvusClient(str(tmp_path_factory.mktemp("nullable") / "lite.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=16)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("name", DataType.VARCHAR, max_length=16, nullable=True)
    schema.add_field("size", DataType.INT64, nullable=True)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=16, nullable=True
    )
    schema.add_field("meta", DataType.JSON, nullable=True)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection("nullable", schema=schema, index_params=index)
    client.insert("nullable", [{**row, "vector": [0.0, 1.0]} for row in ROWS])
    yield client
    client.close()


def _shown(value: object) -> str:
    """A set by its items in order: as each process prints it, the test would have another name in each."""
    return f"{{{', '.join(sorted(map(repr, value)))}}}" if isinstance(value, set) and value else repr(value)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (field("name").is_null(), {"null"}),
        (field("name").is_not_null(), {"full", "other"}),
        (field("meta").is_null(), {"null"}),
        (field("meta")["k"].is_null(), {"null"}),
        (field("id").is_null(), set()),
        (field("id").is_not_null(), {"full", "other", "null"}),
        (field("size") == 1, {"full"}),
        (field("size") != 1, {"other"}),
        (~(field("size") == 1), {"other"}),
        (~(field("size") > 1), {"full"}),
        (field("size").in_([1]), {"full"}),
        (field("size").not_in([1]), {"other"}),
        (field("name").has_prefix("a"), {"full"}),
        (~field("name").has_prefix("a"), {"other"}),
        (~field("name").has_prefix("%"), {"full", "other"}),
        (field("tags").contains("x"), {"full"}),
        (~field("tags").contains("x"), {"other", "null"}),
        (field("tags").contains_all([]), {"full", "other", "null"}),
        (field("meta")["k"] != 2, {"full"}),
        (field("meta")["k"] != "2", {"other"}),
        (~((field("size") == 1) | field("name").is_null()), {"other"}),
        ("not (size * 2 == 3)", {"full", "other"}),
        ("not size * 2 != 2", {"full"}),
        ("not (size - size == 0)", set()),
        ("not (not size * 2 == 3)", set()),
        ('not (meta["k"] + 1 > 5)', {"full"}),
        ('not (meta["k"] * 2 != 2)', {"full"}),
        (~Raw("size * 2 == 4"), {"full"}),
        ('0 < size < 010 and 0 < meta["k"] <= size', {"full"}),
    ],
    ids=_shown,
)
def test_rows_without_a_value(client: MilvusClient, where: Filter | str, found: set[str]) -> None:
    expression = render(where, FIELDS, dynamic=False)
    rows = client.query("nullable", filter=expression, output_fields=["id"], limit=10)
    assert {row["id"] for row in rows} == found
