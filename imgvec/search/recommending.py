"""Recommendations: rows that are like some examples and unlike others, by Qdrant's three strategies."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import QueryError
from imgvec.options import settled
from imgvec.search.answer import Answer, Group, Hit
from imgvec.search.best import ByBest
from imgvec.search.encoding import VANISHES, needs_encoder
from imgvec.search.examples import Examples
from imgvec.search.forms import VectorQuery
from imgvec.search.request import SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.search.stages import Stages
from imgvec.stored import VectorField
from imgvec.vectors import Vectors, problem


@dataclass(frozen=True, repr=False)
class Recommendation(Answer):
    """An answer to examples."""

    certain: bool = field(default=True, compare=False)
    """False if a row that was not looked at may belong into the answer; only by the strategy `best` (see
    `imgvec.search.best`). Otherwise it is as exact as the index."""
    compared: int | None = field(default=None, compare=False)
    """Rows that were compared with each example here, by the strategy `best`; None where Milvus compared them."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**super().to_dict(), "certain": self.certain, "compared": self.compared}


@dataclass(frozen=True, slots=True)
class _OneSearch:
    """A score of several examples as that of one vector: `slope` times its similarity, plus `offset`."""

    vector: Vectors
    slope: float = 1.0
    offset: float = 0.0


def recommended(searcher: Searcher, examples: Examples, options: SearchOptions) -> Recommendation:
    """The answer to examples; where a row is given as one, `options` leave it out.

    Raises `QueryError`, `UnreadableImage`, `FilterError`, and as `Searcher.search`.
    """
    asked, stages = settled(SearchOptions, options), Stages()
    with stages("total"):
        vectors = searcher.vectors(examples.forms, asked["vector"], stages=stages)
        by = searcher.store.vectors[asked["vector"]]
        if wrong := problem(vectors, by.dim, unit=False):
            raise QueryError(f"of the examples, {wrong}")
        if examples.strategy == "best":
            answer = _by_best(searcher, vectors, len(examples.positive), asked)
        else:
            one = _averaged(vectors, examples, by) if examples.strategy == "average" else _summed(vectors, examples, by)
            answer = _by_one(searcher, one, asked)
        if needs_encoder(examples.forms):
            # again, since the answer may be of another collection, which the encoder is not for
            searcher.store.check_same()
    request = replace(answer.request, form=examples)
    seconds = {**stages.seconds, **answer.seconds, "total": stages.seconds["total"]}
    return replace(answer, request=request, seconds=seconds)


def _by_best(searcher: Searcher, vectors: Vectors, positives: int, asked: SearchOptions) -> Recommendation:
    store = ByBest(searcher.store, vectors[:positives], vectors[positives:])
    [answer] = searcher.over(store.as_store()).search([VectorQuery(vectors[0])], **asked)
    return _made(answer, certain=store.certain, compared=store.compared)


def _by_one(searcher: Searcher, one: _OneSearch, asked: SearchOptions) -> Recommendation:
    least = asked["min_score"]
    inner = {**asked, "min_score": None if least is None else (least - one.offset) / one.slope}
    [answer] = searcher.unjudged().search([VectorQuery(one.vector)], **inner)  # type: ignore[arg-type]  # all of them were settled

    def rescored(hit: Hit) -> Hit:
        return replace(hit, score=one.slope * hit.score + one.offset)

    if (one.slope, one.offset) != (1.0, 0.0):
        groups = tuple(Group(group.value, tuple(map(rescored, group.hits))) for group in answer.groups)
        answer = replace(answer, hits=tuple(map(rescored, answer.hits)), groups=groups)
    options = {**answer.request.options, "min_score": least}
    return _made(replace(answer, request=replace(answer.request, options=settled(SearchOptions, options))))


def _averaged(vectors: Vectors, examples: Examples, by: VectorField) -> _OneSearch:
    """`average_vector`: avg(positive) + avg(positive) - avg(negative), averages by weight."""
    shares = []
    for pairs, factor in ((examples.positive, 2.0 if examples.negative else 1.0), (examples.negative, -1.0)):
        whole = sum(weight for _, weight in pairs)
        shares += [factor * weight / whole for _, weight in pairs]
    mix, length = _mixed(vectors, shares, by)
    return _OneSearch((mix / length).astype(np.float32))


def _summed(vectors: Vectors, examples: Examples, by: VectorField) -> _OneSearch:
    """`sum_scores`: the similarities to positive examples, less those to negative ones, times their weights.

    Similarities of unit vectors are linear: w1 s(x, a) + w2 s(x, b) = s(x, w1 a + w2 b), so one search by the weighted
    sum q gives the exact order, and |q| times its cosine the score. For L2, where s is 1 - |x - a|²/2, and the weights
    come to W > 0, it is W s(x, q/W) - (w1 |a|² + w2 |b|² - |q|²/W)/2. For other W the best rows are the farthest ones,
    for which Milvus cannot be asked.
    """
    weights = [weight for _, weight in examples.positive] + [-weight for _, weight in examples.negative]
    mix, length = _mixed(vectors, weights, by)
    if by.unit:
        return _OneSearch((mix / length).astype(np.float32), length)
    whole = sum(weights)
    if whole <= 0:
        raise QueryError("by L2, the weights of positive examples must come to more than those of negative ones")
    squares = float(np.square(vectors.astype(np.float64)).sum(1) @ weights)
    return _OneSearch((mix / whole).astype(np.float32), whole, -0.5 * (squares - float(mix @ mix) / whole))


def _mixed(vectors: Vectors, weights: list[float], by: VectorField) -> tuple[NDArray[np.float64], float]:
    """(dim,) the weighted sum, of unit vectors unless by L2, and its length; 1 by L2, where nothing is scaled."""
    wide = vectors.astype(np.float64)
    if not by.unit:
        return np.asarray(wide.T @ weights), 1.0
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    mix = np.asarray(wide.T @ weights)
    length = float(np.linalg.norm(mix))
    if not length > VANISHES * sum(map(abs, weights)):
        raise QueryError("the examples cancel each other out: give others, or other weights")
    return mix, length


def _made(answer: Answer, **about: Any) -> Recommendation:
    return Recommendation(**{each.name: getattr(answer, each.name) for each in fields(Answer)}, **about)
