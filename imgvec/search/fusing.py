"""Answers to hybrid questions: each part is searched for by itself, and the lists are fused here.

No backend fuses them: here it is exact, and bounded by `candidates`. What Milvus's own `hybrid_search` gives depends on
its release: it left out the isolation of partition keys until mid-2026 (milvus#50398), its `norm_score` changes the
order (#40836), and equal scores come in an order of chance. Here, of each part the best hits are taken by the same rule
as for a plain search (`imgvec.search.ranking`), so that the same question has the same answer everywhere; fusing 3
lists of 200 takes less than a millisecond.

Each list is a search of its own. A row that is written or deleted between them stands in one list and not in the other,
as it would have in a search a moment before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from imgvec.errors import OptionError, QueryError
from imgvec.filters import field as column
from imgvec.options import settled
from imgvec.rows import ID, IMAGE_ID
from imgvec.search.answer import Answer, Asked
from imgvec.search.best import similarities
from imgvec.search.encoding import needs_encoder
from imgvec.search.forms import Form, VectorQuery
from imgvec.search.fusion import calibrated_sums, ranks, reciprocal_ranks, weighted_sums
from imgvec.search.hybrid import Hybrid, Part, Words
from imgvec.search.ranking import Ask, Ranking, Told, both, together
from imgvec.search.request import SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.search.stages import Stages
from imgvec.store import NearestOf, Searches, check_keywords
from imgvec.stored import MOST_HITS, Found, Nearest
from imgvec.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a hit stands in the list of one part."""

    rank: int
    """From 1; equal scores share one."""
    score: float
    """By that part alone."""

    def to_dict(self) -> dict[str, Any]:
        return {"rank": self.rank, "score": self.score}


