"""The lean forward pass gives the vectors of transformers, and is offered for nothing that it does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import picture, save_tiny
from torch import nn
from transformers.activations import ACT2FN

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder, others, passes
from imgvec.encoders.lastlayer import read_every_token
from imgvec.encoders.lean import APART, LeanReadout
from imgvec.encoders.linears import Linear, linear
from imgvec.encoders.others import Others
from imgvec.encoders.passes import Ways, one_pass
from imgvec.encoders.protocol import Pixels
from imgvec.encoders.tower import UnknownTower
from imgvec.encoders.tuning import Memory, Tuning, candidates
from imgvec.vectors import Vectors

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]
CPU = torch.device("cpu")


def load(folder: Path, dtype: str = "fp32", **spec: Any) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(str(folder), **spec), device="cpu", dtype=dtype)


def pixels(encoder: HuggingFaceEncoder) -> Pixels:
    side = encoder.binding.image_size
    return np.random.default_rng(0).integers(0, 256, (4, 3, side, side), np.uint8)


def unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def both(encoder: HuggingFaceEncoder, attention: str = "sdpa") -> tuple[Vectors, Vectors]:
    """The lean pass's unit vectors, and those of transformers' own forward."""
    readout, given = encoder._readout, pixels(encoder)
    lean = one_pass(LeanReadout(readout, encoder.binding.image_size, attention).eval(), given, CPU)
    read_every_token(readout.vision)
    return unit(lean), unit(one_pass(readout, given, CPU))


@pytest.mark.parametrize(
    ("family", "pooling"),
    [
        ("vit", "cls"),
        ("vit", "mean"),
        ("vit", "pooler"),
        ("dinov2", "cls"),
        ("dinov2", "mean"),
        ("dinov2", "pooler"),
        ("dinov2_with_registers", "cls"),
        ("dinov2_with_registers", "mean"),
        ("dinov3_vit", "cls"),
        ("dinov3_vit", "mean"),
        ("clip", "features"),
        ("clip", "cls"),
        ("clip", "mean"),
        ("clip", "pooler"),
        ("siglip", "features"),
        ("siglip", "mean"),
        ("siglip", "pooler"),
    ],
)
@pytest.mark.parametrize("size", [None, 60])
def test_its_vectors_are_those_of_transformers(
    family: str, pooling: str, size: int | None, checkpoints: Checkpoints
) -> None:
    """Of the model's own size and of another, which is no multiple of every patch."""
    lean, expected = both(load(checkpoints(family), pooling=pooling, image_size=size))
    np.testing.assert_allclose(lean, expected, rtol=0, atol=1e-5)
    assert np.ptp(lean @ lean.T) > 1e-3, "the tiny model sees no difference between the images"


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("dinov2", {"use_swiglu_ffn": True}),
        ("dinov2_with_registers", {"use_swiglu_ffn": True, "num_register_tokens": 2}),
        ("dinov3_vit", {"use_gated_mlp": True, "hidden_act": "silu", "num_register_tokens": 0}),
        ("dinov3_vit", {"key_bias": True, "query_bias": False, "mlp_bias": False}),
        ("vit", {"qkv_bias": False, "hidden_act": "gelu_new"}),
        ("vit", {"hidden_act": "relu", "layer_norm_eps": 0.1}),
        ("dinov2", {"num_hidden_layers": 1}),
    ],
)
def test_so_are_those_of_other_configs(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    lean, expected = both(load(save_tiny(family, tmp_path, **changes), pooling="cls"))
    np.testing.assert_allclose(lean, expected, rtol=0, atol=1e-5)


def test_so_are_those_of_an_earlier_layer(checkpoints: Checkpoints) -> None:
    lean, expected = both(load(checkpoints("dinov2"), layer=2))
    np.testing.assert_allclose(lean, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip"])
def test_a_class_token_whose_key_is_taken_apart(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family), image_size=None if family != "dinov2" else 28)
    assert Ways(encoder._readout, encoder.binding.image_size).lean(CPU) == [APART, "sdpa"]
    lean, expected = both(encoder, APART)
    np.testing.assert_allclose(lean, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("family", "size"), [("dinov2_with_registers", None), ("siglip", None), ("vit", 40)])
def test_it_is_not_where_that_is_not_faster(family: str, size: int | None, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family), image_size=size)
    assert Ways(encoder._readout, encoder.binding.image_size).lean(CPU) == ["sdpa"]
    with pytest.raises(UnknownTower):
        LeanReadout(encoder._readout, encoder.binding.image_size, APART)


@pytest.mark.parametrize("family", ["vit", "dinov2", "dinov2_with_registers", "dinov3_vit", "clip", "siglip"])
def test_bfloat16_agrees(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family), dtype="bf16")
    lean, _ = both(encoder)
    exact = load(checkpoints(family)).encode(pixels(encoder))
    assert (lean * exact).sum(axis=1).min() >= 0.999


@pytest.mark.parametrize("name", [None, "gelu", "gelu_pytorch_tanh", "silu", "gelu_new"])
def test_products_with_packed_weights(name: str | None) -> None:
    torch.manual_seed(0)
    weight, bias, x, residual = torch.randn(24, 40), torch.randn(24), torch.randn(3, 5, 40), torch.randn(3, 5, 24)
    activation = None if name is None else ACT2FN[name]
    like = torch.empty(0, dtype=torch.bfloat16)
    exact = Linear(weight.to(like).float(), bias.to(like).float(), activation)
    product = linear((weight, bias), like, 15, activation)
    with torch.inference_mode():
        given = x.to(like)
        torch.testing.assert_close(product(given).float(), exact(given.float()), rtol=1e-2, atol=5e-2)
        added = product.onto(given, residual.to(like)).float()
        torch.testing.assert_close(added, exact.onto(given.float(), residual.to(like).float()), rtol=1e-2, atol=0.1)


