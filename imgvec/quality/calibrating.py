"""Makes a calibration of a collection's own pictures, and of known matches.

Each picture is searched for without itself, by the index as users search: a query without a match, where no copy of it
is stored. What is the same picture for certain, of equal bytes or by vectors that are equal but for an encoder's
rounding, is left out of its ranking like itself. Copies that were edited stay in, as nobody has told them from look-
alikes: they make thresholds higher, so that what is promised holds and fewer matches are found.

With a label, what has the same label is a match: a picture is searched for among those of other labels, as one of a
class that is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import UsageError
from imgvec.intervals import rounded_up
from imgvec.plurals import counted
from imgvec.quality.calibration import Calibration, Found, Positives, bound_to, now
from imgvec.rows import IMAGE_ID
from imgvec.store import Searches
from imgvec.stored import Found as Row
from imgvec.vectors import Vectors
from imgvec.views import rows_to_ask

DEPTH = 3
"""The place of the background. Where a picture and a copy of it are both stored, neither stands out from the second,
and both do from the third. Of clothing photos the third also finds the most copies (tests/benchmarks/README.md)."""
FITTED = 4
"""One picture in so many is fitted to: two weights need few, while of those that the promise is made by there cannot
be too many, since at 1 % it rests on the highest hundredth of them."""
SAME = 1e-3
"""Scores of unit vectors nearer to 1 are of the same picture: an encoder's own rounding is that large."""
_TWINS = 5
"""Pictures that may be left out of a ranking as the same ones."""
_AT_ONCE = 100
_RIDGE = 1e-3
FEWEST = 20
"""Known matches that a curve is fitted to."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Query:
    """One picture that is searched for."""

    id: str
    """Its own row's or picture's id: which is not a hit of a negative, and the hit wanted of a copy."""
    content_hash: str = ""
    beside: str = ""
    """An expression of the rows that it is searched for among; empty for all."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The first scores of queries, and what became of them on the way."""

    scores: Values
    """(n, 2): of the nearest picture, and of the background; NaN where too few were left."""
    nearest: list[str]
    """The nearest pictures' ids."""
    twins: int


