"""LlamaIndex's image retriever over a collection (extra `llamaindex`, which is llama-index-core alone).

    from imgvec import ImageCollection
    from imgvec.adapters.llamaindex import ImageRetriever

    retriever = ImageRetriever(ImageCollection.open("photos"), limit=3)
    retriever.image_to_image_retrieve("query.jpg")
    retriever.text_to_image_retrieve("a red dress")  # with a CLIP or SigLIP encoder

`text_to_image_retrieve` takes words, whatever file has such a name; `image_to_image_retrieve` takes the path of a file,
as LlamaIndex has it, so never pass on a stranger's text to it. A `QueryBundle` with an `embedding` is searched by that
vector.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal

from typing_extensions import Unpack

from imgvec import Hit, ImageCollection, ImageFile, SearchOptions, Text, VectorQuery
from imgvec.errors import MissingExtra, QueryError

try:
    from llama_index.core.image_retriever import BaseImageRetriever
    from llama_index.core.prompts.mixin import PromptDictType, PromptMixinType
    from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
except ImportError as exc:
    raise MissingExtra("llamaindex", "imgvec.adapters.llamaindex needs llama-index-core") from exc

_OF_VIEWS = ("image_id", "view", "box", "at_ms")


class ImageRetriever(BaseImageRetriever):
    """The pictures of a collection that are like words or like a picture, as `ImageNode`s with scores, best first.

    A node's `id_` is the row's, its `metadata` the row's fields and `uri`, its `text` the field that `text_field`
    names. With `pictures="uri"` it names the picture: `image_url` for http(s), `image_path` for a file; a picture in an
    archive, a table or an object store has neither, and is opened by `collection.reopen(node.metadata["uri"])`. With
    `pictures="inline"` its `image` is the file itself, in base64, whatever it lies in. `options` are those of
    `ImageCollection.search`. Scores are similarities, higher is better. Raises as `ImageCollection.search`, and with
    "inline" as `reopen`.
    """

    def __init__(
        self,
        collection: ImageCollection,
        *,
        text_field: str | None = None,
        pictures: Literal["uri", "inline"] = "uri",
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__()
        self.collection = collection
        self._text_field, self._pictures, self._options = text_field, pictures, options

    def _text_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is not None:
            return self._found(VectorQuery(query_bundle.embedding))
        return self._found(Text(query_bundle.query_str))

    def _image_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if query_bundle.embedding is not None:
            return self._found(VectorQuery(query_bundle.embedding))
        if not query_bundle.image_path:
            raise QueryError("the query has no image_path: ask for words by text_to_image_retrieve")
        return self._found(ImageFile(query_bundle.image_path))

    async def _atext_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._text_to_image_retrieve, query_bundle)

    async def _aimage_to_image_retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._image_to_image_retrieve, query_bundle)

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """It has none."""

    def _found(self, form: Text | ImageFile | VectorQuery) -> list[NodeWithScore]:
        answer = self.collection.search(form, **self._options)
        return [NodeWithScore(node=self.node(hit), score=hit.score) for hit in answer]

    def node(self, hit: Hit) -> ImageNode:
        """A hit as LlamaIndex has it."""
        views = {} if self.collection.definition.views is None else {name: getattr(hit, name) for name in _OF_VIEWS}
        metadata: dict[str, Any] = {**hit.fields, **views, "uri": hit.uri}
        text = "" if self._text_field is None else str(metadata.get(self._text_field) or "")
        return ImageNode(
            id_=hit.id,
            text=text,
            metadata=metadata,
            image_mimetype=hit.fields.get("media_type"),
            **self._picture(hit),
        )

    def _picture(self, hit: Hit) -> Mapping[str, str]:
        if self._pictures == "inline":
            return {"image": b64encode(self.collection.reopen(hit)).decode()}
        if hit.uri.startswith(("http://", "https://")):
            return {"image_url": hit.uri}
        # an archive's member has the archive's path before a !, and what is elsewhere a scheme
        return {} if "://" in hit.uri or "!" in hit.uri else {"image_path": hit.uri}
