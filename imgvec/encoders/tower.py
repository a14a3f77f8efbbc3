"""What a ViT of transformers is made of, whatever its family and release call the parts.

Scales that stand behind a product are folded into its weights, in float32: layer scale (DINOv2, DINOv3), and the factor
of CLIP's activation, x · sigmoid(1.702 x) = silu(1.702 x) / 1.702. Nothing is guessed: a block of an unknown class, or
with a weight that would not be read, is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from imgvec.encoders.lastlayer import ClassTokenLayer
from imgvec.encoders.readout import ImageReadout

#: Classes of transformers whose blocks are attention and MLP, each behind a layernorm and added to what came in.
_BLOCKS = frozenset(
    {
        "ViTLayer",
        "Dinov2Layer",
        "Dinov2WithRegistersLayer",
        "DINOv3ViTLayer",
        "CLIPEncoderLayer",
        "SiglipEncoderLayer",
    }
)
_STACKS = ("layers", "encoder.layer", "encoder.layers", "model.layer", "layer")
_QUICK = 1.702
"""The factor of OpenAI's "quick" GELU (transformers' QuickGELUActivation)."""

Affine = tuple[torch.Tensor, torch.Tensor]
"""A product's weight, (out, in), and its bias, (out,), in float32."""


class UnknownTower(Exception):
    """The model has parts that are not looked into here."""


@dataclass(frozen=True, slots=True)
class Block:
    """One layer, with layer scale folded in."""

    norm1: nn.LayerNorm
    norm2: nn.LayerNorm
    query: Affine
    key: Affine
    value: Affine
    out: Affine
    up: Affine
    """Of a gated MLP (SwiGLU): the gate's rows, then those that it is multiplied with."""
    down: Affine
    activation: nn.Module
    gated: bool
    heads: int
    scaling: float


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision model for images of one size."""

    patch: torch.Tensor
    """(width, 3, patch, patch) float32: the patches' weights without their bias, which `offsets` has."""
    prefix: torch.Tensor
    """(1, tokens, width) float32: class and register tokens with their positions."""
    offsets: torch.Tensor
    """(1, patches, width) float32: the patches' bias and positions, interpolated to the size."""
    rotation: Affine | None
    """Cosine and sine of DINOv3's rotary positions, (tokens, head width) float32: 1 and 0 for the prefix."""
    pre_norm: nn.LayerNorm | None
    blocks: list[Block]
    norm: nn.LayerNorm


