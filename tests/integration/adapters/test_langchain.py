"""A collection as LangChain's vector store and retriever. LangChain's own standard tests: langchain_standard.py."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("langchain_core", reason="the extra `langchain` is not installed")

from langchain_core.documents import Document
from worded import DEFINITION, drawn, worded

from imgvec import ImageCollection, field
from imgvec.adapters.inline import inline_picture
from imgvec.adapters.langchain import ImageRetriever, ImageVectorStore
from imgvec.errors import OptionError, QueryError, UnreadableImage, UsageError

NAMES = ("red shoe", "blue shoe", "hat", "coat", "scarf")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A picture a name, each the one that the encoder means by that name."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = {name: folder / f"{name}.png" for name in NAMES}
    for name, path in paths.items():
        drawn(name).save(path)
    return paths


@pytest.fixture
def photos(lite_uri: str) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=worded()) as photos:
        yield photos


@pytest.fixture
def store(photos: ImageCollection) -> ImageVectorStore:
    return ImageVectorStore(photos, consistency_level="Strong")


def test_pictures_are_stored_and_found_by_words_pictures_vectors_and_ids(
    backend_uri: str, files: dict[str, Path]
) -> None:
    with ImageCollection.create("trip", definition=DEFINITION, uri=backend_uri, encoder=worded()) as photos:
        stored_and_found(ImageVectorStore(photos, consistency_level="Strong"), files)


def stored_and_found(store: ImageVectorStore, files: dict[str, Path]) -> None:
    captions = [{"caption": name, "number": number} for number, name in enumerate(files)]
    ids = store.add_images(files.values(), captions)
    assert ids == store.add_images(files.values(), captions)
    assert store.collection.count() == 5

    [(best, score)] = store.similarity_search_with_score("hat", k=1)
    assert (best.id, best.page_content) == (ids[2], str(files["hat"]))
    assert best.metadata["caption"] == "hat"
    assert best.metadata["width"] == 32
    assert best.metadata["uri"] == str(files["hat"])
    assert score == pytest.approx(1, abs=1e-3)
    for found in (
        store.similarity_search_by_image(files["hat"], k=1),
        store.similarity_search_by_image(files["hat"].read_bytes(), k=1),
        store.similarity_search_by_image(drawn("hat"), k=1),
        store.similarity_search_by_id(ids[2], k=1),
        store.similarity_search_by_vector(store.collection.vectors([drawn("hat")])[0].tolist(), k=1),
        store.get_by_ids([ids[2], "not there"]),
        asyncio.run(store.asimilarity_search("hat", k=1)),
    ):
        assert [each.id for each in found] == [ids[2]]
    assert {each.id for each in store.similarity_search("hat", k=2, where=field("number") > 2)} == {*ids[3:]}
    assert store.delete(ids[:2])
    assert store.collection.count() == 3


def test_what_names_a_file_or_an_id_is_searched_for_as_words(
    store: ImageVectorStore, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = store.add_images(files.values())
    monkeypatch.chdir(files["hat"].parent)
    retriever = ImageRetriever(store=store, k=5)
    for text in ("hat.png", str(files["hat"]), f"id:{ids[2]}", "https://example.org/hat.png", "../pictures/hat.png"):
        for found in (store.similarity_search(text, k=5), retriever.invoke(text)):
            vector = store.collection.vectors([drawn(text)])[0].tolist()  # as words
            assert [each.id for each in found] == [each.id for each in store.similarity_search_by_vector(vector, k=5)]
    with pytest.raises(QueryError, match="non-empty"):
        store.similarity_search(" ")


def test_a_retriever_of_pictures_within_texts(store: ImageVectorStore, files: dict[str, Path]) -> None:
    ids = store.add_images(files.values())
    sent = b64encode(files["coat"].read_bytes()).decode()
    pictured = ImageRetriever(store=store, query="image", k=1)
    for text in (sent, f"data:image/png;base64,{sent}", f"DATA:image/png;charset=x;base64,{sent[:40]}\n{sent[40:]}"):
        [found] = pictured.invoke(text)
        assert found.id == ids[3]
        assert found.metadata["score"] == pytest.approx(1, abs=1e-3)
    assert len(pictured.invoke(sent, k=3, where="number == 0")) == 3
    for text in (str(files["coat"]), "coat.png", "https://example.org/coat.png", "", "data:image/png;base64,", "!"):
        with pytest.raises((QueryError, UnreadableImage)):
            pictured.invoke(text)
    with pytest.raises(UnreadableImage, match="not an image"):
        pictured.invoke(b64encode(b"not a picture at all").decode())
    [same] = ImageRetriever(store=store, query="id", k=1).invoke(ids[0])
    assert same.id == ids[0]


def test_more_bytes_than_may_be_are_not_decoded() -> None:
    assert inline_picture(b64encode(bytes(100)).decode(), most=100).data == bytes(100)
    for size in (101, 102, 103, 10_000):
        with pytest.raises(QueryError, match="more than 100 bytes: send a smaller one"):
            inline_picture(b64encode(bytes(size)).decode(), most=100)


def test_relevance_diversity_and_mistakes(store: ImageVectorStore, files: dict[str, Path]) -> None:
    ids = store.add_images(files.values())
    found = store.similarity_search_with_relevance_scores("hat", k=5)
    assert found[0][1] == pytest.approx(1, abs=1e-3)
    assert all(0 <= score <= 1 for _, score in found)
    apart = store.max_marginal_relevance_search("hat", k=3, lambda_mult=0)
    assert apart[0].id == ids[2]
    same_as = store.max_marginal_relevance_search("hat", k=3, lambda_mult=1)
    assert [each.id for each in same_as] == [each.id for each in store.similarity_search("hat", k=3)]
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 5, "where": "width == 32"})
    assert retriever.invoke("hat")[0].id == ids[2]
    with pytest.raises(OptionError):
        store.similarity_search("hat", k=0)
    with pytest.raises(TypeError, match="wheer"):
        store.similarity_search("hat", wheer="width == 32")
    with pytest.raises(UsageError, match="delete_where"):
        store.delete()
    with pytest.raises(UsageError, match="add_images"):
        store.add_documents([Document(page_content="hat.png")])
    with pytest.raises(UsageError, match="5 pictures with 1 ids"):
        store.add_images(files.values(), ids=["one"])
    with pytest.raises(UsageError, match="leave embedding"):
        ImageVectorStore.from_texts(["hat"], object(), collection=store.collection)  # type: ignore[arg-type]


def test_ids_and_pictures_of_every_kind(photos: ImageCollection, files: dict[str, Path], tmp_path: Path) -> None:
    store = ImageVectorStore(photos, content="caption", names={"id": "number"}, consistency_level="Strong")
    ids = store.add_images(
        [files["hat"], files["coat"].read_bytes(), str(files["scarf"]), drawn("red shoe")],
        [{"caption": name, "id": number} for number, name in enumerate(("hat", "coat", "scarf", "red shoe"))],
        ids=["the-hat", "the-coat", None, None],
        keep=tmp_path / "kept",
    )
    assert ids[:2] == ["the-hat", "the-coat"]
    found = store.get_by_ids(ids)
    assert [each.id for each in found] == ids
    assert [each.page_content for each in found] == ["hat", "coat", "scarf", "red shoe"]
    assert [each.metadata["id"] for each in found] == [0, 1, 2, 3]
    for each in found:
        assert photos.reopen(each.metadata["uri"])
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        store.add_images([files["blue shoe"], tmp_path / "broken.png"])


def test_documents_by_what_opens_their_pictures(photos: ImageCollection, files: dict[str, Path]) -> None:
    store = ImageVectorStore.from_documents(
        [Document(page_content=name, metadata={"number": 7}) for name in files],
        None,  # type: ignore[arg-type]  # a collection has an encoder of its own
        collection=photos,
        content="caption",
        fields=["number"],
        picture=lambda document: files[document.page_content],
        consistency_level="Strong",
    )
    [best] = store.similarity_search("scarf", k=1)
    assert (best.page_content, best.metadata) == ("scarf", {"number": 7})
    assert photos.get([best.id or ""])[best.id or ""]["uri"] == str(files["scarf"])


def test_a_collection_without_words(lite_uri: str, files: dict[str, Path]) -> None:
    with ImageCollection.create("mute", definition=DEFINITION, uri=lite_uri, encoder=worded(texts=False)) as photos:
        store = ImageVectorStore(photos, consistency_level="Strong")
        store.add_images(files.values())
        with pytest.raises(QueryError, match="text"):
            store.similarity_search("hat")
        assert store.similarity_search_by_image(files["hat"], k=1)[0].metadata["uri"] == str(files["hat"])


def test_views(lite_uri: str, files: dict[str, Path]) -> None:
    definition = {**DEFINITION, "views": {"grid": 2}}
    with ImageCollection.create("parts", definition=definition, uri=lite_uri, encoder=worded()) as photos:
        store = ImageVectorStore(photos, consistency_level="Strong")
        ids = store.add_images(files.values())
        [best] = store.similarity_search("hat", k=1)
        assert (best.metadata["image_id"], best.metadata["view"]) == (ids[2], "whole")
        assert store.delete(ids[2:3])
        assert photos.count_pictures() == 4
