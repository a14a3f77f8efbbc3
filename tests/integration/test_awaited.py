"""`AsyncImageCollection`: the plain one's options and answers, awaited, and what a cancelled call leaves behind."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture

import imgvec
from imgvec import Answer, AsyncImageCollection, ImageCollection, ImageFile, Pixels, Source, field
from imgvec.aio import AsyncOpenOptions
from imgvec.errors import (
    BackendUnavailable,
    CollectionNotFound,
    EncoderMismatch,
    OptionError,
    QueryError,
    UnreadableImage,
)
from imgvec.gathering import UNDER_WAY
from imgvec.opening import OpenOptions
from imgvec.options import stated
from imgvec.search.failing import Failed
from imgvec.search.forms import Form
from imgvec.search.searcher import Searcher

PATIENCE = 60.0


@pytest.fixture
def photos(backend_uri: str, pictures: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create(
        "awaited", definition={"encoder": {"model": "fake"}}, uri=backend_uri, encoder=FakeEncoder()
    ) as collection:
        collection.ingest(pictures)
        assert collection.count() == 20  # a server's searches see them from now on
        yield collection


def opened(photos: ImageCollection, **options: Any) -> Any:
    return AsyncImageCollection.open("awaited", uri=photos.uri, encoder=FakeEncoder(), **options)


def test_answers_are_those_of_the_plain_collection(photos: ImageCollection, pictures: Path) -> None:
    paths, where = sorted(pictures.rglob("*.jpg")), field("width") >= 1
    hits = photos.search(paths[0], limit=3)
    ids = [hit.id for hit in hits]

    async def main() -> None:
        async with await opened(photos, at_once=4) as awaited:
            assert await awaited.search(paths[3], limit=5, where=where, offset=2) == photos.search(
                paths[3], limit=5, where=where, offset=2
            )
            both = await asyncio.gather(*(awaited.search(path, limit=4) for path in paths))
            for found, plain in zip(both, [photos.search(path, limit=4) for path in paths], strict=True):
                assert found.request == plain.request
                assert [hit.id for hit in found] == [hit.id for hit in plain]
                # of several that go as one the products are summed in another order
                assert [hit.score for hit in found] == pytest.approx([hit.score for hit in plain], abs=1e-5)
            assert await awaited.search_many(paths[:3], limit=2) == photos.search_many(paths[:3], limit=2)
            many = [answer async for answer in awaited.search_each(Source(pictures), limit=2)]
            assert many == list(photos.search_each(Source(pictures), limit=2))
            pages = await awaited.pages(paths[0], size=6, most=15)
            assert (pages.kept, pages.truncated) == (15, True)
            assert pages.complete or "://" in photos.uri  # on a busy server nobody can say
            assert [page async for page in pages] == list(photos.pages(paths[0], size=6, most=15))
            liked, plain = await awaited.recommend(hits[:2], hits[2:]), imgvec.recommend(photos, hits[:2], hits[2:])
            assert (liked, liked.certain) == (plain, plain.certain)
            refined = await awaited.refine(both[0], relevant=ids[:1], irrelevant=ids[1:2], limit=7)
            assert refined == imgvec.refine(photos, both[0], relevant=ids[:1], irrelevant=ids[1:2], limit=7)
            assert (await awaited.get(ids, with_vector=True)).keys() == set(ids)
            assert await awaited.get(ids[0]) == photos.get(ids[0])
            assert (await awaited.count(), await awaited.count("width < 0")) == (20, 0)
            assert repr(awaited).startswith("<AsyncImageCollection 'awaited' at")

    asyncio.run(main())


@pytest.mark.parametrize("backend_uri", ["lite"], indirect=True)
def test_pages_that_several_tasks_take_come_once_each(photos: ImageCollection, pictures: Path) -> None:
    path = min(pictures.rglob("*.jpg"))

    async def main() -> None:
        async with await opened(photos, at_once=4) as awaited:
            pages, taken = await awaited.pages(path, size=2), list[Any]()

            async def take() -> None:
                async for page in pages:
                    taken.append(page)

            await asyncio.gather(*(take() for _ in range(4)))
            assert sorted(page[0].id for page in taken) == sorted(page[0].id for page in photos.pages(path, size=2))

    asyncio.run(main())


def test_errors_are_imgvecs_own(photos: ImageCollection) -> None:
    async def main() -> AsyncImageCollection:
        with pytest.raises(CollectionNotFound, match="awaitet"):
            await AsyncImageCollection.open("awaitet", uri=photos.uri)
        with pytest.raises(OptionError, match="at_once"):
            await opened(photos, at_once=0)
        with pytest.raises(OptionError, match="at_once"):
            AsyncImageCollection(photos, at_once=0)
        async with await opened(photos) as awaited:
            with pytest.raises(OptionError, match="limit"):
                await awaited.search("id:x", limit=0)
            with pytest.raises(QueryError, match="no row with id 'x'"):
                await awaited.search("id:x")
            with pytest.raises(TypeError, match="there is no option 'limits'"):
                await awaited.search("id:x", limits=3)
            [said] = [answer async for answer in awaited.search_each(["id:x"])]
            assert isinstance(said.error, QueryError)
            with pytest.raises(OptionError, match="limit"):
                [answer async for answer in awaited.search_each(["id:x"], limit=0)]
        return awaited

    awaited = asyncio.run(main())
    with pytest.raises(BackendUnavailable, match="is closed"):
        asyncio.run(awaited.count())
    asyncio.run(awaited.close())  # as often as wanted


def test_it_serves_several_event_loops(photos: ImageCollection) -> None:
    awaited = AsyncImageCollection(photos)
    assert [asyncio.run(awaited.count()) for _ in range(2)] == [20, 20]
    asyncio.run(awaited.close())
    with pytest.raises(BackendUnavailable, match="is closed"):
        photos.count()


def told(answer: Answer | BaseException) -> Any:
    """What it says of the rows; a sum of products has other last digits where many vectors are multiplied at once."""
    assert isinstance(answer, Answer)
    rows = [(hit.id, round(hit.score, 5), hit.fields) for hit in answer]
    return rows, answer.request.options, answer.request.expression, answer.found, answer.ended, answer.complete


@pytest.mark.parametrize("form", ["picture", "vector"])
def test_cancelled_searches_leave_nothing_behind(photos: ImageCollection, form: str) -> None:
    """Whenever it comes: while it waits for a thread or for others to go with, encodes, or waits for Milvus."""
    rng = np.random.default_rng(0)
    before = set(threading.enumerate())

    async def main() -> None:
        async with await opened(photos, at_once=3) as awaited:
            query = Pixels(picture(1)) if form == "picture" else photos.vectors([picture(1)])[0]
            whole = await awaited.search(query, limit=20)
            for _ in range(5):
                tasks = [asyncio.create_task(awaited.search(query, limit=20)) for _ in range(8)]
                await asyncio.sleep(rng.uniform(0, 0.03))
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        assert told(await task) == told(whole)
                assert told(await awaited.search(query, limit=20)) == told(whole)
        assert not awaited._workers._calls

    asyncio.run(main())
    left = set(threading.enumerate()) - before
    assert not [each for each in left if each.name.startswith("imgvec-await")]


def test_questions_that_wait_go_as_one_and_each_gets_its_own_answer(
    photos: ImageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = photos.search(picture(1), limit=20)
    vectors = photos.vectors([picture(number) for number in range(12)])
    ids = [f"id:{hit.id}" for hit in hits]
    where = field("width") >= 1
    wrong = [np.full(vectors.shape[1], np.nan, np.float32), "id:no such row", np.ones(3, np.float32)]
    plain = [photos.search(each, limit=4, where=where) for each in (*vectors, *ids)]
    errors = []
    for each in wrong:
        with pytest.raises(QueryError) as raised:
            photos.search(each, limit=4, where=where)
        errors.append((type(raised.value), str(raised.value)))
    several: list[int] = []
    each_of = ImageCollection.search_each

    def counted(self: ImageCollection, queries: Any, **options: Any) -> Any:
        several.append(len(queries))
        return each_of(self, queries, **options)

    monkeypatch.setattr(ImageCollection, "search_each", counted)

    async def main() -> None:
        async with await opened(photos) as awaited:
            asked = [*vectors, *wrong, *ids]
            found = await asyncio.gather(
                *(awaited.search(each, limit=4, where=where) for each in asked), return_exceptions=True
            )
            first, last = len(vectors), len(vectors) + len(wrong)
            assert [told(each) for each in (*found[:first], *found[last:])] == [told(each) for each in plain]
            assert [(type(each), str(each)) for each in found[first:last]] == errors
            assert sum(several) >= len(asked) - 6, "all but the first ones of each kind waited"
            with pytest.raises(OptionError, match="limit"):
                await awaited.search(vectors[0], limit=0)
            both = [awaited.search(vectors[0], limit=0) for _ in range(6)]
            assert {type(each) for each in await asyncio.gather(*both, return_exceptions=True)} == {OptionError}

    asyncio.run(main())


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Milvus Lite answers no search before it is let: what is released as one comes, and what lets them all."""
    from milvus_lite.adapter.grpc.servicer import MilvusServicer

    asked, let, search = threading.Semaphore(0), threading.Event(), MilvusServicer.Search

    def held(self: Any, request: Any, context: Any) -> Any:
        asked.release()
        assert let.wait(PATIENCE)
        return search(self, request, context)

    monkeypatch.setattr(MilvusServicer, "Search", held)
    yield asked, let
    let.set()