@dataclass(frozen=True, repr=False)
class HybridAnswer(Answer):
    """An answer to a `Hybrid`: a hit's score, and its distance too, is the fused one."""

    standings: Mapping[str, tuple[Standing | None, ...]] = field(default_factory=dict, compare=False)
    """By the id of each hit, where it stands in the list of each part; None where it is not among its candidates."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = {
            id_: [None if each is None else each.to_dict() for each in parts] for id_, parts in self.standings.items()
        }
        return {**super().to_dict(), "standings": shown}


def fused(searcher: Searcher, question: Hybrid, options: SearchOptions) -> HybridAnswer:
    """The answer to a hybrid question: options mean what they do for any search, on the fused ranking.

    `candidates` hits of each part are fused, and as many of the fused ones go on. `params` go to the index of every
    part, and `vector` is the one that `collapse` compares by. Raises `OptionError` for `diversity`, and as
    `Searcher.search`.
    """
    asked, stages = settled(SearchOptions, options), Stages()
    if asked["diversity"]:
        raise OptionError("diversity", "diversity weighs similarities, which fused scores are not: leave it out")
    searcher.check(asked, bounded=True)  # what is refused is refused before a picture is encoded
    with stages("total"):
        store = ByFusion(searcher, question, asked, stages)
        # which is not looked at: the parts have vectors of their own
        any_vector = VectorQuery(np.ones(store.vectors[asked["vector"]].dim))
        [answer] = searcher.over(store.as_store(), bounded=True).search([any_vector], **asked)
        if needs_encoder(question.forms):
            # again, since the answer may be of another collection, which the encoder is not for
            searcher.store.check_same()
    told = store.told
    views = answer.asked is not None and answer.asked.views
    answer = replace(
        answer,
        request=replace(answer.request, form=question, options=asked),
        seconds={**stages.seconds, **answer.seconds, "total": stages.seconds["total"]},
        asked=Asked(sum(each.calls for each in told), sum(each.rows for each in told), False, views),
        ended="candidates" if store.more and answer.ended != "min_score" else answer.ended,
    )
    about = {each.name: getattr(answer, each.name) for each in fields(Answer)}
    keys = {hit.id: hit.id if store.most_views_of_hits is None else hit.image_id for hit in answer}
    return HybridAnswer(**about, standings={id_: store.standings(key) for id_, key in keys.items()})


class ByFusion:
    """A store whose nearest rows are those of the highest fused score, whatever vector is asked for.

    Where hits are pictures, these are fused: each with its best view in each list, and given as the view of the list in
    which it counts most.
    """

    def __init__(self, searcher: Searcher, question: Hybrid, asked: SearchOptions, stages: Stages) -> None:
        self._store, self._question, self._depth = searcher.store, question, asked["candidates"]
        self._weights = [part.weight for part in question.parts]
        self._floors = [0.0 if isinstance(part, Words) else None for part in question.parts]
        """The least score that a row can have by each part, where there is one: BM25 has no negative scores."""
        self._level = asked["consistency_level"]
        self.most_views_of_hits = None if asked["views"] else self._store.most_views
        """Rows that a picture has at most, where hits are pictures; None where they are rows."""
        self._rankings = [self._ranking(part, searcher) for part in question.parts]
        self._params = [
            searcher.params(part.vector, asked["params"]) if isinstance(part, Part) else None for part in question.parts
        ]
        self._vectors = _encoded(searcher, question.parts, stages)
        self._lists: list[dict[str, float]] = []
        self._standing: list[tuple[dict[str, int], dict[str, float]]] = []
        self._known: dict[str, Nearest] = {}
        self.told: list[Told] = []
        """What was asked for each part."""
        self._cut: list[bool] = []
        """Whether a part has further hits, which were not looked at."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def as_store(self) -> Searches:
        """Itself: what a search does not need to know otherwise it has from its store."""
        return cast(Searches, self)

    @property
    def more(self) -> bool:
        """Whether there are hits that no list has."""
        return any(self._cut)

    def standings(self, key: str) -> tuple[Standing | None, ...]:
        """Where a row, or a picture where hits are these, stands in each list of the last search."""
        return tuple(Standing(each[key], one[key]) if key in each else None for each, one in self._standing)

    def search(self, vectors: Vectors, **asked: Unpack[NearestOf]) -> Sequence[Sequence[Found]]:
        """`Searches.search`, whose vectors, parameters and depth are not looked at; scores are fused."""
        check_keywords(asked)
        expression = asked.get("filter", "")
        if expression not in self._known:  # a deeper look sees the same
            self._known[expression] = self._fused(asked, expression)
        every = self._known[expression]
        return [Nearest(every[: asked["limit"]], complete=every.complete) for _ in vectors]

    def _fused(self, asked: NearestOf, expression: str) -> Nearest:
        """All candidates, best first."""
        outcomes = together(
            [ranking.first(self._depth) for ranking in self._rankings],
            lambda places, ask: [self._nearest(place, ask, asked) for place in places],
        )
        self.told = [told for _, told in outcomes]
        self._cut = [not ranked.ended or len(ranked.hits) > self._depth for ranked, _ in outcomes]
        hits = [{self._key(hit): hit for hit in ranked.hits[: self._depth]} for ranked, _ in outcomes]
        self._lists = [{key: hit.score for key, hit in one.items()} for one in hits]
        self._standing = [(ranks(one), one) for one in self._lists]
        if self._question.fusion == "rrf":
            scores = reciprocal_ranks(self._lists, self._weights, self._question.k)
        elif self._question.fusion == "weights":
            scores = weighted_sums(self._completed(expression), self._weights)
        else:
            scores = calibrated_sums(self._completed(expression), self._weights, self._floors)
        best = sorted(scores, key=lambda key: (-scores[key], key))
        rows = [replace(self._row(key, hits), score=scores[key], distance=scores[key]) for key in best]
        return Nearest(rows, complete=all(told.complete for told in self.told))

    def _key(self, hit: Found) -> str:
        return hit.id if self.most_views_of_hits is None else str(hit.fields[IMAGE_ID])

    def _ranking(self, part: Part | Words, searcher: Searcher) -> Ranking:
        """Raises `QueryError` for a vector or a field that is not there."""
        if isinstance(part, Part):
            return Ranking(self._store.vectors[searcher.known(part.vector)].most_hits, self.most_views_of_hits)
        if part.field not in self._store.words:
            known = ", ".join(sorted(self._store.words)) or "none"
            said = f"{self._store.name!r} has no words of {part.field!r} to search by"
            raise QueryError(f"{said} (fields declared with bm25: true: {known})")
        return Ranking(MOST_HITS, self.most_views_of_hits)

    def _nearest(self, place: int, ask: Ask, asked: NearestOf) -> Sequence[Found]:
        part = self._question.parts[place]
        inner: NearestOf = {
            "limit": ask.limit,
            "filter": both(asked.get("filter", ""), ask.beside),
            "output_fields": asked.get("output_fields", ()),
            "consistency_level": asked.get("consistency_level"),
        }
        if isinstance(part, Words):
            [found] = self._store.search_words([part.words], part.field, **inner)
        else:
            thorough = asked.get("thorough", False)
            inner |= {"params": self._params[place], "vector": part.vector, "thorough": thorough}
            [found] = self._store.search(self._vectors[place][None], **inner)
        return found

    def _row(self, key: str, hits: Sequence[Mapping[str, Found]]) -> Found:
        """That of the list in which it counts most; of equal ones the first's."""
        known = [place for place, one in enumerate(hits) if key in one]
        ranked = [self._standing[place][0] for place in range(len(hits))]
        best = min(known, key=lambda place: ((self._question.k + ranked[place][key]) / self._weights[place], place))
        return hits[best][key]

    def _completed(self, expression: str) -> list[dict[str, float]]:
        """The lists with the scores of what stands in another list alone; what has gone meanwhile is in none."""
        every = dict.fromkeys(key for one in self._lists for key in one)
        completed, gone = [], set[str]()
        for place, one in enumerate(self._lists):
            lacking = [key for key in every if key not in one]
            added = self._scores(place, lacking, expression) if lacking else {}
            gone.update(key for key in lacking if key not in added)
            completed.append(one | added)
        return [{key: one[key] for key in every if key not in gone} for one in completed]

    def _scores(self, place: int, keys: Sequence[str], expression: str) -> dict[str, float]:
        """The scores by one part of rows, or of pictures by their best view that matches.

        Those of vectors are computed here from the stored ones. By words, what has none of them scores 0.
        """
        part = self._question.parts[place]
        if isinstance(part, Words):
            # a list that is whole has all rows with the words
            return self._scores_by_words(part, keys, expression) if self._cut[place] else dict.fromkeys(keys, 0.0)
        name = part.vector
        metric, query = self._store.vectors[name].metric_type, self._vectors[place]
        if self.most_views_of_hits is None:
            rows = self._store.get(keys, output_fields=[name])
            if not rows:
                return {}
            found = _similarities(metric, np.stack([row[name] for row in rows.values()]), query)
            return dict(zip(rows, found.tolist(), strict=True))
        best: dict[str, float] = {}
        among = self._store.rendered(column(IMAGE_ID).in_(keys))
        for some in self._store.scan([ID, IMAGE_ID, name], both(expression, among)):
            scores = _similarities(metric, np.stack([row[name] for row in some]), query)
            for row, score in zip(some, scores.tolist(), strict=True):
                best[row[IMAGE_ID]] = max(score, best.get(row[IMAGE_ID], score))
        return best

    def _scores_by_words(self, part: Words, keys: Sequence[str], expression: str) -> dict[str, float]:
        """Of as many rows as Milvus ranks; what comes after these counts as the last of them, at most as much as that.

        A search among the keys alone would give other scores on Milvus Lite.
        """
        asked: NearestOf = {
            "limit": MOST_HITS,
            "filter": expression,
            "output_fields": [] if self.most_views_of_hits is None else [IMAGE_ID],
            "consistency_level": self._level,
        }
        [found] = self._store.search_words([part.words], part.field, **asked)
        scores = dict.fromkeys(keys, found[-1].score if len(found) >= MOST_HITS else 0.0)
        for row in reversed(found):  # a picture's best view last
            if (key := self._key(row)) in scores:
                scores[key] = row.score
        return scores


def _encoded(searcher: Searcher, parts: Sequence[Part | Words], stages: Stages) -> dict[int, Vectors]:
    """(dim,) of each part with a vector, by its place, from the encoder of that; one pass for each of these."""
    found: dict[int, Vectors] = {}
    by_name: dict[str, dict[int, Form]] = {}
    for place, part in enumerate(parts):
        if isinstance(part, Part):
            by_name.setdefault(part.vector, {})[place] = part.form
    for name, forms in by_name.items():
        found |= dict(zip(forms, searcher.vectors([*forms.values()], name, stages=stages), strict=True))
    return found


def _similarities(metric_type: str, rows: NDArray[Any], query: NDArray[Any]) -> NDArray[np.float64]:
    """(rows,) scores as searches give them; by IP the inner product, whatever the length of the query."""
    if metric_type == "IP":
        return np.asarray(rows.astype(np.float64) @ query.astype(np.float64))
    return similarities(metric_type, rows, query[None])[:, 0]
