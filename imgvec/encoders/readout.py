"""The forward pass from uint8 pixels to one float32 vector an image."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from imgvec.encoders.families import Family
from imgvec.encoders.preprocess import Preprocessing
from imgvec.errors import EncoderUnavailable

#: Families whose last_hidden_state comes without the final layernorm, which is applied to the class token alone.
_BARE_TOKENS = frozenset({"clip", "metaclip_2", "clip_vision_model"})


class Readout(Protocol):
    """A module from (n, 3, side, side) uint8 pixels to (n, width) float32, not normalised."""

    vision: Any
    """The model; what it can be switched to is asked of it."""
    pooling: str
    dtype: torch.dtype

    def __call__(self, pixels: torch.Tensor, /) -> Any: ...

    def parameters(self) -> Iterator[Any]: ...

    def buffers(self) -> Iterator[Any]: ...


R = TypeVar("R", bound=Readout)


class ImageReadout(nn.Module):
    """A vision model with its rescaling and normalisation before it and its pooling after it.

    `forward` is the whole of the hot path, so that it can be compiled as one graph.
    """

    scale: torch.Tensor
    shift: torch.Tensor
    noise: torch.Tensor | None

    def __init__(self, model: Any, family: Family, pooling: str, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.vision = vision_part(model)
        self.pooling = pooling
        self.prefix_tokens = family.prefix_tokens
        self.final_norm = (
            getattr(self.vision, "post_layernorm", None) if model.config.model_type in _BARE_TOKENS else None
        )
        self.arguments = _arguments(self.vision, preprocessing.image_size)
        self.register_buffer("noise", _order(self.vision, preprocessing.image_size), persistent=False)
        # (v · rescale - mean) / std as one multiplication and one addition, in float32.
        std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
        self.register_buffer("scale", preprocessing.rescale / std, persistent=False)
        self.register_buffer("shift", -torch.tensor(preprocessing.mean).view(1, -1, 1, 1) / std, persistent=False)
        self.dtype = next(model.parameters()).dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        values = (pixels.float() * self.scale + self.shift).to(self.dtype)
        arguments = dict(self.arguments)
        if self.noise is not None:
            arguments["noise"] = self.noise.expand(len(pixels), -1)
        if self.pooling == "features":
            return pooled(self.model.get_image_features(pixel_values=values, **arguments))
        output = self.vision(pixel_values=values, **arguments)
        if self.pooling == "pooler":
            return pooled(output)
        tokens: torch.Tensor = output.last_hidden_state
        if self.final_norm is not None:
            tokens = self.final_norm(tokens)
        tokens = tokens.float()
        return tokens[:, 0] if self.pooling == "cls" else tokens[:, self.prefix_tokens :].mean(dim=1)


def pooled(output: Any) -> torch.Tensor:
    """The pooled vectors of a model's output, flat and in float32; a tensor is its own (transformers before 5.3)."""
    vectors: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return vectors.flatten(1).float()


def with_the_same_weights(readout: R) -> R:
    """A copy with modules and a config of its own, around the same weights: the other does not see what it is told."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in readout.parameters()}
    shared.update((id(tensor), tensor) for tensor in readout.buffers())
    return copy.deepcopy(readout, shared)


def vision_part(model: Any) -> Any:
    """The image half of a two-sided model."""
    return getattr(model, "vision_model", model)


def truncate(model: Any, layer: int | None) -> int | None:
    """Cut the blocks after `layer` off, in place; answers the layer counted from 1, None for the last.

    What is left ends with the final layernorm, so that hidden state L is read as the last one would be.
    """
    if layer is None:
        return None
    vision = vision_part(model)
    depth = getattr(vision.config, "num_hidden_layers", None)
    blocks = [m for m in vision.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not depth or len(blocks) != 1:
        raise EncoderUnavailable(f"{model.config.model_type}: has no stack of equal layers, so no layer can be chosen")
    wanted = layer if layer > 0 else depth + 1 + layer
    if not 1 <= wanted <= depth:
        raise EncoderUnavailable(f"{model.config.model_type}: has {depth} layers, so layer cannot be {layer}")
    del blocks[0][wanted:]
    return wanted if wanted < depth else None


def _arguments(vision: Any, side: int) -> dict[str, Any]:
    """What a family's forward needs beside the pixels, to see another size than it was trained on."""
    native = getattr(vision.config, "image_size", side)
    takes = "interpolate_pos_encoding" in inspect.signature(vision.forward).parameters
    return {"interpolate_pos_encoding": True} if takes and native not in (side, [side, side], (side, side)) else {}


def _order(vision: Any, side: int) -> torch.Tensor | None:
    """For MAE, which shuffles the patches by random noise even when it masks none: rising noise keeps their order."""
    if "noise" not in inspect.signature(vision.forward).parameters:
        return None
    return torch.arange((side // vision.config.patch_size) ** 2, dtype=torch.float32).unsqueeze(0)
