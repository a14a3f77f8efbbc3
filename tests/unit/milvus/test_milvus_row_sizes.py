"""What a row takes in a message and in an answer, at the limits of its fields."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_milvus_writing import SCHEMA

from imgvec.errors import QueryError
from imgvec.filters import FieldType
from imgvec.milvus import answers, writing
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.search_params import SearchParams
from imgvec.rows import FROM_IMAGE
from imgvec.stored import IndexInfo

ROW = {"id": "a", "text": "t"}
DECLARED = replace(SCHEMA, dynamic=False)


def sizes(*rows: dict[str, Any], schema: Any = SCHEMA) -> list[int]:
    return writing.checked_sizes(rows, schema)


def refused(row: dict[str, Any], schema: Any = SCHEMA) -> str:
    with pytest.raises(writing.RefusedRowError) as caught:
        sizes({**ROW, **row}, schema=schema)
    return str(caught.value)


def test_the_size_of_each_kind_of_value() -> None:
    assert sizes(ROW, {"id": "é", "text": "日"}) == [2, 5]
    assert sizes({**ROW, "number": 7}) == [2 + 8]
    assert sizes({**ROW, "number": None, "tags": None, "meta": None}) == [2]
    assert sizes({**ROW, "tags": ["é", "abc"]}) == [2 + 5]
    assert sizes({**ROW, "tags": [1, 2, 3]}) == [2 + 24]
    assert sizes({**ROW, "meta": {"a": "é"}}) == [2 + len('{"a": "é"}'.encode())]
    assert sizes({**ROW, "x": 1, "y": "é"}) == [2 + len('{"x": 1, "y": "é"}'.encode())]


def test_the_most_that_fits() -> None:
    assert sizes({"id": "x" * 64, "text": "éé"}) == [68]
    assert refused({"id": "x" * 65}).endswith("id is 65 bytes long in UTF-8, but the field holds at most 64")
    assert refused({"text": "x" * 5}).endswith("text is 5 bytes long in UTF-8, but the field holds at most 4")
    around = len(json.dumps({"a": ""}))
    for name in ("meta", "a"):
        whole = {"a": "x" * (65_536 - around)}
        assert sizes({**ROW, **({"meta": whole} if name == "meta" else whole)}) == [2 + 65_536]
        more = {"a": "x" * (65_537 - around)}
        place = "meta" if name == "meta" else "the dynamic field"
        said = refused({"meta": more} if name == "meta" else more)
        assert said.endswith(f"{place} is 65537 bytes of JSON, but Milvus accepts at most 65536")


def test_a_refusal_names_the_row_its_id_and_the_field() -> None:
    declared = replace(SCHEMA, fields={**SCHEMA.fields, "number": FieldType("INT64")})
    with pytest.raises(writing.RefusedRowError, match=r"^row 1 \(id 'b'\): number is null, but its field is not null"):
        sizes({**ROW, "number": 1}, {"id": "b", "text": "t", "number": None}, schema=declared)
    with pytest.raises(writing.RefusedRowError, match=r"^row 0 \(id None\): id, text missing$"):
        sizes({"number": 1})
    assert refused({"x": 1, "y": 2}, DECLARED).endswith("x, y: no such field, and there is no dynamic field")
    assert refused({"meta": [1]}).endswith("meta is not a JSON object")
    assert refused({"text": 3}).endswith("text = 3 is not text")


def test_the_note_of_what_the_picture_filled() -> None:
    row, kept = {**ROW, FROM_IMAGE: "taken_at"}, replace(DECLARED, noted=True)
    assert writing.noted(row, SCHEMA) is row  # in the dynamic field
    assert writing.noted(row, DECLARED) == ROW  # a collection that was made before there were notes
    assert writing.noted(row, kept) == row
    assert writing.noted(ROW, kept) == writing.noted({**ROW, FROM_IMAGE: None}, kept) == {**ROW, FROM_IMAGE: ""}
    assert sizes(row, schema=DECLARED) == [2 + len("taken_at")]
    assert "is not text" in refused({FROM_IMAGE: 3}, DECLARED)


def test_rows_as_they_are_sent() -> None:
    rows = [{**ROW, "id": name} for name in "abc"]
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    sent = writing.wire_rows(rows, {"vector": vectors}, [2, 0], SCHEMA)
    assert [(row["id"], row["text"]) for row in sent] == [("c", "t"), ("a", "t")]
    np.testing.assert_array_equal([row["vector"] for row in sent], vectors[[2, 0]])


@pytest.mark.parametrize(
    ("row_sizes", "vector_bytes", "runs"),
    [
        ([6, 6, 6, 6], 4, [[0, 1, 2], [3]]),
        ([6, 6, 7, 6], 4, [[0, 1], [2, 3]]),
        ([40, 1, 40], 4, [[0], [1], [2]]),
        ([30 - 4], 4, [[0]]),
        ([], 4, []),
    ],
)  # fmt: skip
def test_messages_are_filled(
    monkeypatch: pytest.MonkeyPatch, row_sizes: list[int], vector_bytes: int, runs: list[list[int]]
) -> None:
    monkeypatch.setattr(writing, "MAX_BATCH_BYTES", 30)
    assert [list(run) for run in writing.batches(range(len(row_sizes)), row_sizes, vector_bytes)] == runs


def test_the_last_of_equal_ids_in_the_order_of_the_rows() -> None:
    assert writing.last_of_each_id([{"id": each} for each in "abc"]) == [0, 1, 2]
    assert writing.last_of_each_id([{"id": each} for each in "abcaab"]) == [2, 4, 5]


def test_about_what_an_answer_takes() -> None:
    def row_bytes(*names: str) -> int:
        return answers.Columns(names, SCHEMA).row_bytes

    assert row_bytes("id") == 100 + 64
    assert row_bytes("text") == 100 + 4
    assert row_bytes("number") == 100 + 8
    assert row_bytes("meta") == row_bytes("tags") == row_bytes("anything") == 100 + 1024
    assert row_bytes("vector") == 100 + 2 * 32
    long = replace(SCHEMA, fields={**SCHEMA.fields, "text": FieldType("VARCHAR", max_length=5000)})
    assert answers.Columns(["text"], long).row_bytes == 100 + 256
    assert row_bytes("*") == 100 + 64 + 4 + 8 + 3 * 1024


def test_what_was_not_asked_for_is_left_out() -> None:
    row = {"id": "a", "text": "t", "vector": [1.0, 0.0]}
    assert answers.Columns(["text"], SCHEMA).of({"id": "a", "text": "t"}) == {"text": "t"}
    assert answers.Columns(["id", "text"], SCHEMA).of({"id": "a", "text": "t"}) == {"id": "a", "text": "t"}
    assert answers.Columns(["*"], SCHEMA).of({"id": "a", "text": "t"}) == {"id": "a", "text": "t"}
    found = answers.Columns(["vector"], SCHEMA).of(row)
    assert list(found) == ["text", "vector"]
    assert found["vector"].dtype == np.float32
    assert found["vector"].tolist() == [1, 0]


@pytest.mark.parametrize("limit", [0, 101, -1])
def test_a_limit_that_the_backend_does_not_take(limit: int) -> None:
    params = SearchParams(IndexInfo("FLAT", {}), replace(capabilities("v2.6.24"), max_limit=100))
    with pytest.raises(QueryError, match=rf"^limit must be from 1 to 100, not {limit}$"):
        params.checked(None, limit)
    assert params.checked(None, 1) == params.checked(None, 100) == {}
