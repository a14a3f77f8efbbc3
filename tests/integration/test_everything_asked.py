"""Writes, deletes and every kind of question with every option, mixed at random: each answer is that of NumPy.

A Hypothesis state machine keeps the rows in a dict beside the collection. Stored vectors have elements of a quarter, so
that their products are exact in float32: many scores are equal, and their order is known. Of mixes and texts, whose
vectors are rounded, equal scores may come in any order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
from answer_oracle import (
    answered,
    check_units,
    check_up_to_ties,
    mixed,
    reciprocal_ranks,
    recommended,
    similarity,
    units,
)
from everything_drawn import (
    DIM,
    FIELDS,
    FILTERS,
    PALETTE,
    POOL,
    ROUNDED,
    SHOWN,
    TEXTS,
    Kept,
    all_options,
    metadata,
    numbers,
    places,
    plain_options,
    weights,
    wheres,
)
from fakes import FakeEncoder
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rows import id_of, numbered

import imgvec
from imgvec import Answer, Hybrid, ImageCollection, Like, Part, StoredId, Text, VectorQuery
from imgvec.errors import OptionError
from imgvec.search.feedback import ALPHA, BETA, GAMMA
from imgvec.search.forms import Form
from imgvec.vectors import Vectors


class Everything(RuleBasedStateMachine):
    """Rows by id in `rows` and `vectors`, as the collection has them."""

    uri = ""
    names = count()

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, Any]] = {}
        self.vectors: dict[str, Vectors] = {}
        self.last: tuple[Answer, Vectors, dict[str, Any], int] | None = None
        self.open: Kept | None = None

    @initialize(metric=st.sampled_from(["COSINE", "IP", "L2"]), some=st.lists(metadata, min_size=4, max_size=12))
    def create(self, metric: str, some: list[dict[str, Any]]) -> None:
        self.metric = metric
        self.encoder = FakeEncoder(dim=DIM, text=True)
        self.photos = ImageCollection.create(
            f"everything_{next(self.names)}",
            definition={
                "encoder": {"model": "fake"},
                "vector": {"metric_type": metric},
                "fields": FIELDS,
                "index": {"cpu": {"type": "FLAT"}},
            },
            uri=self.uri,
            encoder=self.encoder,
        )
        self._write(list(range(POOL)), [some[i % len(some)] for i in range(POOL)], [i * 7 % 32 for i in range(POOL)])

    def teardown(self) -> None:
        if not hasattr(self, "photos"):
            return
        try:
            stored = [row for some in self.photos.store.scan(["id", "vector", *SHOWN]) for row in some]
            assert {row["id"] for row in stored} == self.rows.keys()
            for row in stored:
                assert {name: row[name] for name in SHOWN} == {name: self.rows[row["id"]][name] for name in SHOWN}
                np.testing.assert_array_equal(row["vector"], self.vectors[row["id"]])
        finally:
            self.photos.drop()
            self.photos.close()

    # what changes the rows

    def _write(self, at: Sequence[int], about: Sequence[Mapping[str, Any]], colours: Sequence[int]) -> None:
        rows = [numbered(number, **each) for number, each in zip(at, about, strict=True)]
        vectors = PALETTE[list(colours)]
        assert self.photos.store.upsert(rows, vectors) == len(rows)
        self.rows |= {row["id"]: row for row in rows}
        self.vectors |= dict(zip([row["id"] for row in rows], vectors, strict=True))

    @rule(at=numbers, about=st.lists(metadata, min_size=1, max_size=4), colour=st.integers(0, 31))
    def write(self, at: list[int], about: list[dict[str, Any]], colour: int) -> None:
        self._write(
            at, [about[i % len(about)] for i in range(len(at))], [(colour + i // 2) % 32 for i in range(len(at))]
        )

    @precondition(lambda self: self.rows)
    @rule(at=numbers, colour=st.integers(0, 31))
    def change_vectors(self, at: list[int], colour: int) -> None:
        known = [number for number in at if id_of(number) in self.rows]
        if known:
            about = [{name: self.rows[id_of(number)][name] for name in SHOWN} for number in known]
            self._write(known, about, [(colour + i) % 32 for i in range(len(known))])

    @precondition(lambda self: self.rows)
    @rule(at=numbers, about=metadata)
    def change_metadata(self, at: list[int], about: dict[str, Any]) -> None:
        known = [id_of(number) for number in at if id_of(number) in self.rows]
        if known:
            rows = [{**self.rows[id_], **about} for id_ in known]
            self.photos.store.upsert(rows, np.stack([self.vectors[id_] for id_ in known]))
            self.rows |= {row["id"]: row for row in rows}

    @rule(at=numbers)
    def delete(self, at: list[int]) -> None:
        gone = [id_of(number) for number in at]
        assert self.photos.delete(gone) == sum(id_ in self.rows for id_ in gone)
        self._forget(gone)

    @rule(where=st.sampled_from([1, 4, 5, 8]))
    def delete_where(self, where: int) -> None:
        condition, matches = FILTERS[where]
        assert condition is not None
        gone = [id_ for id_, row in self.rows.items() if matches(row)]
        assert self.photos.delete_where(condition) == len(gone)
        self._forget(gone)

    def _forget(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.rows.pop(id_, None)
            self.vectors.pop(id_, None)

    @rule(where=wheres)
    def counts(self, where: int) -> None:
        condition, matches = FILTERS[where]
        assert self.photos.count(condition) == sum(map(matches, self.rows.values()))

    # what is asked

    def _stored(self, place: int) -> str:
        ids = sorted(self.rows)
        return ids[place % len(ids)]

    def _form(self, place: int) -> tuple[Form, Vectors]:
        """A stored row, or a vector: of the palette, whose scores are exact."""
        if self.rows and place % 2:
            id_ = self._stored(place // 2)
            return StoredId(id_), self.vectors[id_]
        return VectorQuery(PALETTE[place % 48]), PALETTE[place % 48]

    def _scores(self, vector: Any) -> dict[str, float]:
        if not self.rows:
            return {}
        return dict(
            zip(self.rows, similarity(self.metric, np.stack([*self.vectors.values()]), vector).tolist(), strict=True)
        )

    def _exactly(self, asked: dict[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
        """By L2 Milvus rounds distances: their order stays, but not which sums are equal, nor what is at a cut."""
        if self.metric == "L2":
            asked = {name: value for name, value in asked.items() if name != "diversity"}
            return self._without_close_cut(asked, scores)
        return asked

    def _options(self, asked: Mapping[str, Any], where: int) -> dict[str, Any]:
        return {**asked, "where": FILTERS[where][0]}

    def _check(
        self,
        answer: Answer,
        scores: Mapping[str, float],
        asked: Mapping[str, Any],
        where: int,
        *,
        exact: bool = True,
        without: Sequence[str] = (),
        bounded: bool = False,
    ) -> None:
        """The hits, groups, facets and fields are those of the rows that match."""
        # of fused rankings only what stands in one has a score
        rows = [self.rows[id_] for id_ in sorted(scores)]
        matches = FILTERS[where][1]
        among = [place for place, row in enumerate(rows) if matches(row) and row["id"] not in without]
        vectors = np.stack([self.vectors[row["id"]] for row in rows]) if rows else np.empty((0, DIM), np.float32)
        likes = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
        each = np.array([scores[row["id"]] for row in rows])
        expected = answered(rows, each, likes, among=among, bounded=bounded, **asked)
        if not answer.complete:  # as a server says for a while after its query nodes changed: what comes is right
            assert "://" in self.uri
            assert all(abs(hit.score - scores[hit.id]) <= 1e-5 for hit in answer)
            return
        if exact:
            check_units(units(answer), expected, asked)
            assert all(abs(hit.score - scores[hit.id]) <= 1e-6 for hit in answer)
        else:
            check_up_to_ties(answer, expected, scores, asked)
        shown = SHOWN if asked["output_fields"] is None else asked["output_fields"]
        for hit in answer:
            assert {name: hit.fields[name] for name in shown} == {name: self.rows[hit.id][name] for name in shown}
            assert asked["output_fields"] is None or hit.fields.keys() == set(shown)
            assert hit.uri == self.rows[hit.id]["uri"]
        every = [row for row in self.rows.values() if matches(row) and row["id"] not in without]
        assert answer.facets.keys() == set(asked["facet"] or ())
        for name, facet in answer.facets.items():
            values = [row[name] if isinstance(row[name], list) else [row[name]] for row in every]
            assert facet.counts == Counter(value for some in values for value in some)
            assert (facet.over, facet.total) == ("rows", len(every))
        missing = asked["limit"] - len(expected)
        assert (answer.shortfall is None) == (missing == 0)
        if answer.shortfall is not None:
            assert answer.shortfall.missing == missing
            if asked["min_score"] is None and not bounded and not asked["group_by"] and not asked.get("collapse"):
                assert answer.shortfall.reason == ("rows" if len(among) <= asked["candidates"] else "candidates")

    def _without_close_cut(self, asked: dict[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
        """Without a least score that rounding could put on either side."""
        least = asked["min_score"]
        if least is not None and any(abs(score - least) < 1e-4 for score in scores.values()):
            return {**asked, "min_score": None}
        return asked

    def _is_too_wide(self, asked: Mapping[str, Any], *, bounded: bool = False) -> bool:
        narrow = bounded or asked.get("collapse") is not None or asked.get("diversity") or asked.get("order_by")
        return bool(narrow) and asked["offset"] + asked["limit"] > asked["candidates"]

    @rule(place=places, where=wheres, asked=all_options())
    def search(self, place: int, where: int, asked: dict[str, Any]) -> None:
        form, vector = self._form(place)
        asked = self._exactly(asked, self._scores(vector))
        if self._is_too_wide(asked):
            with pytest.raises(OptionError, match="ask for at least as many candidates"):
                self.photos.search(form, **self._options(asked, where))
            return
        answer = self.photos.search(form, **self._options(asked, where))
        self._check(answer, self._scores(vector), asked, where)
        self.last = (answer, vector, asked, where) if form == VectorQuery(vector) else self.last

    @rule(some=st.lists(places, min_size=2, max_size=6), where=wheres, asked=all_options())
    def search_many(self, some: list[int], where: int, asked: dict[str, Any]) -> None:
        forms = [self._form(place) for place in some]
        for _, vector in forms:
            asked = self._exactly(asked, self._scores(vector))
        if self._is_too_wide(asked):
            return
        answers = self.photos.search_many([form for form, _ in forms], **self._options(asked, where))
        for answer, (_, vector) in zip(answers, forms, strict=True):
            self._check(answer, self._scores(vector), asked, where)

    @rule(
        parts=st.lists(st.tuples(places, weights, st.booleans()), min_size=1, max_size=3),
        where=wheres,
        asked=plain_options(),
    )
    def like(self, parts: list[tuple[int, float, bool]], where: int, asked: dict[str, Any]) -> None:
        forms = [(self._form(place), weight * (1 if wanted else -0.5)) for place, weight, wanted in parts]
        whole = np.sum([weight * vector for (_, vector), weight in forms], axis=0)
        if np.linalg.norm(whole) < 0.1:  # they cancel each other out, or nearly
            return
        scores = self._scores(mixed([(vector, weight) for (_, vector), weight in forms]))
        asked = self._without_close_cut(asked, scores)
        answer = self.photos.search(
            Like([(form, weight) for (form, _), weight in forms]), **self._options(asked, where)
        )
        self._check(answer, scores, asked, where, exact=False)

    @rule(which=st.integers(0, len(TEXTS) + len(ROUNDED) - 1), where=wheres, asked=plain_options())
    def text_or_any_vector(self, which: int, where: int, asked: dict[str, Any]) -> None:
        if which < len(TEXTS):
            form: Form = Text(TEXTS[which])
            [vector] = self.encoder.encode_texts([TEXTS[which]])
        else:
            vector = ROUNDED[which - len(TEXTS)]
            form = VectorQuery(vector)
        scores = self._scores(vector)
        asked = self._without_close_cut(asked, scores)
        self._check(self.photos.search(form, **self._options(asked, where)), scores, asked, where, exact=False)

    @precondition(lambda self: self.rows)
    @rule(
        wanted=st.lists(places, min_size=1, max_size=3),
        unwanted=st.lists(places, max_size=2),
        strategy=st.sampled_from(["average", "best", "sum"]),
        weighted=st.lists(weights, min_size=5, max_size=5),
        where=wheres,
        data=st.data(),
    )
    def recommend(
        self, wanted: list[int], unwanted: list[int], strategy: Any, weighted: list[float], where: int, data: Any
    ) -> None:
        exact = strategy == "best"  # computed from stored vectors in float64
        asked = data.draw(all_options() if exact else plain_options())
        if self._is_too_wide(asked):
            return
        each = iter([1.0] * 5 if exact else weighted)
        positive, negative = ([(*self._form(place), next(each)) for place in some] for some in (wanted, unwanted))
        if self.metric == "L2" and strategy == "sum" and sum(w for *_, w in positive) <= sum(w for *_, w in negative):
            return
        pairs = [[(vector, weight) for _, vector, weight in some] for some in (positive, negative)]
        if strategy != "best":
            mean = [np.average([v for v, _ in some], axis=0, weights=[w for _, w in some]) for some in pairs if some]
            total = np.sum([w * v for v, w in pairs[0]] + [-w * v for v, w in pairs[1]], axis=0)
            mix = total if strategy == "sum" else 2 * mean[0] - mean[1] if pairs[1] else mean[0]
            if np.linalg.norm(mix) < 0.1:
                return
        ids = sorted(self.rows)
        every = recommended(self.metric, strategy, np.stack([self.vectors[id_] for id_ in ids]), *pairs)
        scores = dict(zip(ids, every.tolist(), strict=True))
        asked = self._without_close_cut(asked, scores)
        answer = imgvec.recommend(
            self.photos,
            [(form, weight) for form, _, weight in positive],
            [(form, weight) for form, _, weight in negative],
            strategy=strategy,
            **self._options(asked, where),
        )
        given = [form.id for form, *_ in (*positive, *negative) if isinstance(form, StoredId)]
        self._check(answer, scores, asked, where, exact=exact, without=given)
        assert answer.certain

    @precondition(lambda self: self.last is not None and sum(hit.id in self.rows for hit in self.last[0]) > 1)
    @rule(good=st.integers(0, 20), bad=st.integers(0, 20), asked=plain_options(), where=wheres)
    def refine(self, good: int, bad: int, asked: dict[str, Any], where: int) -> None:
        assert self.last is not None
        answer, vector, _, _ = self.last
        left = [hit.id for hit in answer if hit.id in self.rows]
        liked, disliked = left[good % len(left)], left[bad % len(left)]
        if liked == disliked:
            return
        parts = [(vector, ALPHA), (self.vectors[liked], BETA), (self.vectors[disliked], -GAMMA)]
        if np.linalg.norm(np.sum([weight * each for each, weight in parts], axis=0)) < 0.1:
            return
        scores = self._scores(mixed(parts))
        asked = self._without_close_cut(asked, scores)
        others = {"collapse": None, "diversity": None, "order_by": None}
        refined = imgvec.refine(self.photos, answer, [liked], [disliked], **{**others, **self._options(asked, where)})
        self._check(refined, scores, asked, where, exact=False, without=[disliked])

    @rule(
        parts=st.lists(st.tuples(places, weights), min_size=1, max_size=3),
        fusion=st.sampled_from(["rrf", "weights"]),
        where=wheres,
        asked=all_options(diversity=False),
    )
    def hybrid(self, parts: list[tuple[int, float]], fusion: Any, where: int, asked: dict[str, Any]) -> None:
        """Several rankings by one vector, which every backend has."""
        if self._is_too_wide(asked, bounded=True):
            return
        forms = [(*self._form(place), weight) for place, weight in parts]
        matches = FILTERS[where][1]
        lists: list[dict[str, float]] = []
        for _, vector, _ in forms:
            scores = {id_: score for id_, score in self._scores(vector).items() if matches(self.rows[id_])}
            best = sorted(scores, key=lambda id_: (-scores[id_], id_))[: asked["candidates"]]
            lists.append({id_: scores[id_] for id_ in best})
        by_weight = [weight for *_, weight in forms]
        if fusion == "weights" and self.metric == "L2":
            return
        if fusion == "rrf":
            fused = reciprocal_ranks(lists, by_weight)
        else:
            known = [self._scores(vector) for _, vector, _ in forms]
            fused = {
                id_: sum(weight * one[id_] for one, weight in zip(known, by_weight, strict=True))
                for one in lists
                for id_ in one
            }
        question = Hybrid([Part(form, weight=weight) for form, _, weight in forms], fusion)
        answer = self.photos.search(question, **self._options(asked, where))
        self._check(answer, fused, asked, where, bounded=True)

    @rule(place=places, where=wheres, size=st.integers(1, 40), most=st.sampled_from([16_384, 16_384, 30]))
    def open_pages(self, place: int, where: int, size: int, most: int) -> None:
        form, vector = self._form(place)
        every, matches = self._scores(vector), FILTERS[where][1]
        scores = {id_: score for id_, score in every.items() if matches(self.rows[id_])}
        ranked = sorted(scores, key=lambda id_: (-scores[id_], id_))
        pages = self.photos.pages(form, size=size, most=most, where=FILTERS[where][0])
        assert pages.truncated is (len(ranked) > most)
        if not pages.truncated:
            assert pages.kept == len(ranked)
            self.open = Kept(pages, size, scores, ranked)
            return
        # which rows of its last score are kept is chance
        assert pages.kept == most
        hits = [hit for page in pages for hit in page]
        last = scores[ranked[most - 1]]
        sure = [id_ for id_ in ranked if scores[id_] > last]
        assert [hit.id for hit in hits[: len(sure)]] == sure
        assert all(scores[hit.id] == last for hit in hits[len(sure) :])
        assert [hit.id for hit in hits[len(sure) :]] == sorted({hit.id for hit in hits[len(sure) :]})
        assert len(hits) == most

    @precondition(lambda self: self.open is not None)
    @rule()
    def next_page(self) -> None:
        """Whatever was written and deleted since they were opened."""
        assert self.open is not None
        wanted = self.open.following(self.rows)
        page = next(self.open.pages, ())
        assert [hit.id for hit in page] == wanted
        for hit in page:
            assert hit.score == pytest.approx(self.open.scores[hit.id], abs=1e-6)
            assert {name: hit.fields[name] for name in SHOWN} == {name: self.rows[hit.id][name] for name in SHOWN}
        if not page:
            self.open = None


def run(uri: str, **how: Any) -> None:
    machine = type("Everything", (Everything,), {"uri": uri})
    every = list(HealthCheck)
    run_state_machine_as_test(machine, settings=settings(database=None, suppress_health_check=every, **how))


def test_everything_at_once(lite_uri: str) -> None:
    # a failure is given as it was found: to shrink it takes longer than a test may by day
    run(lite_uri, max_examples=3, stateful_step_count=20, derandomize=True, phases=[Phase.generate])


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_everything_at_length(backend_uri: str) -> None:
    """Runs of 50 steps, others every night; IMGVEC_TEST_FUZZ_EXAMPLES says how many."""
    runs = int(os.environ.get("IMGVEC_TEST_FUZZ_EXAMPLES", "100"))
    run(backend_uri, max_examples=runs, stateful_step_count=50, print_blob=True)
