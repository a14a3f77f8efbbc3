"""Recommendations from examples, and answers that learn from what somebody says of the last one."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any, TypeAlias

from typing_extensions import Unpack

from imgvec.collection import ImageCollection
from imgvec.errors import QueryError
from imgvec.options import documented, settled, taken
from imgvec.search.answer import Answer, Hit
from imgvec.search.examples import Examples, given, others_than
from imgvec.search.feedback import rocchio
from imgvec.search.forms import Form, StoredId
from imgvec.search.guessing import Query, guessed
from imgvec.search.hybrid import Hybrid
from imgvec.search.liked import liked
from imgvec.search.recommending import Recommendation, recommended
from imgvec.search.request import SearchOptions
from imgvec.search.strategies import RecommendOptions

Example: TypeAlias = Query | Hit | tuple[Query | Hit, float]


@documented(RecommendOptions)
def recommend(
    collection: ImageCollection,
    positive: Iterable[Example] = (),
    negative: Iterable[Example] = (),
    **options: Unpack[RecommendOptions],
) -> Recommendation:
    """Find the stored images most like the positive examples, and unlike the negative ones.

    An example is a hit, or a query of any form: `"id:…"`, a path, a vector; or one with its weight, as `("id:…", 0.5)`.
    Stored rows alone need no encoder. What was given is not in the answer: neither a stored row (with its picture's
    other views), nor the row of an image file that was given, known by its content. `user` adds the examples of a
    table (`imgvec.search.liked`). Names and formulas are Qdrant's
    (https://qdrant.tech/documentation/concepts/explore/#recommendation-api), s the similarity that scores are:

    - `average` (`average_vector`): one search by avg(positive) + avg(positive) - avg(negative), or by avg(positive)
      where there is no negative one; the score is the similarity to that vector.
    - `best` (`best_score`): with p = max s(x, positive) and n = max s(x, negative), the score is sigmoid(p) if p > n,
      else -sigmoid(n), where sigmoid(t) = (1 + t / (1 + |t|)) / 2. Computed here from stored vectors among at most
      10,000 candidates, which the examples' own searches find; `certain` says whether no other row can belong into the
      answer, and `compared` how many were looked at (`imgvec.search.best`). Takes no weights.
    - `sum` (`sum_scores`): sum of s(x, positive) - sum of s(x, negative). As similarities are linear, it is one search
      by the weighted sum of the vectors, as exact as the index.

    Vectors are scaled to unit length, except by L2. `average` and `best` take at least one positive example; by L2,
    `sum` takes more positive than negative weight. Raises `OptionError`, `QueryError`, `UnreadableImage`,
    `SourceError`, `FilterError`.
    """
    collection = collection.pinned()
    asked = settled(RecommendOptions, options)
    wanted, unwanted = _weighted(positive, "positive"), _weighted(negative, "negative")
    target = collection.handle.target
    if asked["user"] is not None:
        judged = liked(asked["user"], target.store, asked["on_notice"])
        wanted += [(form, weight) for form, weight in judged if weight > 0]
        unwanted += [(form, -weight) for form, weight in judged if weight < 0]
    examples = Examples(tuple(wanted), tuple(unwanted), asked["strategy"])
    search = taken(SearchOptions, asked)
    ids, hashes = given(examples.forms, collection.settings.max_file_bytes)
    search["where"] = others_than(ids, asked["where"], target.store, hashes)
    return recommended(target.searcher, examples, search)


@documented(SearchOptions)
def refine(
    collection: ImageCollection,
    answer: Answer,
    relevant: Iterable[Hit | str] = (),
    irrelevant: Iterable[Hit | str] = (),
    **options: Unpack[SearchOptions],
) -> Answer:
    """Search again by what was asked, moved towards the relevant hits of its answer and away from the irrelevant ones.

    Hits are given as such, or by id; the formula is `imgvec.search.feedback.rocchio`'s. Options are those of the
    answer but for its `offset`, unless others are given. Irrelevant hits are not in the next answer, which may be
    refined in its turn.
    Raises `QueryError`, and as `ImageCollection.search`.
    """
    if not isinstance(answer, Answer):
        raise QueryError(f"refine takes the answer of a search, not a {type(answer).__name__}")
    if isinstance(answer.request.form, Hybrid):
        raise QueryError("a Hybrid is refined part by part: search again with other forms in its parts")
    if not isinstance(answer.request.form, Form):
        raise QueryError("a recommendation is refined by recommending again, with more examples")
    collection = collection.pinned()
    bad = _ids(irrelevant)
    asked = settled(SearchOptions, {**answer.request.options, "offset": 0, **options})
    search = taken(SearchOptions, asked)
    store = collection.handle.target.store
    search["where"] = others_than(bad, asked["where"], store)
    return collection.search(rocchio(answer.request.form, _ids(relevant), bad), **search)


def _ids(hits: Iterable[Hit | str]) -> list[str]:
    if isinstance(hits, str | Hit):
        hits = [hits]
    return list(dict.fromkeys(hit.id if isinstance(hit, Hit) else hit for hit in hits))


def _weighted(examples: Iterable[Example], name: str) -> list[tuple[Form, float]]:
    if isinstance(examples, str | Hit | Form) or not isinstance(examples, Iterable):
        raise QueryError(f"{name} takes a sequence of examples")
    return [_pair(example) for example in examples]


def _pair(example: Any) -> tuple[Form, float]:
    what, weight = example, 1.0
    if isinstance(example, tuple) and len(example) == 2 and not isinstance(example[0], Real):
        what, weight = example[0], _number(example[1])
    return StoredId(what.id) if isinstance(what, Hit) else guessed(what), weight


def _number(weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, Real):
        raise QueryError(f"the weight of an example must be a number above 0, not {weight!r}")
    try:
        return float(weight)
    except OverflowError:  # an int of 400 digits
        raise QueryError("the weight of an example must be a number above 0 that a float can hold") from None
