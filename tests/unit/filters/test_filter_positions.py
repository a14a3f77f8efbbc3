"""Where in a filter something is wrong, and which part of it is quoted, with more before and behind."""

from __future__ import annotations

import pytest

from imgvec.errors import FilterError
from imgvec.filters import FieldType, range_text, render

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
        f'{date} at column {column} is arithmetic to Milvus, not a date: write it in quotes, as in "{date}"'
    )


@pytest.mark.parametrize(
    "text", ["2024 - 13 / 1", "123-01-01 > n", "n == 2024-123-01", "n == 2024-1/1", "20245-01-01 < n"]
)
def test_other_sums_are_left_as_they_are(text: str) -> None:
    assert render(text if "n" in text else f"n > {text}", FIELDS, dynamic=True) == (
        text if "n" in text else f"n > {text}"
    )


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
    with pytest.raises(FilterError, match="^'when' holds dates, and 'soon' is not a date"):
        range_text("when", "soon..", FIELDS, dynamic=True)
