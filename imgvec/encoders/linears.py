"""Products with a constant weight, laid out once for the matrix kernels of the processor at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN


def linear(
    affine: tuple[torch.Tensor, torch.Tensor], like: torch.Tensor, rows: int, activation: nn.Module | None = None
) -> Linear:
    """The product in the number format and on the device of `like`, with the activation after it.

    `rows` says about how many a call will have. In bfloat16 on a CPU the weight is packed where torch can.
    """
    weight, bias = (part.to(device=like.device, dtype=like.dtype).contiguous() for part in affine)
    if like.device.type == "cpu" and like.dtype == torch.bfloat16:
        try:
            packed = Packed(weight, bias, rows, activation)
            packed(weight.new_zeros(2, weight.shape[1]))  # which kernels there are shows at the first call
        except (RuntimeError, AttributeError, NotImplementedError, TypeError):  # a build of torch without oneDNN
            pass
        else:
            return packed
    return Linear(weight, bias, activation)


class Linear(nn.Module):
    """activation(x · weight^T + bias)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, activation: nn.Module | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) to (…, out)."""
        y = nn.functional.linear(x, self.weight, self.bias)
        return y if self.activation is None else self.activation(y)

    def onto(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """residual + x · weight^T + bias."""
        return nn.functional.linear(x, self.weight, self.bias).add_(residual)


class Packed(Linear):
    """The same by oneDNN, as torch's inductor does it: the weight reordered once instead of at each product.

    Activations and additions that oneDNN knows are done while a tile of the product is in the cache.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rows: int, activation: nn.Module | None) -> None:
        fused = _fused(activation)
        super().__init__(weight.new_empty(0), bias, None if fused else activation)
        # not a buffer: nothing but oneDNN can read, move or copy it
        self._packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        self._fused = fused or ("none", "")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        name, algorithm = self._fused
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, name, [], algorithm)
        return y if self.activation is None else self.activation(y)

    def onto(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._packed, self.bias, "add")
        return y


def _fused(activation: nn.Module | None) -> tuple[str, str] | None:
    """oneDNN's name of the activation, and its algorithm."""
    if isinstance(activation, (nn.SiLU, type(ACT2FN["silu"]))):
        return "swish", ""
    known = {type(ACT2FN["gelu"]): ("gelu", "none"), type(ACT2FN["gelu_pytorch_tanh"]): ("gelu", "tanh")}
    return known.get(type(activation))
