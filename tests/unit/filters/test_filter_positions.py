"""Where in a filter something is wrong, and which part of it is quoted, with more before and behind."""

from __future__ import annotations

import pytest

from imgvec.errors import FilterError
from imgvec.filters import FieldType, equals_text, field, range_text, render

FIELDS = {"taken_at": FieldType("INT64", format="unix_ms"), "n": FieldType("INT64"), "d": FieldType("DOUBLE")}


@pytest.mark.parametrize("before", ["", "n > 1 and ", "not "])
@pytest.mark.parametrize("behind", ["", " and n > 1", ")", " - 3"])
@pytest.mark.parametrize("date", ["2024-01-01", "2024/1/1"])
def test_a_date_without_quotes_is_quoted_alone(before: str, behind: str, date: str) -> None:
    opened = "(" if behind == ")" else ""
    with pytest.raises(FilterError) as raised:
        render(f"{before}{opened}taken_at > {date}{behind}", FIELDS, dynamic=True)
    column = len(f"{before}{opened}taken_at > ") + 1
    assert str(raised.value) == (
        f'{date} at column {column} is arithmetic in Milvus, not a date: put it in quotes, as in "{date}"'
    )


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("n > 2024 - 13 / 1", "n > 2011"),
        ("123-01-01 > n", "n < 121"),
        ("n == 2024-123-01", "n == 1900"),
        ("n == 2024-1/1", "n == 2023"),
        ("20245-01-01 < n", "n > 20243"),
    ],
)
def test_other_sums_are_no_dates(text: str, expression: str) -> None:
    assert render(text, FIELDS, dynamic=True) == expression


@pytest.mark.parametrize("digits", [19, 20, 99, 100, 101, 5000])
def test_a_whole_number_of_more_than_64_bits(digits: int) -> None:
    with pytest.raises(FilterError, match="an integer has 64 bits"):
        render(f"n == {'9' * digits}", FIELDS, dynamic=True)


def test_a_range_of_a_dynamic_field_reads_dates_and_numbers() -> None:
    assert str(render(range_text("when", "2024-05..2024-06", FIELDS, dynamic=True), FIELDS, dynamic=True)) == (
        "when >= 1714521600000 and when <= 1719791999999"
    )
    assert (
        render(range_text("when", "1..2.5", FIELDS, dynamic=True), FIELDS, dynamic=True) == "when >= 1 and when <= 2.5"
    )
    with pytest.raises(FilterError, match=r"^'when' holds dates, and 'soon' is not a date"):
        range_text("when", "soon..", FIELDS, dynamic=True)


def test_a_number_has_400_digits_at_most() -> None:
    assert render(equals_text("d", f"0.{'0' * 397}1", FIELDS), FIELDS, dynamic=True) == "d == 0.0"
    for name in ("n", "other"):
        with pytest.raises(FilterError):
            render(equals_text(name, "9" * 401, {"n": FIELDS["n"]}, dynamic=name == "other"), FIELDS, dynamic=False)
    with pytest.raises(FilterError, match="a number with 401 digits is too large for Milvus"):
        equals_text("n", "9" * 401, FIELDS)
    with pytest.raises(FilterError, match="is outside -9223372036854775807 to 9223372036854775807"):
        render(equals_text("n", "9" * 400, FIELDS), FIELDS, dynamic=True)


def test_several_dates_that_a_field_shall_not_hold() -> None:
    where = field("taken_at").not_in(["2024-06-01", "2024-06-03"])
    first, third, day = 1_717_200_000_000, 1_717_372_800_000, 86_400_000
    outside = [f"(taken_at < {start} or taken_at > {start + day - 1})" for start in (first, third)]
    assert render(where, FIELDS, dynamic=True) == f"({' and '.join(outside)})"


@pytest.mark.parametrize(
    ("operator", "mirrored"), [("==", "=="), ("!=", "!="), ("<", ">"), ("<=", ">="), (">", "<"), (">=", "<=")]
)
def test_a_value_before_the_field(operator: str, mirrored: str) -> None:
    ours = {**FIELDS, "x": FieldType("FLOAT")}
    tenth = "0.10000000149011612"
    assert render(f"0.1 {operator} x", ours, dynamic=True) == f"x {mirrored} {tenth}"
    assert render(f"n > 1 and -0.1 {operator} x", ours, dynamic=True) == f"n > 1 and x {mirrored} -{tenth}"


@pytest.mark.parametrize(
    ("text", "expression"),
    [("n == -true", "n == -true"), ("3 - 1 < n", "n > 2"), ("(3) - 1 < n", "n > 2"), ("d == +0.5 * 2", "d == 1.0")],
)
def test_what_is_not_a_plain_value_is_computed_or_left_to_milvus(text: str, expression: str) -> None:
    assert render(text, FIELDS, dynamic=True) == expression