def tower_of(readout: ImageReadout, side: int) -> Tower:
    """The parts of the readout's vision model for images of `side` pixels; raises `UnknownTower`."""
    vision = readout.vision
    layers = [layer.layer if isinstance(layer, ClassTokenLayer) else layer for layer in _stack(vision)]
    embeddings = copy.deepcopy(vision.embeddings).float()
    conv = _patches(embeddings)
    with torch.no_grad():
        # of an image of zeros they are all that is added to the products with the pixels
        zeros = torch.zeros(1, 3, side, side, device=conv.weight.device)
        tokens = embeddings(zeros, **readout.arguments)
        count = (side // conv.kernel_size[0]) ** 2
        prefix = tokens.shape[1] - count
        if prefix < 0:
            raise UnknownTower("fewer tokens than patches")
        return Tower(
            patch=conv.weight.detach(),
            prefix=tokens[:, :prefix],
            offsets=tokens[:, prefix:],
            rotation=_rotation(vision, zeros, prefix),
            pre_norm=getattr(vision, "pre_layrnorm", None),
            blocks=[_block(layer) for layer in layers],
            norm=_one(vision, "layernorm", "norm", "post_layernorm"),
        )


def _stack(vision: Any) -> list[Any]:
    blocks = next((found for name in _STACKS if (found := _get(vision, name)) is not None), None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise UnknownTower("no stack of blocks")
    kinds = {type(getattr(block, "layer", block)).__name__ for block in blocks}
    if not kinds <= _BLOCKS or len(kinds) != 1:
        raise UnknownTower(f"blocks of {', '.join(sorted(kinds))}")
    return list(blocks)


def _patches(embeddings: nn.Module) -> nn.Conv2d:
    convs = [module for module in embeddings.modules() if isinstance(module, nn.Conv2d)]
    if len(convs) != 1:
        raise UnknownTower("no one product for the patches")
    (conv,) = convs
    size, plain = conv.kernel_size, conv.groups == 1 and conv.padding in ("valid", (0, 0))
    if size != conv.stride or size[0] != size[1] or conv.in_channels != 3 or not plain:
        raise UnknownTower("patches that overlap, are not square or not of three colours")
    return conv


def _rotation(vision: Any, zeros: torch.Tensor, prefix: int) -> Affine | None:
    rope = getattr(vision, "rope_embeddings", None)
    if rope is None:
        return None
    cos, sin = rope(zeros)
    none = torch.ones(prefix, cos.shape[-1], device=cos.device)
    return torch.cat([none, cos.float()]), torch.cat([0 * none, sin.float()])


def _block(layer: Any) -> Block:
    read: set[int] = set()
    attention = _one(layer, "attention", "self_attn")
    inner = getattr(attention, "attention", attention)  # DINOv2's before transformers 5.20
    mlp = layer.mlp
    activation = getattr(mlp, "act_fn", None) or getattr(mlp, "activation_fn", None) or getattr(mlp, "activation", None)
    scales = [_taken(scale.lambda1, read) if scale is not None else None for scale in _scales(layer)]
    packed, gate = getattr(mlp, "weights_in", None), getattr(mlp, "gate_proj", None)
    if packed is not None:  # the same: the gate's rows first
        up, down, activation = _affine(packed, read), mlp.weights_out, nn.SiLU()
    elif gate is not None:
        gates, rows = _affine(gate, read), _affine(mlp.up_proj, read)
        up, down = (torch.cat([gates[0], rows[0]]), torch.cat([gates[1], rows[1]])), mlp.down_proj
    else:
        up, down = _affine(_one(mlp, "fc1", "up_proj"), read), _one(mlp, "fc2", "down_proj")
    gated = packed is not None or gate is not None
    factor = 1.0
    if not isinstance(activation, nn.Module):
        raise UnknownTower("an MLP without an activation")
    if type(activation) is type(ACT2FN["quick_gelu"]) and not gated:
        factor, activation = _QUICK, nn.SiLU()
    width = down.out_features
    block = Block(
        norm1=_norm(layer, read, "norm1", "layernorm_before", "layer_norm1"),
        norm2=_norm(layer, read, "norm2", "layernorm_after", "layer_norm2"),
        query=_affine(_one(inner, "q_proj", "query"), read),
        key=_affine(_one(inner, "k_proj", "key"), read),
        value=_affine(_one(inner, "v_proj", "value"), read),
        out=_affine(_one(attention, "o_proj", "out_proj", "output.dense"), read, scales[0]),
        up=(up[0] * factor, up[1] * factor),
        down=_affine(down, read, scales[1], 1 / factor),
        activation=activation,
        gated=gated,
        heads=_one(inner, "num_attention_heads", "num_heads"),
        scaling=_one(inner, "scaling", "scale"),
    )
    if block.query[0].shape != (width, width):
        raise UnknownTower("heads whose widths do not add up to the model's")
    left = [name for name, weight in layer.named_parameters() if id(weight) not in read]
    if left:
        raise UnknownTower(f"a weight that is not read: {left[0]}")
    return block


def _scales(layer: Any) -> Iterator[Any]:
    for name in ("layer_scale1", "layer_scale2"):
        yield getattr(layer, name, None)


def _norm(layer: Any, read: set[int], *names: str) -> nn.LayerNorm:
    norm = _one(layer, *names)
    if not isinstance(norm, nn.LayerNorm):
        raise UnknownTower(f"{type(norm).__name__} instead of a layernorm")
    read.update(map(id, norm.parameters()))
    return norm


def _affine(linear: Any, read: set[int], scale: torch.Tensor | None = None, factor: float = 1.0) -> Affine:
    """(scale · W · factor, scale · b) in float32."""
    if type(linear) is not nn.Linear:
        raise UnknownTower(f"{type(linear).__name__} instead of a linear layer")
    weight = _taken(linear.weight, read) * factor
    bias = _taken(linear.bias, read) if linear.bias is not None else weight.new_zeros(len(weight))
    return (weight, bias) if scale is None else (weight * scale.unsqueeze(1), bias * scale)


def _taken(weight: torch.Tensor, read: set[int]) -> torch.Tensor:
    read.add(id(weight))
    return weight.detach().float()


def _get(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _one(module: Any, *names: str) -> Any:
    """The first of these that the module has."""
    found = next((found for name in names if (found := _get(module, name)) is not None), None)
    if found is None:
        raise UnknownTower(f"{type(module).__name__} has no {' or '.join(names)}")
    return found
