"""The encoder equals the plain transformers pipeline, keeps the protocol's promises, and fails in plain words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import TINY, picture, save_tiny

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.encoders.protocol import Encoder
from imgvec.encoders.quiet import quiet
from imgvec.errors import EncoderError, EncoderUnavailable, QueryError

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]
IMAGES = [picture(seed, size) for seed, size in enumerate([(64, 48), (48, 64), (40, 40), (90, 33), (33, 70)])]

#: What each family's vector is, written down a second time in transformers' own terms.
READ: dict[str, Callable[[Any, Any], torch.Tensor]] = {
    "vit": lambda model, out: out.last_hidden_state[:, 0],
    "deit": lambda model, out: out.last_hidden_state[:, 0],
    "dinov2": lambda model, out: out.last_hidden_state[:, 0],
    "dinov2_with_registers": lambda model, out: out.last_hidden_state[:, 0],
    "dinov3_vit": lambda model, out: out.last_hidden_state[:, 0],
    "vit_mae": lambda model, out: out.last_hidden_state[:, 1:].mean(1),
    "beit": lambda model, out: out.pooler_output,
    "swin": lambda model, out: out.pooler_output,
    "resnet": lambda model, out: out.pooler_output.flatten(1),
    "convnext": lambda model, out: out.pooler_output,
    "clip": lambda model, out: model.visual_projection(out.pooler_output),
    "siglip": lambda model, out: out.pooler_output,
}


@pytest.fixture(autouse=True)
def pillows_resize(monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers' own processors do without torchvision; torch's is compared with it in test_preprocess.py."""

    def resized(image: Image.Image, width: int, height: int, resample: int) -> Any:
        return np.asarray(image.resize((width, height), resample))

    monkeypatch.setattr("imgvec.encoders.preprocess._resized", resized)


def load(checkpoint: Path, *, dtype: str = "fp32", **spec: Any) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(str(checkpoint), **spec), device="cpu", dtype=dtype)


