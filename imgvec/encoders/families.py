"""How each family of vision models is read, as data.

A family is the `model_type` of a Hugging Face config. `pooling` is what its authors use for retrieval; `prefix_tokens`
are the tokens before the patches (class, distillation, registers), which mean pooling leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Every way to make one vector of an image.
POOLINGS = ("cls", "mean", "pooler", "features")


@dataclass(frozen=True, slots=True)
class Family:
    pooling: str
    reason: str
    poolings: tuple[str, ...]
    """What the family can do, the default included."""
    prefix_tokens: int = 0
    text: bool = False
    """Whether `features` has a text side in the same space."""
    siglip_text: bool = False
    """Texts are lower-cased and padded to the model's full length, without an attention mask, as in training."""


_CLS = ("cls", "mean", "pooler")
_DINO = "class token after the final layernorm, as in the DINOv2 retrieval evaluation (arXiv:2304.07193, 7.3)"
_CNN = "global average pool of the last feature map; there are no tokens"
_CLIP = "image features projected into the space shared with text, which the training compared by cosine"
_SIGLIP = "attention-pooled image features, which the sigmoid loss compares with text"

FAMILIES: dict[str, Family] = {
    "vit": Family("cls", "class token after the final layernorm; the tanh pooler is seldom trained", _CLS, 1),
    "vit_msn": Family("cls", "class token, which the MSN loss was put on", ("cls", "mean"), 1),
    "deit": Family("cls", "class token; the distillation token beside it is left out", _CLS, 2),
    "dinov2": Family("cls", _DINO, _CLS, 1),
    "dinov2_with_registers": Family("cls", _DINO, _CLS, 1),
    "dinov3_vit": Family("cls", _DINO, _CLS, 1),
    "vit_mae": Family(
        "mean", "mean of the unmasked patches; the MAE loss never trains the class token", ("cls", "mean"), 1
    ),
    "ijepa": Family("mean", "mean of the patches; there is no class token", ("mean",)),
    "beit": Family("pooler", "mean of the patches through the pooler's layernorm", _CLS, 1),
    "data2vec-vision": Family("pooler", "mean of the patches through the pooler's layernorm", _CLS, 1),
    "swin": Family("pooler", "mean of the last stage's tokens", ("mean", "pooler")),
    "swinv2": Family("pooler", "mean of the last stage's tokens", ("mean", "pooler")),
    "resnet": Family("pooler", _CNN, ("pooler",)),
    "regnet": Family("pooler", _CNN, ("pooler",)),
    "convnext": Family("pooler", _CNN, ("pooler",)),
    "convnextv2": Family("pooler", _CNN, ("pooler",)),
    "dinov3_convnext": Family("pooler", _CNN, ("pooler",)),
    "clip": Family("features", _CLIP, ("features", *_CLS), 1, text=True),
    "metaclip_2": Family("features", _CLIP, ("features", *_CLS), 1, text=True),
    "clip_vision_model": Family("pooler", "class token after the final layernorm", _CLS, 1),
    "siglip": Family("features", _SIGLIP, ("features", "mean", "pooler"), text=True, siglip_text=True),
    "siglip_vision_model": Family("pooler", _SIGLIP, ("mean", "pooler")),
}

#: Model types that have no fixed square input, and what to take instead.
UNSUPPORTED: dict[str, str] = {
    "siglip2": "its NaFlex processor makes patch sequences of varying shape; use a fixed-size SigLIP 2, such as "
    "google/siglip2-base-patch16-224",
    "qwen3_vl": "makes its vectors of a prompt in a language model; wrap its own code in a CallableEncoder",
}

#: What is done with a model type that is not in the table: what its authors call the pooled output.
UNKNOWN = Family("pooler", "the model's own pooled output", ("pooler", "cls"))


def family_of(config: Any) -> Family:
    """The family of a Hugging Face config, with its register tokens counted."""
    family = FAMILIES.get(config.model_type, UNKNOWN)
    registers = getattr(config, "num_register_tokens", 0) or 0
    if not registers:
        return family
    return Family(
        family.pooling,
        family.reason,
        family.poolings,
        family.prefix_tokens + registers,
        family.text,
        family.siglip_text,
    )
