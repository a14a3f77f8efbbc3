"""LangChain's own standard tests of vector stores and retrievers, over collections on Milvus Lite and a server.

They come with half a dozen pytest plug-ins, so they run in an environment of their own: `bash .ci/nightly adapters`.
None is left out or expected to fail. What a collection of images needs that a store of texts does not:

- The suite's documents are texts, and a collection stores pictures: `picture=` draws one from each text, and the
  encoder's text side gives a text the vector of the picture drawn from it. So "bar" finds the document "bar".
- Its `page_content` is kept in the field `caption`, which `content=` names: by default a document's content is its uri.
- Its metadata has a key `id`, which is the row's own id here: `names=` stores it under `number`.
- Its documents are compared with all of their metadata, and rows have fields of their own (uri, width, …): `fields=`
  names those that are a document's metadata.
- It reads at once what it has written: on a server, `consistency_level="Strong"`.
- Its embeddings (`get_embeddings`) are not used: a collection has an encoder of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from worded import DEFINITION, drawn, worded

from imgvec import ImageCollection
from imgvec.adapters.langchain import ImageRetriever, ImageVectorStore


@pytest.fixture
def photos(backend_uri: str) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=worded()) as photos:
        yield photos


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, photos: ImageCollection) -> VectorStore:  # type: ignore[override]  # it takes a fixture
        return ImageVectorStore(
            photos,
            content="caption",
            names={"id": "number"},
            fields=["id", "some_other_field"],
            picture=lambda document: drawn(document.page_content),
            consistency_level="Strong",
        )


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def filled(self, photos: ImageCollection, tmp_path: Path) -> None:
        self.store = ImageVectorStore(photos, consistency_level="Strong")
        for name in ("one", "two", "three", "four", "five"):
            drawn(name).save(tmp_path / f"{name}.png")
        self.store.add_images(sorted(tmp_path.glob("*.png")))

    @property
    def retriever_constructor(self) -> type[ImageRetriever]:
        return ImageRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"store": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "three"
