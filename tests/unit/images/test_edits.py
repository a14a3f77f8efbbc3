"""Edited copies are what their names say."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from pictures import picture
from PIL import Image, JpegImagePlugin

from imgvec.images import decode
from imgvec.images.edits import EDITS, thumbnail

SCENE = picture(1, (200, 100))


def opened(data: bytes) -> JpegImagePlugin.JpegImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return image


def off(data: bytes, expected: Image.Image) -> float:
    seen = decode(data, uri="x").image
    assert seen.size == expected.size
    return float(np.abs(np.asarray(seen, int) - np.asarray(expected, int)).mean())


@pytest.fixture(params=EDITS)
def edit(request: pytest.FixtureRequest) -> Iterator[tuple[str, bytes]]:
    before = SCENE.tobytes()
    yield request.param, EDITS[request.param](SCENE)
    assert SCENE.tobytes() == before


def test_each_is_a_jpeg_of_the_quality_it_says(edit: tuple[str, bytes]) -> None:
    name, data = edit
    reference = io.BytesIO()
    SCENE.save(reference, "JPEG", quality=10 if name == "jpeg quality 10" else 90)
    assert opened(data).quantization == opened(reference.getvalue()).quantization
    assert (0x0112 in opened(data).getexif()) == (name == "exif rotation")


def test_what_each_shows() -> None:
    assert set(EDITS) == {"crop", "flip", "jpeg quality 10", "grey", "exif rotation"}
    assert off(EDITS["crop"](SCENE), SCENE.crop((30, 15, 170, 85))) < 3
    assert off(EDITS["flip"](SCENE), SCENE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 3
    assert off(EDITS["jpeg quality 10"](SCENE), SCENE) < 15
    assert off(EDITS["grey"](SCENE), SCENE.convert("L").convert("RGB")) < 3
    assert opened(EDITS["grey"](SCENE)).mode == "RGB"


def test_a_crop_is_rounded() -> None:
    assert decode(EDITS["crop"](picture(1, (17, 11))), uri="x").image.size == (11, 7)


def test_a_rotated_one_lies_on_its_side_and_says_so() -> None:
    data = EDITS["exif rotation"](SCENE)
    assert opened(data).size == (100, 200)
    assert off(data, SCENE) < 3


@pytest.mark.parametrize(("given", "size"), [({}, (160, 80)), ({"side": 50}, (50, 25)), ({"side": 300}, (200, 100))])
def test_a_thumbnail(given: dict[str, int], size: tuple[int, int]) -> None:
    before = SCENE.tobytes()
    data = thumbnail(SCENE, **given)
    assert SCENE.tobytes() == before
    assert SCENE.size == (200, 100)
    assert off(data, SCENE.resize(size, Image.Resampling.BICUBIC)) < 4
    reference = io.BytesIO()
    SCENE.save(reference, "JPEG", quality=80)
    assert opened(data).quantization == opened(reference.getvalue()).quantization
