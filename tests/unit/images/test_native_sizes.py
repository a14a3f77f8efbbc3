"""How small an image is handed back by the process that decoded it: never below twice what the encoder takes."""

from __future__ import annotations

import pytest
from pictures import picture

from imgvec.images.native import _smaller
from imgvec.images.pixels import Decoded


@pytest.mark.parametrize(
    ("size", "min_side", "smaller"),
    [
        ((640, 480), None, (640, 480)), ((640, 480), 30, (80, 60)), ((640, 480), 31, (160, 120)),
        ((640, 480), 60, (160, 120)), ((640, 480), 61, (320, 240)), ((480, 640), 120, (240, 320)),
        ((640, 480), 121, (640, 480)), ((64, 48), 100, (64, 48)), ((6400, 48), 3, (800, 6)),
    ],
)  # fmt: skip
def test_by_which_step(size: tuple[int, int], min_side: int | None, smaller: tuple[int, int]) -> None:
    seen = Decoded(picture(1, size), *size, "image/heic", 7)
    found = _smaller(seen, min_side)
    assert found.image.size == smaller
    assert (found.width, found.height, found.media_type, found.taken_at) == (*size, "image/heic", 7)
