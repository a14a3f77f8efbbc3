"""A tiny model inside a wheel that pip finds in a folder: fetched, checked, converted, cached."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors.numpy import load_file
from tiny import picture

from imgvec.encoders import EncoderSpec, load_encoder, pypi, weights
from imgvec.encoders.pypi import PYPI_MODELS, PypiModel
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable, MissingExtra

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]
WHEEL = "tinyfocus-1.0-py3-none-any.whl"


def as_exported(tensors: dict[str, np.ndarray]) -> bytes:  # type: ignore[type-arg]
    """An ONNX file as torch exports a backbone: linear weights transposed, nameless, named by their MatMul node."""
    constants, nodes = [], []
    position = tensors.pop("embeddings.position_embeddings")
    constants += [
        numpy_helper.from_array(position[:, :1], "onnx::Concat_1"),
        numpy_helper.from_array(position[:, 1:], "onnx::Reshape_2"),
    ]
    for name, value in tensors.items():
        if value.ndim == 2 and name.endswith(".weight"):
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value.T), f"onnx::MatMul_{len(nodes)}"))
            node = "/backbone/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.") + "/MatMul"
            nodes.append(helper.make_node("MatMul", ["x", constants[-1].name], [f"y{len(nodes)}"], name=node))
        elif name != "embeddings.mask_token":
            constants.append(numpy_helper.from_array(value, f"backbone.{name}"))
    model = helper.make_model(helper.make_graph(nodes, "tiny", [], [], constants))
    return bytes(model.SerializeToString())


@pytest.fixture
def tiny_source(checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PypiModel:
    """`pypi:tiny`: the first two of three blocks of the tiny DINOv2, in a wheel that pip can find."""
    original = load_file(checkpoints("dinov2") / "model.safetensors")
    wheel = tmp_path / "index" / WHEEL
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinyfocus/model.onnx", as_exported(dict(original)))
        archive.writestr("tinyfocus-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyfocus\nVersion: 1.0\n")
        archive.writestr(
            "tinyfocus-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinyfocus-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    real = PYPI_MODELS["dinov2-small-11"]
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2, "patch_size": 7}
    source = replace(
        real,
        package="tinyfocus",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        onnx_path="tinyfocus/model.onnx",
        position_embeddings=("onnx::Concat_1", "onnx::Reshape_2"),
        config={**real.config, **shape, "image_size": 42},
        preprocessor={**real.preprocessor, "size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}},
        tensors_digest=_digest_of_two_blocks(original, tmp_path),
    )
    monkeypatch.setitem(PYPI_MODELS, "tiny", source)
    return source


def _digest_of_two_blocks(original: dict[str, np.ndarray], folder: Path) -> str:  # type: ignore[type-arg]
    from safetensors.numpy import save_file

    kept = {k: v for k, v in original.items() if not k.startswith("encoder.layer.2.") and k != "embeddings.mask_token"}
    (folder / "kept").mkdir()
    save_file(kept, folder / "kept" / "model.safetensors")
    return weights.Checkpoint("kept", folder / "kept", None).digest()


def test_the_converted_model_is_the_original_cut_short(
    tiny_source: PypiModel, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    encoder = load_encoder(EncoderSpec("pypi:tiny"), device="cpu", dtype="fp32", cache_dir=tmp_path / "cache")
    assert (encoder.binding.model, encoder.binding.revision) == ("pypi:tiny", "1.0")
    cut = load_encoder(EncoderSpec(str(checkpoints("dinov2")), layer=2), device="cpu", dtype="fp32")
    images = [picture(seed) for seed in range(3)]
    for image in images:  # the same pixels to both: their processors differ in mean and deviation
        np.testing.assert_array_equal(encoder.prepare(image), cut.prepare(image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cut._readout, "scale", encoder._readout.scale)
        patch.setattr(cut._readout, "shift", encoder._readout.shift)
        np.testing.assert_allclose(encoder.encode_images(images), cut.encode_images(images), rtol=0, atol=2e-6)


def test_the_second_time_nothing_is_fetched(
    tiny_source: PypiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pypi.locate("tiny", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(pypi, "download_wheel", lambda *_: pytest.fail("fetched again"))
    assert pypi.locate("tiny", "1.0", cache_dir=tmp_path / "cache") == first
    assert sorted(path.name for path in first.directory.parent.iterdir() if not path.name.endswith(".lock")) == [
        "tiny-1.0"
    ], "no format is left beside it"


@pytest.mark.parametrize("damage", ["weights", "shorter", "config", "gone"])
def test_a_damaged_cache_is_made_anew(damage: str, tiny_source: PypiModel, tmp_path: Path) -> None:
    folder = pypi.locate("tiny", cache_dir=tmp_path / "cache").directory
    file = folder / ("config.json" if damage == "config" else "model.safetensors")
    good = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"weights": good[:-1] + bytes([good[-1] ^ 1]), "shorter": good[:-9], "config": b"{}"}[damage])
    assert pypi.locate("tiny", cache_dir=tmp_path / "cache").directory == folder
    assert file.read_bytes() == good


def test_many_at_once_fetch_once_and_all_succeed(
    tiny_source: PypiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, found, download = [], [], pypi.download_wheel

    def counted(source: PypiModel, folder: Path) -> Path:
        fetched.append(folder)
        return download(source, folder)

    monkeypatch.setattr(pypi, "download_wheel", counted)
    threads = [
        threading.Thread(target=lambda: found.append(pypi.locate("tiny", cache_dir=tmp_path / "cache")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == len(fetched) == 1


def test_a_wheel_with_another_hash_is_refused(tiny_source: PypiModel, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "index" / WHEEL, "a") as archive:
        archive.writestr("tinyfocus/extra.txt", "not what was pinned")
    with pytest.raises(EncoderUnavailable, match="sha256") as raised:
        pypi.locate("tiny", cache_dir=tmp_path / "cache")
    assert not isinstance(raised.value, ModelUnreachable)
    assert not (tmp_path / "cache" / "pypi" / "tiny-1.0").exists()


def test_converted_weights_that_are_not_the_known_ones_are_refused(
    tiny_source: PypiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PYPI_MODELS, "tiny", replace(tiny_source, tensors_digest="0" * 32))
    with pytest.raises(EncoderUnavailable, match="do not have the expected digest"):
        pypi.locate("tiny", cache_dir=tmp_path / "cache")


def test_an_index_without_the_package_is_unreachable(
    tiny_source: PypiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index" / WHEEL).unlink()
    with pytest.raises(ModelUnreachable, match=r"tinyfocus==1\.0"):
        pypi.locate("tiny", cache_dir=tmp_path / "cache")


def test_a_missing_onnx_package_is_named(
    tiny_source: PypiModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pypi.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'imgvec\[offline\]'"):
        pypi.locate("tiny", cache_dir=tmp_path / "cache")


def test_a_cache_that_cannot_be_written(tiny_source: PypiModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EncoderUnavailable, match=r"cannot write to the cache.*IMGVEC_CACHE_DIR"):
        pypi.locate("tiny", cache_dir=tmp_path / "file")


def test_only_the_known_version(tiny_source: PypiModel, tmp_path: Path) -> None:
    with pytest.raises(EncoderUnavailable, match=r"only version 1\.0"):
        pypi.locate("tiny", "2.0", cache_dir=tmp_path / "cache")


def test_the_onnx_file_is_a_valid_stand_in(tiny_source: PypiModel, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "index" / WHEEL) as archive:
        graph = onnx.load_model_from_string(archive.read(tiny_source.onnx_path)).graph
    assert sum(node.op_type == "MatMul" for node in graph.node) == 3 * 6
