"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from imgvec.plurals import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234567, "1,234,567 rows"), (-1, "-1 rows")]
)
def test_the_noun_goes_with_the_number(number: int, text: str) -> None:
    assert counted(number, "row") == text


def test_a_plural_of_its_own() -> None:
    assert (counted(1, "query", "queries"), counted(3, "query", "queries")) == ("1 query", "3 queries")