@pytest.mark.parametrize("backend_uri", ["lite"], indirect=True)
@pytest.mark.parametrize("form", ["picture", "vector"])
def test_cancelling_does_not_wait_for_milvus(
    held: tuple[threading.Semaphore, threading.Event], photos: ImageCollection, form: str
) -> None:
    asked, let = held
    query = picture(1) if form == "picture" else photos.vectors([picture(1)])[0]
    number = len(threading.enumerate())

    async def begun(awaited: AsyncImageCollection) -> asyncio.Task[Any]:
        task = asyncio.create_task(awaited.search(query))
        assert await asyncio.to_thread(asked.acquire, timeout=PATIENCE)
        return task

    async def main() -> None:
        async with await opened(photos, at_once=1) as awaited:
            for _ in range(3):  # there is one thread, and each of them has it
                task = await begun(awaited)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await awaited.count() == 20
            pages = asyncio.create_task(awaited.pages(picture(1)))
            assert await asyncio.to_thread(asked.acquire, timeout=PATIENCE)
            pages.cancel()
            task = await begun(awaited)
        with pytest.raises(BackendUnavailable, match="the collection was closed"):
            await task
        assert pages.cancelled()

    asyncio.run(main())
    assert not let.is_set()
    assert len(threading.enumerate()) <= number + 8  # those of the server that wait to be let


