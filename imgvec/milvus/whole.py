"""Answers that have all hits, as far as can be known, while the members of a collection's replicas change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from imgvec.milvus.members import Standing, Watch
from imgvec.milvus.repeating import together
from imgvec.stored import Found, Nearest

ASKED_AT_MOST = 4
"""Times that one answer is asked for while the members of the replicas change."""
_MERGED_SECONDS = 2.5
"""After which an answer is given as it is while members change, and called incomplete: it need not wait for more."""


def whole(ask: Callable[[], list[list[Found]]], limit: int, watch: Watch | None) -> list[Nearest]:
    """The answers, asked for again where the members of the replicas may not have all rows.

    A new member only leaves rows out, so the best of several answers are never worse than one of them. But all may
    be of one such member: what is given while members change is never called complete.
    """
    if watch is None:
        return [Nearest(each) for each in ask()]
    watch.look()
    until = time.monotonic() + _MERGED_SECONDS
    answers = ask()
    standing = watch.standing()
    if standing is Standing.SETTLED:
        return [Nearest(each) for each in answers]
    several = watch.several
    if standing is Standing.CHANGED and several:
        # at once, since one after another they go to whoever is idle: the member that has nothing to look through
        further = together(ask, ASKED_AT_MOST - 1, max(0.0, until - time.monotonic()))
        watch.compared([[_ids(each) for each in some] for some in (answers, *further)])
        for again in further:
            answers = [merged(*pair, limit) for pair in zip(answers, again, strict=True)]
    elif standing is Standing.CHANGED or several or any(len(each) < limit for each in answers):
        for _ in range(ASKED_AT_MOST - 1):
            again = ask()
            best = [merged(*pair, limit) for pair in zip(answers, again, strict=True)]
            agreed = all(_ids(a) == _ids(b) == _ids(c) for a, b, c in zip(answers, again, best, strict=True))
            watch.compared([agreed, True])
            answers = best
            if agreed:
                break
    complete = standing is not Standing.CHANGED and watch.standing() is not Standing.CHANGED
    return [Nearest(each, complete=complete) for each in answers]


def merged(one: Sequence[Found], other: Sequence[Found], limit: int) -> list[Found]:
    """The best of two answers to one question; of a row in both, what the second says."""
    rows = {each.id: each for each in (*one, *other)}
    return sorted(rows.values(), key=lambda each: (-each.score, each.id))[:limit]


def _ids(found: Sequence[Found]) -> list[str]:
    return [each.id for each in found]