def plain(checkpoint: Path, **options: Any) -> tuple[Any, Any]:
    """The model and its output on IMAGES, by transformers alone."""
    with quiet():
        config = transformers.AutoConfig.from_pretrained(checkpoint)
        if config.model_type == "vit_mae":
            config.mask_ratio = 0.0
        model = transformers.AutoModel.from_pretrained(checkpoint, config=config).eval()
        processor = transformers.AutoImageProcessor.from_pretrained(checkpoint, backend="pil")
    values = processor(images=IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model, getattr(model, "vision_model", model)(pixel_values=values, **options)


def unit(vectors: torch.Tensor) -> np.ndarray[Any, Any]:
    return torch.nn.functional.normalize(vectors.float(), dim=1).detach().numpy()


def close(ours: Any, theirs: Any, atol: float = 2e-5) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("family", TINY)
def test_equals_the_plain_pipeline(family: str, checkpoints: Checkpoints) -> None:
    model, output = plain(checkpoints(family))
    with torch.inference_mode():
        expected = unit(READ[family](model, output))
    vectors = load(checkpoints(family)).encode_images(IMAGES)
    close(vectors, expected)
    assert np.ptp(vectors @ vectors.T) > 1e-3, "the tiny model sees no difference between the images"


@pytest.mark.parametrize("family", TINY)
def test_keeps_the_promises_of_the_protocol(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family))
    assert isinstance(encoder, Encoder)
    dim = encoder.binding.dim
    vectors = encoder.encode_images(IMAGES)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    close(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    one_by_one = np.concatenate([encoder.encode_images([image]) for image in reversed(IMAGES)])
    close(one_by_one[::-1], vectors)
    assert encoder.encode_images([]).shape == (0, dim)
    side = encoder.binding.image_size
    empty = encoder.encode(np.empty((0, 3, side, side), np.uint8))
    assert (empty.shape, empty.dtype) == ((0, dim), np.float32)


def test_batches_are_cut_and_joined_in_order(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    whole = encoder.encode_images(IMAGES)
    encoder.batch_size = 2
    close(encoder.encode_images(IMAGES), whole)
    close(encoder.encode(np.stack([encoder.prepare(image) for image in IMAGES])), whole)


def test_read_only_pixels_are_taken(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    pixels = np.stack([encoder.prepare(image) for image in IMAGES])
    expected = encoder.encode(pixels)
    pixels.flags.writeable = False
    close(encoder.encode(pixels), expected)


@pytest.mark.parametrize(
    ("family", "prefix"), [("vit", 1), ("deit", 2), ("dinov2", 1), ("dinov2_with_registers", 5), ("swin", 0)]
)
def test_mean_pooling_leaves_the_prefix_tokens_out(family: str, prefix: int, checkpoints: Checkpoints) -> None:
    _, output = plain(checkpoints(family))
    close(
        load(checkpoints(family), pooling="mean").encode_images(IMAGES),
        unit(output.last_hidden_state[:, prefix:].mean(1)),
    )


def test_clip_tokens_are_read_after_the_final_layernorm(checkpoints: Checkpoints) -> None:
    model, output = plain(checkpoints("clip"))
    tokens = model.vision_model.post_layernorm(output.last_hidden_state)
    close(load(checkpoints("clip"), pooling="cls").encode_images(IMAGES), unit(tokens[:, 0]))
    close(load(checkpoints("clip"), pooling="pooler").encode_images(IMAGES), unit(output.pooler_output))
    close(load(checkpoints("clip"), pooling="mean").encode_images(IMAGES), unit(tokens[:, 1:].mean(1)))


@pytest.mark.parametrize("family", ["vit", "dinov2", "dinov2_with_registers", "vit_mae", "clip"])
@pytest.mark.parametrize("layer", [1, 2, -2])
def test_an_earlier_layer_is_read_after_the_final_layernorm(family: str, layer: int, checkpoints: Checkpoints) -> None:
    model, output = plain(checkpoints(family), output_hidden_states=True)
    vision = getattr(model, "vision_model", model)
    norm = getattr(vision, "post_layernorm", None) or vision.layernorm
    tokens = norm(output.hidden_states[layer])
    # MAE's plain pipeline shuffles the patches, which its mean does not see
    pooling = "mean" if family == "vit_mae" else "cls"
    expected = tokens[:, 1:].mean(1) if pooling == "mean" else tokens[:, 0]
    encoder = load(checkpoints(family), layer=layer, pooling=pooling)
    close(encoder.encode_images(IMAGES), unit(expected))
    assert encoder.binding.layer == (layer if layer > 0 else 2)


def test_a_truncated_model_does_not_run_the_rest(checkpoints: Checkpoints) -> None:
    weights = [sum(p.numel() for p in load(checkpoints("vit"), layer=n)._readout.parameters()) for n in (1, 2, 3)]
    assert weights[0] < weights[1] < weights[2]


def test_the_last_layer_is_the_same_as_none(checkpoints: Checkpoints) -> None:
    assert load(checkpoints("vit"), layer=3).binding == load(checkpoints("vit")).binding
    assert load(checkpoints("vit"), layer=-1).binding == load(checkpoints("vit")).binding


@pytest.mark.parametrize("layer", [0, 4, -4])
def test_a_layer_that_is_not_there_is_refused(layer: int, checkpoints: Checkpoints) -> None:
    with pytest.raises(EncoderUnavailable, match="3 layers"):
        load(checkpoints("vit"), layer=layer)


@pytest.mark.parametrize(
    ("family", "spec"),
    [
        ("resnet", {"layer": 1}),
        ("resnet", {"pooling": "cls"}),
        ("siglip", {"pooling": "cls"}),
        ("vit", {"pooling": "features"}),
        ("vit", {"pooling": "max"}),
    ],
)
def test_what_a_family_cannot_do_is_refused(family: str, spec: dict[str, Any], checkpoints: Checkpoints) -> None:
    with pytest.raises(EncoderUnavailable):
        load(checkpoints(family), **spec)


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip", "siglip", "resnet", "vit_mae"])
def test_another_image_size(family: str, checkpoints: Checkpoints) -> None:
    size = 56
    encoder = load(checkpoints(family), image_size=size)
    assert encoder.prepare(IMAGES[0]).shape == (3, size, size)
    assert encoder.binding.image_size == size
    close(np.linalg.norm(encoder.encode_images(IMAGES), axis=1), 1.0, atol=1e-6)


def test_mae_sees_every_patch_and_no_chance(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit_mae"))
    pixels = np.stack([encoder.prepare(IMAGES[0])])
    first = encoder.encode(pixels)
    np.testing.assert_array_equal(encoder.encode(pixels), first)
    for corner in (np.s_[:8, :8], np.s_[24:, 24:], np.s_[8:16, 16:24]):
        changed = pixels.copy()
        changed[0][:, corner[0], corner[1]] ^= 255
        assert np.abs(encoder.encode(changed) - first).max() > 1e-4


def test_bfloat16_is_close_and_float32_comes_out(checkpoints: Checkpoints) -> None:
    exact, rough = load(checkpoints("vit")), load(checkpoints("vit"), dtype="bf16")
    vectors = rough.encode_images(IMAGES)
    assert vectors.dtype == np.float32
    assert (vectors * exact.encode_images(IMAGES)).sum(axis=1).min() > 0.999
    assert rough.binding == exact.binding


def test_the_spec_of_a_binding_builds_the_same_encoder(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("dinov2"), layer=2, pooling="mean", image_size=35)
    again = load_encoder(EncoderSpec.from_binding(encoder.binding), dtype="fp32")
    assert again.binding == encoder.binding
    close(again.encode_images(IMAGES), encoder.encode_images(IMAGES), atol=0)


def fingerprint(checkpoint: Path, **spec: Any) -> str:
    return load(checkpoint, **spec).binding.fingerprint


def test_a_fingerprint_changes_with_what_changes_vectors(checkpoints: Checkpoints, tmp_path: Path) -> None:
    original = fingerprint(checkpoints("vit"))
    assert len(original) == 32
    assert fingerprint(checkpoints("vit"), pooling="mean") != original
    assert fingerprint(checkpoints("vit"), layer=2) != original
    assert fingerprint(checkpoints("vit"), image_size=40) != original
    assert fingerprint(save_tiny("vit", tmp_path / "other", seed=1)) != original
    processed = Path(shutil.copytree(checkpoints("vit"), tmp_path / "processed"))
    settings = json.loads((processed / "preprocessor_config.json").read_text())
    (processed / "preprocessor_config.json").write_text(json.dumps({**settings, "image_mean": [0.4, 0.5, 0.5]}))
    assert fingerprint(processed) != original


def test_a_fingerprint_does_not_change_with_where_or_how_it_is_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    original = fingerprint(checkpoints("vit"))
    copied = Path(shutil.copytree(checkpoints("vit"), tmp_path / "split"))
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, copied / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert fingerprint(copied) == original
    close(load(copied).encode_images(IMAGES), load(checkpoints("vit")).encode_images(IMAGES), atol=0)


def spoil(checkpoint: Path, folder: Path, name: str, value: float) -> Path:
    copied = Path(shutil.copytree(checkpoint, folder))
    tensors = load_file(copied / "model.safetensors")
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    return copied


def test_vectors_without_a_direction_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    nan = load(spoil(checkpoints("vit"), tmp_path / "nan", "layernorm.weight", float("nan")))
    with pytest.raises(EncoderError, match=r"at \[0, 1\]"):
        nan.encode_images(IMAGES[:2])
    folder = spoil(checkpoints("vit"), tmp_path / "zero", "layernorm.weight", 0.0)
    zero = load(spoil(folder, tmp_path / "zero bias", "layernorm.bias", 0.0))
    with pytest.raises(EncoderError, match=r"vectors at \[0, 1\] are zero or not finite"):
        zero.encode_images(IMAGES[:2])


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((1, 3, 32, 32), np.float32), np.zeros((3, 32, 32), np.uint8), np.zeros((1, 3, 31, 32), np.uint8)],
    ids=["float", "one image", "another side"],
)
def test_other_pixels_are_refused(pixels: np.ndarray[Any, Any], checkpoints: Checkpoints) -> None:
    with pytest.raises(EncoderError, match="uint8"):
        load(checkpoints("vit")).encode(pixels)


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["cuda", "cpu"],
)
def test_too_little_memory_halves_the_batch(
    failure: Exception, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(checkpoints("vit"))
    pixels = np.stack([encoder.prepare(image) for image in IMAGES])
    expected = encoder.encode(pixels)
    readout, seen = encoder._readout, []

    def cramped(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        if len(batch) > 2:
            raise failure
        result: torch.Tensor = readout(batch)
        return result

    monkeypatch.setattr(encoder, "_readout", cramped)
    close(encoder.encode(pixels), expected)
    assert seen == [5, 5, 4, 2, 2, 1]
    assert encoder.batch_size == 2, "the next call starts with what fits"


def test_memory_for_not_even_one_image(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load(checkpoints("vit"))

    def full(batch: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(encoder, "_readout", full)
    with pytest.raises(EncoderError, match="single image"):
        encoder.encode(np.zeros((3, 3, 32, 32), np.uint8))


def test_other_failures_are_translated_and_not_tried_again(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(checkpoints("vit"))
    calls = []

    def broken(batch: torch.Tensor) -> torch.Tensor:
        calls.append(len(batch))
        raise RuntimeError("the cable is out")

    monkeypatch.setattr(encoder, "_readout", broken)
    with pytest.raises(EncoderError, match="the cable is out"):
        encoder.encode(np.zeros((3, 3, 32, 32), np.uint8))
    assert calls == [3]


def test_a_device_or_dtype_that_is_not_there(checkpoints: Checkpoints) -> None:
    spec = EncoderSpec(str(checkpoints("vit")))
    with pytest.raises(EncoderError, match="fp8"):
        load_encoder(spec, device="cpu", dtype="fp8")
    with pytest.raises(EncoderError, match="toaster"):
        load_encoder(spec, device="toaster")


def test_texts_are_refused_by_a_model_without_a_text_side(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    assert not encoder.supports_text
    with pytest.raises(QueryError, match="no text side"):
        encoder.encode_texts(["a shoe"])


def test_loading_writes_nothing_and_leaves_the_logging_as_it_was(
    checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(checkpoints("clip"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
