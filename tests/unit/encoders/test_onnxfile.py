"""ONNX files as encoders: small graphs written here, against NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import picture

from imgvec.definition.description import check_binding
from imgvec.encoders import EncoderSpec, describe, load_encoder
from imgvec.errors import EncoderError, EncoderMismatch, EncoderUnavailable, QueryError

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

SIDE = 16
STATED = {
    "size": {"shortest_edge": 20},
    "crop_size": {"height": SIDE, "width": SIDE},
    "resample": 3,
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
}


def save(folder: Path, *, seed: int = 0, stated: Any = STATED, external: bool = False, **changes: Any) -> Path:
    """A convolution of patches: its map, its 16 tokens behind a class token, and a vector of 8; a file a folder."""
    shape = changes.get("shape", ("n", 3, SIDE, SIDE))
    dtype = changes.get("dtype", TensorProto.FLOAT)
    outputs = changes.get("outputs", ("pooler_output", "last_hidden_state", "map"))
    channels_last = shape[1] != 3
    chance = np.random.default_rng(seed)
    weights = {
        "kernel": chance.normal(size=(6, 3, 4, 4)),
        "first": chance.normal(size=(1, 1, 6)),
        "ones": np.ones((1, 1, 6)),
        "matrix": chance.normal(size=(6, 8)),
    }
    nodes = [
        helper.make_node("Cast", ["nchw" if channels_last else "pictures"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["values", "kernel"], ["map"], strides=[4, 4], kernel_shape=[4, 4]),
        helper.make_node("Reshape", ["map", "to_tokens"], ["channels"]),
        helper.make_node("Transpose", ["channels"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["patches"], ["middle"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["middle", "first"], ["class"]),
        helper.make_node("Concat", ["class", "patches"], ["last_hidden_state"], axis=1),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["pooler_output"]),
    ]
    if channels_last:
        nodes.insert(0, helper.make_node("Transpose", ["pictures"], ["nchw"], perm=[0, 3, 1, 2]))
    ranks = {"pooler_output": ("n", 8), "last_hidden_state": ("n", 17, 6), "map": ("n", 6, 4, 4)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pictures", dtype, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ranks[name]) for name in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        + [numpy_helper.from_array(np.array([0, 6, -1], np.int64), "to_tokens")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.onnx"
    if external:
        onnx.save_model(model, file, save_as_external_data=True, location="weights.bin", size_threshold=64)
    else:
        onnx.save_model(model, file)
    if stated is not None:
        file.with_name("model.onnx.json").write_text(json.dumps(stated), encoding="utf-8")
    return file


def load(file: Path | str, **spec: Any) -> Any:
    device = spec.pop("device", "cpu")
    return load_encoder(EncoderSpec(f"onnx:{file}", **spec), device=device)


def expected(encoder: Any, pictures: list[Any], pooling: str = "features", seed: int = 0) -> Any:
    """The graph in NumPy, from the same prepared pixels."""
    chance = np.random.default_rng(seed)
    kernel, first = chance.normal(size=(6, 3, 4, 4)), chance.normal(size=(1, 1, 6))
    matrix = chance.normal(size=(6, 8))
    pixels = np.stack([encoder.prepare(one) for one in pictures]) / 255
    values = (pixels - np.reshape(STATED["image_mean"], (3, 1, 1))) / np.reshape(STATED["image_std"], (3, 1, 1))
    blocks = values.reshape(len(values), 3, 4, 4, 4, 4)  # n, channel, row, y, column, x
    patches = np.einsum("ncryqx,kcyx->nrqk", blocks, kernel).reshape(len(values), 16, 6)
    mean = patches.mean(axis=1)
    made = {"features": mean @ matrix, "mean": mean, "cls": mean * first[0]}[pooling]
    return made / np.linalg.norm(made, axis=1, keepdims=True)


PICTURES = [picture(seed, (50 + seed, 40)) for seed in range(5)]


def test_a_file_gives_what_its_graph_says(tmp_path: Path) -> None:
    encoder = load(save(tmp_path))
    assert encoder.binding.model == f"onnx:{tmp_path / 'model.onnx'}"
    assert (encoder.binding.dim, encoder.binding.image_size, encoder.binding.pooling) == (8, SIDE, "features")
    vectors = encoder.encode_images(PICTURES)
    np.testing.assert_allclose(vectors, expected(encoder, PICTURES), atol=1e-5)
    assert vectors.dtype == np.float32
    assert encoder.encode(np.empty((0, 3, SIDE, SIDE), np.uint8)).shape == (0, 8)
    with pytest.raises(QueryError, match="no text side"):
        encoder.encode_texts(["a shoe"])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_tokens_are_pooled_as_the_definition_says(tmp_path: Path, pooling: str) -> None:
    encoder = load(save(tmp_path), pooling=pooling)
    np.testing.assert_allclose(encoder.encode_images(PICTURES), expected(encoder, PICTURES, pooling), atol=1e-5)
    again = load_encoder(EncoderSpec.from_binding(encoder.binding), device="cpu")
    assert again.binding == encoder.binding


def test_a_named_output_is_read_and_remembered(tmp_path: Path) -> None:
    encoder = load(f"{save(tmp_path)}?output=map")
    assert (encoder.binding.pooling, encoder.binding.dim) == ("mean", 6)
    np.testing.assert_allclose(encoder.encode_images(PICTURES), expected(encoder, PICTURES, "mean"), atol=1e-5)
    again = load_encoder(EncoderSpec.from_binding(encoder.binding), device="cpu")
    assert again.binding == encoder.binding


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (4, 3, SIDE, SIDE)},
        {"shape": (1, 3, SIDE, SIDE)},
        {"shape": ("n", SIDE, SIDE, 3)},
        {"shape": ("n", 3, "height", "width")},
        {"external": True},
    ],
    ids=["batch of 4", "batch of 1", "channels last", "any size", "weights beside it"],
)
def test_other_shapes_of_the_same_model_give_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    encoder = load(save(tmp_path, **changes))
    np.testing.assert_allclose(encoder.encode_images(PICTURES), expected(encoder, PICTURES), atol=1e-5)
    if "shape" in changes and isinstance(changes["shape"][0], int):
        assert encoder.batch_size == changes["shape"][0]


def test_half_precision_and_bytes_go_in_as_the_file_wants_them(tmp_path: Path) -> None:
    half = load(save(tmp_path / "half", dtype=TensorProto.FLOAT16))
    whole = load(save(tmp_path / "whole"))
    cosines = (half.encode_images(PICTURES) * whole.encode_images(PICTURES)).sum(axis=1)
    assert cosines.min() > 0.9999
    raw = load(save(tmp_path / "raw", dtype=TensorProto.UINT8))
    scaled = load(save(tmp_path / "scaled", stated={**STATED, "do_normalize": False, "do_rescale": False}))
    np.testing.assert_allclose(raw.encode_images(PICTURES), scaled.encode_images(PICTURES), atol=1e-5)


def test_the_fingerprint_is_of_weights_and_preprocessing(tmp_path: Path) -> None:
    one = load(save(tmp_path / "one")).binding
    moved = load(save(tmp_path / "moved")).binding
    assert moved.fingerprint == one.fingerprint
    check_binding("photos", one, moved)
    others = [
        load(save(tmp_path / "weights", seed=1)).binding,
        load(save(tmp_path / "mean", stated={**STATED, "image_mean": [0.5, 0.5, 0.5]})).binding,
        load(save(tmp_path / "one"), pooling="cls").binding,
        load(save(tmp_path / "one"), fit="resize").binding,
    ]
    for other in others:
        assert other.fingerprint != one.fingerprint
        with pytest.raises(EncoderMismatch, match="fingerprint"):
            check_binding("photos", one, other)
    kept = save(tmp_path / "beside", external=True)
    before = load(kept).binding.fingerprint
    save(tmp_path / "beside", external=True, seed=1)
    assert load(kept).binding.fingerprint != before


def test_another_size_and_fit(tmp_path: Path) -> None:
    flexible = save(tmp_path, shape=("n", 3, "height", "width"))
    assert load(flexible, image_size=32).binding.image_size == 32
    whole = load(flexible, fit="resize")
    assert whole.binding.fit == "resize"
    np.testing.assert_allclose(whole.encode_images(PICTURES), expected(whole, PICTURES), atol=1e-5)


def test_preprocessing_of_an_exporter_is_found(tmp_path: Path) -> None:
    file = save(tmp_path, stated=None)
    config = {"image_processor_type": "BitImageProcessor", **STATED, "do_center_crop": True, "do_normalize": True}
    file.with_name("preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    encoder = load(file)
    np.testing.assert_allclose(encoder.encode_images(PICTURES), expected(encoder, PICTURES), atol=1e-5)


def test_it_is_described_without_being_bound(tmp_path: Path) -> None:
    facts = describe(f"onnx:{save(tmp_path)}")
    assert (facts["family"], facts["image_size"]) == ("onnx", SIDE)
    assert facts["outputs"]["pooler_output"] == ["n", 8]


def test_what_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="no such file"):
        load(tmp_path / "nothing.onnx")
    with pytest.raises(EncoderUnavailable, match=r"write model\.onnx\.json beside it"):
        load(save(tmp_path / "bare", stated=None))
    with pytest.raises(EncoderUnavailable, match="does not say a resize to one square"):
        load(save(tmp_path / "open", stated={"size": {"shortest_edge": 20}}))
    with pytest.raises(EncoderUnavailable, match="cannot be read"):
        load(save(tmp_path / "odd", stated=["no", "object"]))
    file = save(tmp_path / "good")
    with pytest.raises(EncoderUnavailable, match="no output 'logits'; it has pooler_output"):
        load(f"{file}?output=logits")
    with pytest.raises(EncoderUnavailable, match="can be pooled by cls or mean, not features"):
        load(f"{file}?output=last_hidden_state", pooling="features")
    with pytest.raises(EncoderUnavailable, match=r"say which by \?output=NAME"):
        load(save(tmp_path / "tokens", outputs=("last_hidden_state",)))
    with pytest.raises(EncoderUnavailable, match="so image_size cannot be 32"):
        load(file, image_size=32)
    with pytest.raises(EncoderUnavailable, match="no layer can be chosen"):
        load(file, layer=2)
    with pytest.raises(EncoderUnavailable, match="one input of pictures with 3 channels"):
        load(save(tmp_path / "grey", shape=("n", 1, SIDE, SIDE)))
    with pytest.raises(EncoderError, match="cpu and cuda here, not on 'mps'"):
        load(file, device="mps")
    (tmp_path / "noise.onnx").write_bytes(b"not a graph" * 9)
    with pytest.raises(EncoderUnavailable, match="not a readable ONNX file"):
        load(tmp_path / "noise.onnx")
    apart = save(tmp_path / "apart", external=True)
    apart.with_name("weights.bin").unlink()
    with pytest.raises(EncoderUnavailable, match=r"its weights are in weights\.bin, which is not beside it"):
        load(apart)
    outside = tmp_path / "elsewhere.bin"
    outside.write_bytes(b"x" * 4096)
    apart.with_name("weights.bin").symlink_to(outside)
    with pytest.raises(EncoderUnavailable, match="which is not beside it"):
        load(apart)
