"""What is drawn for the state machine of everything: rows and vectors, filters, options; and pages that stay open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from imgvec import dynamic
from imgvec import field as column
from imgvec.filters import Filter
from imgvec.search.pages import Pages
from imgvec.vectors import Vectors

DIM, POOL = 16, 120
"""`POOL`: how many different ids there may be."""
FIELDS: dict[str, Any] = {
    "album": {"type": "VARCHAR", "max_length": 8, "default": "", "index": "AUTO"},
    "rank": {"type": "INT64", "default": 0, "index": "AUTO"},
    "liked": {"type": "BOOL", "default": False},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 8, "default": []},
}
SHOWN = (*FIELDS, "brand")
"""The metadata of a row; `brand` is a key of the dynamic field."""
_SOME = np.random.default_rng(1)
PALETTE: Vectors = _SOME.choice(np.array([-0.25, 0.25], np.float32), (48, DIM))
"""Unit vectors: rows have the first 32, and so are equal now and then; queries have any of them."""
ROUNDED: Vectors = (lambda made: made / np.linalg.norm(made, axis=1, keepdims=True))(
    _SOME.standard_normal((8, DIM)).astype(np.float32)
)
TEXTS = ("a red dress", "a shoe", "rain")

Row = Mapping[str, Any]
FILTERS: list[tuple[Filter | str | None, Callable[[Row], bool]]] = [
    (None, lambda row: True),
    (column("album") == "a1", lambda row: row["album"] == "a1"),
    (column("rank") >= 3, lambda row: row["rank"] >= 3),
    (~column("album").in_(["a0", "a2"]), lambda row: row["album"] not in ("a0", "a2")),
    (
        column("rank").between(2, 5) & column("tags").contains("t1"),
        lambda row: 2 <= row["rank"] <= 5 and "t1" in row["tags"],
    ),
    (column("tags").length() == 0, lambda row: not row["tags"]),
    (dynamic("brand") == "b1", lambda row: row["brand"] == "b1"),
    ('liked == true or (album like "a%" and rank < 2)', lambda row: row["liked"] or row["rank"] < 2),
    (column("rank") > 99, lambda row: False),
]

metadata = st.fixed_dictionaries(
    {
        "album": st.sampled_from(["a0", "a0", "a0", "a1", "a2", "a3"]),
        "rank": st.integers(0, 7),
        "liked": st.booleans(),
        "tags": st.lists(st.sampled_from(["t0", "t1", "t2"]), max_size=2, unique=True),
        "brand": st.sampled_from(["b0", "b1", "b2"]),
    }
)
numbers = st.lists(st.integers(0, POOL - 1), min_size=1, max_size=30, unique=True)
places = st.integers(0, POOL - 1)
wheres = st.integers(0, len(FILTERS) - 1)
weights = st.sampled_from([0.5, 1.0, 2.0])


@st.composite
def plain_options(draw: st.DrawFn) -> dict[str, Any]:
    """What needs no vectors of the rows; an order is one of different values, so that it is known."""
    asked: dict[str, Any] = {"limit": draw(st.integers(1, 40)), "offset": draw(st.sampled_from([0, 0, 1, 7]))}
    asked["min_score"] = draw(st.sampled_from([None, None, -0.5, 0.0, 0.25, 0.5]))
    names = st.sampled_from(["album", "rank", "liked", "brand"])
    asked["group_by"] = draw(st.none() | st.lists(names, min_size=1, max_size=2, unique=True))
    if asked["group_by"]:
        asked["group_size"] = draw(st.integers(1, 4))
        asked["strict_group_size"] = draw(st.booleans())
    else:
        asked["order_by"] = draw(st.sampled_from([None, None, "uri", "-uri"]))
    asked["candidates"] = 1000
    asked["facet"] = draw(st.none() | st.lists(st.sampled_from(SHOWN), min_size=1, max_size=2, unique=True))
    asked["output_fields"] = draw(st.none() | st.lists(st.sampled_from(SHOWN), max_size=3, unique=True))
    asked["consistency_level"] = draw(st.sampled_from([None, None, "Strong", "Session"]))
    return asked


@st.composite
def all_options(draw: st.DrawFn, *, diversity: bool = True) -> dict[str, Any]:
    asked = draw(plain_options())
    asked["collapse"] = draw(st.sampled_from([None, None, 1.0, 0.75, 0.25]))
    asked["order_by"] = None
    if diversity:
        asked["diversity"] = draw(st.sampled_from([None, None, 0.0, 0.25, 0.5, 1.0]))
    if not asked.get("diversity"):
        asked["order_by"] = draw(st.sampled_from([None, None, "rank", "-rank", "album", "liked", "-uri"]))
    asked["candidates"] = draw(st.sampled_from([20, 47, 100, 1000]))
    return asked


@dataclass
class Kept:
    """Pages that are open: what their ranking has, and what they still owe."""

    pages: Pages
    size: int
    scores: dict[str, float]
    ids: list[str]
    missing: list[str] = field(default_factory=list)
    again: bool = False

    def following(self, rows: Mapping[str, Row]) -> list[str]:
        """The ids of the next page: of rows that exist; those that did not are looked for again at the end."""
        page: list[str] = []
        while len(page) < self.size:
            if not self.ids:
                if self.again or not self.missing:
                    break
                self.ids, self.missing, self.again = self.missing, [], True
            id_ = self.ids.pop(0)
            if id_ in rows:
                page.append(id_)
            elif not self.again:
                self.missing.append(id_)
        return page
