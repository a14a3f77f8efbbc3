"""What an answer must be, in plain NumPy and loops: written from what the docstrings say, not from the code.

Options are those of `imgvec.search.afterwork`, strategies those of `imgvec.recommend`, mixes those of `Like`,
fusions those of `imgvec.search.fusion`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec import Answer

Floats = NDArray[np.float64]
Unit = tuple[Any, list[str]]
"""A hit, or the hits of a group: its value, None without groups, and their ids."""


def similarity(metric: str, rows: NDArray[Any], query: NDArray[Any]) -> Floats:
    """(n,) scores of (n, dim) rows: the cosine, or 1 - d² / 2 by L2."""
    a, b = rows.astype(np.float64), query.astype(np.float64)
    if metric == "L2":
        return np.asarray(1 - np.square(a - b).sum(1) / 2)
    return np.asarray(a @ b / np.linalg.norm(a, axis=1) / np.linalg.norm(b))


def mixed(parts: Sequence[tuple[NDArray[Any], float]]) -> Floats:
    """(dim,) the weighted sum of the unit vectors, of unit length."""
    whole = np.sum([weight * vector.astype(np.float64) / np.linalg.norm(vector) for vector, weight in parts], axis=0)
    return np.asarray(whole / np.linalg.norm(whole))


def sigmoid(x: Any) -> Any:
    return 0.5 * (1 + x / (1 + np.abs(x)))


def recommended(
    metric: str,
    strategy: str,
    rows: NDArray[Any],
    positive: Sequence[tuple[NDArray[Any], float]],
    negative: Sequence[tuple[NDArray[Any], float]] = (),
) -> Floats:
    """(n,) the score of each of (n, dim) rows by examples with their weights; vectors are of unit length but by L2."""
    likes = [similarity(metric, rows, example) for example, _ in positive]
    dislikes = [similarity(metric, rows, example) for example, _ in negative]
    if strategy == "best":
        p = np.max(likes, axis=0)
        n = np.max(dislikes, axis=0) if dislikes else np.full(len(rows), -np.inf)
        return np.asarray(np.where(p > n, sigmoid(p), -sigmoid(np.where(np.isfinite(n), n, 0))))
    if strategy == "sum":
        total = np.zeros(len(rows))
        for scores, (_, weight) in zip(likes, positive, strict=True):
            total += weight * scores
        for scores, (_, weight) in zip(dislikes, negative, strict=True):
            total -= weight * scores
        return total
    means = [
        np.average([example.astype(np.float64) for example, _ in pairs], axis=0, weights=[w for _, w in pairs])
        for pairs in (positive, negative)
        if pairs
    ]
    return similarity(metric, rows, 2 * means[0] - means[1] if negative else means[0])


def reciprocal_ranks(lists: Sequence[Mapping[str, float]], weights: Sequence[float], k: float = 60) -> dict[str, float]:
    """The fused score of each id: the sum of weight / (k + rank), where equal scores share the first one's rank.

    Milvus gives float32: what is equal there is equal within a millionth here.
    """
    terms: dict[str, list[float]] = {}
    for one, weight in zip(lists, weights, strict=True):
        for id_, score in one.items():
            rank = 1 + sum(other > score + 1e-6 for other in one.values())
            terms.setdefault(id_, []).append(weight / (k + rank))
    return {id_: fsum(each) for id_, each in terms.items()}


def answered(
    rows: Sequence[Mapping[str, Any]],
    scores: NDArray[Any],
    likes: NDArray[Any],
    *,
    among: Sequence[int] | None = None,
    bounded: bool = False,
    **asked: Any,
) -> list[Unit]:
    """The units of the answer, each with its value and all of its ids, written as the docstring of afterwork says.

    `scores` has one of each row, `likes` (n, n) how alike they are, and `among` the places of those that match. A
    `bounded` ranking has the first candidates alone, whatever is asked of it.
    """
    ranked = sorted(range(len(rows)) if among is None else among, key=lambda place: (-scores[place], rows[place]["id"]))
    if asked.get("min_score") is not None:
        ranked = [place for place in ranked if scores[place] >= asked["min_score"]]
    if bounded or asked.get("collapse") is not None or asked.get("diversity") or asked.get("order_by"):
        ranked = ranked[: asked.get("candidates", 200)]
    if (threshold := asked.get("collapse")) is not None:
        kept: list[int] = []
        for place in ranked:
            if all(likes[place, other] < threshold for other in kept):
                kept.append(place)
        ranked = kept
    names = asked.get("group_by") or ()
    units: list[tuple[Any, list[int]]] = []
    for place in ranked:
        values = tuple(rows[place][name] for name in names)
        value = values if len(values) > 1 else values[0] if values else None
        same = [unit for unit in units if names and unit[0] == value]
        if not same:
            units.append((value, [place]))
        elif len(same[0][1]) < asked.get("group_size", 1):
            same[0][1].append(place)
    wanted = asked.get("offset", 0) + asked.get("limit", 10)
    if diversity := asked.get("diversity"):
        left, chosen = list(units), list[tuple[Any, list[int]]]()
        while left and len(chosen) < wanted:
            gains = [
                (1 - diversity) * scores[unit[1][0]]
                - diversity * max((likes[unit[1][0], other[1][0]] for other in chosen), default=0)
                for unit in left
            ]
            chosen.append(left.pop(int(np.argmax(gains))))
        units = chosen
    if order := asked.get("order_by"):
        name = order.removeprefix("-")
        units.sort(key=lambda unit: rows[unit[1][0]][name], reverse=order.startswith("-"))
    return [
        (value, [rows[place]["id"] for place in places]) for value, places in units[asked.get("offset", 0) : wanted]
    ]


def units(answer: Answer) -> list[Unit]:
    """Those of an answer, whose hits are the same."""
    if answer.request.options["group_by"]:
        assert [hit for group in answer.groups for hit in group.hits] == list(answer)
        return [(group.value, [hit.id for hit in group.hits]) for group in answer.groups]
    assert answer.groups == ()
    return [(None, [hit.id]) for hit in answer]


def check_units(got: Sequence[Unit], expected: Sequence[Unit], asked: Mapping[str, Any]) -> None:
    """The same hits in the same order; of groups that need not be full at least their best ones."""
    if asked.get("group_by") and not asked.get("strict_group_size"):
        # the best hits are those of all rows; the others are the next ones, as many as were seen
        assert [(value, ids[0]) for value, ids in got] == [(value, ids[0]) for value, ids in expected]
        assert all(ids == full[: len(ids)] for (_, ids), (_, full) in zip(got, expected, strict=True))
    else:
        assert got == expected


def check_up_to_ties(
    answer: Answer, expected: Sequence[Unit], scores: Mapping[str, float], asked: Mapping[str, Any], atol: float = 1e-5
) -> None:
    """The same, but in any order among scores that are equal within `atol`: of vectors that float32 rounds."""
    got = units(answer)
    ids = [id_ for _, some in got for id_ in some]
    assert len(set(ids)) == len(ids)
    for hit in answer:
        assert abs(hit.score - scores[hit.id]) <= atol, hit
    best = [scores[some[0]] for _, some in got]
    np.testing.assert_allclose(best, [scores[some[0]] for _, some in expected], atol=2 * atol, rtol=0)
    if not asked.get("order_by") and not asked.get("diversity"):
        firsts = {some[0] for _, some in got}
        order = [(-hit.score, hit.id) for hit in answer if hit.id in firsts]
        assert order == sorted(order)
    known = dict(expected)
    for value, some in got if asked.get("group_by") else []:
        if value not in known:  # a group that ties with one at either end of the page
            ends = [scores[expected[end][1][0]] for end in (0, -1)]
            assert any(abs(scores[some[0]] - end) <= 2 * atol for end in ends)
            continue
        if asked.get("strict_group_size"):
            assert len(some) == len(known[value])
        full = known[value][: len(some)]
        np.testing.assert_allclose([scores[id_] for id_ in some], [scores[id_] for id_ in full], atol=2 * atol, rtol=0)
