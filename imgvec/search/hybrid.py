"""Hybrid questions, as frozen values: one ranking out of several, each by another vector, or by words.

picture = ImageFile("query.jpg")
photos.search(Hybrid([Part(picture), Part(picture, vector="texture", weight=0.5)]))
photos.search(Hybrid([Part(picture), Words("red dress", "caption")]))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from imgvec.errors import QueryError
from imgvec.rows import VECTOR
from imgvec.search.forms import FORMS, Form, Text
from imgvec.search.fusion import FUSIONS, Fusion

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
class Words:
    """Words that are searched for in a text field, declared with `bm25: true`; no encoder is needed.

    Rows with any of the words are ranked by BM25: a word counts the more, the fewer rows have it, the oftener this one
    has it, and the shorter its text is (S. Robertson and H. Zaragoza, "The probabilistic relevance framework: BM25 and
    beyond", 2009). Milvus computes it: case does not matter, the forms of a word do.
    """

    words: str
    field: str
    weight: float = 1.0
    """How much the ranking counts, above 0."""

    def __post_init__(self) -> None:
        Text(self.words)  # raises what is wrong with them
        if not isinstance(self.field, str) or not self.field:
            raise QueryError(f"Words takes the name of a field, not {self.field!r}")
        object.__setattr__(self, "weight", _positive(self.weight, "the weight of words"))

    def to_dict(self) -> dict[str, Any]:
        return {"words": self.words, "field": self.field, "weight": self.weight}


_PARTS: tuple[type[Any], ...] = (Part, Words)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Several rankings of the rows that match, fused to one.

    Of each part the best `candidates` hits are taken, an option of the search. `rrf` fuses their ranks, whatever the
    scores are worth, with the constant `k`; `weights` adds up their scores, each times its part's weight, so that
    scores of different scales want weights that even them out; `calibrated` first brings those of each part to the
    scale from 0 to 1, so that weights say how much a part counts. The formulas are `imgvec.search.fusion`'s.
    """

    parts: Sequence[Part | Words]
    fusion: Fusion = "rrf"
    k: float = K

    def __post_init__(self) -> None:
        if not isinstance(self.parts, Sequence) or not self.parts:
            raise QueryError(f"Hybrid takes a list of at least one part, not {self.parts!r}")
        if len(self.parts) > MOST_PARTS:
            raise QueryError(f"Hybrid takes at most {MOST_PARTS} parts, not {len(self.parts)}")
        for part in self.parts:
            if not isinstance(part, _PARTS):
                said = f"a {type(part).__name__} is not a part of a Hybrid"
                raise QueryError(f"{said}: give Part(form, vector=…) or Words(words, field)")
        if self.fusion not in FUSIONS:
            raise QueryError(f"fusion must be one of {', '.join(FUSIONS)}, not {self.fusion!r}")
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "k", _positive(self.k, "k"))

    @property
    def forms(self) -> list[Form]:
        """Those that have a vector."""
        return [part.form for part in self.parts if isinstance(part, Part)]

    def to_dict(self) -> dict[str, Any]:
        constant = {"k": self.k} if self.fusion == "rrf" else {}
        return {"hybrid": [part.to_dict() for part in self.parts], "fusion": self.fusion, **constant}


def _positive(number: Any, what: str) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float | Real):
        raise QueryError(f"{what} must be a number above 0, not {number!r}")
    if not 1e-9 <= float(min(number, 2e9)) <= 1e9:  # NaN too; an int may be longer than a float
        raise QueryError(f"{what} must be from 1e-9 to 1e9, not {number!r}")
    return float(number)
