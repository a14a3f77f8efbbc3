"""A LangChain retriever over such a store."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from imgvec import ImageBytes, StoredId, Text
from imgvec.adapters.inline import inline_picture
from imgvec.adapters.langchain.vectorstore import ImageVectorStore


class ImageRetriever(BaseRetriever):
    """A LangChain retriever whose queries are words, pictures within a text, or ids; each document has its `score`.

        ImageRetriever(store=ImageVectorStore(photos), query="image", k=3).invoke("data:image/jpeg;base64,…")

    `query` says what its strings are, so nothing is guessed: `text`, `image` (base64 or a data: URL; never a path) or
    `id`. `options` are those of `ImageCollection.search`; `k` and these may also be given to `invoke`.
    """

    store: ImageVectorStore
    query: Literal["text", "image", "id"] = "text"
    k: int = 4
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> list[Document]:
        options = {**self.options, **kwargs}
        found = self.store.found(self._form(query), options.pop("k", self.k), options)
        return [each.model_copy(update={"metadata": {**each.metadata, "score": score}}) for each, score in found]

    def _form(self, query: str) -> Text | ImageBytes | StoredId:
        if self.query == "image":
            return inline_picture(query, most=self.store.collection.settings.max_file_bytes)
        return Text(query) if self.query == "text" else StoredId(query)
