"""Tiny random models of every family, saved as checkpoints; no network, no pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from imgvec.encoders.quiet import quiet

SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
VIT = {**SMALL, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
DINO = {**SMALL, "image_size": 42, "patch_size": 7, "mlp_ratio": 2}
VISION = {**VIT, "projection_dim": 24}
TEXT = {**SMALL, "intermediate_size": 64, "vocab_size": 16, "max_position_embeddings": 12, "projection_dim": 24}
TEXT_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
SQUARE = {"size": {"height": 32, "width": 32}}
CROPPED = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}

#: family: config class and arguments, model class, image processor class and arguments
TINY: dict[str, tuple[Any, dict[str, Any], str, str, dict[str, Any]]] = {
    "vit": (transformers.ViTConfig, VIT, "ViTModel", "ViTImageProcessorPil", SQUARE),
    "deit": (
        transformers.DeiTConfig,
        VIT,
        "DeiTModel",
        "DeiTImageProcessorPil",
        {**CROPPED, "size": {"height": 36, "width": 36}},
    ),
    "dinov2": (
        transformers.Dinov2Config,
        DINO,
        "Dinov2Model",
        "BitImageProcessorPil",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}},
    ),
    "dinov2_with_registers": (
        transformers.Dinov2WithRegistersConfig,
        {**DINO, "num_register_tokens": 4},
        "Dinov2WithRegistersModel",
        "BitImageProcessorPil",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 28, "width": 28}},
    ),
    "dinov3_vit": (
        transformers.DINOv3ViTConfig,
        {**VIT, "num_register_tokens": 4, "rope_theta": 100.0},
        "DINOv3ViTModel",
        "ViTImageProcessorPil",
        SQUARE,
    ),
    "vit_mae": (transformers.ViTMAEConfig, VIT, "ViTMAEModel", "ViTImageProcessorPil", SQUARE),
    "beit": (transformers.BeitConfig, {**VIT, "use_mean_pooling": True}, "BeitModel", "BeitImageProcessorPil", SQUARE),
    "swin": (
        transformers.SwinConfig,
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "SwinModel",
        "ViTImageProcessorPil",
        SQUARE,
    ),
    "resnet": (
        transformers.ResNetConfig,
        {**STAGES, "embedding_size": 8, "layer_type": "basic"},
        "ResNetModel",
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 32}},
    ),
    "convnext": (
        transformers.ConvNextConfig,
        {**STAGES, "num_stages": 2},
        "ConvNextModel",
        "ConvNextImageProcessorPil",
        {"size": {"shortest_edge": 32}},
    ),
    "clip": (
        transformers.CLIPConfig,
        {"vision_config": VISION, "text_config": {**TEXT, **TEXT_IDS}, "projection_dim": 24},
        "CLIPModel",
        "CLIPImageProcessorPil",
        CROPPED,
    ),
    "siglip": (
        transformers.SiglipConfig,
        {"vision_config": VIT, "text_config": {**TEXT, **TEXT_IDS, "projection_size": 32}},
        "SiglipModel",
        "SiglipImageProcessorPil",
        SQUARE,
    ),
}


def save_tiny(family: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint with random weights; `changes` go to the config."""
    config_class, arguments, model, processor, processing = TINY[family]
    torch.manual_seed(seed)
    with quiet():  # transformers finds the tiny vocabulary strange
        tiny = getattr(transformers, model)(config_class(**{**arguments, **changes})).eval()
    with torch.no_grad():
        for weight in tiny.parameters():  # the stock initialisation is so small that every image looks alike
            weight.add_(torch.randn_like(weight) * 0.15)
    with quiet():
        tiny.save_pretrained(folder)
    getattr(transformers, processor)(**processing).save_pretrained(folder)
    if family in {"clip", "siglip"}:
        tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_tokenizer() -> Any:
    words = ["<unk>", "<s>", "</s>", "<pad>", "a", "photo", "of", "red", "green", "shoe", "shirt", "dog"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A smooth random picture, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
