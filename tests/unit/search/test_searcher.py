from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from PIL import Image
from records import read_source

from imgvec.definition import Definition
from imgvec.errors import FilterError, OptionError, QueryError, UnreadableImage
from imgvec.images import DecodePolicy
from imgvec.ingest import Resources, ingest
from imgvec.search.answer import Answer
from imgvec.search.guessing import all_guessed
from imgvec.search.searcher import Searcher


@pytest.fixture
def filled(pictures: Path, store: FakeStore, encoder: FakeEncoder) -> FakeStore:
    resources = Resources(threads=2, max_pixels=10**7, max_bytes=10**7)
    ingest(read_source(pictures), store, {"vector": encoder}, Definition.load("photos").row_fields, resources)
    return store


def many(searcher: Searcher, queries: Any, **options: Any) -> list[Answer]:
    """As `ImageCollection.search_many` is: forms are guessed."""
    return searcher.search(all_guessed(queries), **options)


def vectors_of(searcher: Searcher, queries: Any) -> Any:
    return searcher.vectors(all_guessed(queries))


@pytest.fixture
def searcher(filled: FakeStore, encoder: FakeEncoder) -> Searcher:
    return Searcher(filled, lambda _: encoder, max_pixels=10**7, max_bytes=10**7)


def test_the_same_image_in_every_form_gives_the_same_hits(
    searcher: Searcher, filled: FakeStore, pictures: Path
) -> None:
    path = pictures / "album0" / "04.jpg"
    with Image.open(path) as opened:
        array = np.asarray(opened)
        forms: list[Any] = [str(path), path, path.read_bytes(), opened, array, array.astype(np.float32) / 255]
        [row] = [row for row in filled.rows.values() if row["uri"] == str(path)]
        forms += [row["vector"], row["vector"].tolist(), f"id:{row['id']}"]
        answers = many(searcher, forms, limit=5)
    for answer in answers:
        assert [hit.id for hit in answer] == [hit.id for hit in answers[0]]
        np.testing.assert_allclose([h.score for h in answer], [h.score for h in answers[0]], atol=1e-4)
    assert answers[0][0].uri == str(path)
    assert answers[0][0].score == pytest.approx(1, abs=1e-5)


def test_hits_are_those_of_an_exact_search(searcher: Searcher, filled: FakeStore, encoder: FakeEncoder) -> None:
    query = picture(77)
    vector = encoder.encode_images([query])[0]
    exact = sorted(((float(row["vector"] @ vector), id_) for id_, row in filled.rows.items()), reverse=True)
    [hits] = many(searcher, [query], limit=7)
    assert [hit.id for hit in hits] == [id_ for _, id_ in exact[:7]]


def test_texts_and_images_keep_their_places(filled: FakeStore, pictures: Path) -> None:
    encoder = FakeEncoder(text=True)
    searcher = Searcher(filled, lambda _: encoder, max_pixels=10**7, max_bytes=10**7)
    path = pictures / "album1" / "05.jpg"
    vectors = vectors_of(searcher, ["a red dress", path, "a shoe", np.ones(16)])
    np.testing.assert_allclose(vectors[[0, 2]], encoder.encode_texts(["a red dress", "a shoe"]), atol=1e-6)
    np.testing.assert_allclose(vectors[1], vectors_of(searcher, [path])[0], atol=1e-6)
    np.testing.assert_allclose(vectors[3], 1)


def test_text_without_a_text_side(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match="no text side"):
        many(searcher, ["a red dress"])


