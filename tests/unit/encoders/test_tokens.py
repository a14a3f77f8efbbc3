"""Tokens of tiny random models of several families."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import picture

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection
from imgvec.encoders.protocol import HasTokens
from imgvec.encoders.tokens import ARTEFACT, _mended

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]


def loaded(checkpoints: Checkpoints, family: str, pooling: str | None = None) -> HuggingFaceEncoder:
    spec = EncoderSpec(str(checkpoints(family)), pooling=pooling)
    encoder = load_encoder(spec, device="cpu", dtype="fp32")
    assert isinstance(encoder, HuggingFaceEncoder)
    return encoder


@pytest.mark.parametrize(
    ("family", "side"),
    [("vit", 4), ("deit", 4), ("dinov2", 4), ("dinov2_with_registers", 4), ("clip", 4), ("siglip", 4)],
)
def test_each_patch_has_a_token_in_each_layer_that_is_read(checkpoints: Checkpoints, family: str, side: int) -> None:
    encoder = loaded(checkpoints, family)
    pixels = np.stack([encoder.prepare(picture(seed, (40, 50))) for seed in range(3)])
    before = encoder.encode(pixels)
    found = encoder.tokens(pixels)
    assert found is not None
    for each in found:
        assert each.grid == (side, side)
        assert each.patches.shape == (2, side * side, 32)
        assert np.isfinite(each.patches).all()
        assert each.parts is None
    [alone] = encoder.tokens(pixels[1:2]) or []
    np.testing.assert_allclose(alone.patches, found[1].patches, atol=1e-4)
    np.testing.assert_array_equal(encoder.encode(pixels), before)  # nothing listens any more


@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_a_model_without_such_a_grid_has_none(checkpoints: Checkpoints, family: str) -> None:
    encoder = loaded(checkpoints, family)
    assert encoder.tokens(encoder.prepare(picture(1, (40, 50)))[None]) is None


def test_the_last_tokens_of_a_class_token_model_are_those_of_the_whole_model(checkpoints: Checkpoints) -> None:
    """`cls` leaves the other tokens of the last block out; `mean` has them."""
    short, whole = loaded(checkpoints, "dinov2", "cls"), loaded(checkpoints, "dinov2", "mean")
    pixels = short.prepare(picture(2, (40, 50)))[None]
    [one], [other] = short.tokens(pixels) or [], whole.tokens(pixels) or []
    np.testing.assert_allclose(one.patches, other.patches, atol=1e-5)


def test_the_parts_of_a_mean_make_its_vector_behind_a_projection_too(checkpoints: Checkpoints) -> None:
    encoder = loaded(checkpoints, "dinov2", "mean")
    rng = np.random.default_rng(0)
    mean, matrix = rng.standard_normal(32).astype(np.float32) / 9, rng.standard_normal((32, 8)).astype(np.float32)
    projected = ProjectedEncoder(encoder, Projection(mean, matrix), "learned:projection@0")
    pixels = encoder.prepare(picture(3, (40, 50)))[None]
    for one in (encoder, projected):
        assert isinstance(one, HasTokens)
        [found] = one.tokens(pixels) or []
        assert found.parts is not None
        vector = found.parts.mean(axis=0)
        np.testing.assert_allclose(vector / np.linalg.norm(vector), one.encode(pixels)[0], atol=1e-5)


def test_an_artefact_is_what_its_neighbours_are() -> None:
    layer = torch.arange(16, dtype=torch.float32).view(1, 16, 1).repeat(1, 1, 3)
    lengths = torch.ones(1, 16)
    lengths[0, 5] = ARTEFACT + 0.1
    lengths[0, 0] = ARTEFACT + 0.1
    mended = _mended(layer, lengths, 4)
    assert mended[0, 5, 0] == pytest.approx(np.mean([1, 2, 4, 6, 8, 9, 10]))
    assert mended[0, 0, 0] == pytest.approx(np.mean([1, 4]))
    untouched = [number for number in range(16) if number not in (0, 5)]
    torch.testing.assert_close(mended[0, untouched], layer[0, untouched])
