"""What `decode` and `as_image` refuse, in which words, and what they pass on."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageFile

from imgvec.errors import QueryError, SettingsError, UnreadableImage
from imgvec.images import Decoded, DecodePolicy, as_image, decode

SMALL = picture(2, (16, 12))
ACCEPTED = "accepted are (H, W), (H, W, 1), (H, W, 3) and (H, W, 4), uint8 or float from 0 to 1"


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


class TestDecode:
    def test_pillow_that_pads_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with pytest.raises(SettingsError, match=r"LOAD_TRUNCATED_IMAGES is set.*pad truncated images; set it to False"):
            decode(saved(SMALL, "PNG"), uri="x")

    def test_what_is_said_of_a_cut_file(self) -> None:
        with pytest.raises(UnreadableImage) as caught:
            decode(saved(SMALL, "WEBP")[:-1], uri="u")
        said = (caught.value.uri, caught.value.reason, caught.value.detail)
        assert said == ("u", "truncated", "the file ends too early")

    def test_an_empty_file(self) -> None:
        with pytest.raises(UnreadableImage) as caught:
            decode(b"", uri="u")
        assert (caught.value.uri, caught.value.reason) == ("u", "empty")

    def test_the_bound_is_fifty_million_pixels(self) -> None:
        for call in (
            lambda: as_image(Image.new("1", (50_000, 1001))),
            lambda: decode(b"P4 50000 1001\n", uri="x"),
        ):
            with pytest.raises(UnreadableImage, match="the limit is 50,000,000"):
                call()

    def test_what_is_given_apart_and_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def decoded_apart(name: str, data: bytes, **options: Any) -> Any:
            asked.append((name, data, options))
            return SMALL, {"width": 1, "height": 2, "media_type": "image/x", "taken_at": 3}

        monkeypatch.setattr(sys.modules[decode.__module__], "decoded_apart", decoded_apart)
        monkeypatch.setattr("imgvec.images.recognise.find_spec", lambda name: 1)
        found = decode(b"FOVb", uri="u", max_pixels=7, min_side=8)
        assert found == Decoded(SMALL, 1, 2, "image/x", 3)
        assert asked == [("RAW", b"FOVb", {"uri": "u", "max_pixels": 7, "min_side": 8})]

    def test_an_opened_file_that_is_broken(self) -> None:
        data = saved(picture(1), "PNG")
        with pytest.raises(UnreadableImage) as caught:
            as_image(Image.open(io.BytesIO(data[: len(data) // 2])), uri="u")
        assert (caught.value.uri, caught.value.reason) == ("u", "truncated")
        assert caught.value.detail.startswith("OSError: ")

    def test_an_opened_file_by_the_collection_s_word(self) -> None:
        image = Image.fromarray(np.full((1, 2), 256, np.uint16))
        assert as_image(image, policy=DecodePolicy(sixteen_bit="full")).image.getpixel((0, 0)) == (1, 1, 1)
        assert as_image(image).image.getpixel((0, 0)) == (64, 64, 64)

    def test_what_is_no_image(self) -> None:
        with pytest.raises(QueryError, match="an image must be a PIL image or a NumPy array, not list"):
            as_image([1])  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("array", "says"),
        [
            (np.zeros(4), f"an array of shape (4,) is not an image: {ACCEPTED}"),
            (np.zeros((0, 4)), f"an array of shape (0, 4) is not an image: {ACCEPTED}"),
            (np.zeros((5, 4, 2)), f"an array of shape (5, 4, 2) is not an image: {ACCEPTED}"),
            (np.zeros((1, 1, 1, 1)), f"an array of shape (1, 1, 1, 1) is not an image: {ACCEPTED}"),
            *(
                (
                    np.zeros((n, 4, 5)),
                    f"an array of shape ({n}, 4, 5) is not an image: {ACCEPTED}; "
                    "channels come last: array.transpose(1, 2, 0)",
                )
                for n in (1, 3, 4)
            ),
            (np.full((2, 2), 1.01), f"a float array is not an image unless its values are from 0 to 1: {ACCEPTED}"),
            (np.full((2, 2), -0.01), f"a float array is not an image unless its values are from 0 to 1: {ACCEPTED}"),
            (np.full((2, 2), np.nan), f"a float array is not an image unless its values are from 0 to 1: {ACCEPTED}"),
            (np.zeros((2, 2), int), f"an array of int64 is not an image: {ACCEPTED}"),
            (np.zeros((2, 2), bool), f"an array of bool is not an image: {ACCEPTED}"),
        ],
    )
    def test_arrays_that_are_no_images(self, array: Any, says: str) -> None:
        with pytest.raises(QueryError) as caught:
            as_image(array)
        assert str(caught.value) == says

    def test_arrays_that_are(self) -> None:
        for shape in ((2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)):
            for array in (np.full(shape, 255, np.uint8), np.ones(shape), np.ones(shape, np.float32)):
                found = as_image(array)
                assert (found.width, found.height, found.image.getpixel((0, 0))) == (3, 2, (255, 255, 255))
        assert as_image(np.full((1, 1), 0.5)).image.getpixel((0, 0)) == (128, 128, 128)
        assert as_image(np.full((1, 1), 0.0)).image.getpixel((0, 0)) == (0, 0, 0)
