"""Compares two collections on the same queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.errors import QueryError
from imgvec.options import altered, documented, settled
from imgvec.quality.evaluation import Evaluation, Values, evaluate
from imgvec.quality.gallery import Searched
from imgvec.quality.options import JudgeOptions

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of both, as means over the same queries; `low` to `high` is a 95 % interval of second - first."""

    measure: str
    first: float
    second: float
    low: float | None
    """None for a class of a single query."""
    high: float | None

    @property
    def difference(self) -> float:
        return self.second - self.first

    def to_dict(self) -> dict[str, Any]:
        return {
            "measure": self.measure,
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. Both evaluations contain only the common queries, in the same order."""

    first: Evaluation
    second: Evaluation
    dropped: int
    """Queries that only one of the two could measure."""
    relabelled: int
    """Common queries whose labels differ between the two; classes go by the first's."""
    micro: tuple[Difference, ...]
    macro: tuple[Difference, ...]
    classes: Mapping[str, tuple[Difference, ...]]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "queries": len(self.first.names),
            "dropped": self.dropped,
            "relabelled": self.relabelled,
            "micro": [each.to_dict() for each in self.micro],
            "macro": [each.to_dict() for each in self.macro],
            "classes": {label: [each.to_dict() for each in found] for label, found in self.classes.items()},
        }


@documented(JudgeOptions)
def compare(
    first: Searched,
    second: Searched,
    *,
    queries: Mapping[str, Any] | None = None,
    second_vector: str | None = None,
    **options: Unpack[JudgeOptions],
) -> Comparison:
    """Evaluate two collections, of two encoders, layers or indexes, on the queries that both have.

    Stored rows are matched by uri. Each collection ranks its own rows: where one has more of them, its task is harder.
    `second_vector` is the one that the second is searched by, if not `vector` too. The options are those of `evaluate`,
    and so are the errors.
    """
    wanted, among = settled(JudgeOptions, options), None
    if queries is None:
        store = second.store
        expression = store.rendered(wanted["where"])
        among = {row["uri"] for batch in store.scan(["id", "uri"], expression) for row in batch}
    one = evaluate(first, queries=queries, among=among, **wanted)
    # the first's sample, as far as it could be measured
    given = {"sample": None, "vector": second_vector or wanted["vector"]}
    other = evaluate(second, queries=queries, among=set(one.names), **altered(wanted, given))
    return paired(one, other)


def paired(first: Evaluation, second: Evaluation, *, seed: int = 0) -> Comparison:
    """The differences between two evaluations by the same measures, over the queries of the same name.

    Intervals are percentiles of the mean difference over 2000 samples of the queries, drawn with replacement (the
    paired bootstrap: Sakai, SIGIR 2006); for `macro` of the mean over the classes that a sample holds. Those of a class
    of few queries are too narrow. Raises `QueryError` if no query is common.
    """
    places = {name: i for i, name in enumerate(second.names)}
    common = [name for name in first.names if name in places]
    if not common or first.measures != second.measures:
        raise QueryError(f"{first.collection} and {second.collection} have no queries or no measures in common")
    dropped = len(first.names) + len(second.names) - 2 * len(common)
    here = {name: i for i, name in enumerate(first.names)}
    first, second = _kept(first, [here[name] for name in common]), _kept(second, [places[name] for name in common])
    gains = second.values - first.values
    members = first.members
    micro, macro = _intervals(gains, list(members.values()), seed)
    classes = {}
    for label, rows in members.items():
        low_high = _intervals(gains[rows], [], seed)[0] if len(rows) > 1 else None
        classes[label] = _differences(first.measures, first.values[rows].mean(0), second.values[rows].mean(0), low_high)
    # by the same classes on both sides
    means = [np.mean([each.values[rows].mean(axis=0) for rows in members.values()], axis=0) for each in (first, second)]
    single = len(common) == 1
    return Comparison(
        first=first,
        second=second,
        dropped=dropped,
        relabelled=sum(a != b for a, b in zip(first.labels, second.labels, strict=True)),
        micro=_differences(
            first.measures, first.values.mean(axis=0), second.values.mean(axis=0), None if single else micro
        ),
        macro=_differences(first.measures, means[0], means[1], None if single else macro),
        classes=classes,
    )


def _kept(evaluation: Evaluation, places: list[int]) -> Evaluation:
    return replace(
        evaluation,
        names=tuple(evaluation.names[i] for i in places),
        labels=tuple(evaluation.labels[i] for i in places),
        values=evaluation.values[places],
    )


def _differences(
    measures: Sequence[str], first: Values, second: Values, low_high: Values | None
) -> tuple[Difference, ...]:
    return tuple(
        Difference(
            measure,
            float(first[i]),
            float(second[i]),
            None if low_high is None else float(low_high[0, i]),
            None if low_high is None else float(low_high[1, i]),
        )
        for i, measure in enumerate(measures)
    )


def _intervals(gains: Values, classes: Sequence[NDArray[np.int64]], seed: int) -> tuple[Values, Values]:
    """(2, measures) each, low and high: of the mean of (queries, measures) gains, and of the mean of classes' means."""
    over_queries, over_classes = [], []
    for weights in _resampled(len(gains), np.random.default_rng(seed)):
        over_queries.append(weights @ gains / len(gains))
        total, present = np.zeros_like(over_queries[-1]), np.zeros((len(weights), 1))
        for members in classes:
            own = weights[:, members]
            drawn = own.sum(axis=1, keepdims=True)
            total += own @ gains[members] / np.maximum(drawn, 1)
            present += drawn > 0
        over_classes.append(total / np.maximum(present, 1))
    return (
        np.percentile(np.concatenate(over_queries), [2.5, 97.5], axis=0),
        np.percentile(np.concatenate(over_classes), [2.5, 97.5], axis=0),
    )


def _resampled(queries: int, rng: np.random.Generator) -> Iterator[Values]:
    """How often each query is drawn in each sample: (some, queries), in blocks of some 32 MB."""
    step = max(1, 2**22 // queries)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        drawn = rng.integers(queries, size=(rows, queries)) + queries * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float64)
