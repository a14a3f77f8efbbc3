"""The tools: what an agent can ask of a collection. Docstrings and descriptions of arguments are what it reads."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent
from pydantic import Field

import imgvec
from imgvec import (
    Answer,
    AsyncImageCollection,
    Crop,
    Hit,
    ImageBytes,
    RecommendOptions,
    SearchOptions,
    StoredId,
    Text,
)
from imgvec.adapters.inline import inline_picture
from imgvec.adapters.mcp.answers import (
    CopiesResult,
    CountedResult,
    DeletedResult,
    DescribedResult,
    ExplainedResult,
    FacetsResult,
    FoundResult,
    RowsResult,
)
from imgvec.adapters.mcp.arguments import (
    PICTURE_BYTES,
    SEARCH,
    SENT,
    Box,
    Id,
    Ids,
    Picture,
    Thumbnails,
    Where,
    Words,
    takes,
)
from imgvec.adapters.mcp.pictures import MOST_INLINE, Pictures, drawn, hit_of
from imgvec.adapters.mcp.said import answer_said, described, duplicates_said, facets_said, row_said
from imgvec.errors import QueryError

_PAIRS = 8

Shown = list[ImageContent | ResourceLink]


class Tools:
    """The tools of one collection; with `write` those that change it, too."""

    def __init__(self, photos: AsyncImageCollection, pictures: Pictures, *, write: bool) -> None:
        self._photos, self._pictures, self._write = photos, pictures, write
        self._finding = asyncio.Lock()

    @property
    def reading(self) -> list[Callable[..., Any]]:
        return [
            self.search_by_text, self.search_by_picture, self.find_similar, self.recommend, self.get_pictures,
            self.describe_collection, self.count, self.facets, self.find_duplicates, self.explain,
        ]  # fmt: skip

    @property
    def writing(self) -> list[Callable[..., Any]]:
        return [self.delete_pictures] if self._write else []

    @takes(SearchOptions, *SEARCH)
    async def search_by_text(self, words: Words, thumbnails: Thumbnails = MOST_INLINE, **options: Any) -> FoundResult:
        """Find stored pictures that show what some words say, best first.

        Needs a collection whose encoder has a text side (CLIP, SigLIP): describe_collection says so. A score is a
        similarity, higher is better; with words, even good hits often have scores of 0.2 to 0.4.
        """
        return await self._answered(await self._photos.search(Text(words), **options), thumbnails)

    @takes(SearchOptions, *SEARCH)
    async def search_by_picture(
        self, picture: Picture, box: Box = None, thumbnails: Thumbnails = MOST_INLINE, **options: Any
    ) -> FoundResult:
        """Find stored pictures that are like one that you send, best first.

        A score is a similarity: 1 is the same picture. For a picture that is stored already use find_similar, which
        takes its id.
        """
        form = self._sent(picture)
        asked = form if box is None else Crop(form, box)
        return await self._answered(await self._photos.search(asked, **options), thumbnails)

    @takes(RecommendOptions, *SEARCH)
    async def find_similar(
        self, id: Id, box: Box = None, thumbnails: Thumbnails = MOST_INLINE, **options: Any
    ) -> FoundResult:
        """Find stored pictures that are like a stored one, best first; it is not among them.

        Ids stand in the hits of every search.
        """
        form = StoredId(id) if box is None else Crop(StoredId(id), box)
        if box is not None:
            await self._photos.run(lambda: self._pictures.check([id]))
        return await self._answered(await self._photos.recommend([form], **options), thumbnails)

    @takes(RecommendOptions, "strategy", *SEARCH)
    async def recommend(
        self,
        liked: Annotated[Ids, Field(description="Ids of stored pictures that somebody likes.")],
        disliked: Annotated[
            list[Id], Field(max_length=20, description="Ids of stored pictures that somebody does not like.")
        ] = [],  # noqa: B006 - pydantic copies it
        thumbnails: Thumbnails = MOST_INLINE,
        **options: Any,
    ) -> FoundResult:
        """Find stored pictures that are like some stored ones, and unlike others; none of these is among them."""
        positive, negative = map(StoredId, liked), map(StoredId, disliked)
        return await self._answered(await self._photos.recommend(positive, negative, **options), thumbnails)

    async def get_pictures(
        self, ids: Annotated[Ids, Field(description="Ids of stored pictures.")], thumbnails: Thumbnails = MOST_INLINE
    ) -> RowsResult:
        """Look up stored pictures by id: their fields, and what they look like."""
        rows = await self._photos.get(ids)
        hits = [hit_of(id_, rows[id_]) for id_ in dict.fromkeys(ids) if id_ in rows]
        said = {
            "pictures": [row_said(each, self._kinds, self._pictures) for each in hits],
            "unknown_ids": [id_ for id_ in dict.fromkeys(ids) if id_ not in rows],
        }
        return await self._with_pictures(said, hits, thumbnails)

    async def describe_collection(self) -> DescribedResult:
        """Say what this collection holds: pictures, fields to filter by, how filters are written, what can be asked."""
        return _result(await self._photos.run(lambda: described(self._photos.collection)))

    async def count(self, where: Where = None) -> CountedResult:
        """Count the stored pictures, or those that match a filter."""
        collection = self._photos.collection
        rows = await self._photos.count(where)
        pictures = await self._photos.run(lambda: collection.count_pictures(where))
        return _result({"pictures": pictures, "rows": rows})

    async def facets(
        self,
        fields: Annotated[
            list[Annotated[str, Field(max_length=255)]],
            Field(min_length=1, max_length=5, description="Names of fields, as describe_collection lists them."),
        ],
        where: Where = None,
    ) -> FacetsResult:
        """Count how often each value of some fields occurs, among all pictures or those that match a filter.

        The most frequent values come first, at most 50 of a field. Of more than 100,000 rows it is refused: narrow the
        filter.
        """
        return _result({"facets": facets_said(await self._photos.facets(fields, where))})

    async def find_duplicates(
        self,
        exact: Annotated[
            bool, Field(description="Find only the same files and the same pixels, which is quick; no edited copies.")
        ] = False,
        groups: Annotated[int, Field(ge=1, le=50, description="How many groups to show, the largest first.")] = 10,
        seconds: Annotated[float, Field(gt=0, le=300, description="Stop after this time.")] = 30.0,
        thumbnails: Thumbnails = MOST_INLINE,
    ) -> CopiesResult:
        """Find stored pictures that are one picture: the same file, the same pixels, an edited copy, a burst.

        Each group has the best copy and says why. In a large collection it takes minutes, and then the answer has
        complete: false: whoever owns the collection runs `imgvec duplicates` first, and what that found is used here.
        """
        stop = threading.Event()
        async with self._finding:  # it reads every picture: one at a time
            timer = asyncio.get_running_loop().call_later(seconds, stop.set)
            try:
                found = await self._photos.run(
                    lambda: imgvec.duplicates(self._photos.collection, exact=exact, keep=self._write, stop=stop)
                )
            finally:
                timer.cancel()
                stop.set()  # if the call was cancelled, its thread goes on until here
        said, members = duplicates_said(found, groups)
        members = members[: MOST_INLINE * 5]
        rows = await self._photos.get(members) if members else {}
        hits = [hit_of(id_, rows[id_]) for id_ in members if id_ in rows]
        return await self._with_pictures(said, hits, thumbnails)

    async def explain(
        self,
        id: Annotated[Id, Field(description="The id of the hit to explain.")],
        query_id: Annotated[Id | None, Field(description="The stored picture that was searched by.")] = None,
        picture: Annotated[Picture | None, Field(description="Or the picture that was: base64 or a data: URL.")] = None,
    ) -> ExplainedResult:
        """Show which parts of a hit are like the picture that was searched by: give query_id or picture.

        The answer is both pictures side by side; what they have in common is warm, and the best pairs of parts bear
        numbers. Words cannot be explained.
        """
        if (query_id is None) == (picture is None):
            raise QueryError("give either query_id or picture: what was searched by")
        form = self._sent(picture) if picture is not None else StoredId(query_id or "")

        def work() -> tuple[dict[str, Any], bytes]:
            self._pictures.check([id, *([query_id] if query_id is not None else [])])
            found = imgvec.explain(self._photos.collection, form, StoredId(id))
            pairs = zip(found.pair_boxes()[:_PAIRS], found.similarities[:_PAIRS].tolist(), strict=True)
            said = {
                "score": round(found.score, 4),
                "mirrored": found.mirrored,
                "method": found.method,
                "pairs": [
                    {"query_box": _rounded(ours), "hit_box": _rounded(theirs), "similarity": round(similar, 3)}
                    for (ours, theirs), similar in pairs
                ],
            }
            return said, drawn(found)

        said, data = await self._photos.run(work)
        shown = ImageContent(data=b64encode(data).decode(), mime_type="image/jpeg")
        return _result(said, [shown, self._pictures.link(id)])

    async def delete_pictures(self, ids: Annotated[Ids, Field(description="Ids of stored pictures.")]) -> DeletedResult:
        """Delete stored pictures from the collection, with all their rows; their files stay."""
        return _result({"deleted": await self._photos.run(lambda: self._photos.collection.delete(ids))})

    @property
    def _kinds(self) -> Any:
        return self._photos.collection.store.fields

    def _sent(self, picture: str) -> ImageBytes:
        most = min(PICTURE_BYTES, self._photos.collection.settings.max_file_bytes)
        return inline_picture(picture, most=most, name=SENT)

    async def _answered(self, answer: Answer, thumbnails: int) -> CallToolResult:
        said = await self._photos.run(lambda: answer_said(answer, self._kinds, self._pictures))
        return await self._with_pictures(said, list(answer), thumbnails)

    async def _with_pictures(self, said: dict[str, Any], hits: Sequence[Hit], thumbnails: int) -> CallToolResult:
        shown, ids = await self._photos.run(lambda: self._pictures.shown(hits, thumbnails))
        return _result({**said, "thumbnails_of": ids}, shown)


def _result(said: dict[str, Any], shown: Shown | None = None) -> CallToolResult:
    """The same as text and as structured content, for clients that read one or the other."""
    text = TextContent(text=json.dumps(said, ensure_ascii=False))
    return CallToolResult(content=[text, *(shown or [])], structured_content=said)


def _rounded(box: tuple[float, float, float, float]) -> list[int]:
    return [round(each) for each in box]
