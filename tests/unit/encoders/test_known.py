"""The tables, and that what is light stays light."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgvec.encoders import describe
from imgvec.encoders.devices import _cpu_has_bf16
from imgvec.encoders.families import FAMILIES, POOLINGS, UNSUPPORTED
from imgvec.encoders.known import KNOWN_MODELS, known
from imgvec.encoders.protocol import Binding
from imgvec.encoders.pypi import PYPI_MODELS


def test_the_protocol_and_the_tables_import_nothing_heavy() -> None:
    code = (
        "import sys, imgvec.encoders, imgvec.encoders.protocol, imgvec.encoders.known, imgvec.encoders.families\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'onnx', 'onnxruntime', 'timm', 'open_clip', 'keras'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_known_models_agree_with_the_families() -> None:
    assert len({row.model for row in KNOWN_MODELS}) == len(KNOWN_MODELS)
    others = {"timm", "open_clip", "dlib", *UNSUPPORTED}
    for row in (row for row in KNOWN_MODELS if row.family not in others):
        assert FAMILIES[row.family].pooling == row.pooling, row.model
        assert FAMILIES[row.family].text == row.text, row.model
    assert {row.model for row in KNOWN_MODELS if row.model.startswith("pypi:")} == {f"pypi:{n}" for n in PYPI_MODELS}
    assert known("nobody/knows") is None


def test_the_list_says_what_was_run_and_what_was_not() -> None:
    tried = {row.model: row.tried for row in KNOWN_MODELS}
    real = {"pypi:dinov2-small-11", "timm:tf_efficientnet_lite2", "faces:dlib"}
    assert {model for model, how in tried.items() if how == "real weights"} == real
    assert {how for model, how in tried.items() if model not in real} == {"not run here"}
    for name in ("dinov3", "siglip2", "PE-Core", "Qwen3-VL-Embedding"):
        assert any(name in model for model in tried), name


def test_every_family_can_do_what_it_does_by_default() -> None:
    for name, family in FAMILIES.items():
        assert family.pooling in family.poolings, name
        assert set(family.poolings) <= set(POOLINGS), name
        assert "mean" not in family.poolings or "resnet" not in name


def test_a_model_is_described_without_its_weights(checkpoints: Callable[[str], Path]) -> None:
    facts = describe(str(checkpoints("clip")))
    assert (facts["family"], facts["pooling"], facts["text"]) == ("clip", "features", True)
    assert (facts["dim"], facts["layers"], facts["image_size"]) == (24, 3, 32)
    assert facts["projection"] is None


def test_a_model_of_a_package_index_is_described_without_fetching_it() -> None:
    facts = describe("pypi:dinov2-small-11")
    assert (facts["model"], facts["revision"], facts["licence"]) == ("pypi:dinov2-small-11", "0.1.1", "MIT")
    assert (facts["dim"], facts["layers"], facts["image_size"], facts["pooling"]) == (384, 11, 224, "cls")
    assert facts["projection"] == "shipped:dinov2-small-11/classes"


def test_a_binding_survives_its_dictionary() -> None:
    binding = Binding("org/tiny", None, "0" * 32, None, "cls", 224, 384)
    assert Binding.from_dict({**binding.to_dict(), "added_later": 1}) == binding


@pytest.mark.parametrize(
    ("flags", "yes"),
    [("fpu avx512f avx512_bf16", True), ("fpu amx_bf16 amx_tile", True), ("fpu avx2 avx512f", False), ("", False)],
)
def test_bfloat16_is_told_from_the_kernels_flags(flags: str, yes: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: a CPU\nflags\t\t: {flags}\n")
    assert _cpu_has_bf16(tmp_path / "cpuinfo") is yes
    assert not _cpu_has_bf16(tmp_path / "nowhere")
