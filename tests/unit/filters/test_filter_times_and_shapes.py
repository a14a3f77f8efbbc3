"""Filters of TIMESTAMPTZ and GEOMETRY fields: what is sent, what a backend lacks, and the column of mistakes."""

from __future__ import annotations

import datetime as dt

import pytest

from imgvec.errors import FilterError, UnsupportedByBackend
from imgvec.filters import FieldType, Filter, equals_text, field, range_text, render
from imgvec.milvus.capabilities import capabilities

FIELDS = {
    "id": FieldType("VARCHAR"),
    "at": FieldType("TIMESTAMPTZ"),
    "seen": FieldType("TIMESTAMPTZ", nullable=True),
    "place": FieldType("GEOMETRY"),
    "area": FieldType("GEOMETRY", nullable=True),
    "n": FieldType("INT64"),
}
at, place = field("at"), field("place")
JUNE, JULY = "ISO '2024-06-01T00:00:00Z'", "ISO '2024-07-01T00:00:00Z'"
TRIANGLE = "POLYGON ((0 0, 9 0, 9 9, 0 0))"


def shown(where: Filter | str, version: str = "milvus_lite-3.2.2") -> str:
    return render(where, FIELDS, dynamic=True, dialect=capabilities(version).dialect)


@pytest.mark.parametrize(
    ("where", "expression"),
    [
        (at >= "2024-06", f"at >= {JUNE}"),
        (at > "2024-06", f"at >= {JULY}"),
        (at < dt.date(2024, 6, 1), f"at < {JUNE}"),
        (at <= "2024-06", f"at < {JULY}"),
        (at == "2024-06", f"(at >= {JUNE} and at < {JULY})"),
        (at != "2024-06", f"(at < {JUNE} or at >= {JULY})"),
        (~(field("seen") == "2024-06"), f"(seen is not null and (seen < {JUNE} or seen >= {JULY}))"),
        (~(at < "2024-06"), f"at >= {JUNE}"),
        (at.between("2024-06", "2024-06-30"), f"at >= {JUNE} and at < {JULY}"),
        (at >= 1_717_200_000_000, f"at >= {JUNE}"),
        (at >= dt.datetime(2024, 6, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), f"at >= {JUNE}"),
        (at <= "9999-12", "at <= ISO '9999-12-31T23:59:59.999999Z'"),
        (at > "9999-12", "at > ISO '9999-12-31T23:59:59.999999Z'"),
        (at >= "0001-01-01T00:00:00+14:00", "at >= ISO '0001-01-01T00:00:00Z'"),
        (at.in_(["2024-06"]), f"((at >= {JUNE} and at < {JULY}))"),
        (at.in_([]), "id in []"),
        (field("seen").is_null(), "seen is null"),
        ('at >= "2024-06"', f"at >= {JUNE}"),
        ('"2024-06" <= at < "2024-07"', f"(at >= {JUNE} and at < {JULY})"),
        (f"at > {JUNE}", f"at > {JUNE.replace('ISO', 'iso')}"),
        (f"{JUNE} < at", f"{JUNE.replace('ISO', 'iso')} < at"),
        (f"{JUNE} < at and at < {JULY}", f"{JUNE} < at and at < {JULY}".replace("ISO", "iso")),
        (f"at in [{JUNE}]", f"at in [{JUNE}]".replace("ISO", "iso")),
        (f"at + INTERVAL 'P1D' > {JUNE}", f"at + interval 'P1D' > {JUNE}".replace("ISO", "iso")),
        (range_text("at", "2024-06..2024-06-30", FIELDS), f"at >= {JUNE} and at < {JULY}"),
        (equals_text("at", "2024-06", FIELDS), f"(at >= {JUNE} and at < {JULY})"),
        (place.st_within("polygon((0 0,9 0,9 9,0 0))"), f"st_within(place, '{TRIANGLE}')"),
        (~place.st_contains("POINT (1 2)"), "not st_contains(place, 'POINT (1 2)')"),
        (
            ~field("area").st_intersects("POINT (1 2)"),
            "(area is not null and not st_intersects(area, 'POINT (1 2)'))",
        ),
        (field("area").is_not_null(), "area is not null"),
        ("ST_WITHIN(place, 'POINT (1 2)')", "st_within(place, 'POINT (1 2)')"),
    ],
)
def test_what_is_sent(where: Filter | str, expression: str) -> None:
    assert shown(where) == expression


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (at == "soon", r"field\('at'\) holds dates, and 'soon' is not a date"),
        (at == True, "holds TIMESTAMPTZ, which cannot be compared with True"),  # noqa: E712  builds a filter
        (at >= 5, "would be 1970-01-01"),
        (at == field("seen"), "compares with dates, and with no other field"),
        (at + 1 > 5, "holds dates, but arithmetic needs numbers"),
        (place == "POINT (1 2)", "holds a GEOMETRY: use st_within"),
        (place.in_(["POINT (1 2)"]), "holds a GEOMETRY: use st_within"),
        (field("n").st_within("POINT (1 2)"), "holds INT64, but st_within needs a GEOMETRY"),
        ('at > "soon"', 'at holds dates, and "soon" at column 6 is not a date'),
        ("place == 'POINT (1 2)'", r"column 10: write st_intersects\(place, 'POINT \(1 2\)'\)"),
        ("st_within(n, 'POINT (1 2)')", r"takes a GEOMETRY field and WKT, and n holds INT64 \(column 11\)"),
        ("n > 1 and st_within(place, n)", r"takes WKT in quotes \(column 28\)"),
        ("st_within(place, 'LINESTRING (0 0, 1 1)')", "at column 18 is neither a point nor a polygon"),
        ("st_within(place)", r"takes a GEOMETRY field and WKT \(column 11\)|column 11"),
        ("st_withn(place, 'POINT (1 2)')", "no function 'st_withn' at column 1.*st_within"),
    ],
)
def test_mistakes_are_named(where: Filter | str, says: str) -> None:
    with pytest.raises(FilterError, match=says):
        shown(where)


