"""A collection for applications on an event loop: what is asked of it is awaited, and holds up nobody else.

The work is the plain collection's, in threads (`imgvec.awaiting`): the same options, the same answers. Questions by
pictures, vectors and stored ids that wait at the same time go to Milvus as one (`imgvec.sharing`). pymilvus has an
`AsyncMilvusClient`, which its authors call experimental: it would take a second connection, bound to one event loop,
and a second copy of everything between a query and its answer, and it sends each question by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Annotated, Any, Self, TypeVar, overload

from typing_extensions import Unpack

from imgvec.awaiting import Steps, Workers
from imgvec.collection import ImageCollection
from imgvec.filters import Filter
from imgvec.opening import OpenOptions
from imgvec.options import Option, documented, settled, taken
from imgvec.search.answer import Answer, Hit
from imgvec.search.facets import Facet
from imgvec.search.fusing import HybridAnswer
from imgvec.search.guessing import Query
from imgvec.search.hybrid import Hybrid
from imgvec.search.pages import Pages
from imgvec.search.recommending import Recommendation
from imgvec.search.request import PageOptions, SearchOptions
from imgvec.search.strategies import RecommendOptions
from imgvec.sharing import Sharing
from imgvec.sources import Source
from imgvec.verbs import recommendation
from imgvec.verbs.recommendation import Example

T = TypeVar("T")

AT_ONCE = 32
_END = object()


class AsyncOpenOptions(OpenOptions, total=False):
    """Where a collection is, and how much of it is awaited at once."""

    at_once: Annotated[
        int, Option(AT_ONCE, at_least=1, shell=False, json=False, help="Calls under way at once; others wait.")
    ]


class AsyncImageCollection:
    """An `ImageCollection` on an event loop: its reads, awaited.

        async with await AsyncImageCollection.open("photos") as photos:
            answer = await photos.search("query.jpg", limit=5)

    Cancelling a task that awaits a call, as `asyncio.timeout` does, ends the call's requests to Milvus and frees its
    thread; what is being decoded or encoded is finished first. A query's picture is encoded together with those of
    other queries that wait. Queries by pictures, vectors or stored ids that wait, and have the same options, are one
    request to Milvus: `Answer.seconds` are of all of them. It may be used from several event loops, but not in a
    process that was forked since it was opened. Raises what the plain collection raises, and `BackendUnavailable`
    where it is closed meanwhile.
    """

    def __init__(self, collection: ImageCollection, *, at_once: int = AT_ONCE) -> None:
        self.collection = collection
        """The plain one, for everything else: writes, and functions of a collection. Closed with this."""
        self._workers = Workers(settled(AsyncOpenOptions, {"at_once": at_once})["at_once"])
        self._sharing = Sharing(collection, self._workers)

    @classmethod
    @documented(AsyncOpenOptions)
    async def open(cls, name: str, **options: Unpack[AsyncOpenOptions]) -> Self:
        """Open a collection made by imgvec; as `ImageCollection.open`."""
        asked = settled(AsyncOpenOptions, options)
        opening = Workers(1)
        try:
            plain = taken(OpenOptions, asked)
            opened = await opening.run(lambda: ImageCollection.open(name, **plain), unwanted=ImageCollection.close)
        finally:
            opening.end(wait=False)
        return cls(opened, at_once=asked["at_once"])

    @overload
    async def search(self, query: Hybrid, **options: Unpack[SearchOptions]) -> HybridAnswer: ...
    @overload
    async def search(self, query: Query, **options: Unpack[SearchOptions]) -> Answer: ...
    @documented(SearchOptions)
    async def search(self, query: Query | Hybrid, **options: Unpack[SearchOptions]) -> Answer:
        """Find the stored images most similar to one query, best first; as `ImageCollection.search`."""
        self.collection.handle.connection.check_open()
        return await self._sharing.search(query, options)

    @documented(SearchOptions)
    async def search_many(self, queries: Iterable[Query], **options: Unpack[SearchOptions]) -> list[Answer]:
        """`search` for many queries at once: one pass through the encoder, one call to Milvus; answers in order."""
        return await self.run(lambda: self.collection.search_many(queries, **options))

    @documented(SearchOptions)
    async def search_each(
        self, queries: Iterable[Query] | Source, **options: Unpack[SearchOptions]
    ) -> AsyncIterator[Answer]:
        """`search` for any number of queries, or the pictures of a `Source`; as `ImageCollection.search_each`.

        Gives the answers in order. The queries are taken in a thread. Cancelling a step ends it.
        """
        answers = await self.run(lambda: self.collection.search_each(queries, **options))
        steps = Steps(answers, _END)
        while (found := await self.run(steps.step())) is not _END:
            yield found

    @documented(PageOptions)
    async def pages(self, query: Query, **options: Unpack[PageOptions]) -> AsyncPages:
        """The hits of one query page by page, to be gone through by `async for`; as `ImageCollection.pages`."""
        return AsyncPages(await self.run(lambda: self.collection.pages(query, **options)), self.run)

    @documented(RecommendOptions)
    async def recommend(
        self, positive: Iterable[Example] = (), negative: Iterable[Example] = (), **options: Unpack[RecommendOptions]
    ) -> Recommendation:
        """Find the stored images most like some examples, and unlike others; as `imgvec.recommend`."""
        return await self.run(lambda: recommendation.recommend(self.collection, positive, negative, **options))

    @documented(SearchOptions)
    async def refine(
        self,
        answer: Answer,
        relevant: Iterable[Hit | str] = (),
        irrelevant: Iterable[Hit | str] = (),
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Search again, by what was said of the hits of an answer; as `imgvec.refine`."""
        return await self.run(lambda: recommendation.refine(self.collection, answer, relevant, irrelevant, **options))

    async def get(self, ids: Sequence[str], *, with_vector: bool = False) -> dict[str, dict[str, Any]]:
        """Stored rows by id; as `ImageCollection.get`."""
        return await self.run(lambda: self.collection.get(ids, with_vector=with_vector))

    async def count(self, where: Filter | str | None = None) -> int:
        """The number of rows, or of those that match `where`; as `ImageCollection.count`."""
        return await self.run(lambda: self.collection.count(where))

    async def facets(self, fields: Sequence[str], where: Filter | str | None = None) -> dict[str, Facet]:
        """How often each value of some fields occurs among the rows that match; as `ImageCollection.facets`."""
        return await self.run(lambda: self.collection.facets(fields, where))

    async def run(self, function: Callable[[], T]) -> T:
        """What a function of the plain collection gives, awaited as the reads are, in one of the same threads.

            found = await photos.run(lambda: imgvec.explain(photos.collection, "query.jpg", hit))

        Raises what the function raises.
        """
        self.collection.handle.connection.check_open()
        return await self._workers.run(function)

    async def close(self) -> None:
        """End what is under way, which raises `BackendUnavailable` where it is awaited, and close the collection."""
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self.collection)[1:]}"

    def _close(self) -> None:
        self._workers.end()
        self.collection.close()


class AsyncPages:
    """The pages of one query, for `async for`; as `Pages`. A page whose step was cancelled comes with the next step.

    Several tasks may take pages of it at once: each comes once.
    """

    def __init__(self, pages: Pages, run: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self.kept, self.truncated, self.complete = pages.kept, pages.truncated, pages.complete
        self._steps, self._run = Steps(pages, ()), run

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Hit, ...]:
        step = self._steps.step()
        try:
            page: tuple[Hit, ...] = await self._run(step)
        except BaseException:
            step.give_up()
            raise
        if not page:
            raise StopAsyncIteration
        return page