def test_a_mistyped_path_is_not_searched_for_as_text(filled: FakeStore) -> None:
    encoder = FakeEncoder(text=True)
    searcher = Searcher(filled, lambda _: encoder, max_pixels=10**7, max_bytes=10**7)
    with pytest.raises(UnreadableImage, match="missing"):
        many(searcher, ["photos/cat.jpg"])


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize(
    "url", ["https://example.org/cat.jpg", "HTTP://me:secret@example.org/", "s3://bucket/a", "file:///a.jpg"]
)
def test_a_url_is_neither_fetched_nor_a_text(filled: FakeStore, url: str, text: bool) -> None:
    searcher = Searcher(filled, lambda _: FakeEncoder(text=text), max_pixels=10**7, max_bytes=10**7)
    with pytest.raises(QueryError, match="is a URL, and queries are not fetched: pass the path") as raised:
        many(searcher, [url])
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (np.ones(15), "the vector has dim 15, but"),
        ("id:nobody", "no row with id"),
        (np.ones((2, 3, 4, 5)), "is not a query"),
        (np.array(["a"]), "is not a query"),
        (object(), "is not a query"),
        ([[1], [1, 2]], "is not a query"),
        (np.ones((3, 20, 20), np.uint8), "H, W"),
    ],
)
def test_what_is_no_query(searcher: Searcher, query: Any, problem: str) -> None:
    with pytest.raises(QueryError, match=problem):
        many(searcher, [query])


def test_one_query_where_many_belong(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match="search takes one"):
        many(searcher, "query.jpg")


def test_no_queries(searcher: Searcher) -> None:
    assert many(searcher, []) == []


def test_pages_continue_each_other(searcher: Searcher) -> None:
    query = picture(50)
    [whole] = many(searcher, [query], limit=9)
    pages = [many(searcher, [query], limit=3, offset=offset)[0] for offset in (0, 3, 6)]
    assert [hit.id for page in pages for hit in page] == [hit.id for hit in whole]


def test_min_score(searcher: Searcher) -> None:
    query = picture(50)
    [whole] = many(searcher, [query], limit=20)
    middle = whole[10].score
    [cut] = many(searcher, [query], limit=20, min_score=middle)
    assert tuple(cut) == whole[:11]


@pytest.mark.parametrize("bad", [{"limit": 0}, {"offset": -1}])
def test_bounds(searcher: Searcher, bad: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="must be a whole number, at least"):
        many(searcher, [picture(1)], **bad)


def test_filters_are_checked_before_anything_is_sent(searcher: Searcher) -> None:
    with pytest.raises(FilterError, match="alubm"):
        many(searcher, [picture(1)], where="alubm == 'x'")


def test_output_fields(searcher: Searcher, filled: FakeStore) -> None:
    [hits] = many(searcher, [picture(1)], limit=1, output_fields=["album"])
    assert dict(hits[0].fields) == {"album": ""}
    filled.dynamic = False
    with pytest.raises(QueryError, match="no field 'nothing'"):
        many(searcher, [picture(1)], output_fields=["nothing"])


@pytest.mark.parametrize(
    "query", ["id:x", Path("a.jpg"), b"\xff\xd8", picture(1)], ids=lambda each: type(each).__name__
)
def test_one_query_is_not_many(searcher: Searcher, query: Any) -> None:
    with pytest.raises(QueryError, match="search_many takes a sequence of queries; search takes one"):
        many(searcher, query)


def test_the_caps_hold_for_images_in_every_form(filled: FakeStore, encoder: FakeEncoder, pictures: Path) -> None:
    path = pictures / "album0" / "04.jpg"
    searcher = Searcher(filled, lambda _: encoder, max_pixels=64 * 48 - 1, max_bytes=10**7)
    for query in (path, path.read_bytes(), picture(4), np.zeros((48, 64, 3), np.uint8)):
        with pytest.raises(UnreadableImage) as caught:
            many(searcher, [query])
        assert caught.value.reason == "too many pixels"
    with pytest.raises(UnreadableImage, match="too large"):
        many(Searcher(filled, lambda _: encoder, max_pixels=10**7, max_bytes=100), [path])


def test_the_formats_that_are_read_hold_for_queries_too(
    filled: FakeStore, encoder: FakeEncoder, pictures: Path
) -> None:
    path = pictures / "album0" / "04.jpg"
    policy = DecodePolicy(formats=("PNG",))
    searcher = Searcher(filled, lambda _: encoder, max_pixels=10**7, max_bytes=10**7, decoding=policy)
    for query in (path, path.read_bytes()):
        with pytest.raises(UnreadableImage, match="JPEG is not on the allow-list"):
            many(searcher, [query])