@pytest.mark.parametrize("wkt", ["POINT 1 2", "LINESTRING (0 0, 1 1)", 5])
def test_what_is_no_shape_is_refused_at_once(wkt: str) -> None:
    with pytest.raises(FilterError, match=r"field\('place'\).st_within: .* WKT"):
        place.st_within(wkt)


@pytest.mark.parametrize("metres", [-1, "5", True, float("nan"), None])
def test_a_distance_is_a_number_from_0(metres: float) -> None:
    with pytest.raises(FilterError):
        place.st_dwithin("POINT (1 2)", metres)


def test_metres_are_for_servers() -> None:
    near = place.st_dwithin("POINT (13.4 52.5)", 500)
    assert shown(near, "v2.6.4") == "st_dwithin(place, 'POINT (13.4 52.5)', 500.0)"
    for where in (near, "st_dwithin(place, 'POINT (13.4 52.5)', 500)"):
        with pytest.raises(UnsupportedByBackend, match=r"Milvus Lite 3\.2\.2 has no st_dwithin in metres .*degrees"):
            shown(where)


def test_the_other_relations_are_for_servers_and_take_every_shape_in_raw_expressions() -> None:
    for name in ("st_equals", "st_touches", "st_overlaps", "st_crosses"):
        where = getattr(place, name)(TRIANGLE)
        assert shown(where, "v2.6.4") == f"{name}(place, '{TRIANGLE}')"
        with pytest.raises(UnsupportedByBackend, match=rf"no {name} \(field\('place'\)\), which Milvus has from 2.6.4"):
            shown(where)
    line = "st_crosses(place, 'LINESTRING (0 0, 1 1)')"
    assert shown(line, "v2.6.4") == line
