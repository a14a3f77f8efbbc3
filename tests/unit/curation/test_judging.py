from __future__ import annotations

import io

import numpy as np
import pytest
from copies import cropped, framed, jpeg, moved, scene, small
from PIL import Image, ImageOps

from imgvec.curation.judging import Relation, judged
from imgvec.curation.looks import Look, look

pytest.importorskip("cv2")


def seen(image: Image.Image | bytes) -> Look:
    opened = Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image
    pixels = np.asarray(opened.convert("RGB"))
    return look(pixels, (pixels.shape[1], pixels.shape[0]))


ORIGINAL = scene(1)


@pytest.mark.parametrize(
    ("copy", "mirrored", "framed_one"),
    [
        (jpeg(ORIGINAL, 10), False, ""),
        (cropped(ORIGINAL), False, ""),
        (ImageOps.mirror(ORIGINAL), True, ""),
        (ImageOps.mirror(cropped(ORIGINAL)), True, ""),
        (framed(ORIGINAL), False, "second"),
        (small(ORIGINAL), False, ""),
        (ImageOps.grayscale(ORIGINAL).convert("RGB"), False, ""),
    ],
    ids=["jpeg", "crop", "flip", "flipped crop", "frame", "small", "grey"],
)
def test_an_edited_copy_is_a_copy_from_both_sides(copy: Image.Image | bytes, mirrored: bool, framed_one: str) -> None:
    first, second = seen(ORIGINAL), seen(copy)
    there, back = judged(first, second), judged(second, first)
    assert there is not None
    assert back is not None
    assert (there.kind, there.mirrored, there.framed) == ("copy", mirrored, framed_one)
    assert (back.kind, back.mirrored, back.framed) == ("copy", mirrored, "first" if framed_one else "")
    assert there.scale * back.scale == pytest.approx(1, rel=0.03)


def test_what_a_copy_shows_and_how_fine() -> None:
    crop = judged(seen(ORIGINAL), seen(cropped(ORIGINAL)))
    assert crop is not None
    assert crop.first_share == pytest.approx(0.64, abs=0.02)
    assert crop.second_share > 0.97
    assert crop.scale == pytest.approx(1, abs=0.02)
    tiny = judged(seen(ORIGINAL), seen(small(ORIGINAL)))
    assert tiny is not None
    assert tiny.scale == pytest.approx(64 / 400, rel=0.03)
    grey = judged(seen(ORIGINAL), seen(ImageOps.grayscale(ORIGINAL).convert("RGB")))
    assert grey is not None
    assert grey.colours == (True, False)


@pytest.mark.parametrize("seed", range(2, 8))
def test_other_pictures_are_nothing(seed: int) -> None:
    assert judged(seen(ORIGINAL), seen(scene(seed))) is None


def test_empty_pictures_say_nothing() -> None:
    black, white = Image.new("RGB", (300, 200)), Image.new("RGB", (300, 200), (255, 255, 255))
    assert judged(seen(black), seen(black)) is None
    assert judged(seen(black), seen(white)) is None
    assert judged(seen(black), seen(ORIGINAL)) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_camera_that_moves_makes_a_burst(seed: int) -> None:
    frames = [seen(moved(ORIGINAL, seed)), seen(moved(ORIGINAL, seed + 100))]
    found = judged(*frames)
    assert found is not None
    assert found.kind == "burst"


def test_dates_tell_a_burst_from_a_copy() -> None:
    first, second = seen(ORIGINAL), seen(jpeg(ORIGINAL, 60))

    def kind(*taken: int | None) -> str | None:
        found = judged(first, second, taken=(taken[0], taken[1]), burst_seconds=60)
        return None if found is None else found.kind

    assert kind(None, None) == kind(5_000, None) == kind(5_000, 5_000) == kind(5_000, 5_400) == "copy"
    assert kind(5_000, 7_000) == kind(7_000, 5_000) == "burst"
    assert kind(5_000, 500_000) is None  # the same view from one place, at another time


def test_a_relation_turned_twice_is_itself() -> None:
    one = Relation("copy", True, 0.99, 0.5, 0.6, 1.0, "second", 2.0, (True, False))
    assert one.turned() == Relation("copy", True, 0.99, 2.0, 1.0, 0.6, "first", 0.5, (False, True))
    assert one.turned().turned() == one
