"""Explanations of encoders whose vectors can be worked out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder
from pictures import picture
from PIL import Image

from imgvec.encoders.protocol import Pixels, Tokens
from imgvec.errors import QueryError, TargetError, UsageError
from imgvec.explanation import Explanation, explained
from imgvec.explanation.shares import REGIONS
from imgvec.images.squares import seen
from imgvec.vectors import Vectors

GRID = 8


class MeanOfPatches(FakeEncoder):
    """The vector is the mean over patches of their colours and a constant, of unit length."""

    def tokens(self, pixels: Pixels) -> Sequence[Tokens]:
        found = []
        for each in pixels:
            side = each.shape[-1] // GRID
            cells = each.reshape(3, GRID, side, GRID, side).transpose(1, 3, 0, 2, 4).reshape(GRID * GRID, -1)
            parts = cells.astype(np.float32).reshape(GRID * GRID, 3, -1).mean(axis=2)
            found.append(Tokens((GRID, GRID), (cells - cells.mean(0))[None].astype(np.float32), parts))
        return found

    def encode(self, pixels: Pixels) -> Vectors:
        vectors = np.stack([each.parts.mean(axis=0) for each in self.tokens(pixels) if each.parts is not None])
        made: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return made


def pair() -> list[Image.Image]:
    return [picture(1, (90, 60)), picture(2, (64, 64))]


def test_shares_add_up_to_the_score_where_the_vector_is_a_mean() -> None:
    found = explained(pair(), ["a.jpg", "b.jpg"], MeanOfPatches())
    assert found.additive
    assert found.method == "tokens"
    assert found.query.shares.sum() == pytest.approx(found.score, abs=1e-4)
    assert found.hit.shares.sum() == pytest.approx(found.score, abs=1e-4)
    assert found.query.heat.shape == (GRID, GRID)


def test_without_tokens_it_is_what_the_score_loses() -> None:
    encoder = FakeEncoder()
    images = pair()
    found = explained(images, ["a", "b"], encoder)
    assert (found.method, found.additive, len(found.pairs)) == ("occlusion", False, 0)
    pixels = np.stack([encoder.prepare(image) for image in images])
    first, second = encoder.encode(pixels)
    without = pixels[0].copy()
    edges = np.linspace(0, 32, REGIONS + 1).round().astype(int)
    without[:, edges[2] : edges[3], edges[5] : edges[6]] = (
        pixels[0].mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    )
    assert found.query.shares[2, 5] == pytest.approx(
        first @ second - encoder.encode(without[None])[0] @ second, abs=1e-5
    )
    assert found.query.heat.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [(400, 300), (300, 401), (37, 64), (2000, 250), (224, 224)])
def test_what_a_crop_sees_of_a_picture(size: tuple[int, int]) -> None:
    edge = min(size)

    def middle(image: Image.Image) -> Any:
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        box = (left, top, left + edge, top + edge)
        return np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC, box=box)).transpose(2, 0, 1)

    left, top = (size[0] - edge) / 2, (size[1] - edge) / 2
    np.testing.assert_allclose(seen(size, middle), (left, top, left + edge, top + edge), atol=0.02 * edge)
    whole = seen(size, lambda image: np.asarray(image.resize((64, 64))).transpose(2, 0, 1))
    np.testing.assert_allclose(whole, (0, 0, *size), atol=0.02 * max(size))


def test_an_encoder_that_turns_pictures_is_refused() -> None:
    with pytest.raises(QueryError, match="more with a picture than to resize and crop"):
        seen((64, 64), lambda image: np.asarray(image.rotate(180)).transpose(2, 0, 1))


def test_boxes_heat_and_json() -> None:
    found = explained(pair(), ["a.jpg", "b.jpg"], MeanOfPatches())
    side = found.query
    np.testing.assert_allclose(side.seen, (0, 0, 90, 60), atol=2)
    x0, y0, x1, y1 = side.box(3, 5)
    np.testing.assert_allclose(
        (x1 - x0, y1 - y0), ((side.seen[2] - side.seen[0]) / 8, (side.seen[3] - side.seen[1]) / 8)
    )
    assert side.share_of_heat(side.seen) == pytest.approx(1, abs=1e-5)
    assert side.share_of_heat((x0, y0, x1, y1)) == pytest.approx(float(side.heat[3, 5]), abs=1e-6)
    said = json.loads(json.dumps(found.to_dict()))
    assert said["query"]["name"] == "a.jpg"
    assert said["query"]["size"] == [90, 60]
    assert len(said["pairs"]) == len(found.pairs)
    assert np.array(said["hit"]["heat"]).shape == (GRID, GRID)


def test_written_as_a_picture_or_a_page(tmp_path: Path) -> None:
    found: Explanation = explained(pair(), ["<b>a</b>.jpg", "b.jpg"], MeanOfPatches())
    with Image.open(found.save(tmp_path / "out.png")) as drawn:
        assert drawn.width > 480
    page = (found.save(str(tmp_path / "out.HTML"))).read_text(encoding="utf-8")
    assert "&lt;b&gt;a&lt;" in page
    assert "<b>a" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "data:image/png" in found._repr_html_()
    with pytest.raises(UsageError, match=r"\.png or \.html"):
        found.save(tmp_path / "out.pdf")
    with pytest.raises(TargetError, match="cannot be written"):
        found.save(tmp_path / "nowhere" / "out.png")