def ranked(
    store: Searches,
    vectors: Vectors,
    queries: Sequence[Query],
    *,
    vector: str,
    params: Mapping[str, Any],
    own: bool,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Ranked:
    """What the queries find; with `own`, without themselves and the same pictures."""
    hashed = own and "content_hash" in store.fields
    views = store.most_views is not None
    fields = [*(["content_hash"] if hashed else []), *([IMAGE_ID] if views else [])]
    limit = rows_to_ask(DEPTH + (1 + _TWINS if own else 0), store.most_views)
    scores, nearest, twins, done = np.full((len(queries), 2), np.nan), [""] * len(queries), 0, 0
    among: dict[str, list[int]] = {}
    for place, query in enumerate(queries):
        among.setdefault(query.beside, []).append(place)
    for beside, places in among.items():
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            found = store.search(
                vectors[some], limit=limit, filter=beside, output_fields=fields, params=params, vector=vector
            )
            for place, rows in zip(some, found, strict=True):
                pictures = _pictures(rows) if views else [(row.id, row) for row in rows]
                if own:
                    others = [each for each in pictures if each[0] != queries[place].id]
                    pictures = [each for each in others if not _same(each[1], queries[place])]
                    twins += len(others) - len(pictures)
                if len(pictures) >= DEPTH:
                    scores[place] = pictures[0][1].score, pictures[DEPTH - 1][1].score
                if pictures:
                    nearest[place] = pictures[0][0]
            done += len(some)
            on_rows(done)
    return Ranked(scores, nearest, twins)


def _same(row: Row, query: Query) -> bool:
    same_bytes = bool(query.content_hash) and row.fields.get("content_hash") == query.content_hash
    return same_bytes or row.score >= 1 - SAME


def _pictures(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    best: dict[str, Row] = {}
    for row in rows:
        best.setdefault(row.fields[IMAGE_ID], row)
    return list(best.items())


@dataclass(frozen=True, slots=True)
class Copies:
    """Known matches: of each the kind, the query picture's id, the scores, and whether the right picture came first."""

    kinds: Sequence[str]
    ids: Sequence[str]
    scores: Values
    """(n, 2), as in `Ranked`."""
    right: Sequence[bool]


def calibrated(
    store: Any,
    vector: str,
    ids: Sequence[str],
    negatives: Ranked,
    copies: Copies | None,
    *,
    positives: Positives,
    label: str | None,
    rates: Sequence[float],
    seed: int,
) -> Calibration:
    """The calibration: of `ids`, and of the copies of them, a part is fitted to, the others are promised and judged by.

    Raises `UsageError` where there are too few pictures for the lowest of the rates.
    """
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(negatives.scores).all(axis=1))
    order = np.random.default_rng(seed).permutation(len(ids))
    parts = order[: len(ids) // FITTED], order[len(ids) // FITTED :]
    fitting, promising = (part[usable[part]] for part in parts)
    check_enough(len(promising), min(rates), without=negatives.twins)
    chosen = {ids[place] for place in fitting.tolist()}
    weights, intercept, alike = (0.0, 1.0), None, 0
    mine = [] if copies is None else [each in chosen for each in copies.ids]
    if copies is not None:
        usual = np.array(copies.right, bool) & np.array(mine, bool) & np.isfinite(copies.scores).all(1)
        known = copies.scores[usual]
        if len(known) >= FEWEST:
            weights, intercept = _fitted(negatives.scores[fitting], known)
            half = float(np.median(_statistics(known, weights)))
            alike = int((_statistics(negatives.scores[usable], weights) >= half).sum())
        else:
            copies, positives = None, "none"
    field = store.vectors[vector]
    found = Calibration(
        vector, field.metric_type, field.index.type, bound_to(store, vector), store.count(), int(usable.sum()),
        DEPTH, weights, intercept,
        tuple(np.sort(_statistics(negatives.scores[promising], weights)).tolist()),
        tuple(np.sort(negatives.scores[usable, 0]).tolist()),
        positives, label, negatives.twins, alike, (), tuple(rates), now(),
    )  # fmt: skip
    if copies is None:
        return found
    judged = [place for place in range(len(copies.ids)) if not mine[place]]
    return Calibration(**{**found.__dict__, "found": _judged(found, copies, judged, rates)})


def check_enough(pictures: int, rate: float, *, label: str | None = None, without: int = 0) -> None:
    """Raise `UsageError` where so many negatives, in the part to promise by, are too few to promise that rate.

    `label` is the field whose value a picture must have to count, `without` the hits that were left out as twins.
    """
    needed = int(np.ceil(1 / rate - 1e-9)) - 1
    if pictures < needed:
        every = -(-needed * FITTED // (FITTED - 1))
        can = (
            f": they can promise {rounded_up(1 / (pictures + 1))} at least; ask for no lower rates (--rates)"
            if pictures
            else ""
        )
        of_label = f" with a value of {label}" if label else ""
        left_out = f"; {counted(without, 'hit')} left out as the same picture, stored more than once" if without else ""
        raise UsageError(
            f"a false-match rate of {rate:g} needs {counted(every, 'picture')}{of_label}, {needed:,} of them to "
            f"promise by, and there are {pictures:,} of these{can}{left_out}"
        )


def _judged(
    calibration: Calibration, copies: Copies, places: Sequence[int], rates: Iterable[float]
) -> tuple[Found, ...]:
    found = []
    for rate in rates:
        threshold = calibration.threshold(rate)
        for kind in dict.fromkeys(copies.kinds):
            mine = [place for place in places if copies.kinds[place] == kind]
            reach = _statistics(copies.scores[mine], calibration.weights) >= threshold  # never NaN
            right = [copies.right[place] for place in mine]
            if mine:
                found.append(Found(kind, rate, int((reach & np.asarray(right, bool)).sum()), len(mine)))
    return tuple(found)


def _statistics(scores: Values, weights: tuple[float, float]) -> Values:
    made: Values = weights[0] * scores[:, 0] + weights[1] * (scores[:, 0] - scores[:, 1])
    return made


def _fitted(negatives: Values, positives: Values) -> tuple[tuple[float, float], float]:
    """Weights of the score and of what it stands out by, at least 0, and the intercept, of a logistic curve.

    Both kinds count the same, however many there are of each. A small ridge keeps weights finite where the kinds can be
    told apart for certain. Fitted by Newton's method (iteratively reweighted least squares); a feature whose weight
    would be negative is left out.
    """
    raw = np.concatenate([negatives, positives])
    features = np.stack([raw[:, 0], raw[:, 0] - raw[:, 1]], 1)
    truth = np.r_[np.zeros(len(negatives)), np.ones(len(positives))]
    counts = np.where(truth > 0, 0.5 / len(positives), 0.5 / len(negatives))
    centre, spread = features.mean(0), np.maximum(features.std(0), 1e-9)
    scaled = (features - centre) / spread
    for used in ([0, 1], [1], [0]):
        x = np.c_[scaled[:, used], np.ones(len(scaled))]
        penalty = _RIDGE * np.diag([1.0] * len(used) + [0.0])
        w = np.zeros(len(used) + 1)
        for _ in range(50):
            chance = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
            gradient = x.T @ (counts * (chance - truth)) + penalty @ w
            curvature = (x.T * (counts * chance * (1 - chance))) @ x + penalty + 1e-12 * np.eye(len(w))
            step = np.linalg.solve(curvature, gradient)
            w -= step
            if np.abs(step).max() < 1e-8:
                break
        if (w[:-1] >= 0).all() and w[:-1].sum() > 0:
            break
    else:  # matches score lower than strangers: by the background alone, at no cost to what is promised
        return (0.0, 1.0), 0.0
    weights = np.zeros(2)
    weights[used] = w[:-1] / spread[used]
    return (float(weights[0]), float(weights[1])), float(w[-1] - weights @ centre)
