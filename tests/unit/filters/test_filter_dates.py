"""Dates in every form of a filter, and the raw comparisons that are written so that both backends agree."""

from __future__ import annotations

import datetime as dt
import operator
from typing import Any

import numpy as np
import pytest

from imgvec.errors import FilterError
from imgvec.filters import Dialect, FieldType, Filter, dynamic, equals_text, field, range_text, render

FIELDS = {
    "id": FieldType("VARCHAR"),
    "taken_at": FieldType("INT64", format="unix_ms", unknown=0),
    "seen": FieldType("INT64", nullable=True, format="unix_ms"),
    "n": FieldType("INT32"),
    "big": FieldType("INT64"),
    "x": FieldType("FLOAT"),
    "d": FieldType("DOUBLE"),
    "ok": FieldType("BOOL"),
    "tags": FieldType("ARRAY", element="INT32"),
    "meta": FieldType("JSON"),
}
JUNE, DAY = 1_717_200_000_000, 86_400_000
taken = field("taken_at")
UP_TO_JULY = f"taken_at <= {JUNE + 30 * DAY - 1} and taken_at != 0"
BEFORE_JULY = f"taken_at < {JUNE + 30 * DAY} and taken_at != 0"
TENTH = "0.10000000149011612"  # the 32-bit float nearest to 0.1


