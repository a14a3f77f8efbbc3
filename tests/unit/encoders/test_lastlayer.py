from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.lastlayer import ClassTokenLayer, read_every_token

pytestmark = pytest.mark.slow

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)


@pytest.mark.parametrize("name", ["dinov2", "dinov2_with_registers"])
@pytest.mark.parametrize("layer", [None, 2])
def test_the_class_token_is_the_same_without_the_others(
    checkpoints: Callable[[str], Path], name: str, layer: int | None
) -> None:
    encoder = load_encoder(EncoderSpec(str(checkpoints(name)), pooling="cls", layer=layer), device="cpu", dtype="fp32")
    blocks = encoder._readout.vision.encoder.layer
    assert isinstance(blocks[-1], ClassTokenLayer)
    side = encoder.binding.image_size
    pixels = np.ascontiguousarray(PIXELS[:, :, :side, :side])
    alone = encoder.encode(pixels)
    read_every_token(encoder._readout.vision)
    assert not isinstance(blocks[-1], ClassTokenLayer)
    np.testing.assert_allclose(alone, encoder.encode(pixels), atol=1e-6)


@pytest.mark.parametrize(("name", "pooling"), [("dinov2", "mean"), ("vit", "cls")])
def test_other_readings_and_families_keep_their_block(
    checkpoints: Callable[[str], Path], name: str, pooling: str
) -> None:
    encoder = load_encoder(EncoderSpec(str(checkpoints(name)), pooling=pooling), device="cpu", dtype="fp32")
    assert not any(isinstance(module, ClassTokenLayer) for module in encoder._readout.modules())
