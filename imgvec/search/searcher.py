"""Sends vectors to Milvus and turns its hits into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Unpack

from imgvec.errors import OptionError, QueryError
from imgvec.filters import render
from imgvec.images import DecodePolicy
from imgvec.options import altered, settled
from imgvec.rows import URI, VECTOR
from imgvec.search.answer import Answer
from imgvec.search.encoding import FormEncoder, Reopen
from imgvec.search.failing import Failed
from imgvec.search.forms import Form
from imgvec.search.grouping import PLACE, count_pictures, hit
from imgvec.search.request import Request, SearchOptions
from imgvec.search.stages import Stages
from imgvec.store import Found, Searches, is_complete, vector_named
from imgvec.vectors import Vectors
from imgvec.views import best_views, rows_to_ask

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder


class Searcher:
    """Searches one collection.

    `encoder` and `least_side` are as `FormEncoder` says. `defaults` gives, for a vector's name, the search parameters
    of its index that hold where a request does not say, and `reopen` opens a stored picture again, for crops and
    thumbnails.
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
    ) -> None:
        self._store, self._defaults = store, defaults
        self._forms = FormEncoder(
            store, encoder, max_pixels=max_pixels, max_bytes=max_bytes, decoding=decoding, reopen=reopen,
            least_side=least_side,
        )  # fmt: skip
        self._picture = None if reopen is None else self._forms.stored_picture

    def search(self, forms: Sequence[Form], **options: Unpack[SearchOptions]) -> list[Answer]:
        """The answer to each form, hits best first, equal scores in the order of their ids.

        Of a collection of views the hits are its pictures, each with its best view, unless `views` asks for these.

        All pictures go through the encoder in its batches, and all vectors to Milvus in one call. Raises `OptionError`,
        `QueryError`, `UnreadableImage`, `FilterError`.
        """
        given = settled(SearchOptions, options)
        vector = self._known(given["vector"])
        asked = altered(given, {"params": {**self._defaults(vector), **(given["params"] or {})}})
        if not forms:
            return []
        stages = Stages()
        with stages("total"):
            vectors, encoded = self._forms.vectors(forms, stages, vector)
            expression = render(asked["where"], self._store.fields, dynamic=self._store.dynamic)
            wanted = asked["offset"] + asked["limit"]
            grouped = self._store.most_views if not asked["views"] else None
            with stages("search"), _with_offset(asked["offset"], wanted):
                answers = self._store.search(
                    vectors,
                    limit=rows_to_ask(wanted, grouped),
                    filter=expression,
                    output_fields=self._output_fields(asked["output_fields"]),
                    params=asked["params"],
                    consistency_level=asked["consistency_level"],
                    vector=vector,
                )
            if encoded:
                # afterwards, so that nothing can come between: the answer was of the collection the encoder is for
                self._store.check_same()
        complete = [is_complete(found) for found in answers]
        if grouped is None:
            count = cache(partial(self._store.count, expression))
        else:
            count = cache(partial(count_pictures, self._store, expression, grouped))
            answers = [best_views(found)[:wanted] for found in answers]
        return [
            self._answer(Request(form, asked, expression), found, whole, stages, count)
            for form, found, whole in zip(forms, answers, complete, strict=True)
        ]

    def vectors(
        self,
        forms: Sequence[Form],
        vector: str = VECTOR,
        *,
        stages: Stages | None = None,
        failed: Failed | None = None,
    ) -> Vectors:
        """(n, dim) float32 vectors of the forms, in their order, to search by `vector` with.

        Raises `QueryError` and `UnreadableImage`. Where `failed` is given, that is told of the forms that cannot be
        asked; they have no row.
        """
        vector = self._known(vector)
        if not forms:
            return np.empty((0, self.store.vectors[vector].dim), np.float32)
        vectors, encoded = self._forms.vectors(forms, stages or Stages(), vector, failed)
        if encoded:
            self.store.check_same()
        return vectors

    @property
    def store(self) -> Searches:
        """What it searches."""
        return self._store

    def _known(self, vector: str) -> str:
        vector_named(vector, self._store.vectors, self._store.name)
        return vector

    def _answer(
        self, request: Request, found: Sequence[Found], complete: bool, stages: Stages, count: Callable[[], int]
    ) -> Answer:
        views = self._store.most_views is not None
        hits = [hit(one, views=views) for one in found[request.options["offset"] :]]
        least = request.options["min_score"]
        return Answer(
            request,
            tuple(one for one in hits if least is None or one.score >= least),
            seconds=dict(stages.seconds),
            collection=self._store.name,
            complete=complete,
            found=len(found),
            count_rows=count,
            picture=self._picture,
        )

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
