"""What a ViT's layers say of each patch of a picture, beside the one vector that it makes of the whole."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from imgvec.encoders.lastlayer import ClassTokenLayer
from imgvec.encoders.protocol import Pixels, Tokens
from imgvec.encoders.readout import ImageReadout

DEPTHS = (0.7, 1.0)
"""The layers that are read, as shares of the depth. Late ones know what a thing is, those at two thirds which part of
it (Amir et al. 2022, arXiv:2112.05814, figure 3). Chosen on photos that no figure is reported on."""
ARTEFACT = 2.5
"""A patch whose last token is so many times as long as the median holds something about the whole picture instead of
itself (Darcet et al. 2024, arXiv:2309.16588): it is taken to be what its neighbours are."""


def tokens_of(readout: ImageReadout, pixels: Pixels, device: torch.device) -> list[Tokens] | None:
    """The tokens of (n, 3, side, side) uint8 pixels; None for a model without one token for each patch of a grid.

    Listens to the modules while they compute: whoever calls sees to it that nothing else computes with them, and that
    they are not compiled, which would notice.
    """
    blocks = _blocks(readout.vision)
    if blocks is None:
        return None
    seen: dict[int, torch.Tensor] = {}
    given: list[torch.Tensor] = []

    def note(number: int, output: Any) -> None:
        seen[number] = output[0] if isinstance(output, tuple) else output

    hooks = [
        block.register_forward_hook(lambda _module, _given, output, number=number: note(number, output))
        for number, block in enumerate(blocks)
    ]
    hooks.append(blocks[-1].register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0])))
    try:
        with torch.inference_mode():
            vectors = readout(torch.from_numpy(pixels).to(device))
            if isinstance(blocks[-1], ClassTokenLayer):  # which answers with the class token alone
                note(len(blocks) - 1, blocks[-1].layer(given[-1]))
            layers = [seen[round(depth * len(blocks)) - 1] for depth in DEPTHS]
            return _read(readout, layers, vectors)
    finally:
        for hook in hooks:
            hook.remove()


def _read(readout: ImageReadout, layers: list[torch.Tensor], vectors: torch.Tensor) -> list[Tokens] | None:
    prefix = readout.prefix_tokens
    if any(layer.ndim != 3 for layer in layers) or len({layer.shape for layer in layers}) != 1:
        return None
    side = math.isqrt(layers[0].shape[1] - prefix)
    if side < 2 or side * side != layers[0].shape[1] - prefix:
        return None
    norm = next((found for name in ("layernorm", "post_layernorm", "norm") if (found := _norm(readout, name))), None)
    patches = [layer[:, prefix:] for layer in layers]
    normed = [norm(layer) if norm is not None else layer for layer in patches]
    lengths = patches[-1].float().norm(dim=-1)
    whole = torch.stack([_mended(layer.float(), lengths, side) for layer in normed], 1)
    parts = normed[-1].float() if readout.pooling == "mean" else None
    if parts is not None and not torch.allclose(parts.mean(1), vectors, atol=1e-2 * float(vectors.abs().max())):
        parts = None  # a family whose mean is of something else
    return [
        Tokens(
            (side, side),
            whole[number].cpu().numpy(),
            None if parts is None else parts[number].cpu().numpy(),
        )
        for number in range(len(whole))
    ]


def _mended(layer: torch.Tensor, lengths: torch.Tensor, side: int) -> torch.Tensor:
    """(n, patches, width) with artefacts replaced by the mean of the patches around them that are none."""
    wrong = lengths > ARTEFACT * lengths.median(dim=1, keepdim=True).values
    if not bool(wrong.any()):
        return layer
    good = (~wrong).float().view(-1, 1, side, side)
    grid = layer.transpose(1, 2).reshape(len(layer), -1, side, side) * good
    window = torch.ones(1, 1, 3, 3, device=layer.device)
    total = nn.functional.conv2d(grid.flatten(0, 1).unsqueeze(1), window, padding=1).view_as(grid)
    count = nn.functional.conv2d(good, window, padding=1).clamp(min=1)
    around = (total / count).flatten(2).transpose(1, 2)
    return torch.where(wrong.unsqueeze(-1), around, layer)


def _norm(readout: ImageReadout, name: str) -> Any:
    found = getattr(readout.vision, name, None)
    return found if isinstance(found, nn.Module) and not isinstance(found, nn.Identity) else None


def _blocks(vision: nn.Module) -> list[nn.Module] | None:
    """The model's one stack of layers; None where it has several of that length, as those have that shrink the grid."""
    lists = [list(module) for module in vision.modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
    longest = max(map(len, lists), default=0)
    found = [each for each in lists if len(each) == longest]
    return found[0] if len(found) == 1 else None
