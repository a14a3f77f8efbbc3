"""How often values occur."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FakeStore

from imgvec.errors import OptionError, QueryError
from imgvec.filters import FieldType
from imgvec.search.facets import Facet, check_facets, of_hits, of_rows
from imgvec.stored import Found


def store() -> FakeStore:
    rows = {
        "0": {"tags": ["a", "b", "a"], "liked": True, "image_id": "p0"},
        "1": {"tags": ["b"], "liked": False, "image_id": "p0"},
        "2": {"tags": [], "image_id": "p1"},
        "3": {"tags": ["c"], "liked": True, "image_id": "p1"},
    }
    fields = {"id": FieldType("VARCHAR"), "tags": FieldType("ARRAY", "VARCHAR"), "exif": FieldType("JSON")}
    return FakeStore(fields=fields, rows={id_: {"id": id_, **row} for id_, row in rows.items()})


def test_rows_count_once_for_each_element_and_missing_values_are_none() -> None:
    found = of_rows(["tags", "liked"], store(), "", pictures=False)
    assert found is not None
    assert found["tags"] == Facet({"b": 2, "a": 1, "c": 1}, "rows", 4)
    assert list(found["tags"].counts) == ["b", "a", "c"]
    assert found["liked"].counts == {True: 2, False: 1, None: 1}


def test_where_hits_are_pictures_these_are_counted() -> None:
    found = of_rows(["tags"], store(), "", pictures=True)
    assert found == {"tags": Facet({"a": 1, "b": 1, "c": 1}, "rows", 2)}


def test_hits_are_counted_by_their_fields() -> None:
    hits = [Found(str(place), 1, 1, {"album": album}) for place, album in enumerate(["x", "y", "x"])]
    [(name, facet)] = of_hits(["album"], hits).items()
    assert (name, facet) == ("album", Facet({"x": 2, "y": 1}, "hits", 3))
    assert str(facet) == "x 2, y 1 (of 3 hits)"
    assert str(replace(facet, counts={})) == "no value (of 3 hits)"
    assert facet.to_dict() == {
        "counts": [{"value": "x", "count": 2}, {"value": "y", "count": 1}], "over": "hits", "total": 3
    }  # fmt: skip


def test_numbers_that_are_none_are_counted_as_missing() -> None:
    hits = [Found(str(place), 1, 1, {"price": price}) for place, price in enumerate([float("nan"), float("nan"), 2.0])]
    assert of_hits(["price"], hits)["price"].counts == {None: 2, 2.0: 1}


def test_what_is_not_counted() -> None:
    with pytest.raises(OptionError, match="'exif' holds JSON"):
        check_facets(["exif"], store())
    closed = store()
    closed.dynamic = False
    with pytest.raises(OptionError, match="no field 'nothing' to count"):
        check_facets(["nothing"], closed)
    check_facets(["nothing"], store())
    with pytest.raises(QueryError, match="holds a dict"):
        of_hits(["exif"], [Found("0", 1, 1, {"exif": {}})])
