"""Whether hits are real matches: what a search asks of a calibration, and what it says in its answer.

A query is judged by two scores: that of a hit, and that of the `depth`-th nearest picture of the whole collection, its
background. A copy stands out from its background, a picture that is only alike does not.

Under a filter the hit is the best one that matches, and the background is still that of all rows. The best that matches
scores at most as much as the best of all, so that a query without a match is called one at most as often as it is
without the filter, whatever the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from imgvec.errors import OptionError
from imgvec.intervals import rounded_up
from imgvec.rows import IMAGE_ID
from imgvec.search.answer import Answer, Group, Hit, Verdict
from imgvec.search.forms import Crop, Form, ImageBytes, ImageFile, Pixels, StoredId, VectorQuery
from imgvec.search.ranking import Ask, Ranking
from imgvec.search.request import RankingOptions
from imgvec.stored import Found, Nearest, is_complete, is_cut, reach_of
from imgvec.views import rows_to_ask

_JUDGED = (ImageFile, ImageBytes, Pixels, Crop, StoredId, VectorQuery)
"""Forms of one picture. A text is not a picture, nor is a mix of several."""


class Judge(Protocol):
    """What a calibration says of scores; `imgvec.quality.calibration.Judged` is one."""

    @property
    def depth(self) -> int:
        """The place of the background in the ranking of pictures, from 1."""
        ...

    @property
    def least_rate(self) -> float:
        """The lowest false-match rate that can be promised."""
        ...

    @property
    def note(self) -> str:
        """Why the collection should be calibrated again; empty if it should not."""
        ...

    def p_value(self, score: float, background: float) -> float:
        """How often a query without a match has so good a hit, at most."""
        ...

    def probability(self, score: float, background: float) -> float | None:
        """The chance of a true match, where every second query has one; None if no matches are known."""
        ...

    def least_score(self, background: float, rate: float) -> float:
        """From which score on the p-value is at most `rate`."""
        ...

    def least_likeness(self, rate: float) -> float:
        """As much alike as that are, of pictures without a match, at most this share to their nearest; where so low a
        rate cannot be promised, the lowest that can."""
        ...


@dataclass
class Judging:
    """What is known of the queries of one search, to judge them by."""

    judge: Judge
    rate: float
    most_views: int | None
    """Rows that a picture has at most; None where a row is a whole picture."""
    filtered: bool
    only_matches: bool = False
    backgrounds: dict[int, float] = field(default_factory=dict)
    first: dict[int, float | None] = field(default_factory=dict)
    """By query, the score of the best row that matches; None where none does."""

    @classmethod
    def of(
        cls,
        judge: Judge | None,
        forms: Sequence[Form],
        asked: RankingOptions,
        most_views: int | None,
        *,
        filtered: bool,
    ) -> Self | None:
        """None where nothing says what is a match of these forms; raises `OptionError` if only matches are wanted."""
        rate, only = asked["false_match_rate"], asked["only_matches"]
        if judge is not None and all(isinstance(form, _JUDGED) for form in forms):
            if only and rate < judge.least_rate:
                raise OptionError(
                    "false_match_rate",
                    f"the calibration can promise a false_match_rate of {rounded_up(judge.least_rate)} at least, not "
                    f"{rate:g}: ask for that, or calibrate with more pictures",
                )
            return cls(judge, rate, most_views, filtered, only)
        if only and judge is not None:
            raise OptionError("only_matches", "only a picture, a stored row or one vector has matches: ask by such")
        if only:
            raise OptionError("only_matches", "nothing says what is a match: run imgvec calibrate on the collection")
        return None

    @property
    def rows(self) -> int:
        """That have to be known of each query."""
        return rows_to_ask(self.judge.depth, self.most_views)

    @property
    def promised(self) -> bool:
        """Whether the calibration has seen enough to promise that rate."""
        return self.rate >= self.judge.least_rate

    def rankings(
        self,
        given: Sequence[Ranking],
        search: Callable[[Sequence[int], Ask, Sequence[str]], Sequence[Sequence[Found]]],
    ) -> list[Ranking]:
        """The rankings of the queries, without hits that are no matches where only these are wanted.

        `search` finds rows among all of them, with the fields that are named: asked only for the backgrounds that the
        question itself does not find, or that have to be known before.
        """
        if self.filtered or self.only_matches:
            places, named = range(len(given)), [] if self.most_views is None else [IMAGE_ID]
            for place, found in zip(places, search(places, Ask(self.rows), named), strict=True):
                self._note(place, found)
        if not self.only_matches:
            return [*given]
        return [ranking.at_least(self.least_score(place)) for place, ranking in enumerate(given)]

    def deeper(self, ask: Ask) -> Ask:
        """As deep as the background stands, where the question itself finds that."""
        return ask if self.filtered or ask.beside else Ask(max(ask.limit, self.rows))

    def seen(self, places: Sequence[int], ask: Ask, answers: Sequence[Sequence[Found]]) -> list[Sequence[Found]]:
        """Take note of what was found, and give what was asked for of it."""
        given = list[Sequence[Found]]()
        for place, found in zip(places, answers, strict=True):
            if not ask.beside:
                self.first.setdefault(place, found[0].score if found else None)
                if not self.filtered:
                    self._note(place, found)
            given.append(found if len(found) <= ask.limit else _first(found, ask.limit))
        return given

    def verdict(self, place: int) -> Verdict | None:
        """Of the best row that matches; None where the collection has too few pictures by now to have a background."""
        background, score = self.backgrounds.get(place), self.first.get(place)
        if background is None or not self.promised:
            return None
        p_value = 1.0 if score is None else self.judge.p_value(score, background)
        return Verdict(p_value <= self.rate, self.rate, p_value, self.judge.note)

    def least_score(self, place: int) -> float:
        """Of a match; without a background nothing is one."""
        background = self.backgrounds.get(place)
        return float("inf") if background is None else self.judge.least_score(background, self.rate)

    def judged(self, place: int, answer: Answer) -> Answer:
        """The answer with its verdict, and its hits with theirs."""
        if place not in self.backgrounds:
            return answer
        hits = {hit.id: self.hit(place, hit) for hit in answer.hits}
        groups = tuple(Group(one.value, tuple(hits[hit.id] for hit in one.hits)) for one in answer.groups)
        return replace(answer, hits=tuple(hits.values()), groups=groups, verdict=self.verdict(place))

    def hit(self, place: int, hit: Hit) -> Hit:
        """The hit with what it is worth, where that is known."""
        if (background := self.backgrounds.get(place)) is None:
            return hit
        p_value, probability = (say(hit.score, background) for say in (self.judge.p_value, self.judge.probability))
        return replace(hit, p_value=p_value, probability=probability)

    def _note(self, place: int, found: Sequence[Found]) -> None:
        scores = [row.score for row in found] if self.most_views is None else _of_pictures(found)
        if place not in self.backgrounds and len(scores) >= self.judge.depth:
            self.backgrounds[place] = scores[self.judge.depth - 1]


def _first(found: Sequence[Found], limit: int) -> Nearest:
    return Nearest(found[:limit], complete=is_complete(found), cut=is_cut(found), reach=reach_of(found))


def _of_pictures(found: Sequence[Found]) -> list[float]:
    """The score of the best row of each picture, best first."""
    best: dict[str, float] = {}
    for row in found:
        best.setdefault(row.fields[IMAGE_ID], row.score)
    return list(best.values())
