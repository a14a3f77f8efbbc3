"""Places and areas as well-known text (OGC 06-103r4, clause 7): `POINT (13.4 52.5)`, `POLYGON ((0 0, 9 0, 9 9, 0 0))`.

Of WKT's kinds these two are what every backend with such fields holds, a polygon with its outer ring alone: Milvus Lite
has no others. Coordinates are x and y, of the earth longitude and latitude in degrees.
"""

from __future__ import annotations

import math
import re
from itertools import islice, pairwise
from typing import Any

MAX_WKT_BYTES = 65_535
HINT = "write POINT (13.4 52.5), longitude first, or POLYGON ((0 0, 9 0, 9 9, 0 0))"
"""Advice for a text that cannot be read."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_POINT = re.compile(rf"\s*POINT\s*\(\s*({_NUMBER})\s+({_NUMBER})\s*\)\s*", re.IGNORECASE | re.ASCII)
_RING = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)\s*\)\s*", re.IGNORECASE | re.ASCII)
_PAIR = re.compile(rf"\s*({_NUMBER})\s+({_NUMBER})\s*", re.ASCII)

_TOLERANCE = 1e-9
"""How near Milvus Lite takes for touching."""

Point = tuple[float, float]


def wkt(value: Any) -> str:
    """`value`, a point or a polygon as WKT, in the one spelling that equal ones have.

    Raises `ValueError`, a sentence without its subject: "is …: write …".
    """
    if not isinstance(value, str):
        raise ValueError(f"is not a text of WKT: {HINT}")
    if len(value) > MAX_WKT_BYTES:
        raise ValueError(f"is {len(value):,} characters long, but imgvec takes at most {MAX_WKT_BYTES:,}")
    if at := _POINT.fullmatch(value):
        return f"POINT ({_shown(_point(at))})"
    if found := _RING.fullmatch(value):
        pairs = [_PAIR.fullmatch(each) for each in found[1].split(",")]
        ring = [_point(pair) for pair in pairs if pair is not None]
        if len(ring) == len(pairs):
            _check_ring(ring)
            return f"POLYGON (({', '.join(map(_shown, ring))}))"
    raise ValueError(f"is neither a point nor a polygon of one ring in WKT: {HINT}")


def _point(pair: re.Match[str]) -> Point:
    x, y = float(pair[1]) + 0.0, float(pair[2]) + 0.0  # without the sign of -0
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"has a coordinate that is too large: {HINT}")
    return x, y


def _shown(point: Point) -> str:
    return " ".join(repr(each).removesuffix(".0") for each in point)


def _check_ring(ring: list[Point]) -> None:
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise ValueError("is not closed: a polygon has at least three corners and ends where it began")
    sides = list(pairwise(ring))
    # from left to right, so that a side meets only the few that begin before it ends
    order = sorted(range(len(sides)), key=lambda side: _extent(sides[side], 0)[0])
    for place, i in enumerate(order):
        right, (low, high) = _extent(sides[i], 0)[1], _extent(sides[i], 1)
        for j in islice(order, place + 1, None):
            if _extent(sides[j], 0)[0] > right + _TOLERANCE:
                break
            bottom, top = _extent(sides[j], 1)
            if abs(i - j) in (1, len(sides) - 1):
                continue  # neighbours share a corner
            if bottom <= high + _TOLERANCE and top >= low - _TOLERANCE and _meet(*sides[i], *sides[j]):
                raise ValueError("crosses or touches itself: a polygon's sides meet at its corners alone")


def _extent(side: tuple[Point, Point], axis: int) -> tuple[float, float]:
    return min(side[0][axis], side[1][axis]), max(side[0][axis], side[1][axis])


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the sides a-b and c-d have a point in common, as Milvus Lite finds it: it refuses a whole write."""
    ends = ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    turns = [_turn(*end) for end in ends]
    if any(turn == 0 and _between(*end) for turn, end in zip(turns, ends, strict=True)):
        return True
    left = [turn > 0 for turn in turns]
    return left[0] != left[1] and left[2] != left[3]


def _turn(a: Point, b: Point, c: Point) -> int:
    """1 where a, b, c turns left, -1 right, 0 on a line, as near as Milvus Lite takes it."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0 if abs(area) <= _TOLERANCE else 1 if area > 0 else -1


def _between(a: Point, b: Point, c: Point) -> bool:
    """Whether c, on the line through a and b, lies between them."""
    return all(min(a[k], b[k]) - _TOLERANCE <= c[k] <= max(a[k], b[k]) + _TOLERANCE for k in (0, 1))
