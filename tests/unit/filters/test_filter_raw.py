"""Expressions that a person wrote: what is checked, and what is put into the form that every backend reads."""

from __future__ import annotations

import pytest

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import Dialect, FieldType, render
from imgvec.filters.fields import FUNCTIONS

FIELDS = {
    "id": FieldType("VARCHAR"),
    "width": FieldType("INT32"),
    "share": FieldType("DOUBLE"),
    "tags": FieldType("ARRAY", element="VARCHAR"),
    "meta": FieldType("JSON"),
    "ok": FieldType("BOOL"),
}
ALL = Dialect("Milvus 9", functions=FUNCTIONS, infix=True, remainder=True, length_order=True, json_length=True)


@pytest.mark.parametrize(
    "text",
    [
        "width > 5",
        "width>=5",
        "  width  ==\n5\t",
        "id == \"a\" and id != 'b' or not (width < 5)",
        'id == "a" && !(width < 5) || id == "b"',
        r'id == "a\"b\\" and id == "it\'s"',
        "id == 'say \"nope\"'",
        'id == "nope > 5 ) ] ("',
        'id like "a%" and id not in ["x", "y"]',
        "width in [1, -2, 3,]",
        "width % 2 == 0 and width ** 2 > 4",
        "width == 31 or share == 1e5 or share == .5 or share == 1.",
        "0 < width or -1 > width",
        'meta["a"]["b"][0] == 1 and exists meta["a"]',
        "array_contains(tags, 'x') and array_length(tags) == 2",
        'json_contains_any(meta["a"], [1, 2])',
        'text_match(id, "cat")',
        "id is null or id is not null",
        '$meta["a b"] == 1',
        r'$meta["a\"b"] == 1',
        'id == "日本語 😀"',
        "width == 1 or true",
    ],
)
def test_good_expressions_stay_as_they_are(text: str) -> None:
    assert render(text, FIELDS, dynamic=True, dialect=ALL) == text


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("width == 010 or width in [007, 0x1F] or share < 00", "width == 10 or width in [7, 31] or share < 0"),
        ("08 < width < 0xA", "(width > 8 and width < 10)"),
        ("tags[01] == 'x' and width - 02 > 0", "tags[1] == 'x' and width > 2"),
        ("width > 1 AND NOT (id IN ['x'])", "width > 1 and not (id in ['x'])"),
        ('id LIKE "AND%" OR id IS NOT NULL', 'id like "AND%" or id is not null'),
        ("ARRAY_CONTAINS(tags, 'AND')", "array_contains(tags, 'AND')"),
        ("EXISTS meta['a'] and TRUE", "exists meta['a'] and true"),
        ('$meta["colour"] in ["red"]', 'colour in ["red"]'),
        ('$meta [ "colour" ] == 1', "colour == 1"),
        ("json_contains($meta['labels'], 'x')", "json_contains(labels, 'x')"),
        ('$meta["a"]["b"] == 1', 'a["b"] == 1'),
    ],
)
def test_what_some_backend_cannot_read_is_rewritten(text: str, expression: str) -> None:
    assert render(text, FIELDS, dynamic=True) == expression


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("widht > 5", r"no field 'widht' at column 1, did you mean 'width'\? \(fields: .*\$meta\[\"widht\"\]"),
        (
            'id == "a" and nope == 1',
            r"no field 'nope' at column 15 \(fields: id, width, .*, ok\); .*\$meta\[\"nope\"\]",
        ),
        ("WIDTH > 5", "no field 'WIDTH'"),
        ("id == abc", "no field 'abc'"),
        ('colour["x"] == 1', "no field 'colour'"),
        ("array_contain(tags, 'x')", r"no function 'array_contain' at column 1, did you mean 'array_contains'\?"),
        ("width(1)", "no function 'width' at column 1"),
        ('$meta["width"] == 1', "'width' is a declared field"),
        ('$meta[""] == 1', "cannot be a key"),
        ("$meta == 1", "at column 1 needs a key"),
        ("width == 1 and $meta", "at column 16 needs a key"),
        ("$meta[0] == 1", "needs a key"),
        ('$meta("a") == 1', "needs a key"),
        ("$metaphor == 1", r"unexpected '\$metaphor' at column 1"),
        ('id == "abc', "string starting at column 7 is not closed"),
        ("id == 'abc", "string starting at column 7 is not closed"),
        ('id == "abc\\"', "column 7 is not closed"),
        ('id == "a\nb"', "column 7 is not closed on its line"),
        ("(width > 5", r"'\(' at column 1 is never closed"),
        ("width in [1, 2", r"'\[' at column 10 is never closed"),
        ("width > 5)", r"'\)' at column 10 closes no bracket"),
        ("(width in [1)]", r"'\)' at column 13 closes no bracket"),
        ("width = 5", r"unexpected '=' at column 7 .* did you mean '=='"),
        ("width == {w}", r"unexpected '\{' at column 10 .*templates"),
        ("width == 1; drop", "unexpected ';' at column 11"),
        ("width == 5abc", "unexpected '5abc' at column 10"),
        ("width == 1.2.3", r"unexpected '1\.2\.3' at column 10"),
        ("wídth == 1", "unexpected 'wídth' at column 1"),
        ("width == 1 # note", "unexpected '#' at column 12"),
        ("id == “x”", "unexpected '“' at column 7"),
        ("(" * 64 + "width == 1" + ")" * 64, "nested too deeply at column 64"),
        ("not " * 64 + "width == 1", "nested too deeply at column 253"),
        ("(" + "not (" * 32 + "width == 1" + ")" * 33, "nested too deeply at column 157"),
        ('id == "\ud800"', "lone surrogate"),
    ],
)
def test_bad_expressions_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        render(text, FIELDS, dynamic=True)


