"""Sends vectors to Milvus and turns its hits into answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Unpack

from imgvec.errors import QueryError
from imgvec.filters import render
from imgvec.images import DecodePolicy
from imgvec.options import altered, settled
from imgvec.search.answer import Answer, Hit
from imgvec.search.encoding import FormEncoder, Reopen
from imgvec.search.forms import Form
from imgvec.search.request import Request, SearchOptions
from imgvec.search.stages import Stages
from imgvec.store import Found, Searches
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    from imgvec.encoders.protocol import Encoder


class Searcher:
    """Searches one collection; `encoder` is called when the first form needs it, since loading one takes seconds.

    `defaults` gives the index's search parameters that hold where a request does not say, and `reopen` opens a stored
    picture again, for crops and thumbnails.
    """

    def __init__(
        self,
        store: Searches,
        encoder: Callable[[], Encoder],
        *,
        max_pixels: int,
        max_bytes: int,
        decoding: DecodePolicy | None = None,
        defaults: Callable[[], Mapping[str, Any]] = dict,
        reopen: Reopen | None = None,
    ) -> None:
        self._store, self._defaults = store, defaults
        self._forms = FormEncoder(
            store, encoder, max_pixels=max_pixels, max_bytes=max_bytes, decoding=decoding, reopen=reopen
        )
        self._picture = None if reopen is None else self._forms.stored_picture

    def search(self, forms: Sequence[Form], **options: Unpack[SearchOptions]) -> list[Answer]:
        """The answer to each form, hits best first, equal scores in the order of their ids.

        All pictures go through the encoder in its batches, and all vectors to Milvus in one call. Raises `OptionError`,
        `QueryError`, `UnreadableImage`, `FilterError`.
        """
        given = settled(SearchOptions, options)
        asked = altered(given, {"params": {**self._defaults(), **(given["params"] or {})}})
        if not forms:
            return []
        stages = Stages()
        with stages("total"):
            vectors, encoded = self._forms.vectors(forms, stages)
            expression = render(asked["where"], self._store.fields, dynamic=self._store.dynamic)
            with stages("search"):
                answers = self._store.search(
                    vectors,
                    limit=asked["offset"] + asked["limit"],
                    filter=expression,
                    output_fields=self._output_fields(asked["output_fields"]),
                    params=asked["params"],
                    consistency_level=asked["consistency_level"],
                )
            if encoded:
                # afterwards, so that nothing can come between: the answer was of the collection the encoder is for
                self._store.check_same()
        count = cache(partial(self._store.count, expression))
        return [
            self._answer(Request(form, asked, expression), found, stages, count)
            for form, found in zip(forms, answers, strict=True)
        ]

    def vectors(self, forms: Sequence[Form]) -> Vectors:
        """(n, dim) float32 vectors of the forms, in their order; raises `QueryError` and `UnreadableImage`."""
        if not forms:
            return np.empty((0, self._store.dim), np.float32)
        vectors, encoded = self._forms.vectors(forms, Stages())
        if encoded:
            self._store.check_same()
        return vectors

    def _answer(self, request: Request, found: Sequence[Found], stages: Stages, count: Callable[[], int]) -> Answer:
        hits = [_hit(one) for one in found[request.options["offset"] :]]
        least = request.options["min_score"]
        return Answer(
            request,
            tuple(hit for hit in hits if least is None or hit.score >= least),
            seconds=dict(stages.seconds),
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
        return list(dict.fromkeys([*given, "uri"]))


def _hit(found: Found) -> Hit:
    fields = dict(found.fields)
    return Hit(found.id, found.score, fields.pop("uri", ""), fields, found.distance, found.id)
