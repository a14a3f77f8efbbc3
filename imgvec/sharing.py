"""Questions to one collection that are awaited: those that wait at the same time, and are alike, go to Milvus as one.

A picture is opened and encoded first, in a thread of its own, so that one that is large or broken holds up nobody else;
those that wait for the encoder share its passes (`imgvec.encoders.turns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

from imgvec.awaiting import Workers
from imgvec.collection import ImageCollection
from imgvec.errors import CollectionNotFound, EncoderMismatch, FilterError, ImgvecError, OptionError, QueryError
from imgvec.gathering import Gathering
from imgvec.rows import VECTOR
from imgvec.search.alike import kind, of_options
from imgvec.search.answer import Answer
from imgvec.search.forms import Crop, Form, ImageBytes, ImageFile, Pixels, VectorQuery
from imgvec.search.guessing import Query, guessed
from imgvec.search.hybrid import Hybrid
from imgvec.search.request import SearchOptions
from imgvec.search.searcher import Searcher
from imgvec.search.stages import Stages

T = TypeVar("T")

_PICTURES = (ImageFile, ImageBytes, Pixels, Crop)
"""Forms that are searched by as their vectors are. A calibration takes a text, or a mix, for something else."""


class Hold(Protocol):
    """Wraps what a thread is given."""

    def __call__(self, function: Callable[[], T], /) -> Callable[[], T]: ...


def _nothing(function: Callable[[], T], /) -> Callable[[], T]:
    return function


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """A picture with its vector, and the searcher of the collection whose encoder made that."""

    form: Form
    vector: VectorQuery
    searcher: Searcher
    stages: Stages


_Question: TypeAlias = tuple[Query | _Encoded, SearchOptions]


class Sharing:
    """Asks the collection in the threads of `workers`."""

    def __init__(self, collection: ImageCollection, workers: Workers) -> None:
        self._collection, self._workers = collection, workers
        self._gathering: Gathering[_Question, Answer] = Gathering(workers, self._answers)

    async def search(self, query: Query | Hybrid, options: SearchOptions, hold: Hold = _nothing) -> Answer:
        """As `ImageCollection.search`; seconds are of all questions that went as one.

        Threads that work at this question alone are given what `hold` makes of their work.
        """
        common = of_options(options)
        if isinstance(query, Hybrid) or common is None:
            return await self._workers.run(hold(lambda: self._collection.search(query, **options)))
        if (alike := kind(query, options)) is not None:
            return await self._gathering.ask(alike[0], (query, options), alike[1])
        made = await self._workers.run(hold(lambda: self._encoded_or_answered(query, options)))
        if isinstance(made, Answer):
            return made
        answer = await self._gathering.ask((made.searcher, common[0]), (made, options), common[1])
        return replace(answer, request=replace(answer.request, form=made.form))

    def _encoded_or_answered(self, query: Query, options: SearchOptions) -> _Encoded | Answer:
        form = guessed(query)
        if not isinstance(form, _PICTURES):
            return self._collection.search(form, **options)
        searcher, stages = self._collection.handle.encoding().searcher, Stages()
        with stages("total"):
            found = searcher.vectors([form], options.get("vector", VECTOR), stages=stages, check=False)
        return _Encoded(form, VectorQuery(found[0]), searcher, stages)

    def _answers(self, questions: Sequence[_Question]) -> Sequence[Answer | BaseException]:
        """Of questions with the same options: an answer each, or the error that it has by itself."""
        options = questions[0][1]
        if encoded := [query for query, _ in questions if isinstance(query, _Encoded)]:
            return self._of_pictures(encoded, options)
        queries = [query for query, _ in questions if not isinstance(query, _Encoded)]
        answers: Sequence[Answer | None] = [None] * len(queries)
        if len(queries) > 1:
            with suppress(OptionError, QueryError, FilterError):  # each is told by its own search
                together = list(self._collection.search_each(queries, **options))
                answers = [None if answer.error else answer for answer in together]
        pairs = zip(answers, queries, strict=True)
        return [self._answer(query, options) if answer is None else answer for answer, query in pairs]

    def _of_pictures(self, encoded: Sequence[_Encoded], options: SearchOptions) -> Sequence[Answer | BaseException]:
        """All of the same searcher."""
        searcher = encoded[0].searcher
        try:
            answers = searcher.search([each.vector for each in encoded], **options)
            searcher.store.check_same()  # afterwards, so that nothing can come between
        except (CollectionNotFound, EncoderMismatch):  # another has its name: it is followed, or told, for each
            return [self._answer(each.form, options) for each in encoded]
        pairs = zip(answers, encoded, strict=True)
        return [replace(answer, seconds=_sum(answer.seconds, each.stages.seconds)) for answer, each in pairs]

    def _answer(self, query: Query, options: SearchOptions) -> Answer | BaseException:
        try:
            return self._collection.search(query, **options)
        except ImgvecError as exc:
            return exc


def _sum(seconds: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    return {name: seconds.get(name, 0.0) + others.get(name, 0.0) for name in {**others, **seconds}}
