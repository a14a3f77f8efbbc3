"""Rows are checked and cut into messages before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.exceptions import MilvusException

from imgvec.errors import QueryError, WriteFailed
from imgvec.filters import FieldType
from imgvec.milvus import writing
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.described import Schema
from imgvec.milvus.incarnation import Incarnation
from imgvec.milvus.link import Link
from imgvec.milvus.store import Store
from imgvec.stored import IndexInfo

SCHEMA = Schema(
    name="c",
    description="",
    dim=2,
    vector_type="FLOAT_VECTOR",
    metric_type="COSINE",
    index=IndexInfo("FLAT", {}),
    fields={
        "id": FieldType("VARCHAR", max_length=64),
        "text": FieldType("VARCHAR", max_length=4),
        "number": FieldType("INT64", nullable=True),
        "tags": FieldType("ARRAY", element="VARCHAR", nullable=True),
        "meta": FieldType("JSON", nullable=True),
    },
    dynamic=True,
    consistency_level="Bounded",
    incarnation=Incarnation("", 0, "[]"),
)


class Client:
    """Takes rows as pymilvus's client does, and fails at one call."""

    def __init__(self, fails_at: int = -1) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self._fails_at = fails_at

    def describe_collection(self, name: str, timeout: float) -> dict[str, Any]:
        return {"fields": []}

    def upsert(self, name: str, data: list[dict[str, Any]], timeout: float) -> None:
        if len(self.calls) == self._fails_at:
            raise MilvusException(code=8, message="rate limit")
        self.calls.append(data)


def store(client: Client) -> Store:
    return Store(Link(client, "http://nowhere", capabilities("v2.3.5")), SCHEMA)  # type: ignore[arg-type]


def vectors(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.tile(np.array([1, 0], np.float32), (count, 1))


@pytest.mark.parametrize(
    ("own", "asked", "sent"),
    [
        ("Bounded", None, (None, "Strong")),
        ("Bounded", "Session", ("Session", "Strong")),
        ("Bounded", "Bounded", ("Bounded", "Bounded")),
        ("Bounded", "Strong", ("Strong", "Strong")),
        ("Session", None, (None, "Strong")),
        ("Strong", None, (None, None)),
        ("Strong", "Session", ("Session", "Strong")),
        ("Strong", "Eventually", ("Eventually", "Eventually")),
    ],
)
def test_own_deletes_are_seen_by_session_too(own: str, asked: str | None, sent: tuple[str | None, str | None]) -> None:
    """A server does not tell when it deleted, and its Session waits for writes alone."""
    connection = Link(Client(), "http://nowhere", capabilities("v2.3.5"))  # type: ignore[arg-type]  # it answers as one
    link = Store(connection, replace(SCHEMA, consistency_level=own)).link
    before = link.level(asked)
    link.deleted()
    assert (before, link.level(asked)) == sent


def test_a_number_that_float16_does_not_hold_is_refused_and_not_stored_as_infinite() -> None:
    client = Client()
    halves = Store(
        Link(client, "http://nowhere", capabilities("v2.6.4")),  # type: ignore[arg-type]  # it answers as one
        replace(SCHEMA, vector_type="FLOAT16_VECTOR", metric_type="L2"),
    )
    large = vectors(2)
    large[1, 0] = 1e5
    says = r"vector 1 has an element of size 1e\+05: FLOAT16_VECTOR holds 65,504 at most"
    with pytest.raises(WriteFailed, match=says):
        halves.upsert([{"id": "a", "text": "t"}, {"id": "b", "text": "t"}], large)
    assert client.calls == []
    with pytest.raises(QueryError, match=says):
        halves.search(large, limit=1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": ""}, "the id is empty"),
        ({"id": 7}, "id = 7 is not text"),
        ({"id": "x" * 65}, "id is 65 bytes long"),
        ({"text": "ééé"}, "text is 6 bytes long in UTF-8, but the field holds at most 4"),
        ({"text": None}, "text is null"),
        ({"text": "\ud800"}, "not Unicode"),
        ({"meta": "text"}, "meta is not a JSON object"),
        ({"meta": {"a": float("nan")}}, "cannot be written as JSON"),
        ({"meta": {"a": "x" * 70_000}}, "70009 bytes of JSON"),
        ({"extra": "x" * 70_000}, "the dynamic field is 700"),
        ({"extra": object()}, "cannot be written as JSON"),
        ({"vector": [1, 0]}, "the vector must be passed separately"),
    ],
)
def test_a_row_that_milvus_would_refuse_or_change_stops_all(change: dict[str, Any], says: str) -> None:
    client = Client()
    rows = [{"id": "a", "text": "t"}, {"id": "b", "text": "t", **change}]
    with pytest.raises(WriteFailed, match="nothing was written") as raised:
        store(client).upsert(rows, vectors(2))
    assert says in str(raised.value)
    assert (raised.value.written, raised.value.pending, client.calls) == (0, 2, [])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: np.ones((1, 2), np.float32),
        lambda: np.array([[1, 0], [np.nan, 0]], np.float32),
        lambda: np.array([[1, 0], [0, 0]], np.float32),
        lambda: np.array([[1, 0], [0, 2]], np.float32),
        lambda: np.ones((2, 3), np.float32),
    ],
)
def test_wrong_vectors_stop_all(wrong: Callable[[], Any]) -> None:
    client = Client()
    with pytest.raises(WriteFailed) as raised:
        store(client).upsert([{"id": "a", "text": "t"}, {"id": "b", "text": "t"}], wrong())
    assert (raised.value.pending, client.calls) == (2, [])