def shown(where: Filter | str) -> str:
    return render(where, FIELDS, dynamic=True, dialect=Dialect("Milvus 9", remainder=True))


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (taken >= dt.date(2024, 6, 1), f"taken_at >= {JUNE}"),
        (taken > dt.date(2024, 6, 1), f"taken_at > {JUNE + DAY - 1}"),
        (taken <= "2024-06", f"(taken_at <= {JUNE + 30 * DAY - 1} and taken_at != 0)"),
        (taken < "2024-06-01", f"(taken_at < {JUNE} and taken_at != 0)"),
        (taken < "1960", "taken_at < -315619200000"),
        (taken == "2024-06-01", f"(taken_at >= {JUNE} and taken_at <= {JUNE + DAY - 1})"),
        (taken != "2024-06-01", f"((taken_at < {JUNE} or taken_at > {JUNE + DAY - 1}) and taken_at != 0)"),
        (~(taken == "2024-06-01"), f"((taken_at < {JUNE} or taken_at > {JUNE + DAY - 1}) and taken_at != 0)"),
        (~(taken >= "2024-06-01"), f"(taken_at < {JUNE} and taken_at != 0)"),
        (taken == dt.datetime(2024, 6, 1, tzinfo=dt.UTC), f"taken_at == {JUNE}"),
        (taken == np.datetime64("2024-06-01"), f"(taken_at >= {JUNE} and taken_at <= {JUNE + DAY - 1})"),
        (taken >= dt.datetime(2024, 6, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), f"taken_at >= {JUNE}"),
        (taken.between("2024-06-01", "2024-06-30"), f"taken_at >= {JUNE} and ({UP_TO_JULY})"),
        (taken.in_([dt.date(2024, 6, 1), JUNE + 7 * DAY]),
         f"((taken_at >= {JUNE} and taken_at <= {JUNE + DAY - 1}) or taken_at == {JUNE + 7 * DAY})"),
        (taken.not_in(["2024-06-01"]), f"(((taken_at < {JUNE} or taken_at > {JUNE + DAY - 1}) and taken_at != 0))"),
        (taken >= 20240601, f"taken_at >= {JUNE}"),
        (taken >= JUNE, f"taken_at >= {JUNE}"),
        (taken == 0, "taken_at == 0"),
        (taken != 0, "taken_at != 0"),
        (taken > "0", "taken_at > 0"),
        (field("seen") != "2024-06-01", f"(seen is not null and (seen < {JUNE} or seen > {JUNE + DAY - 1}))"),
        (dynamic("uploaded") >= dt.date(2024, 6, 1), f"uploaded >= {JUNE}"),
        (field("meta")["at"] < dt.date(2024, 6, 1), f'meta["at"] < {JUNE}'),
        # raw
        ('taken_at >= "2024-06-01"', f"taken_at >= {JUNE}"),
        ("taken_at>'2024-06-01'and n>1", f"taken_at > {JUNE + DAY - 1}and n>1"),
        ('"2024-06-01" <= taken_at', f"taken_at >= {JUNE}"),
        ('"2024-06" <= taken_at < "2024-07"', f"(taken_at >= {JUNE} and ({BEFORE_JULY}))"),
        ('not taken_at == "2024-06-01T00:00:00.000Z"', f"not (not ((taken_at != {JUNE} and taken_at != 0)))"),
        ("not n < 2.5 and ! n in [1.0]", "not (n <= 2) and ! (n in [1])"),
        ("not n < 2 or not ok", "not (n < 2) or not (ok == true)"),
        ('taken_at in ["2024-06-01", 0]', f"((taken_at >= {JUNE} and taken_at <= {JUNE + DAY - 1}) or taken_at == 0)"),
        ('taken_at NOT IN ["2024-06-01"]', f"(((taken_at < {JUNE} or taken_at > {JUNE + DAY - 1}) and taken_at != 0))"),
        ("taken_at >= 20240601", f"taken_at >= {JUNE}"),
        (f"taken_at >= {JUNE} and taken_at != 0", f"taken_at >= {JUNE} and taken_at != 0"),
        ("taken_at > 86400000 * 19723", "taken_at > 1704067200000"),
        ("taken_at % 86400000 < 3600000", "taken_at % 86400000 < 3600000"),
        ('ingested == "2024-06-01"' .replace("ingested", "id"), 'id == "2024-06-01"'),
        ("x == 0.1", f"x == {TENTH}"),
        ("0.1 < x", f"x > {TENTH}"),
        ("x == -0.1", f"x == -{TENTH}"),
        ("x in [0.1, 0.5, -.1]", f"x in [{TENTH}, 0.5, -{TENTH}]"),
        ("x == 0.5 or d == 0.1", "x == 0.5 or d == 0.1"),
        ("n == 2.0 and n in [1e1, 2]", "n == 2 and n in [10, 2]"),
        ("n < 2.5", "n <= 2"),
        ("n <= -2.5", "n <= -3"),
        ("n > 2.5", "n >= 3"),
        ("-2.5 < n", "n >= -2"),
        ("1 < n < 3", "(n > 1 and n < 3)"),
        ("n - 1 == 2.5", "id in []"),
        ("OK == TRUE".lower(), "ok == true"),
    ],
)  # fmt: skip
def test_what_is_sent(where: Any, expression: str) -> None:
    assert shown(where) == expression


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (
            "taken_at >= 2024-01-01",
            r"^2024-01-01 at column 13 is arithmetic .*in quotes, as in \"2024-01-01\"$",
        ),
        ("n > 1 and taken_at<2024/01/01", "2024/01/01 at column 20 is arithmetic"),
        ("taken_at >= 2024-06", "2024-06 at column 13 is arithmetic"),
        ("taken_at >= 2024 - 06 - 01", "2024-06 at column 13"),
        ("taken_at >= 2024-01-01T10:00", "2024-01-01T10 at column 13 is arithmetic"),
        ("taken_at >= 01.06.2024", r"01\.06\.2024 at column 13 is arithmetic"),
        ("n > 2024-01-01", "at column 5 is arithmetic"),
        ("taken_at >= 1717200000", "taken_at holds dates, and 1717200000 at column 13 would be 1970-01-20.*in quotes"),
        ('taken_at >= "June"', 'taken_at holds dates, and "June" at column 13 is not a date: write'),
        ('taken_at in ["01/02/2024"]', "at column 14 is ambiguous about day and month"),
        ("taken_at == true", "taken_at holds INT64 of Unix ms, which cannot be compared with true at column 13"),
        (taken == "June", "holds dates, and 'June' is not a date: write"),
        (taken >= 1_717_200_000, "would be 1970-01-20T21:00:00Z"),
        (taken.in_(["01/02/2024"]), "is ambiguous about day and month"),
        (taken >= 1.5, "cannot be compared with 1.5"),
        (field("n") >= dt.date(2024, 6, 1), "holds INT32, which cannot be compared with the date 2024-06-01.*unix_ms"),
        (field("id") == dt.date(2024, 6, 1), "cannot be compared with the date"),
        (field("tags").contains(dt.date(2024, 6, 1)), "cannot be compared with the date"),
        ("ok == 1", "^ok holds BOOL, which cannot be compared with 1 at column 7$"),
        ('n == "2"', 'n holds INT32, which cannot be compared with "2" at column 6'),
        ("n == 2.5", "cannot be compared with 2.5 at column 6: it holds only whole numbers"),
        ("n == true", "cannot be compared with true at column 6"),
        ("id > 5", "id holds VARCHAR, which cannot be compared with 5 at column 6"),
        ('x == "0.1"', "holds FLOAT, which cannot be compared"),
        ("x == 1e39", "larger than FLOAT can hold"),
        ("n == 2 and ok in [true, 0]", "cannot be compared with 0 at column 25"),
        ("big >= 9223372036854775808", "at column 8: an integer has 64 bits"),
        ("big == " + "9" * 5000, "an integer has 64 bits"),
        ("tags == 1", r"at column 9: write array_contains\(tags, 1\)"),
        ("meta == 1", r'at column 9: name the key, as in meta\["key"\]'),
    ],
)
def test_what_cannot_be_meant_says_what_to_write_and_where(where: Any, says: str) -> None:
    with pytest.raises(FilterError, match=says):
        shown(where)


