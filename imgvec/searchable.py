"""What can be asked of a collection: the methods of `ImageCollection` that take queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import overload

from typing_extensions import Unpack

from imgvec import filling
from imgvec.handle import Handle
from imgvec.milvus.defaults import SearchDefaults
from imgvec.options import documented, settled
from imgvec.rows import VECTOR
from imgvec.search import many
from imgvec.search.answer import Answer
from imgvec.search.fusing import HybridAnswer, fused
from imgvec.search.guessing import Query, all_guessed, each_guessed, guessed
from imgvec.search.hybrid import Hybrid
from imgvec.search.pages import Pages
from imgvec.search.request import PageOptions, SearchOptions
from imgvec.settings import Settings
from imgvec.sources import Source
from imgvec.vectors import Vectors


class Searchable:
    """A collection as whoever searches it sees it."""

    handle: Handle
    settings: Settings

    @overload
    def search(self, query: Hybrid, **options: Unpack[SearchOptions]) -> HybridAnswer: ...
    @overload
    def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer: ...
    @documented(SearchOptions)
    def search(self, query: Query | Hybrid, **options: Unpack[SearchOptions]) -> Answer:
        """Find the stored images most similar to one query, best first.

        The query is a form (`ImageFile`, `Text`, `StoredId`, …), or anything a form can be guessed from: a path, bytes,
        a PIL image, an array, a vector, `"id:…"`, a text (see `imgvec.search.guessing`). A `Hybrid` fuses the
        rankings by several vectors. `where` is a typed filter (`field("width") >= 800`) or a Milvus boolean expression;
        `params` override `search_defaults`. Raises `OptionError`, `QueryError`, `UnreadableImage`, `FilterError`.
        """
        if isinstance(query, Hybrid):
            return fused(self.handle.pinned().target.searcher, query, options)
        return self.handle.search([guessed(query)], options=options)[0]

    @documented(SearchOptions)
    def search_many(self, queries: Iterable[Query], **options: Unpack[SearchOptions]) -> list[Answer]:
        """`search` for many queries at once: one pass through the encoder, one call to Milvus; answers in order."""
        return self.handle.search(all_guessed(queries), options=options)

    @documented(SearchOptions)
    def search_each(self, queries: Iterable[Query] | Source, **options: Unpack[SearchOptions]) -> Iterator[Answer]:
        """`search` for any number of queries, or for the pictures of a `Source` (a folder, a list, an archive, …).

        Gives the answers in order, in batches of up to 256 and in bounded memory. A query that cannot be asked, because
        its picture is broken or its row is gone, has an answer without hits that carries the `error`. Raises what
        concerns all queries: `OptionError`, `FilterError`, `SourceError`, `EncoderError`, `BackendError`.
        """
        asked = settled(SearchOptions, options)
        if isinstance(queries, Source):
            found = queries.read(guards=filling.guards(self.settings))
            wanted = many.of_source(found, self.settings.max_file_bytes)
        else:
            wanted = each_guessed(queries)
        ask = partial(self.handle.search, options=asked)
        return many.each_answer(
            wanted, ask, lambda each: many.without_answer(each, asked, self.handle.target.store.name)
        )

    @documented(PageOptions)
    def pages(self, query: Query, **options: Unpack[PageOptions]) -> Pages:
        """The hits of one query page by page: an iterator of tuples of hits.

        The first call ranks the rows, up to `most` of them, and keeps their ids and scores: each that still exists
        comes once, whatever is written and deleted between the pages. Raises as `search`.
        """
        return self.handle.pages(guessed(query), options)

    @property
    def search_defaults(self) -> SearchDefaults:
        """The default parameters of searches by `vector`, and where they come from."""
        return self.handle.target.search_defaults()

    def vectors(self, queries: Iterable[Query], *, vector: str = VECTOR) -> Vectors:
        """Encode queries of any form, as (n, dim) float32 vectors in the same order, by the encoder of `vector`."""
        return self.handle.vectors(all_guessed(queries), vector)
