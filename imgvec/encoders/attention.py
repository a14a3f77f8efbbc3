"""Attention as two plain matrix products, which a CPU does faster in bfloat16 than SDPA's tiled kernel."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

#: The name under which transformers knows it.
PRODUCTS = "imgvec_products"


def products(
    module: torch.nn.Module,  # noqa: ARG001  transformers calls by this signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(Q K^T · scaling) V of (n, heads, tokens, width) tensors as (n, tokens, heads, width).

    The scaling is done by the first product instead of a pass over its result. It also hides SDPA's
    pattern from inductor, which would put the tiled kernel in its place and make the compiled model slower.
    """
    n, heads, tokens, width = query.shape
    q, v = query.reshape(n * heads, tokens, width), value.reshape(n * heads, -1, value.shape[-1])
    k = key.reshape(n * heads, -1, width).transpose(1, 2)
    weights = torch.baddbmm(q.new_zeros(1, 1, 1), q, k, beta=0, alpha=width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        weights = (weights.view(n, heads, tokens, -1) + attention_mask).flatten(0, 1)
    mixed = torch.bmm(torch.softmax(weights, dim=-1), v)
    return mixed.view(n, heads, tokens, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(PRODUCTS, products)
