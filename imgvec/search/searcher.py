"""Sends vectors to Milvus and turns its hits into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Unpack

from imgvec.errors import OptionError, QueryError
from imgvec.images import DecodePolicy
from imgvec.options import altered, settled
from imgvec.rows import URI, VECTOR
from imgvec.search.afterwork import AfterWork, Outcome
from imgvec.search.answer import Answer, Asked, Group
from imgvec.search.counts import Counts
from imgvec.search.encoding import FormEncoder, Reopen
from imgvec.search.facets import check_facets, of_hits, of_rows
from imgvec.search.failing import Failed
from imgvec.search.forms import Form
from imgvec.search.grouping import PLACE, hit
from imgvec.search.pages import Pages
from imgvec.search.paging import paged
from imgvec.search.ranking import Ask, Ranking, Told, both, together
from imgvec.search.request import CALIBRATED, PageOptions, RankingOptions, Request, SearchOptions
from imgvec.search.stages import Stages
from imgvec.search.verdicts import Judge, Judging
from imgvec.store import Searches
from imgvec.stored import Found, vector_named
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder


class Searcher:
    """Searches one collection.

    `encoder`, `least_side` and `threads` are as `FormEncoder` says. `defaults` gives, for a vector's name, the search
    parameters of its index that hold where a request does not say, and `reopen` opens a stored picture again, for crops
    and thumbnails. `judge` gives what the calibration by a vector says of scores; None where there is none.
    """

    def __init__(
        self,
        store: Searches,
        encoder: Callable[[str], Encoder],
        *,
        max_pixels: int,
        max_bytes: int,
        decoding: DecodePolicy | None = None,
        defaults: Callable[[str], Mapping[str, Any]] = lambda _: {},
        reopen: Reopen | None = None,
        least_side: int = 0,
        threads: int = 1,
        judge: Callable[[str], Judge | None] = lambda _: None,
    ) -> None:
        self._store, self._defaults, self._bounded, self._judge = store, defaults, False, judge
        self._alike = judge
        """Whom `collapse` asks, also where scores are no likeness."""
        self._forms = FormEncoder(
            store, encoder, max_pixels=max_pixels, max_bytes=max_bytes, decoding=decoding, reopen=reopen,
            least_side=least_side, threads=threads,
        )  # fmt: skip
        self.picture = self._forms.picture
        self._picture = None if reopen is None else self._forms.stored_picture

    def search(
        self, forms: Sequence[Form], failed: Failed | None = None, **options: Unpack[SearchOptions]
    ) -> list[Answer]:
        """The answer to each form: hits best first, equal scores in the order of their ids, unless options say else.

        What the options mean together is said by `imgvec.search.afterwork`. Of a collection of views the hits are its
        pictures, each with its best view, unless `views` asks for these. All pictures go through the encoder in its
        batches, and all vectors to Milvus in one call, but for those that need a deeper look. Where `failed` is given,
        that is told of the forms that cannot be asked; they have no answer. Raises `OptionError`, `QueryError`,
        `UnreadableImage`, `FilterError`.
        """
        given = settled(SearchOptions, options)
        vector = self.known(given["vector"])
        known = altered(given, {"params": self.params(vector, given["params"])})
        collapsed_at = self._copies_at(known)
        asked = altered(known, {"collapse": collapsed_at or known["collapse"]})
        work, expression = self.check(asked, bounded=self._bounded)
        if failed is not None:
            failed.clear()  # of a collection that had gone meanwhile
        if not forms:
            return []
        stages = Stages()
        with stages("total"):
            vectors, encoded = self._forms.vectors(forms, stages, vector, failed)
            forms = [form for number, form in enumerate(forms) if not failed or number not in failed]
            ranking = self._ranking(asked)
            judging = Judging.of(self._judge(vector), forms, asked, self._store.most_views, filtered=bool(expression))
            shown = self._output_fields(asked["output_fields"])
            fields = list(dict.fromkeys([*shown, *work.fields, *(asked["facet"] or ())]))

            def rows(places: Sequence[int], ask: Ask, where: str, named: Sequence[str]) -> Sequence[Sequence[Found]]:
                with stages("search"), _with_offset(asked["offset"], work.wanted):
                    return self._store.search(
                        vectors if len(places) == len(vectors) else vectors[[*places]],
                        limit=ask.limit,
                        filter=where,
                        output_fields=named,
                        params=asked["params"],
                        consistency_level=asked["consistency_level"],
                        # a judge wants to know the best row whatever it scores
                        min_score=asked["min_score"] if judging is None else None,
                        vector=vector,
                        thorough=True,
                    )

            def nearest(places: Sequence[int], ask: Ask) -> Sequence[Sequence[Found]]:
                where = both(expression, ask.beside)
                if judging is None:
                    return rows(places, ask, where, fields)
                return judging.seen(places, ask, rows(places, judging.deeper(ask), where, fields))

            rankings = [ranking for _ in forms]
            if judging is not None:
                rankings = judging.rankings(rankings, lambda places, ask, named: rows(places, ask, "", named))
            outcomes = together([work.of_query(each) for each in rankings], nearest)
            if encoded:
                # afterwards, so that nothing can come between: the answer was of the collection the encoder is for
                self._store.check_same()
            counted = None
            if asked["facet"]:
                with stages("facets"):
                    pictures = ranking.most_views is not None
                    counted = of_rows(asked["facet"], self._store, expression, pictures=pictures)
        if work.grouping or work.bounded:
            stages.rest("after", "total")
        hidden = self._hidden(fields, shown)
        counts = Counts(self._store, expression, ranking.most_views)
        answers = [
            self._answer(
                Request(form, known, expression), outcome, told, stages, partial(counts, outcome, work), hidden
            )
            for form, (outcome, told) in zip(forms, outcomes, strict=True)
        ]
        if judging is not None:
            answers = [judging.judged(place, answer) for place, answer in enumerate(answers)]
        if collapsed_at is not None:
            answers = [replace(answer, collapsed_at=collapsed_at) for answer in answers]
        if names := asked["facet"]:
            each = (counted or of_hits(names, outcome.hits) for outcome, _ in outcomes)
            answers = [replace(answer, facets=found) for answer, found in zip(answers, each, strict=True)]
        return answers

    def pages(self, form: Form, **options: Unpack[PageOptions]) -> Pages:
        """The hits of one query page by page; see `Pages`. Raises as `search`."""
        asked = settled(PageOptions, options)
        vector = self.known(asked["vector"])
        expression = self._store.rendered(asked["where"])
        ranking = self._ranking(asked)
        shown = ["*"] if asked["output_fields"] is None else self._output_fields(asked["output_fields"])
        params = self.params(vector, asked["params"])
        vectors, encoded = self._forms.vectors([form], Stages(), vector)
        judging = Judging.of(self._judge(vector), [form], asked, self._store.most_views, filtered=bool(expression))
        found = paged(
            self._store, vectors, ranking, judging, {**asked, "params": params}, expression=expression, shown=shown
        )
        if encoded:
            self._store.check_same()
        return found

    def _copies_at(self, asked: SearchOptions) -> float | None:
        """From which likeness on the calibration takes hits for copies, where it is asked; raises `OptionError`."""
        if asked["collapse"] != CALIBRATED:
            return None
        if (judge := self._alike(asked["vector"])) is None:
            raise OptionError(
                "collapse", "nothing says how alike copies are: give collapse a number, or run imgvec calibrate first"
            )
        return min(1.0, judge.least_likeness(asked["false_match_rate"]))

    def _ranking(self, asked: RankingOptions) -> Ranking:
        return Ranking(
            self._store.vectors[asked["vector"]].most_hits,
            None if asked["views"] else self._store.most_views,
            asked["min_score"],
        )

    def check(self, asked: SearchOptions, *, bounded: bool = False) -> tuple[AfterWork, str]:
        """What is to be done with the ranking, and `where` as an expression, before any picture is encoded.

        Raises `OptionError`, `QueryError`, `FilterError`.
        """
        self.known(asked["vector"])
        several = {"facet": asked["facet"], "group_by": asked["group_by"], "output_fields": asked["output_fields"]}
        if empty := [option for option, names in several.items() if "" in (names or ())]:
            raise OptionError(empty[0], f"{empty[0]} takes names of fields, which are not empty")
        work = AfterWork.of(asked, self._store, bounded=bounded)
        check_facets(asked["facet"] or (), self._store)
        return work, self._store.rendered(asked["where"])

    def vectors(
        self,
        forms: Sequence[Form],
        vector: str = VECTOR,
        *,
        stages: Stages | None = None,
        check: bool = True,
    ) -> Vectors:
        """(n, dim) float32 vectors of the forms, in their order, to search by `vector` with.

        Who does without the `check` that the collection is the same looks itself, once it has searched. Raises
        `QueryError` and `UnreadableImage`.
        """
        vector = self.known(vector)
        if not forms:
            return np.empty((0, self.store.vectors[vector].dim), np.float32)
        vectors, encoded = self._forms.vectors(forms, stages or Stages(), vector)
        if encoded and check:
            self.store.check_same()
        return vectors

    @property
    def store(self) -> Searches:
        """What it searches."""
        return self._store

    def over(self, store: Searches, *, bounded: bool = False) -> Searcher:
        """The same, that searches another view of its rows; a `bounded` one sees `candidates` of them at most."""
        other = self.unjudged()
        other._store, other._bounded = store, bounded
        return other

    def unjudged(self) -> Searcher:
        """The same, for scores that no calibration is about."""
        other = copy(self)
        other._judge = lambda _: None
        return other

    def params(self, vector: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The search parameters of a vector's index: those given, over the collection's own."""
        return {**self._defaults(vector), **(given or {})}

    def known(self, vector: str) -> str:
        """The name as given; raises `QueryError` if the collection has no vector of that name."""
        vector_named(vector, self._store.vectors, self._store.name)
        return vector

    def _answer(
        self,
        request: Request,
        outcome: Outcome,
        told: Told,
        stages: Stages,
        count: Callable[[], int | None],
        hidden: Set[str],
    ) -> Answer:
        views = self._store.most_views is not None
        hits = {found.id: hit(found, views=views, hidden=hidden) for found in outcome.hits}
        return Answer(
            request,
            tuple(hits.values()),
            tuple(Group(value, tuple(hits[each.id] for each in members)) for value, members in outcome.groups),
            seconds=dict(stages.seconds),
            collection=self._store.name,
            complete=told.complete,
            found=outcome.found,
            ended=outcome.ended,
            asked=Asked(told.calls, told.rows, told.cut, views, told.reach),
            count_rows=count,
            picture=self._picture,
        )

    def _hidden(self, fields: Sequence[str], shown: Sequence[str]) -> frozenset[str]:
        """What rows come with, but hits do not; a key of the dynamic field is shown with the whole of that."""
        unwanted = frozenset(fields).difference(shown)
        return unwanted.intersection([*self._store.fields, *self._store.vectors]) if "$meta" in shown else unwanted

    def _output_fields(self, given: Sequence[str] | None) -> list[str]:
        known = self._store.fields
        if given is None:
            return [*(name for name in known if name != "id"), *(["$meta"] if self._store.dynamic else [])]
        if not self._store.dynamic:
            for name in given:
                if name not in known:
                    raise QueryError(f"no field {name!r} to output (fields: {', '.join(known)})")
        place = () if self._store.most_views is None else PLACE
        return list(dict.fromkeys([*given, URI, *place]))


@contextmanager
def _with_offset(offset: int, wanted: int) -> Iterator[None]:
    """A limit that is too high only together with the offset is said to be that."""
    try:
        yield
    except OptionError as exc:
        if exc.name != "limit" or not offset:
            raise
        raise OptionError("limit", f"limit + offset is {wanted:,}: {exc}") from exc