def test_no_date_compares_with_nothing() -> None:
    for nothing in (np.datetime64("NaT"), pytest.importorskip("pandas").NaT):
        with pytest.raises(FilterError, match="not a date to compare with"):
            _ = taken == nothing


@pytest.mark.parametrize("op", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
@pytest.mark.parametrize("date", ["2024", "2024-06", "2024-06-01", "1970", "1970-01-01", "2024-06-01T00:00:00.000Z"])
def test_a_date_is_the_whole_of_what_it_names(op: Any, date: str) -> None:
    """Against a plain reading of the rule, on both sides of each edge; 0 is not a date and matches nothing."""
    from imgvec.dates import span

    when = span(date)
    rule = {
        operator.eq: lambda ms: when.start <= ms < when.end,
        operator.ne: lambda ms: not when.start <= ms < when.end,
        operator.lt: lambda ms: ms < when.start,
        operator.le: lambda ms: ms < when.end,
        operator.gt: lambda ms: ms >= when.end,
        operator.ge: lambda ms: ms >= when.start,
    }[op]
    sent = shown(op(taken, date))
    for ms in (when.start - 1, when.start, when.end - 1, when.end, -1, 0, 1):
        found = eval(sent, {"__builtins__": {}}, {"taken_at": ms})
        assert found == (ms != 0 and rule(ms)), (ms, sent)


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("taken_at", "2024-06..2024-07", taken.between("2024-06", "2024-07")),
        ("taken_at", "2024-06-01..2024-06-01", taken.between("2024-06-01", "2024-06-01")),
        ("taken_at", "..1999", taken <= "1999"),
        ("taken_at", "2000 .. ", taken >= "2000"),
        ("taken_at", f"{JUNE}..", taken >= JUNE),
        ("taken_at", "20240601..2024-06-01T12:00+02:00", taken.between("2024-06-01", "2024-06-01T12:00+02:00")),
        ("n", "1..5", field("n").between(1, 5)),
        ("n", "-5..-1", field("n").between(-5, -1)),
        ("x", "..0.5", field("x") <= 0.5),
        ("d", ".5...75", field("d").between(0.5, 0.75)),
        ("score", "0.5..3", dynamic("score").between(0.5, 3)),
        ("uploaded", "2024-06-01..", dynamic("uploaded") >= dt.date(2024, 6, 1)),
    ],
)
def test_ranges(name: str, text: str, same: Filter) -> None:
    assert shown(range_text(name, text, FIELDS, dynamic=True)) == shown(same)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("taken_at", "2024", "is not a range for 'taken_at': write A..B"),
        ("taken_at", "..", "is not a range"),
        ("taken_at", "2024-07..2024-06", "2024-07 comes after 2024-06"),
        ("taken_at", "01/02/2024..", "is ambiguous about day and month"),
        ("taken_at", "1717200000..", "Unix seconds"),
        ("n", "5..1", "5 comes after 1"),
        ("n", "0.5..1", "'0.5' is not a valid value for the field 'n'"),
        ("id", "a..b", "holds VARCHAR, but ranges need numbers or dates"),
        ("score", "a..b", "is not a date"),
        ("uri", "1..2", "no field 'uri'"),
    ],
)
def test_ranges_that_are_none(name: str, text: str, says: str) -> None:
    with pytest.raises(FilterError, match=says):
        range_text(name, text, FIELDS, dynamic=name != "uri")


def test_a_date_that_equals() -> None:
    for text in ("2024-06-01", "20240601"):
        assert shown(equals_text("taken_at", text, FIELDS)) == shown(taken == "2024-06-01")
    assert shown(equals_text("taken_at", "0", FIELDS)) == "taken_at == 0"
    with pytest.raises(FilterError, match=r"'taken_at' holds dates, and '1\.6\.2024' is ambiguous about day"):
        equals_text("taken_at", "1.6.2024", FIELDS)
