"""Hybrid questions, as frozen values: one ranking out of several, each of another vector.

picture = ImageFile("query.jpg")
photos.search(Hybrid([Part(picture), Part(picture, vector="texture", weight=0.5)]))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

from imgvec.errors import QueryError
from imgvec.rows import VECTOR
from imgvec.search.forms import FORMS, Form

Fusion: TypeAlias = Literal["rrf", "weights"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

K = 60.0
"""Cormack's (see `imgvec.search.fusion.reciprocal_ranks`): fixed in a pilot study, and hardly critical."""

MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """A form that is searched for by one vector, by name."""

    form: Form
    vector: str = VECTOR
    weight: float = 1.0
    """How much its ranking counts, above 0."""

    def __post_init__(self) -> None:
        if not isinstance(self.form, FORMS):
            raise QueryError(f"a {type(self.form).__name__} is not a query form: Part takes a form, such as ImageFile")
        if not isinstance(self.vector, str) or not self.vector:
            raise QueryError(f"Part takes the name of a vector, not {self.vector!r}")
        object.__setattr__(self, "weight", _positive(self.weight, "the weight of a part"))

    def to_dict(self) -> dict[str, Any]:
        return {**self.form.to_dict(), "vector": self.vector, "weight": self.weight}


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Several rankings of the rows that match, fused to one.

    Of each part the best `candidates` hits are taken, an option of the search. `rrf` fuses their ranks, whatever the
    scores are worth, with the constant `k`; `weights` adds up their scores, each times its part's weight, so that
    scores of different scales want weights that even them out. The formulas are `imgvec.search.fusion`'s.
    """

    parts: Sequence[Part]
    fusion: Fusion = "rrf"
    k: float = K

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Sequence) or not self.parts:
            raise QueryError(f"Hybrid takes a list of at least one part, not {self.parts!r}")
        if len(self.parts) > MOST_PARTS:
            raise QueryError(f"Hybrid takes at most {MOST_PARTS} parts, not {len(self.parts)}")
        for part in self.parts:
            if not isinstance(part, Part):
                raise QueryError(f"a {type(part).__name__} is not a part of a Hybrid: give Part(form, vector=…)")
        if self.fusion not in FUSIONS:
            raise QueryError(f"fusion must be one of {', '.join(FUSIONS)}, not {self.fusion!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "k", _positive(self.k, "k"))

    def to_dict(self) -> dict[str, Any]:
        constant = {"k": self.k} if self.fusion == "rrf" else {}
        return {"hybrid": [part.to_dict() for part in self.parts], "fusion": self.fusion, **constant}


def _positive(number: Any, what: str) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float | Real):
        raise QueryError(f"{what} must be a number above 0, not {number!r}")
    if not 1e-9 <= float(min(number, 2e9)) <= 1e9:  # NaN too; an int may be longer than a float
        raise QueryError(f"{what} must be from 1e-9 to 1e9, not {number!r}")
    return float(number)
