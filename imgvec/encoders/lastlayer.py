"""The last block of a ViT for its class token alone, where that token is all that is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import Dinov2WithRegistersLayer

from imgvec.encoders.attention import products

_KNOWN = (Dinov2Layer, Dinov2WithRegistersLayer)


class ClassTokenLayer(nn.Module):
    """A DINOv2 block that answers with its class token, (n, 1, width), and leaves the other tokens out.

    The token's query still sees the keys and values of every token, so that its vector is the same; the
    query, output and MLP products of the others, ten of
    the block's twelve products with a width by width matrix a token, are not done.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        layer, attention = self.layer, self.layer.attention
        normed = layer.norm1(hidden_states)
        heads = (attention.num_attention_heads, attention.head_dim)
        query, key, value = (
            project(tokens).unflatten(-1, heads).transpose(1, 2)
            for project, tokens in (
                (attention.q_proj, normed[:, :1]),
                (attention.k_proj, normed),
                (attention.v_proj, normed),
            )
        )
        mixed, _weights = products(attention, query, key, value, None, scaling=attention.scaling)
        token = layer.layer_scale1(attention.o_proj(mixed.flatten(2))) + hidden_states[:, :1]
        whole: torch.Tensor = layer.layer_scale2(layer.mlp(layer.norm2(token))) + token
        return whole


def read_class_token_only(vision: Any) -> bool:
    """Replace the last block by `ClassTokenLayer` if its type is known; returns whether it was."""
    blocks = getattr(getattr(vision, "encoder", None), "layer", None)
    # the names are those of transformers 5.23; a release that has others keeps its own block
    if not blocks or type(blocks[-1]) not in _KNOWN or not hasattr(blocks[-1].attention, "o_proj"):
        return False
    blocks[-1] = ClassTokenLayer(blocks[-1])
    return True


def read_every_token(vision: Any) -> None:
    """Take that back."""
    blocks = getattr(getattr(vision, "encoder", None), "layer", None)
    if blocks and isinstance(blocks[-1], ClassTokenLayer):
        blocks[-1] = blocks[-1].layer
