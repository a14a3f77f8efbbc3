"""What a checkpoint is, from its config alone: `imgvec encoders show MODEL`."""

from __future__ import annotations

from typing import Any

from imgvec.encoders.families import FAMILIES
from imgvec.encoders.known import known
from imgvec.encoders.loading import choose_pooling, load_config, load_preprocessing
from imgvec.encoders.protocol import EncoderSpec
from imgvec.encoders.purposes import DEFAULT, settled_spec
from imgvec.encoders.weights import Checkpoint


def facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Facts about a checkpoint, for JSON, without its weights; raises `EncoderUnavailable` as loading it does."""
    config = load_config(checkpoint)
    family, pooling = choose_pooling(checkpoint, config, None)
    preprocessing = load_preprocessing(checkpoint)
    vision = getattr(config, "vision_config", config)
    row = known(checkpoint.model)
    return {
        "model": checkpoint.model,
        "revision": checkpoint.revision,
        "family": config.model_type,
        "known_family": config.model_type in FAMILIES,
        "dim": _dim(config, vision, pooling),
        "layers": getattr(vision, "num_hidden_layers", None),
        "patch_size": getattr(vision, "patch_size", None),
        "image_size": preprocessing.image_size,
        "pooling": pooling,
        "pooling_reason": family.reason,
        "poolings": list(family.poolings),
        "text": family.text,
        "preprocessing": preprocessing.identity(),
        "projection": settled_spec(EncoderSpec(checkpoint.model, purpose=DEFAULT)).projection,
        "licence": row.licence if row else None,
        "good_for": row.good_for if row else None,
    }


def _dim(config: Any, vision: Any, pooling: str) -> int | None:
    """Of the vectors: the projection's where they are projected image features, else the hidden states'."""
    projected = getattr(config, "projection_dim", None) if pooling == "features" else None
    sizes = [projected, getattr(vision, "hidden_size", None), *(getattr(vision, "hidden_sizes", None) or [])[-1:]]
    return next((int(size) for size in sizes if size), None)
