"""The nearest rows of standing probes, from the candidates that were noted, and what of them an index finds.

A note says which rows may be near; what they score now the collection says, by their ids. So a row that was moved,
deleted or never written counts for nothing, and what is not among the candidates scores less than the floor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from imgvec.indexes.neighbours import Neighbours
from imgvec.indexes.probes import Merged, Note, Scores, hashed, merged, of_probe, scored, slack
from imgvec.indexes.recall import TIE, recalls
from imgvec.indexes.scores import WHOLE, tolerance
from imgvec.store import Searches
from imgvec.stored import Found
from imgvec.vectors import Vectors

_MORE = 8
"""Candidates that are looked up beyond those wanted: a few have moved on."""
_AT_ONCE = 64
_TURNS = 3
"""How often what others write meanwhile is waited out."""


class Known:
    """What a collection says of candidates, each asked for once."""

    def __init__(self, store: Searches, probes: Vectors, note: Note) -> None:
        self._store, self._probes, self.note = store, probes, note
        self._of_probe = of_probe(note)
        self._floors = slack(note.floors)
        self._scores: dict[str, Scores] = {}
        self.absent: set[str] = set()
        """Candidates that are not there."""

    def candidates(self, number: int) -> tuple[list[str], Scores]:
        """The candidates of a probe, best first by what they scored when they were written."""
        which = self._of_probe.get(number, slice(0, 0))
        return [self.note.ids[row] for row in self.note.rows[which].tolist()], self.note.scores[which]

    def nearest(self, numbers: Sequence[int], depth: int) -> dict[int, tuple[list[str], Scores]]:
        """By probe, the `depth` nearest rows and those as near as the last, best first; without probes that are open:
        of which so many are not known for certain. Where there are fewer rows in all, these.
        """
        found: dict[int, tuple[list[str], Scores]] = {}
        wanted = dict.fromkeys(numbers, depth + _MORE)
        while wanted:
            self.look_up(id_ for number, most in wanted.items() for id_ in self.candidates(number)[0][:most])
            left = {}
            for number, most in wanted.items():
                ids, noted = self.candidates(number)
                here = sorted((-float(self._scores[id_][number]), id_) for id_ in ids[:most] if id_ in self._scores)
                last = -here[depth - 1][0] if len(here) >= depth else -math.inf
                if most < len(ids) and last < noted[most]:
                    left[number] = 2 * most  # one that was noted with less may be nearer
                elif last >= self._floors[number]:
                    bound = last - TIE * max(1.0, abs(last)) if math.isfinite(last) else last
                    near = [(id_, -less) for less, id_ in here if -less >= bound]
                    found[number] = [id_ for id_, _ in near], np.array([score for _, score in near], np.float32)
            wanted = left
        return found

    def revised(self, most: int) -> Note:
        """The nearest `most` candidates of each probe, with what they score now.

        Those that are not there stay if nobody has deleted them through imgvec. Rows that are to be deleted, and are
        there yet, are still known to be.
        """
        note = merged([self.note], self.note.floors)
        self.look_up(note.ids[row] for which in of_probe(note).values() for row in note.rows[which][:most].tolist())
        numbers = hashed(note.ids)
        gone = np.isin(numbers, note.gone)
        absent = np.array([id_ in self.absent for id_ in note.ids], bool)
        ids = note.ids
        scores = np.array(
            [
                self._scores[ids[row]][probe] if ids[row] in self._scores else score
                for row, probe, score in zip(note.rows.tolist(), note.probes.tolist(), note.scores, strict=True)
            ],
            np.float32,
        )
        left = ~(absent & gone)[note.rows] if len(note.rows) else np.empty(0, bool)
        kept = replace(note, rows=note.rows[left], probes=note.probes[left], scores=scores[left])
        found = merged([kept], note.floors, most)
        return replace(found, gone=note.gone[np.isin(note.gone, hashed(found.ids))])

    def score(self, number: int, id_: str) -> float:
        """What a row that was looked up scores for a probe; -inf where it is not there."""
        return float(self._scores[id_][number]) if id_ in self._scores else -math.inf

    def look_up(self, ids: Iterable[str]) -> None:
        """Ask for those that have not been asked for."""
        new = [id_ for id_ in dict.fromkeys(ids) if id_ not in self._scores and id_ not in self.absent]
        if not new:
            return
        rows = self._store.get(new, with_vector=True)
        self.absent.update(id_ for id_ in new if id_ not in rows)
        if rows:
            vectors = np.stack([row["vector"] for row in rows.values()])
            columns = np.ascontiguousarray(scored(self._store.metric_type, self._probes, vectors).T)
            self._scores |= dict(zip(rows, columns, strict=True))


@dataclass
class Checked:
    """What an index was found to find."""

    shares: dict[int, float] = field(default_factory=dict)
    """Recall by probe, of those that are certain."""
    open: list[int] = field(default_factory=list)
    unsettled: list[int] = field(default_factory=list)
    """Probes around which rows were written while they were looked at."""
    unnoted: set[str] = field(default_factory=set)
    """Rows that were found and that nobody has noted, though they are nearer than what was to be noted."""
    short: int = 0
    """Searches that gave fewer hits than were asked for, although there were more rows."""


def checked(
    store: Searches,
    probes: Vectors,
    noted: Callable[[], Merged],
    numbers: Sequence[int],
    limit: int,
    params: Mapping[str, Any],
    known: Known | None = None,
) -> Checked:
    """The recall@`limit` of these probes by the store's index, searched with `params`.

    `known` is what was looked up a moment ago, so that it is not asked for again.
    Others may write meanwhile: a probe that lacks a row, or has one that is not known, is looked at again.
    """
    result, left = Checked(), list(numbers)
    exact_scores = tolerance(store.index) == WHOLE
    for turn in range(_TURNS):
        if not left:
            break
        if known is None or turn:
            known = Known(store, probes, noted().note)
        truth = known.nearest(left, limit)
        result.open += [number for number in left if number not in truth]
        closed = [number for number in left if number in truth]
        hits = _found(store, probes[closed], limit, params)
        width = max((len(truth[number][0]) for number in closed), default=0)
        scores = np.full((len(closed), width), np.nan, np.float32)
        for row, number in enumerate(closed):
            scores[row, : len(truth[number][1])] = truth[number][1]
        exact = Neighbours([truth[number][0] for number in closed], scores)
        shares = recalls(hits, exact, limit, exact_scores=exact_scores)
        unsure = {}
        for number, mine, share in zip(closed, hits, shares.tolist(), strict=True):
            strangers = _strangers(truth[number], mine, limit) if exact_scores else set()
            if share < 1 or strangers:
                unsure[number] = (mine, strangers, share)
            else:
                result.shares[number] = share
        moved = _moved(store, probes, known, truth, {number: mine for number, (mine, _, _) in unsure.items()})
        left = []
        for number, (mine, strangers, share) in unsure.items():
            if number in moved or strangers:
                left.append(number)
                if turn == _TURNS - 1:
                    result.unnoted |= strangers
                    result.unsettled.append(number)
            else:
                result.shares[number] = share
                result.short += len(mine) < min(limit, len(truth[number][0]))
    return result


def _found(store: Searches, vectors: Vectors, limit: int, params: Mapping[str, Any]) -> list[Sequence[Found]]:
    found: list[Sequence[Found]] = []
    for start in range(0, len(vectors), _AT_ONCE):
        part = vectors[start : start + _AT_ONCE]
        found += store.search(part, limit=limit, params=params, consistency_level="Strong")
    return found


def _strangers(truth: tuple[list[str], Scores], hits: Sequence[Found], limit: int) -> set[str]:
    """Hits that are nearer than the last of the nearest, and not among them."""
    ids, scores = truth
    last = float(scores[limit - 1]) if len(scores) >= limit else -math.inf
    above = last + WHOLE * max(1.0, abs(last)) if math.isfinite(last) else last
    return {hit.id for hit in hits if hit.score > above}.difference(ids)


def _moved(
    store: Searches,
    probes: Vectors,
    known: Known,
    truth: Mapping[int, tuple[list[str], Scores]],
    hits: Mapping[int, Sequence[Found]],
) -> set[int]:
    """Probes of which a row that was not found is another one by now, or gone."""
    lacking = {
        number: [id_ for id_ in truth[number][0] if id_ not in {hit.id for hit in mine}]
        for number, mine in hits.items()
    }
    again = Known(store, probes, known.note)
    again.look_up(id_ for ids in lacking.values() for id_ in ids)
    return {
        number
        for number, ids in lacking.items()
        if any(abs(again.score(number, id_) - known.score(number, id_)) > TIE for id_ in ids)
    }


def lost(store: Searches, probes: Vectors, merged: Merged, absent: Iterable[str]) -> list[str]:
    """Of candidates that are not there, those that nobody has deleted through imgvec, and that were written."""
    left = [id_ for id_ in absent if id_ not in merged.doubtful]
    if not left:
        return []
    left = [id_ for id_, gone in zip(left, np.isin(hashed(left), merged.note.gone).tolist(), strict=True) if not gone]
    again = Known(store, probes, merged.note)
    again.look_up(left)
    return sorted(again.absent)
