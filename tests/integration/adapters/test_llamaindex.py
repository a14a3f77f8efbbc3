"""A collection as LlamaIndex's image retriever."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("llama_index.core", reason="the extra `llamaindex` is not installed")

from llama_index.core.schema import ImageNode, QueryBundle
from PIL import Image
from worded import DEFINITION, drawn, drawn_in, worded

from imgvec import ImageCollection
from imgvec.adapters.llamaindex import ImageRetriever
from imgvec.errors import QueryError, UnreadableImage

NAMES = ("hat", "coat", "scarf", "glove")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return drawn_in(tmp_path / "pictures", NAMES)


@pytest.fixture
def photos(lite_uri: str, folder: Path) -> Iterator[ImageCollection]:
    with ImageCollection.create("trip", definition=DEFINITION, uri=lite_uri, encoder=worded()) as photos:
        photos.ingest(folder, metadata={str(folder / f"{name}.png"): {"caption": name} for name in NAMES})
        yield photos


def test_pictures_by_words_pictures_and_vectors(photos: ImageCollection, folder: Path) -> None:
    retriever = ImageRetriever(photos, limit=2, text_field="caption", consistency_level="Strong")
    vector = photos.vectors([drawn("coat")])[0].tolist()
    for found in (
        retriever.text_to_image_retrieve("coat"),
        retriever.image_to_image_retrieve(str(folder / "coat.png")),
        retriever.text_to_image_retrieve(QueryBundle(query_str="", embedding=vector)),
        retriever.image_to_image_retrieve(QueryBundle(query_str="", embedding=vector)),
        asyncio.run(retriever.atext_to_image_retrieve("coat")),
        asyncio.run(retriever.aimage_to_image_retrieve(str(folder / "coat.png"))),
    ):
        assert len(found) == 2
        best = found[0]
        assert isinstance(best.node, ImageNode)
        assert best.score == pytest.approx(1, abs=1e-3)
        assert best.text == "coat"
        assert best.node.image_path == str(folder / "coat.png")
        assert best.node.image_mimetype == "image/png"
        assert best.node.metadata["width"] == 32
        assert photos.get([best.node_id])[best.node_id]["caption"] == "coat"
        with Image.open(best.node.resolve_image()) as opened:
            assert opened.size == (32, 32)
    assert ImageRetriever(photos, where="width > 32").text_to_image_retrieve("coat") == []


def test_what_names_a_file_or_an_id_is_searched_for_as_words(photos: ImageCollection, folder: Path) -> None:
    retriever = ImageRetriever(photos, consistency_level="Strong")
    for text in (str(folder / "hat.png"), f"id:{photos.search(folder / 'hat.png')[0].id}", "https://example.org/a.png"):
        vector = photos.vectors([drawn(text)])[0].tolist()
        wanted = retriever.text_to_image_retrieve(QueryBundle(query_str="", embedding=vector))
        assert [each.node_id for each in retriever.text_to_image_retrieve(text)] == [each.node_id for each in wanted]
    with pytest.raises(QueryError, match="image_path"):
        retriever.image_to_image_retrieve(QueryBundle(query_str="hat"))
    with pytest.raises(UnreadableImage, match="missing"):
        retriever.image_to_image_retrieve("gone.png")


def test_pictures_that_no_path_leads_to_come_inline(lite_uri: str, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(folder / "hat.png", "hat.png")
    with ImageCollection.create("packed", definition=DEFINITION, uri=lite_uri, encoder=worded()) as photos:
        photos.ingest(archive)
        [named] = ImageRetriever(photos, consistency_level="Strong").text_to_image_retrieve("hat")
        assert named.node.metadata["uri"] == f"{archive}!hat.png"
        assert isinstance(named.node, ImageNode)
        assert named.node.image_path is None
        whole = ImageRetriever(photos, pictures="inline", consistency_level="Strong")
        [inline] = whole.text_to_image_retrieve("hat")
        assert isinstance(inline.node, ImageNode)
        opened = inline.node.resolve_image()
        assert isinstance(opened, BytesIO)
        assert opened.getvalue() == (folder / "hat.png").read_bytes()
