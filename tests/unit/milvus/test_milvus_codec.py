"""Vectors as Milvus's types, there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus import CollectionSchema, DataType, FieldSchema
from pymilvus.client.prepare import Prepare

from imgvec.milvus import codec
from imgvec.vectors import Vectors

TYPES = ("FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR", "INT8_VECTOR")


def unit(rows: int, dim: int) -> Vectors:
    made = np.random.default_rng(7).standard_normal((rows, dim)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("vector_type", "error"),
    [("FLOAT_VECTOR", 0), ("FLOAT16_VECTOR", 2**-11), ("BFLOAT16_VECTOR", 2**-8), ("INT8_VECTOR", 0.5 / 127)],
)
def test_each_type_is_read_back_within_its_precision(vector_type: str, error: float) -> None:
    given_vectors = unit(20, 16)
    for sent, original in zip(codec.to_query(given_vectors, vector_type), given_vectors, strict=True):
        value = original.tolist() if vector_type == "FLOAT_VECTOR" else [sent]
        read = codec.from_row(value, vector_type)
        assert read.dtype == np.float32
        assert np.abs(read - original).max() <= error + 1e-7


@pytest.mark.parametrize(
    ("vector_type", "element", "says"),
    [
        ("FLOAT16_VECTOR", 65504.0, None),
        ("FLOAT16_VECTOR", -70_000.0, "vector 1 has an element of size 7e+04: FLOAT16_VECTOR holds 65,504 at most"),
        ("INT8_VECTOR", 1.0005, None),
        ("INT8_VECTOR", 1.5, "vector 1 has an element of size 1.5: INT8_VECTOR holds 1 at most"),
        ("BFLOAT16_VECTOR", 1e18, None),
        ("FLOAT_VECTOR", 1e18, None),
    ],
)
def test_numbers_too_large_for_a_type_are_named(vector_type: str, element: float, says: str | None) -> None:
    vectors = unit(3, 8)
    vectors[1, 2] = element
    assert codec.problem(vectors, vector_type) == says
    if says is None:
        assert np.isfinite([codec.from_row([row], vector_type) for row in codec.to_query(vectors, vector_type)]).all()
    assert codec.problem(vectors[:0], vector_type) is None


@given(st.floats(min_value=2.0**-100, max_value=1.0, width=32))
def test_bfloat16_rounds_to_the_nearest(value: float) -> None:
    array = np.array([[value]], np.float32)
    (sent,) = codec.to_query(array, "BFLOAT16_VECTOR")
    assert abs(codec.from_row(sent, "BFLOAT16_VECTOR")[0] - array[0, 0]) <= array[0, 0] * 2.0**-8


@pytest.mark.parametrize("vector_type", TYPES)
def test_pymilvus_takes_rows_and_queries_of_each_type(vector_type: str) -> None:
    dtype = DataType[vector_type]
    schema = CollectionSchema(
        [FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=64), FieldSchema("vector", dtype, dim=8)]
    ).to_dict()
    rows = [{"id": str(n), "vector": each} for n, each in enumerate(codec.to_rows(unit(3, 8), vector_type))]
    request = Prepare.row_upsert_param("c", rows, "", schema["fields"])
    assert request.num_rows == 3
    query = Prepare.search_requests_with_expr(
        "c", "vector", {}, 1, data=codec.to_query(unit(3, 8), vector_type), schema=schema
    )
    assert query.nq == 3
