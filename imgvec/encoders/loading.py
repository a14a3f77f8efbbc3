"""From a folder to a checked model in memory: safetensors only, no foreign code, nothing missing that is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError

from imgvec.encoders.families import UNSUPPORTED, Family, family_of
from imgvec.encoders.preprocess import Preprocessing, from_parameters, from_processor
from imgvec.encoders.quiet import quiet
from imgvec.encoders.weights import Checkpoint
from imgvec.errors import EncoderUnavailable
from imgvec.plurals import counted

#: What transformers raises for files that are damaged, foreign or do not fit together.
_TRANSFORMERS_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    SafetensorError,
)

#: Weights that no image or text vector depends on: masking is for training, the logit terms for comparing.
_NEVER_READ = re.compile(r"(^|\.)(mask_token|logit_scale|logit_bias|position_ids)$")
_POOLER = re.compile(r"(^|\.)pooler\.")

_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")

#: transformers has this processor for torchvision only; its parameters as the class has them.
_DINOV3_PROCESSOR = {
    "size": {"height": 224, "width": 224},
    "resample": 2,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def load_config(checkpoint: Checkpoint) -> Any:
    """The Hugging Face config; raises `EncoderUnavailable` for a model that cannot be an image encoder here."""
    from transformers import AutoConfig

    with quiet(), _explained(checkpoint, "config.json"):
        config = AutoConfig.from_pretrained(checkpoint.directory, trust_remote_code=False, local_files_only=True)
    if config.model_type in UNSUPPORTED:
        raise EncoderUnavailable(f"{checkpoint.model}: {config.model_type} {UNSUPPORTED[config.model_type]}")
    return config


def load_model(checkpoint: Checkpoint, config: Any, pooling: str, dtype: torch.dtype, attention: str | None) -> Any:
    """The model on the CPU, in evaluation mode; raises `EncoderUnavailable`."""
    from transformers import AutoModel

    checkpoint.weight_files()  # refuses pickles and missing shards before transformers looks
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0  # by default three quarters of the patches are dropped at random
    with quiet(), _explained(checkpoint, "the weights"):
        model, info = AutoModel.from_pretrained(
            checkpoint.directory,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **({"attn_implementation": attention} if attention else {}),
        )
    mismatched = {str(key[0]) for key in info["mismatched_keys"]}
    for names, problem in (
        (mismatched, "of a shape different from config.json"),
        (info["missing_keys"], "missing"),
    ):
        read = sorted(name for name in names if _is_read(name, pooling))
        if read:
            raise EncoderUnavailable(
                f"{checkpoint.model}: {counted(len(read), 'weight')} {problem}, including {read[0]}"
            )
    return model.eval()


def _is_read(name: str, pooling: str) -> bool:
    return not _NEVER_READ.search(name) and (pooling == "pooler" or not _POOLER.search(name))


def load_preprocessing(checkpoint: Checkpoint) -> Preprocessing:
    """The model's own image processor, on Pillow; raises `EncoderUnavailable`."""
    from transformers import AutoImageProcessor

    file = checkpoint.directory / "preprocessor_config.json"
    try:
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as exc:
        raise EncoderUnavailable(f"{checkpoint.model}: preprocessor_config.json is not JSON: {exc}") from exc
    if str(stored.get("image_processor_type", "")).startswith("DINOv3ViTImageProcessor"):
        plain = from_parameters({**_DINOV3_PROCESSOR, **stored})
        if plain is not None:
            return plain
    with quiet(), _explained(checkpoint, "the image processor"):
        # Pinned: with torchvision installed, transformers would take its resize, which differs by a few levels.
        processor = AutoImageProcessor.from_pretrained(
            checkpoint.directory, backend="pil", trust_remote_code=False, local_files_only=True
        )
        return from_processor(processor)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The model's tokenizer; raises `EncoderUnavailable`."""
    from transformers import AutoTokenizer

    if not any((checkpoint.directory / name).is_file() for name in _VOCABULARIES):
        # transformers would go on with an empty vocabulary, in which all texts are alike
        raise EncoderUnavailable(f"{checkpoint.model}: the tokenizer cannot be used: its vocabulary is missing")
    with quiet(), _explained(checkpoint, "the tokenizer"):
        return AutoTokenizer.from_pretrained(checkpoint.directory, trust_remote_code=False, local_files_only=True)


def choose_pooling(checkpoint: Checkpoint, config: Any, pooling: str | None) -> tuple[Family, str]:
    """The family, and the pooling asked for or the family's own; raises `EncoderUnavailable` if it cannot do it."""
    family = family_of(config)
    if pooling is not None and pooling not in family.poolings:
        raise EncoderUnavailable(
            f"{checkpoint.model}: {config.model_type} can be pooled by {' or '.join(family.poolings)}, not {pooling}"
        )
    return family, pooling or family.pooling


@contextmanager
def _explained(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    try:
        yield
    except _TRANSFORMERS_ERRORS as exc:
        line = next((text for text in str(exc).splitlines() if text.strip()), type(exc).__name__)
        raise EncoderUnavailable(f"{checkpoint.model}: {what} cannot be used: {line[:300]}") from exc
