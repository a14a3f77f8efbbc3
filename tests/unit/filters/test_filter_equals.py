"""FIELD=VALUE as typed on a command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgvec.errors import FilterError
from imgvec.filters import FieldType, Filter, dynamic, equals_text, field, in_text, range_text, render

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


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("album", "cats,dogs", field("album").in_(["cats", "dogs"])),
        ("album", "cats", field("album").in_(["cats"])),
        ("album", ' cats , "dogs, big","say ""hi"""', field("album").in_(["cats", "dogs, big", 'say "hi"'])),
        ("album", "", field("album").in_([""])),
        ("album", "a,,b", field("album").in_(["a", "", "b"])),
        ("album", "5'6\" tall,a=b", field("album").in_(["5'6\" tall", "a=b"])),
        ("album", '" a "', field("album").in_([" a "])),
        ("width", "1, -5,007", field("width").in_([1, -5, 7])),
        ("score", "0.5,1e3", field("score").in_([0.5, 1000.0])),
        ("ok", "true,FALSE", field("ok").in_([True, False])),
        ("tags", "x,y", field("tags").contains_any(["x", "y"])),
        ("nums", "5,6", field("nums").contains_any([5, 6])),
        ("taken_at", "2024,2025-06-01", field("taken_at").in_(["2024", "2025-06-01"])),
    ],
)
def test_one_of_several_values(name: str, text: str, where: Filter) -> None:
    fields = {**FIELDS, "taken_at": FieldType("INT64", format="unix_ms")}
    assert repr(in_text(name, text, fields)) == repr(where)


def test_one_of_several_values_of_a_dynamic_key() -> None:
    where = in_text("year", "7,x", FIELDS, dynamic=True)
    assert render(where, FIELDS, dynamic=True) == '(year == "7" or year == 7) or year == "x"'


@pytest.mark.parametrize(
    ("of_text", "name", "text", "message"),
    [
        (equals_text, "width", "abc", r"^'abc' is not a valid value for .* INT32 \(column 7\)$"),
        (equals_text, "widht", "5", r"^no field 'widht', did you mean 'width'\? .* \(column 1\)$"),
        (equals_text, "meta", "5", r"JSON object.* \(column 6\)$"),
        (equals_text, "taken_at", "soon", r"'soon' is not a date.* \(column 10\)$"),
        (in_text, "width", "1, x,3", r"^'x' is not a valid value .* \(column 10\)$"),
        (in_text, "nums", "1,2,x", r"^'x' is not a valid value .* \(column 10\)$"),
        (in_text, "nothing", "1", r"^no field 'nothing'.* \(column 1\)$"),
        (in_text, "meta", "1", r"JSON object.* \(column 6\)$"),
        (in_text, "album", 'a,"b', r"^the double quote at column 9 does not close"),
        (in_text, "album", '"a" b,c', r"^the double quote at column 7 does not close"),
        (in_text, "taken_at", "2024,soon", r"'soon' is not a date.* \(column 15\)$"),
        (range_text, "width", "1.. x", r"^'x' is not a valid value .* \(column 11\)$"),
        (range_text, "width", "x..1", r"^'x' is not a valid value .* \(column 7\)$"),
        (range_text, "width", "5..1", r"is empty: 5 comes after 1 \(column 7\)$"),
        (range_text, "width", "5", r"is not a range .* \(column 7\)$"),
        (range_text, "album", "a..b", r"ranges need numbers or dates: use an expression \(column 1\)$"),
        (range_text, "nothing", "1..2", r"^no field 'nothing'.* \(column 1\)$"),
    ],
)
def test_an_error_points_at_the_column(of_text: Callable[..., Filter], name: str, text: str, message: str) -> None:
    fields = {**FIELDS, "taken_at": FieldType("INT64", format="unix_ms")}
    with pytest.raises(FilterError, match=message):
        of_text(name, text, fields)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), min_size=1, max_size=4))
@settings(deadline=None)
def test_quoted_values_are_read_back(values: list[str]) -> None:
    text = ",".join('"' + value.replace('"', '""') + '"' for value in values)
    assert repr(in_text("album", text, FIELDS)) == repr(field("album").in_(values))