def test_without_a_dynamic_field_no_dynamic_key_is_offered_or_taken() -> None:
    with pytest.raises(FilterError, match=r"no field 'colour' at column 1 \(fields: id, width, .*, ok\)$"):
        render("colour == 1", FIELDS, dynamic=False)
    with pytest.raises(FilterError, match="no field 'colour'"):
        render('$meta["colour"] == 1', FIELDS, dynamic=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width >", "ends at column 8, without a value"),
        ("width > and share < 1", "unexpected 'and' at column 9, instead of a value"),
        ("width > > 1", "unexpected '>' at column 9, instead of a value"),
        ("and width > 1", "unexpected 'and' at column 1, instead of a value"),
        ("width > 1 and", "ends at column 14, without a value"),
        ("width > 1 share < 2", "unexpected 'share' at column 11, instead of and, or, or the end"),
        ("width in (1, 2)", r"unexpected '\(' at column 10, instead of a list such as \[1, 2\]"),
        ("width not in share", r"unexpected 'share' at column 14, instead of a list"),
        ("width in [1 2]", r"unexpected '2' at column 13, instead of '\]'"),
        ("width in [,]", r"unexpected ',' at column 11, instead of a value"),
        ("id like width", "unexpected 'width' at column 9, instead of a text in quotes"),
        ("id like", "ends at column 8, without a text in quotes"),
        ("id is 5", "unexpected '5' at column 7, instead of null"),
        ("id == null", "unexpected 'null' at column 7, instead of a value; write `is null`"),
        ("(width > ) 1", r"unexpected '\)' at column 10, instead of a value"),
        ("()", r"unexpected '\)' at column 2, instead of a value"),
        ("meta[a] == 1", "no field 'a' at column 6"),
        ("tags[-1] == 'x'", "unexpected '-' at column 6, instead of a key in quotes or a position from 0"),
        ("tags[1.5] == 'x'", "unexpected '1.5' at column 6"),
        ("array_contains(tags 'x')", r"unexpected \"'x'\" at column 21, instead of '\)'"),
        ("not", "ends at column 4, without a value"),
        ("width == 1 not", "unexpected 'not' at column 12"),
        ("width * == 1", "unexpected '==' at column 9, instead of a value"),
    ],
)
def test_what_is_no_condition_says_the_column(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        render(text, FIELDS, dynamic=True, dialect=ALL)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("ok", "(ok == true)"),
        ("not ok and width > 1", "not (ok == true) and width > 1"),
        ("(ok) or width > 1", "((ok == true)) or width > 1"),
        ("ok == false", "ok == false"),
        ("ok in [true]", "ok in [true]"),
        ("width == 1 || OK", None),
    ],
)
def test_a_truth_value_is_a_condition(text: str, expression: str | None) -> None:
    if expression is None:
        with pytest.raises(FilterError, match="no field 'OK' at column 15, did you mean 'ok'"):
            render(text, FIELDS, dynamic=True)
    else:
        assert render(text, FIELDS, dynamic=True) == expression


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id == "a" or id like "%a"', r"Milvus 1 has no `like` but for beginnings, as in \"ab%\" \(column 22\)"),
        ('id like "a_c"', r"has no `like` but for beginnings, .* \(column 9\)"),
        ("width % 2 == 0", r"has no % \(column 7\)"),
        ("width ** 2 == 4", r"has no \*\* \(column 7\)"),
        ('id =~ "a"', r"has no =~ \(column 4\)"),
        ('width > 1 and TEXT_MATCH(id, "a")', r"has no text_match \(column 15\)"),
        ("random_sample(0.5)", r"has no random_sample \(column 1\)"),
        ("st_isvalid(id)", r"has no st_isvalid \(column 1\)"),
    ],
)
def test_what_the_backend_lacks_is_refused_with_the_column(text: str, message: str) -> None:
    with pytest.raises(UnsupportedByBackend, match=message):
        render(text, FIELDS, dynamic=True, dialect=Dialect("Milvus 1"))
    assert render(text, FIELDS, dynamic=True, dialect=ALL) == text.replace("TEXT_MATCH", "text_match")


def test_remainders_through_floats_are_refused_where_they_lose_digits() -> None:
    floats = Dialect("Milvus 1", remainder=True, float_remainder=True)
    fields = {**FIELDS, "n": FieldType("INT64")}
    assert render("width % 2 == 0", fields, dynamic=True, dialect=floats) == "width % 2 == 0"
    for text, column in (("n % 2 == 0", 3), ('meta["k"] % 2 == 0', 11), ("width == 1 and 1 == n % 2", 23)):
        with pytest.raises(UnsupportedByBackend, match=rf"no exact % but of INT8, INT16, INT32 \(column {column}\)"):
            render(text, fields, dynamic=True, dialect=floats)
