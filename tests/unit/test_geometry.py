"""Points and polygons in well-known text: one spelling of each, and what is refused."""

from __future__ import annotations

import pytest

from imgvec.geometry import wkt

SQUARE = "POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0))"


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("POINT (13.4 52.5)", "POINT (13.4 52.5)"),
        (" point(13.40\t52.50) ", "POINT (13.4 52.5)"),
        ("POINT (-0.0 1e1)", "POINT (0 10)"),
        ("POINT (+.5 -5.)", "POINT (0.5 -5)"),
        (SQUARE, SQUARE),
        ("Polygon((0 0,10 0,10 10,0 10,0 0))", SQUARE),
        ("POLYGON ((0 0, 9 0, 9 9, 0 0))", "POLYGON ((0 0, 9 0, 9 9, 0 0))"),
    ],
)
def test_one_spelling(given: str, spelled: str) -> None:
    assert wkt(given) == spelled
    assert wkt(spelled) == spelled


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "neither a point nor a polygon"),
        ("POINT (13.4, 52.5)", "neither a point nor a polygon"),
        ("POINT (13.4)", "neither a point nor a polygon"),
        ("POINT (1 2 3)", "neither a point nor a polygon"),
        ("POINT (nan 2)", "neither a point nor a polygon"),
        ("POINT (1e999 2)", "coordinate that is too large"),
        ("POINT EMPTY", "neither a point nor a polygon"),
        ("LINESTRING (0 0, 1 1)", "neither a point nor a polygon"),
        ("POLYGON ((0 0, 9 0, x y, 0 0))", "neither a point nor a polygon"),
        ("POLYGON ((0 0, 9 0, 9 9, 0 0), (1 1, 2 1, 2 2, 1 1))", "of one ring"),
        ("POLYGON ((0 0, 9 0, 9 9))", "is not closed"),
        ("POLYGON ((0 0, 9 0, 0 0))", "at least three corners"),
        ("POLYGON ((0 0, 9 9, 9 0, 0 9, 0 0))", "crosses or touches itself"),
        ("POLYGON ((0 0, 4 0, 4 4, 2 0, 0 4, 0 0))", "crosses or touches itself"),
        ("POINT (1 2)" + " " * 70_000, "characters long"),
        ({"type": "Point"}, "not a text of WKT"),
    ],
)
def test_what_is_no_shape_is_refused(given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        wkt(given)