@pytest.mark.parametrize("family", ["deit", "vit_mae", "beit", "swin", "resnet", "convnext"])
def test_other_families_have_no_lean_pass(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family))
    assert Ways(encoder._readout, encoder.binding.image_size).lean(CPU) == []


def test_nor_has_a_block_with_a_weight_that_would_not_be_read(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    layer = encoder._readout.vision.layers[1]
    layer.attention.q_norm = nn.LayerNorm(16)
    with pytest.raises(UnknownTower, match=r"attention\.q_norm\.weight"):
        LeanReadout(encoder._readout, 32, "sdpa")
    assert Ways(encoder._readout, 32).lean(CPU) == []


def test_nor_has_half_precision(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("dinov2"), dtype="fp16")
    assert Ways(encoder._readout, encoder.binding.image_size).lean(CPU) == []


def test_candidates_are_lean_first_and_others_as_before() -> None:
    gpu = torch.device("cuda")
    for device in (CPU, gpu):
        ways = candidates(device, ["imgvec_products", "sdpa"], ["sdpa"])
        kinds = [way.lean for way in ways]
        assert kinds == sorted(kinds, reverse=True)
        assert True in kinds
        assert False in kinds
        assert not any(way.lean for way in candidates(device, ["imgvec_products", "sdpa"]))


def remembering(folder: Path, tuning: Tuning, cache: Path, **spec: Any) -> HuggingFaceEncoder:
    encoder = load_encoder(EncoderSpec(str(folder), **spec), device="cpu", dtype="fp32", cache_dir=cache)
    Memory(cache, encoder.binding.fingerprint, CPU, torch.float32).keep(tuning)
    return encoder


LEAN = Tuning("sdpa", batch_size=3, rate=50.0, lean=True)


def test_it_runs_where_it_was_chosen_and_leaves_texts_and_tokens_alone(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    encoder = remembering(checkpoints("clip"), LEAN, tmp_path)
    images, given = [picture(seed) for seed in range(7)], pixels(encoder)
    vectors, texts, tokens = encoder.encode_images(images), encoder.encode_texts(["a dog"]), encoder.tokens(given)
    fingerprint = encoder.binding.fingerprint
    assert encoder.prepare_for(10) == LEAN
    assert encoder._tuned is not None
    assert isinstance(encoder._tuned.readout, LeanReadout)
    np.testing.assert_allclose(encoder.encode_images(images), vectors, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode_texts(["a dog"]), texts)
    again = encoder.tokens(given)
    assert tokens is not None
    assert again is not None
    np.testing.assert_array_equal([each.patches for each in again], [each.patches for each in tokens])
    assert encoder.binding.fingerprint == fingerprint


def test_a_remembered_pass_that_is_not_there_is_measured_for_instead(checkpoints: Checkpoints, tmp_path: Path) -> None:
    encoder = remembering(checkpoints("beit"), LEAN, tmp_path)
    tuning = encoder.prepare_for(10)
    assert tuning is not None
    assert not tuning.lean


def test_what_is_not_chosen_does_not_keep_its_weights(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    ways = Ways(encoder._readout, 32)
    lean = ways.of(LEAN)
    assert ways.of(LEAN) is lean
    ways.keep(Tuning("sdpa", 8))
    assert ways.of(LEAN) is not lean
    kept = ways.of(LEAN)
    ways.keep(LEAN)
    assert ways.of(LEAN) is kept


def test_attentions_share_the_weights(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("vit"))
    given, ways = pixels(encoder), Ways(encoder._readout, 32)
    plain = ways.of(LEAN)
    before = one_pass(plain, given, CPU)
    apart = ways.of(replace(LEAN, attention=APART))
    assert isinstance(plain, LeanReadout)
    assert isinstance(apart, LeanReadout)
    own = {buffer.data_ptr() for buffer in plain.buffers()}
    assert {buffer.data_ptr() for buffer in apart.buffers()} == own
    kinds = [{block.mixed for block in each.blocks} for each in (plain, apart)]
    assert kinds[0].isdisjoint(kinds[1])
    np.testing.assert_array_equal(one_pass(plain, given, CPU), before)
    np.testing.assert_allclose(unit(one_pass(apart, given, CPU)), unit(before), rtol=0, atol=1e-5)


def test_packed_weights_are_not_compiled(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = remembering(checkpoints("vit"), LEAN, tmp_path)
    monkeypatch.setattr(LeanReadout, "compiles", False)
    monkeypatch.setattr(passes, "_compiled", lambda *_: pytest.fail("compiled"))
    assert encoder.prepare_for(None) == LEAN


def test_what_others_have_of_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors for 10 s that computed 15 s, 9 of them for this process."""
    monkeypatch.setattr(others, "_busy", iter([(100.0, 2), (115.0, 2)]).__next__)
    monkeypatch.setattr(others.time, "monotonic", iter([0.0, 10.0]).__next__)
    monkeypatch.setattr(others.time, "process_time", iter([1.0, 10.0]).__next__)
    with Others() as found:
        pass
    assert found.share == pytest.approx(0.3)


def test_what_the_system_says_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  9 9 9 9\ncpu0 100 20 30 900 40 1 2 7 5 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5\n")
    monkeypatch.setattr(others, "_STAT", stat)
    monkeypatch.setattr(others.os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(others.os, "sysconf", lambda _: 100)
    assert others._busy() == (1.6, 1)
    stat.write_text("cpu0 what\n")
    assert others._busy() is None
    with Others() as found:
        pass
    assert found.share == 0
