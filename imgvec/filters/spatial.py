"""How a GEOMETRY lies to another, given as WKT: `field("place").st_within("POLYGON ((0 0, 9 0, 9 9, 0 0))")`.

The functions and their names are Milvus's (https://milvus.io/docs/geometry-operators.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imgvec import geometry
from imgvec.errors import FilterError
from imgvec.filters.comparable import Arithmetic
from imgvec.filters.compare import guarded
from imgvec.filters.dialect import Dialect
from imgvec.filters.expressions import Filter, Path
from imgvec.filters.fields import Fields, Operand
from imgvec.filters.tokens import Token, text_of

RELATIONS = frozenset(
    f"st_{each}" for each in ("contains", "within", "intersects", "equals", "touches", "overlaps", "crosses", "dwithin")
)
_LEAST_TOKENS = 5
"""Of a call: its name, a bracket, the field, a comma, the text."""


@dataclass(frozen=True, repr=False)
class Spatial(Filter):
    """The field's shape `function` that of `wkt`; `metres` are those of `st_dwithin`."""

    path: Path
    function: str
    wkt: str
    metres: float | None = None

    def __repr__(self) -> str:
        distance = "" if self.metres is None else f", {self.metres!r}"
        return f"{self.path}.{self.function}({self.wkt!r}{distance})"


class Shape(Arithmetic):
    """The part of a field that asks how its GEOMETRY lies; rows without one match neither a condition nor its `~`."""

    __slots__ = ()

    def st_within(self, wkt: str) -> Filter:
        """The field's shape lies within that of `wkt`."""
        return self._lies("st_within", wkt)

    def st_contains(self, wkt: str) -> Filter:
        """The field's shape contains that of `wkt`."""
        return self._lies("st_contains", wkt)

    def st_intersects(self, wkt: str) -> Filter:
        """The two have a point in common."""
        return self._lies("st_intersects", wkt)

    def st_equals(self, wkt: str) -> Filter:
        """The two have all points in common; this and the following on servers from 2.6.4."""
        return self._lies("st_equals", wkt)

    def st_touches(self, wkt: str) -> Filter:
        """Their edges have a point in common, but not what is within them."""
        return self._lies("st_touches", wkt)

    def st_overlaps(self, wkt: str) -> Filter:
        """They have a part in common, and each has one of its own."""
        return self._lies("st_overlaps", wkt)

    def st_crosses(self, wkt: str) -> Filter:
        """They cross: what they have in common is less than either."""
        return self._lies("st_crosses", wkt)

    def st_dwithin(self, wkt: str, metres: float) -> Filter:
        """They are at most so far apart. Not on Milvus Lite, which takes degrees."""
        distance = float(self._number(metres))
        if distance < 0:
            raise FilterError(f"{self}.st_dwithin: a distance is not negative: {metres!r}")
        return self._lies("st_dwithin", wkt, distance)

    def _lies(self, function: str, wkt: str, metres: float | None = None) -> Filter:
        path, _ = self._steps()
        try:
            return Spatial(path, function, geometry.wkt(wkt), metres)
        except ValueError as exc:
            raise FilterError(f"{self}.{function}: {wkt!r} {exc}") from None


def spatial(operand: Operand, where: Spatial, dialect: Dialect, *, negated: bool) -> str:
    """The condition as Milvus reads it."""
    path = where.path
    if operand.type != "GEOMETRY":
        raise FilterError(f"{path} holds {operand.type}, but {where.function} needs a GEOMETRY")
    dialect.check_function(where.function, str(path))
    distance = "" if where.metres is None else f", {where.metres!r}"
    found = f"{where.function}({operand.text}, '{where.wkt}'{distance})"
    # to Milvus Lite `not` turns a null into a match
    return guarded(operand, (), f"not {found}") if negated else found


def check_calls(tokens: Sequence[Token], fields: Fields) -> None:
    """Raise `FilterError`, with the column, where a call among the tokens names no GEOMETRY, or text that is no WKT.

    Spaces are left out of the tokens. What shapes besides points and polygons a server reads is left to it.
    """
    for at, token in enumerate(tokens[:-2]):
        function = token.text.lower()
        if token.kind != "name" or function not in RELATIONS or tokens[at + 1].text != "(":
            continue
        place, comma, text = (*tokens[at + 2 : at + _LEAST_TOKENS], token, token)[:3]
        if (kind := fields.types.get(place.text)) is None or kind.type != "GEOMETRY" or comma.text != ",":
            holds = f", and {place.text} holds {kind.type}" if kind else ""
            raise FilterError(f"{function} takes a GEOMETRY field and WKT{holds} (column {place.column})")
        if text.kind != "string":
            raise FilterError(f"{function} takes WKT in quotes (column {text.column})")
        if not fields.dialect.any_shape:
            try:
                geometry.wkt(text_of(text))
            except ValueError as exc:
                raise FilterError(f"{text.text} at column {text.column} {exc}") from None