def test_the_options_are_those_of_the_plain_collection() -> None:
    """Stated once: what can be asked awaits the same options."""
    assert stated(AsyncOpenOptions).keys() - stated(OpenOptions).keys() == {"at_once"}
    functions = {"recommend": imgvec.recommend, "refine": imgvec.refine}
    asked = [
        name for name in vars(AsyncImageCollection) if not name.startswith("_") and name not in ("open", "close", "run")
    ]
    wanted = "search search_many search_each pages recommend refine get count facets"
    assert set(asked) == set(wanted.split())
    for name in asked:
        plain = functions.get(name) or getattr(ImageCollection, name)
        own = list(inspect.signature(getattr(AsyncImageCollection, name)).parameters.values())
        assert own[1:] == list(inspect.signature(plain).parameters.values())[1:], name


def waiting(awaited: AsyncImageCollection) -> int:
    """Questions that wait to go as one."""
    return sum(len(kind.waiting) for kind in list(awaited._sharing._gathering._kinds.values()))


@pytest.mark.parametrize("backend_uri", ["lite"], indirect=True)
def test_pictures_that_wait_for_milvus_go_as_one(
    photos: ImageCollection, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, asked, may = sorted(pictures.rglob("*.jpg")), list[int](), threading.Event()
    search = Searcher.search

    def held(self: Searcher, forms: Sequence[Form], failed: Failed | None = None, **options: Any) -> list[Answer]:
        asked.append(len(forms))
        assert may.wait(PATIENCE)
        return search(self, forms, failed, **options)

    async def main() -> None:
        async with await opened(photos) as awaited:
            monkeypatch.setattr(Searcher, "search", held)
            tasks = [asyncio.create_task(awaited.search(path, limit=3)) for path in paths]
            broken = asyncio.create_task(awaited.search(b"GIF89a"))
            async with asyncio.timeout(PATIENCE):
                while waiting(awaited) + sum(asked) < 20:
                    await asyncio.sleep(0.01)
            may.set()
            answers = await asyncio.gather(*tasks)
            with pytest.raises(UnreadableImage):
                await broken
        for path, answer in zip(paths, answers, strict=True):
            assert answer[0].uri == str(path)
            assert answer.request.form == ImageFile(path)
            assert {"decode", "encode", "search", "total"} <= answer.seconds.keys()

    asyncio.run(main())
    assert sum(asked) == 20
    assert len(asked) <= UNDER_WAY + 1


@pytest.mark.parametrize("backend_uri", ["lite"], indirect=True)
def test_a_picture_whose_collection_goes_before_it_is_searched_by(
    photos: ImageCollection, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vector is the former encoder's: the name's new collection is asked by its own, or the question refused."""
    path, vectors = min(pictures.rglob("*.jpg")), Searcher.vectors

    def late(self: Searcher, *args: Any, **options: Any) -> Any:
        found = vectors(self, *args, **options)
        monkeypatch.undo()
        photos.drop()
        definition = {"encoder": {"model": "fake"}}
        with ImageCollection.create(
            "awaited", definition=definition, uri=photos.uri, encoder=FakeEncoder(seed=1)
        ) as new:
            new.ingest(pictures)
        return found

    async def main() -> None:
        async with await opened(photos) as awaited:
            monkeypatch.setattr(Searcher, "vectors", late)
            with pytest.raises(EncoderMismatch):
                await awaited.search(path)

    asyncio.run(main())