def test_missing_and_undeclared_fields_are_named() -> None:
    with pytest.raises(WriteFailed, match=r"row 0 .*text missing"):
        store(Client()).upsert([{"id": "a"}], vectors(1))


def test_of_equal_ids_the_last_row_is_sent_once() -> None:
    client = Client()
    rows = [{"id": i, "text": t} for i, t in (("a", "1"), ("b", "2"), ("a", "3"))]
    assert store(client).upsert(rows, vectors(3)) == 2
    assert [(row["id"], row["text"]) for row in client.calls[0]] == [("b", "2"), ("a", "3")]


def test_a_failure_half_way_counts_what_was_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_BATCH_BYTES", 30)
    client = Client(fails_at=2)
    rows = [{"id": f"{n}", "text": "t"} for n in range(10)]
    with pytest.raises(WriteFailed) as raised:
        store(client).upsert(rows, vectors(10))
    written = sum(map(len, client.calls))
    assert 0 < written < 10
    assert (raised.value.written, raised.value.pending) == (written, 10 - written)
    assert (raised.value.code, raised.value.retryable) == (8, True)
    assert raised.value.__cause__ is not None


@given(sizes=st.lists(st.integers(0, 40 * 2**20), max_size=30), vector_bytes=st.integers(4, 131_072))
def test_batches_hold_every_row_once_in_order_and_fit_a_message(sizes: list[int], vector_bytes: int) -> None:
    made = list(writing.batches(range(len(sizes)), sizes, vector_bytes))
    assert [position for batch in made for position in batch] == list(range(len(sizes)))
    for batch in made:
        total = sum(sizes[position] + vector_bytes for position in batch)
        assert len(batch) == 1 or total <= writing.MAX_BATCH_BYTES


def test_no_rows_are_no_call() -> None:
    client = Client()
    assert store(client).upsert([], np.empty((0, 2), np.float32)) == 0
    assert client.calls == []


@pytest.mark.parametrize(
    ("dynamic", "column", "sent"),
    [
        (True, False, {"id": "1", "imgvec_from_image": "taken_at"}),
        (False, True, {"id": "1", "imgvec_from_image": "taken_at"}),
        (False, False, {"id": "1"}),  # an earlier imgvec's collection, which has no place for it
    ],
)
def test_what_the_picture_filled_is_noted_where_there_is_a_place(dynamic: bool, column: bool, sent: Any) -> None:
    schema = replace(SCHEMA, fields={"id": FieldType("VARCHAR")}, dynamic=dynamic, noted=column)
    row = {"id": "1", "imgvec_from_image": "taken_at"}
    assert writing.checked_sizes([row], schema) > [8]
    vectors = np.eye(2, dtype=np.float32)
    [wire] = writing.wire_rows([row], {"vector": vectors}, [0], schema)
    assert {name: value for name, value in wire.items() if name != "vector"} == sent
    # a column wants a value, even if there is nothing to note
    [bare] = writing.wire_rows([{"id": "2"}], {"vector": vectors}, [0], schema)
    assert bare.get("imgvec_from_image") == ("" if column else None)
