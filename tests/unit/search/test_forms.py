"""Forms are values: what each takes, and the vector it becomes."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from PIL import Image

from imgvec import Crop, ImageBytes, ImageFile, Like, Pixels, StoredId, Text, VectorQuery
from imgvec.errors import QueryError, UnreadableImage
from imgvec.images import as_image, decode
from imgvec.search.forms import Form
from imgvec.search.searcher import Searcher


def unit(*numbers: float) -> Any:
    vector = np.zeros(16, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


@pytest.fixture
def stored() -> FakeStore:
    store = FakeStore()
    rows = [{"id": id_, "uri": f"/there/{id_}.jpg", "album": ""} for id_ in ("a", "b", "c")]
    store.upsert(rows, np.stack([unit(1), unit(0, 1), unit(1, 1)]))
    return store


@pytest.fixture
def searcher(stored: FakeStore) -> Searcher:
    encoder = FakeEncoder(text=True)
    return Searcher(stored, lambda _: encoder, max_pixels=10**7, max_bytes=10**7)


def jpeg(image: Image.Image, orientation: int | None = None) -> bytes:
    data, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    image.save(data, "JPEG", quality=95, exif=exif)
    return data.getvalue()


class TestMix:
    def test_unit_vectors_are_weighted_and_the_sum_is_brought_to_unit_length(self, searcher: Searcher) -> None:
        [vector] = searcher.vectors([Like([(StoredId("a"), 3), (StoredId("b"), 4)])])
        np.testing.assert_allclose(vector, unit(3, 4), atol=1e-6)

    def test_a_part_counts_by_its_weight_and_not_by_its_length(self, searcher: Searcher) -> None:
        long = VectorQuery(100 * unit(1))
        [vector] = searcher.vectors([Like([(long, 1), (StoredId("b"), 1)])])
        np.testing.assert_allclose(vector, unit(1, 1), atol=1e-6)

    def test_a_negative_weight_leads_away(self, searcher: Searcher) -> None:
        [vector] = searcher.vectors([Like([(StoredId("c"), 2**0.5), (StoredId("a"), -1)])])
        np.testing.assert_allclose(vector, unit(0, 1), atol=1e-6)
        [away] = searcher.vectors([Like([(StoredId("a"), -1)])])
        np.testing.assert_allclose(away, -unit(1), atol=1e-6)

    def test_mixes_of_mixes_and_of_every_form(self, searcher: Searcher) -> None:
        inner = Like([(StoredId("a"), 1), (StoredId("b"), 1)])
        forms: list[Form] = [Text("a red dress"), Like([(inner, 1), (Pixels(picture(1)), 0.5)]), StoredId("b")]
        text, mixed, last = searcher.vectors(forms)
        one = searcher.vectors([Pixels(picture(1))])[0]
        np.testing.assert_allclose(text, searcher.vectors([Text("a red dress")])[0], atol=1e-6)
        expected = unit(1, 1) + 0.5 * one
        np.testing.assert_allclose(mixed, expected / np.linalg.norm(expected), atol=1e-6)
        np.testing.assert_allclose(last, unit(0, 1))

    def test_one_pass_through_the_encoder_for_the_parts_of_all(self, stored: FakeStore) -> None:
        encoder = FakeEncoder(batch_size=64)
        calls = []
        encode_images = encoder.encode_images
        encoder.encode_images = lambda images: calls.append(len(images)) or encode_images(images)  # type: ignore
        searcher = Searcher(stored, lambda _: encoder, max_pixels=10**7, max_bytes=10**7)
        pair = Like([(Pixels(picture(1)), 1), (Pixels(picture(2)), 1)])
        searcher.vectors([pair, Pixels(picture(3)), Like([(Crop(Pixels(picture(4)), (0, 0, 9, 9)), 1)])])
        assert calls == [4]

    @pytest.mark.parametrize(
        "parts",
        [
            [(StoredId("a"), 1), (StoredId("a"), -1)],
            [(StoredId("a"), 5), (VectorQuery(unit(1, 0.001)), -5)],
            [(VectorQuery(unit(1)), 1), (VectorQuery(-unit(1)), 1)],
        ],
    )
    def test_a_mix_that_cancels_out_is_refused(self, searcher: Searcher, parts: Any) -> None:
        with pytest.raises(QueryError, match="the mix cancels out"):
            searcher.vectors([Like(parts)])

    def test_a_small_difference_that_an_encoder_can_tell_is_a_direction(self, searcher: Searcher) -> None:
        [vector] = searcher.vectors([Like([(VectorQuery(unit(1, 0.01)), 1), (StoredId("a"), -1)])])
        assert vector @ unit(0, 1) > 0.999

    @pytest.mark.parametrize("bad", [np.zeros(16), np.full(16, np.nan)])
    def test_a_part_that_points_nowhere(self, searcher: Searcher, bad: Any) -> None:
        with pytest.raises(QueryError, match="length 0 cannot be part of a mix"):
            searcher.vectors([Like([(VectorQuery(bad), 1), (StoredId("a"), 1)])])


class TestCrop:
    def test_the_part_is_cut_out_before_it_is_encoded(self, searcher: Searcher, tmp_path: Path) -> None:
        image = picture(5, (640, 480))
        image.save(tmp_path / "a.png")
        box = (100, 60, 420, 300)
        wanted = searcher.vectors([Pixels(image.crop(box))])[0]
        data = (tmp_path / "a.png").read_bytes()
        for form in (ImageFile(tmp_path / "a.png"), ImageBytes(data), Pixels(image), Pixels(np.asarray(image))):
            np.testing.assert_allclose(searcher.vectors([Crop(form, box)])[0], wanted, atol=1e-6)
        twice = Crop(Crop(Pixels(image), (50, 10, 640, 480)), (50, 50, 370, 290))
        np.testing.assert_allclose(searcher.vectors([twice])[0], wanted, atol=1e-6)

    def test_the_box_is_in_pixels_of_the_whole_jpeg_and_not_of_its_fast_decoding(self, searcher: Searcher) -> None:
        data = jpeg(picture(6, (1600, 1200)))
        assert decode(data, uri="x", min_side=32).image.width < 1600
        box = (800, 600, 1600, 1200)
        wanted = searcher.vectors([Pixels(decode(data, uri="x").image.crop(box))])[0]
        np.testing.assert_allclose(searcher.vectors([Crop(ImageBytes(data), box)])[0], wanted, atol=1e-6)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_box_is_in_the_upright_picture(self, searcher: Searcher, orientation: int) -> None:
        data = jpeg(picture(7, (160, 100)), orientation)
        upright = decode(data, uri="x").image
        box = (10, 20, 70, 90)
        wanted = searcher.vectors([Pixels(upright.crop(box))])[0]
        with Image.open(io.BytesIO(data)) as opened:
            assert as_image(opened).image.size == upright.size
            for form in (ImageBytes(data), Pixels(opened)):
                np.testing.assert_allclose(searcher.vectors([Crop(form, box)])[0], wanted, atol=1e-6)

    def test_a_box_that_does_not_lie_in_the_picture(self, searcher: Searcher) -> None:
        for box in ((0, 0, 65, 48), (0, 0, 64, 49)):
            with pytest.raises(QueryError, match="is not inside the picture, which is 64 x 48"):
                searcher.vectors([Crop(Pixels(picture(1)), box)])
        searcher.vectors([Crop(Pixels(picture(1)), (0, 0, 64, 48))])

    def test_a_stored_picture_is_opened_again(self, stored: FakeStore) -> None:
        image, opened = picture(8, (200, 100)), []

        def reopen(uri: str, *, hashed: str | None) -> bytes:
            opened.append((uri, hashed))
            return jpeg(image)

        searcher = Searcher(stored, lambda _: FakeEncoder(), max_pixels=10**7, max_bytes=10**7, reopen=reopen)
        stored.rows["a"]["content_hash"] = "h"  # which tells another picture of the name
        box = (0, 0, 50, 50)
        again = searcher.vectors([Crop(StoredId("a"), box)])[0]
        assert opened == [("/there/a.jpg", "h")]
        wanted = searcher.vectors([Pixels(decode(jpeg(image), uri="x").image.crop(box))])[0]
        np.testing.assert_allclose(again, wanted, atol=1e-6)
        with pytest.raises(QueryError, match="no row with id 'z'"):
            searcher.vectors([Crop(StoredId("z"), box)])

    def test_where_stored_pictures_cannot_be_opened(self, searcher: Searcher) -> None:
        with pytest.raises(QueryError, match=r"/there/a\.jpg cannot be reopened here"):
            searcher.vectors([Crop(StoredId("a"), (0, 0, 1, 1))])


def test_a_stored_id_and_a_vector_load_no_encoder(stored: FakeStore) -> None:
    def never(_: str) -> FakeEncoder:
        raise AssertionError

    searcher = Searcher(stored, never, max_pixels=1, max_bytes=1)
    mix = Like([(StoredId("a"), 1), (VectorQuery(unit(1)), 1)])
    assert searcher.vectors([StoredId("a"), VectorQuery(unit(1)), mix]).shape == (3, 16)
    assert searcher.vectors([]).shape == (0, 16)


def test_an_image_file_of_nobodys_home(searcher: Searcher) -> None:
    with pytest.raises(UnreadableImage, match="missing"):
        searcher.vectors([ImageFile("~nobody_at_all/a.jpg")])


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a\0.jpg", "unusable name"), ("\ud800.jpg", "unusable name"), ("x" * 300 + ".jpg", "unusable name"),
        ("loop.jpg", "not a regular file .a symbolic link"), ("gone.jpg", "missing"),
    ],
)  # fmt: skip
def test_an_image_file_that_cannot_be_one(searcher: Searcher, tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "again.jpg")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(UnreadableImage, match=problem):
        searcher.vectors([ImageFile(f"{tmp_path}/{name}")])


def test_an_image_file_at_a_url_is_not_fetched(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match=r"'https://there/a\.jpg' is a URL, and queries are not fetched"):
        searcher.vectors([ImageFile("https://me:secret@there/a.jpg")])


def test_a_vector_beyond_float32_is_not_finite() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(VectorQuery([1e300, 1.0]).array).tolist() == [True, False]


class Unwilling:
    def __array__(self, *_: object, **__: object) -> None:
        raise RuntimeError("it wants gradients")


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: Text(""), "Text takes a non-empty string"),
        (lambda: Text("  "), "Text takes a non-empty string"),
        (lambda: Text(b"x"), "Text takes a non-empty string"),  # type: ignore[arg-type]
        (lambda: StoredId(""), "StoredId takes the id of a row"),
        (lambda: ImageBytes("x"), "ImageBytes takes bytes, not str"),  # type: ignore[arg-type]
        (lambda: VectorQuery([[1.0]]), r"shape \(1, 1\) is not a vector"),
        (lambda: VectorQuery(["a"]), "is not a vector"),
        (lambda: VectorQuery([[1], [1, 2]]), "^a list is not a vector: "),
        (lambda: Crop(Text("x"), (0, 0, 1, 1)), "a Text has no picture to crop"),  # type: ignore[arg-type]
        (lambda: Crop(VectorQuery([1.0]), (0, 0, 1, 1)), "no picture to crop"),  # type: ignore[arg-type]
        (lambda: Crop(ImageFile("x"), (0, 0, 1)), "must be x0, y0, x1, y1"),  # type: ignore[arg-type]
        (lambda: Crop(ImageFile("x"), (0, 0, 1.5, 2)), "in whole pixels"),  # type: ignore[arg-type]
        (lambda: Crop(ImageFile("x"), (0, 0, 0, 1)), "0 <= x0 < x1 and 0 <= y0 < y1"),
        (lambda: Crop(ImageFile("x"), (0, 5, 1, 5)), "0 <= x0 < x1 and 0 <= y0 < y1"),
        (lambda: Crop(ImageFile("x"), (-1, 0, 1, 1)), "0 <= x0 < x1"),
        (lambda: Crop(ImageFile("x"), None), "must be x0, y0, x1, y1 in whole pixels, not None"),  # type: ignore[arg-type]
        (lambda: ImageFile(""), "ImageFile takes the path of an image, not ''"),
        (lambda: ImageFile(b"a.jpg"), "ImageFile takes the path of an image"),  # type: ignore[arg-type]
        (lambda: ImageFile(None), "ImageFile takes the path of an image, not None"),  # type: ignore[arg-type]
        (lambda: Text("a\ud800"), r"Text takes Unicode text, not 'a\\ud800'"),
        (lambda: StoredId("\udcff"), "StoredId takes the id of a row"),
        (lambda: VectorQuery(Unwilling()), "an? Unwilling is not a vector: it wants gradients"),  # type: ignore[arg-type]
        (lambda: Like(None), r"Like takes \(form, weight\) pairs, not None"),  # type: ignore[arg-type]
        (lambda: Like([Text("x")]), r"Like takes \(form, weight\) pairs, not \[Text"),  # type: ignore[list-item]
        (lambda: Like([(Text("x"), 1, 2)]), r"Like takes \(form, weight\) pairs"),  # type: ignore[list-item]
        (lambda: Like([(Text("x"), 10**400)]), "the weight must be a number"),
        (lambda: Like([(Text("x"), 1e300)]), "the weight must be a number"),
        (lambda: Like([]), "at least one"),
        (lambda: Like([("x", 1)]), "a str is not a query form"),  # type: ignore[list-item]
        (lambda: Like([(Text("x"), 0)]), "the weight must be a number other than 0, not 0"),
        (lambda: Like([(Text("x"), float("nan"))]), "the weight must be .*, not nan"),
        (lambda: Like([(Text("x"), float("inf"))]), "the weight must be .*, not inf"),
        (lambda: Like([(Text("x"), "1")]), "the weight must be .*, not '1'"),  # type: ignore[list-item]
        (lambda: Like([(Text("x"), True)]), "the weight must be .*, not True"),
    ],
)
def test_what_a_form_does_not_take(made: Any, problem: str) -> None:
    with pytest.raises(QueryError, match=problem):
        made()


def test_forms_are_frozen_values() -> None:
    assert Text("x") == Text("x", guessed=True)
    assert Crop(ImageFile("a"), (0, 0, 1, 1)) == Crop(ImageFile("a"), (0, 0, np.int64(1), 1))  # type: ignore[arg-type]
    assert len({StoredId("a"), StoredId("a"), Like([(StoredId("a"), 1)]), Like([(StoredId("a"), 1.0)])}) == 2
    with pytest.raises(AttributeError):
        Text("x").words = "y"  # type: ignore[misc]
    numbers = [1.0, 2.0]
    query = VectorQuery(np.array(numbers))
    assert query.array.dtype == np.float32
    given = np.array(numbers, np.float32)
    kept = VectorQuery(given)
    given[0] = 9
    assert kept.array.tolist() == numbers
    assert ImageBytes(bytearray(b"x")).data == b"x"  # type: ignore[arg-type]


def test_a_form_as_json_holds_no_pixels() -> None:
    forms: list[Form] = [
        ImageFile(Path("a.jpg")), ImageBytes(b"12345"), Pixels(picture(1)), Pixels(np.zeros((4, 6, 3), np.uint8)),
        Text("x"), StoredId("a"), VectorQuery([1.0, 2.0]), Crop(ImageFile("a"), (0, 0, 1, 2)),
        Like([(Text("x"), 1), (StoredId("a"), -0.5)]),
    ]  # fmt: skip
    assert json.loads(json.dumps([form.to_dict() for form in forms])) == [
        {"image": "a.jpg"}, {"bytes": 5}, {"pixels": [64, 48]}, {"pixels": [6, 4]}, {"text": "x"}, {"id": "a"},
        {"vector": 2}, {"crop": {"image": "a"}, "box": [0, 0, 1, 2]},
        {"like": [{"text": "x", "weight": 1.0}, {"id": "a", "weight": -0.5}]},
    ]  # fmt: skip
    assert len(repr(forms)) < 1000
