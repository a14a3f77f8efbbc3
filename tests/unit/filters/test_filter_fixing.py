"""Filters that fix a partition key, so that Milvus looks at the partitions of its values alone."""

from __future__ import annotations

import pytest

from imgvec.filters import FieldType, Filter, field, render
from imgvec.filters.fixing import fixes

FIELDS = {
    "id": FieldType("VARCHAR"),
    "owner": FieldType("VARCHAR"),
    "shop": FieldType("INT64"),
    "width": FieldType("INT32"),
}
OWNER, SHOP, WIDE = field("owner"), field("shop"), field("width") > 5


@pytest.mark.parametrize(
    ("where", "fixed"),
    [
        (OWNER == "a", True),
        (OWNER.in_(["a", "b"]), True),
        (WIDE & (OWNER == "a or b"), True),
        ((WIDE | (field("width") < 2)) & OWNER.in_(["a"]), True),
        ((OWNER == "a") | (OWNER == "b"), True),
        ((OWNER == "a") | ((OWNER == "b") & WIDE), True),
        ("'a' == owner AND width > 5", True),
        ("(width > 5 && (owner in ['a']))", True),
        (OWNER != "a", False),
        (~(OWNER == "a"), False),
        ("not (owner == 'a')", False),
        ("not owner in ['a']", False),
        (OWNER.not_in(["a"]), False),
        (OWNER >= "a", False),
        (OWNER.has_prefix("a"), False),
        ((OWNER == "a") | WIDE, False),
        (field("id") == "owner == 'a'", False),
        (WIDE, False),
        (None, False),
    ],
)
def test_a_text(where: Filter | str | None, fixed: bool) -> None:
    assert fixes(render(where, FIELDS, dynamic=False), "owner") is fixed


@pytest.mark.parametrize(
    ("where", "fixed"),
    [(SHOP == -5, True), ("-5 == shop", True), ("shop + 1 == 6", True), ("shop == width", False), (SHOP < 5, False)],
)
def test_a_number(where: Filter | str, fixed: bool) -> None:
    assert fixes(render(where, FIELDS, dynamic=False), "shop") is fixed
