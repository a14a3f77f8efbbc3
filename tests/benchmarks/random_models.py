"""Checkpoints of the real architectures and sizes with random weights, for machines that can reach none.

Speed does not depend on the weights, vectors do: they say nothing of quality.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from imgvec.encoders.quiet import quiet

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
TINY_TEXT = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}

#: name: config class, its arguments, model class
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "random-dinov2-small": ("Dinov2Config", {**SMALL, "image_size": 518, "patch_size": 14}, "Dinov2Model"),
    "random-dinov2-registers-small": (
        "Dinov2WithRegistersConfig",
        {**SMALL, "image_size": 518, "patch_size": 14, "num_register_tokens": 4},
        "Dinov2WithRegistersModel",
    ),
    "random-dinov3-small": (
        "DINOv3ViTConfig",
        {**SMALL, "intermediate_size": 1536, "image_size": 224, "patch_size": 16, "num_register_tokens": 4},
        "DINOv3ViTModel",
    ),
    "random-vit-base": ("ViTConfig", {**BASE, "image_size": 224, "patch_size": 16}, "ViTModel"),
    "random-clip-base": (
        "CLIPConfig",
        {"vision_config": {**BASE, "image_size": 224, "patch_size": 16}, "text_config": TINY_TEXT},
        "CLIPModel",
    ),
    "random-siglip-base": (
        "SiglipConfig",
        {"vision_config": {**BASE, "image_size": 224, "patch_size": 16}, "text_config": TINY_TEXT},
        "SiglipModel",
    ),
}


def save(name: str, folder: Path) -> Path:
    """The checkpoint, which takes images of 224 pixels."""
    config, arguments, model = MODELS[name]
    torch.manual_seed(0)
    with quiet():
        made = getattr(transformers, model)(getattr(transformers, config)(**arguments)).eval()
        with torch.no_grad():
            for weight in made.parameters():  # as trained ones are: biases and norms that are not all 0 and 1
                weight.add_(torch.randn_like(weight) * 0.02)
        made.save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(folder)
    return folder
