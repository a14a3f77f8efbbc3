"""What the expressions of one backend can say, as far as backends differ; each difference was seen by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from imgvec.errors import UnsupportedByBackend

EVERYWHERE = frozenset({f"{kind}_contains{which}" for kind in ("json", "array") for which in ("", "_all", "_any")}) | {
    "array_length"
}
"""The functions that every backend has."""
LITE_FUNCTIONS = frozenset({"text_match", "st_contains", "st_within", "st_intersects", "st_isvalid"})
"""Those that Milvus Lite has besides; its `st_dwithin` takes degrees where a server takes metres, and is refused."""
SINCE: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "text_match": (2, 5),
        "phrase_match": (2, 5, 17),
        "random_sample": (2, 6),
        **{f"st_{act}": (2, 6, 4) for act in ("equals", "touches", "overlaps", "crosses", "contains", "intersects")},
        **{f"st_{act}": (2, 6, 4) for act in ("within", "dwithin", "isvalid")},
    }
)
"""The further functions of servers, and since when."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one backend reads, and reads right."""

    backend: str
    """For a person: `Milvus Lite 3.2.2`."""
    functions: frozenset[str] = EVERYWHERE
    infix: bool = False
    """`like` with `%` elsewhere than at the end, and with `_`: 2.3 refuses the one, and takes the other for itself."""
    loose_end: bool = False
    """`like "%x"` finds x before a newline at the end, too."""
    remainder: bool = False
    """`%`, and the other operators that Milvus Lite does not know."""
    float_remainder: bool = False
    """`%` goes through 64-bit floats: wrong for whole numbers beyond 2**53, and without a word."""
    sums: bool = False
    """A sum of two fields is right, or the backend refuses it. Milvus Lite gives it no more bits than they have."""
    length_order: bool = False
    """`array_length(x) > 2`; 2.3 compares lengths, as all that is computed, by `==` and `!=` alone."""
    degrees: bool = False
    """`st_dwithin` takes a distance in degrees, and not in metres."""
    any_shape: bool = False
    """WKT of every kind: Milvus Lite reads points, and polygons of one ring."""
    json_length: bool = False
    """`array_length` of a key of JSON, and of a dynamic key that needs quotes."""

    def check_function(self, name: str, place: str) -> None:
        """Refuse a function that the backend does not have, with the release of Milvus that brought it."""
        if name == "st_dwithin" and self.degrees:
            raise self.refusal(f"no {name} in metres ({place}): it takes degrees there; ask for st_within a polygon")
        if name not in self.functions:
            since = f", which Milvus has from {'.'.join(map(str, SINCE[name]))}" if name in SINCE else ""
            raise self.refusal(f"no {name} ({place}){since}")

    def refusal(self, lacks: str) -> UnsupportedByBackend:
        """The error for what it lacks."""
        return UnsupportedByBackend(f"{self.backend} has {lacks}")


EVERY = Dialect("not every backend")
"""What all backends read."""
