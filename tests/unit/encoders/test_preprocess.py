"""`prepare`, rescaled and normalised, is what the model's own image processor gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers
from tiny import picture

from imgvec.encoders import preprocess
from imgvec.encoders.preprocess import Preprocessing, from_processor
from imgvec.errors import EncoderUnavailable

PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTImageProcessorPil", {}),
    "clip": ("CLIPImageProcessorPil", {}),
    "dinov2": ("BitImageProcessorPil", {"size": {"shortest_edge": 256}}),
    "deit": ("DeiTImageProcessorPil", {}),
    "beit": ("BeitImageProcessorPil", {"do_center_crop": True, "size": {"height": 256, "width": 256}}),
    "siglip": ("SiglipImageProcessorPil", {"size": {"height": 384, "width": 384}}),
    "convnext below 384": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 224}}),
    "convnext from 384": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
    "not normalised": ("ViTImageProcessorPil", {"do_normalize": False}),
    "not rescaled": ("ViTImageProcessorPil", {"do_rescale": False}),
    "padded crop": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 201}}),
    "unknown to imgvec": ("LevitImageProcessorPil", {}),
}
SIZES = [(400, 533), (533, 400), (224, 224), (301, 299), (97, 61), (30, 200), (1000, 201)]


def processor(name: str) -> Any:
    kind, arguments = PROCESSORS[name]
    return getattr(transformers, kind)(**arguments)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_prepare_equals_the_processor(name: str, size: tuple[int, int]) -> None:
    image = picture(3, size)
    theirs = processor(name)(images=image, return_tensors="np")["pixel_values"][0]
    ours = from_processor(processor(name))
    pixels = ours.prepare(image)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, ours.image_size, ours.image_size)
    assert pixels.flags.c_contiguous
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (ours.mean, ours.std))
    scaled = (pixels.astype(np.float32) * np.float32(ours.rescale) - mean) / std
    # in levels of 0..255: torch rounds a bicubic weight to fewer bits than Pillow does
    levels = np.abs(scaled - theirs) * std / np.float32(ours.rescale)
    assert levels.max() < 2.01
    assert (levels > 0.01).mean() < 0.02


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name != "unknown to imgvec"])
def test_only_unknown_processors_are_called_themselves(name: str) -> None:
    assert from_processor(processor(name)).processor is None


def test_another_size_keeps_the_proportion_of_resize_and_crop() -> None:
    dinov2 = from_processor(processor("dinov2")).with_size(448)
    assert (dinov2.resize, dinov2.crop) == (512, 448)
    assert from_processor(processor("vit")).with_size(96).prepare(picture(1)).shape == (3, 96, 96)


def test_convnext_is_cropped_below_384_and_squashed_from_it_on() -> None:
    small = from_processor(processor("convnext below 384"))
    assert (small.resize, small.crop, small.squash) == (256, 224, False)
    large = small.with_size(384)
    assert (large.resize, large.crop, large.squash) == (384, None, True)


def test_a_banner_does_not_become_a_giant(monkeypatch: pytest.MonkeyPatch) -> None:
    dinov2 = from_processor(processor("dinov2"))
    banner = picture(2, (20_000, 10))
    peak = []
    resized = preprocess._resized

    def watched(image: Any, width: int, height: int, resample: int) -> Any:
        peak.append(width * height)
        return resized(image, width, height, resample)

    monkeypatch.setattr(preprocess, "_resized", watched)
    assert dinov2.prepare(banner).shape == (3, 224, 224)
    assert max(peak) <= 8 * 256 * 256


def test_a_size_below_one_is_refused() -> None:
    with pytest.raises(EncoderUnavailable, match="image_size"):
        from_processor(processor("vit")).with_size(0)


def test_what_a_fingerprint_sees() -> None:
    base = from_processor(processor("vit"))
    assert base.identity() == from_processor(processor("vit")).identity()
    other = Preprocessing(224, True, None, 3, base.rescale, base.mean, base.std)
    assert other.identity() != base.identity()
