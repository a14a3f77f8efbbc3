"""FIELD=VALUE as typed on a command line."""

from __future__ import annotations

import pytest

from imgvec.errors import FilterError
from imgvec.filters import FieldType, Filter, dynamic, equals_text, field

FIELDS = {
    "album": FieldType("VARCHAR"),
    "width": FieldType("INT32"),
    "score": FieldType("FLOAT"),
    "ok": FieldType("BOOL"),
    "tags": FieldType("ARRAY", element="VARCHAR"),
    "nums": FieldType("ARRAY", element="INT64"),
    "meta": FieldType("JSON"),
}


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("album", "cats", field("album") == "cats"),
        ("album", "5", field("album") == "5"),
        ("album", "", field("album") == ""),
        ("album", "a=b", field("album") == "a=b"),
        ("width", "-5", field("width") == -5),
        ("width", "007", field("width") == 7),
        ("score", "0.5", field("score") == 0.5),
        ("score", "1e3", field("score") == 1000.0),
        ("ok", "true", field("ok") == True),  # noqa: E712
        ("ok", "False", field("ok") == False),  # noqa: E712
        ("tags", "x", field("tags").contains("x")),
        ("nums", "5", field("nums").contains(5)),
    ],
)
def test_the_fields_type_says_what_the_text_is(name: str, text: str, where: Filter) -> None:
    assert repr(equals_text(name, text, FIELDS)) == repr(where)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("red", dynamic("colour") == "red"),
        ("5", (dynamic("colour") == "5") | (dynamic("colour") == 5)),
        ("0.5", (dynamic("colour") == "0.5") | (dynamic("colour") == 0.5)),
        ("true", (dynamic("colour") == "true") | (dynamic("colour") == True)),  # noqa: E712
        ("nan", dynamic("colour") == "nan"),
        ("9" * 5000, dynamic("colour") == "9" * 5000),
    ],
)
def test_a_dynamic_key_may_hold_what_the_text_can_be_read_as(text: str, where: Filter) -> None:
    assert repr(equals_text("colour", text, FIELDS, dynamic=True)) == repr(where)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("width", "5.0", "'5.0' is not a valid value for the field 'width', which holds INT32"),
        ("width", "1_000", "not a valid value"),
        ("width", " 5", "not a valid value"),
        ("width", "٣", "not a valid value"),
        ("width", "9" * 5000, "'width': a number with 5,000 digits is too large for Milvus"),
        ("width", "", "not a valid value"),
        ("score", "nan", "not a valid value"),
        ("score", "inf", "not a valid value"),
        ("ok", "yes", "not a valid value for the field 'ok', which holds BOOL"),
        ("ok", "1", "not a valid value"),
        ("nums", "x", "which holds INT64"),
        ("meta", "x", "holds a JSON object"),
        ("albun", "x", "no field 'albun', did you mean 'album'"),
    ],
)
def test_text_that_is_no_value_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        equals_text(name, text, FIELDS)
