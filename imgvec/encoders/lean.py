"""A lean forward pass for the ViTs of transformers: ViT, DINOv2, DINOv3, and the towers of CLIP and SigLIP.

It is made from the weights of a loaded model and gives the same vectors. What it does not do: normalise pixels (that is
in the patches' weights), multiply by layer scales (in the weights before them), read the input of attention three times
(q, k and v are one product), copy heads apart or together, interpolate positions for each batch, and compute tokens
after the last keys and values that nobody reads. The attention's scale is left to the kernel, which has it for nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from imgvec.encoders.linears import Packed, linear
from imgvec.encoders.readout import ImageReadout
from imgvec.encoders.tower import Affine, Block, UnknownTower, tower_of

#: Attention in which the key of the class token is added to what the patches give; see `_apart`.
APART = "class_key_apart"
#: A CPU's attention works on so many keys at once.
_KEYS = 16
#: About how many images a pass has, for the layout of the weights.
_IMAGES = 8
#: Subtracted from pixels: about their mean, so that little is left to cancel; exact in bfloat16.
_GREY = 128


class LeanReadout(nn.Module):
    """The readout's vectors by fewer and larger steps; raises `UnknownTower` for what it cannot do.

    Copies the weights of all products. The model that it was made from is not changed, and answers for tokens.
    """

    def __init__(self, readout: ImageReadout, side: int, attention: str) -> None:
        super().__init__()
        if readout.dtype not in (torch.float32, torch.bfloat16):
            raise UnknownTower(f"{readout.dtype}, whose range is too small for folded scales")
        tower = tower_of(readout, side)
        like = next(readout.model.parameters())
        self.pooling, self.skipped, self.dtype = readout.pooling, readout.prefix_tokens, readout.dtype
        self.patch, self.grid = tower.patch.shape[-1], side // tower.patch.shape[-1]
        tokens = tower.prefix.shape[1] + tower.offsets.shape[1]
        whole = readout.pooling == "mean" or hasattr(readout.vision, "head")
        rows = _IMAGES * tokens
        # W · (scale · v + shift) = W · scale · (v - 128) + W · (shift + 128 · scale)
        shift = (tower.patch * (readout.shift + _GREY * readout.scale)).sum((1, 2, 3))
        weight = (tower.patch * readout.scale).flatten(1)
        self.patches = linear((weight, shift), like, rows)
        self.register_buffer("offsets", tower.offsets.to(like), persistent=False)
        self.register_buffer("prefix", tower.prefix.to(like), persistent=False)
        self.rotation = None if tower.rotation is None else _Rotation(tower.rotation, like)
        self.pre_norm, self.norm = tower.pre_norm, tower.norm
        self.blocks = nn.ModuleList(
            _Block(block, like, rows, self.rotation, first_only=last and not whole)
            for block, last in zip(tower.blocks, [False] * (len(tower.blocks) - 1) + [True], strict=True)
        )
        self.tail = _tail(readout)
        self._use(attention)

    offsets: torch.Tensor
    prefix: torch.Tensor

    def switched(self, attention: str) -> LeanReadout:
        """One with this attention and the same weights; raises `UnknownTower` where that is not for its tokens."""
        other = copy.copy(self)
        other._modules = dict(self._modules)
        other.blocks = nn.ModuleList(copy.copy(block) for block in self.blocks)
        other._use(attention)
        return other

    def _use(self, attention: str) -> None:
        if attention == APART and not key_is_apart(self.prefix.device, self.prefix.shape[1], self.offsets.shape[1]):
            raise UnknownTower("a class token whose key is better not apart")
        for block in self.blocks:
            assert isinstance(block, _Block)
            block.mixed = _apart if attention == APART else _sdpa

    @property
    def compiles(self) -> bool:
        """Whether torch.compile can look into it; packed weights it cannot, and has no faster kernels for them."""
        return not isinstance(self.patches, Packed)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        n, grid, patch = len(pixels), self.grid, self.patch
        inside = pixels[:, :, : grid * patch, : grid * patch].to(self.dtype) - _GREY
        cut = inside.reshape(n, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5)
        patches = self.patches(cut.reshape(n, grid * grid, 3 * patch * patch)) + self.offsets
        tokens: torch.Tensor = torch.cat([self.prefix.expand(n, -1, -1), patches], dim=1)
        if self.pre_norm is not None:
            tokens = self.pre_norm(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        if self.tail is not None:
            tokens = self.tail(tokens).flatten(1)
        elif self.pooling != "mean":
            tokens = tokens[:, 0]
        else:
            tokens = tokens[:, self.skipped :].float().mean(dim=1)
        return tokens.float()


def key_is_apart(device: torch.device, prefix: int, patches: int) -> bool:
    """Whether `APART` is worth trying."""
    return device.type == "cpu" and prefix == 1 and patches % _KEYS == 0


def _tail(readout: ImageReadout) -> Any:
    """What makes the vector of the last tokens; None where it is one of them, or their mean."""
    head = getattr(readout.vision, "head", None)  # SigLIP's attention pooling
    if readout.pooling in {"pooler", "features"} and head is not None:
        return head
    if readout.pooling == "features":
        return readout.model.visual_projection
    return getattr(readout.vision, "pooler", None) if readout.pooling == "pooler" else None


class _Rotation(nn.Module):
    """Rotary positions: (a, b) to (a cos - b sin, b cos + a sin), a and b being the halves of each head."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, rotation: Affine, like: torch.Tensor) -> None:
        super().__init__()
        for name, part in zip(("cos", "sin"), rotation, strict=True):
            half = part[:, : part.shape[1] // 2]  # both halves have the same angles
            self.register_buffer(name, half[None, :, None, None].to(like), persistent=False)

    def forward(self, heads: torch.Tensor) -> torch.Tensor:
        """Of (n, tokens, kinds, heads, width)."""
        a, b = heads.chunk(2, dim=-1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], dim=-1)


class _Block(nn.Module):
    """One layer; with `first_only`, the last one for its class token alone, (n, 1, width)."""

    def __init__(
        self,
        block: Block,
        like: torch.Tensor,
        rows: int,
        rotation: _Rotation | None,
        *,
        first_only: bool,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.heads, self.scaling, self.gated, self.first_only = block.heads, block.scaling, block.gated, first_only
        self.mixed, self.rotation = _sdpa, rotation
        kinds = [block.key, block.value] if first_only else [block.query, block.key, block.value]
        weights, biases = zip(*kinds, strict=True)
        self.project = linear((torch.cat(weights), torch.cat(biases)), like, rows)
        few = rows if not first_only else _IMAGES
        self.query = linear(block.query, like, few) if first_only else None
        self.out = linear(block.out, like, few)
        self.up = linear(block.up, like, few, None if block.gated else block.activation)
        self.gate = block.activation if block.gated else None
        self.down = linear(block.down, like, few)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) to the same, or (n, 1, width)."""
        n, count, width = tokens.shape
        normed = self.norm1(tokens)
        kinds = 3 if self.query is None else 2
        heads = self.project(normed).view(n, count, kinds, self.heads, width // self.heads)
        if self.rotation is not None:  # values are not rotated
            heads = torch.cat([self.rotation(heads[:, :, :-1]), heads[:, :, -1:]], dim=2)
        *queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind(0)
        if self.query is not None:  # at position 0, which is not rotated
            tokens = tokens[:, :1]
            queries = [self.query(normed[:, :1]).view(n, 1, self.heads, -1).transpose(1, 2)]
        mixed = self.mixed(queries[0], keys, values, self.scaling).transpose(1, 2).flatten(2)
        tokens = self.out.onto(mixed, tokens)
        hidden = self.up(self.norm2(tokens))
        if self.gate is not None:
            gates, hidden = hidden.chunk(2, dim=-1)
            hidden = self.gate(gates) * hidden
        return self.down.onto(hidden, tokens)


def _sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    return nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)


def _apart(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """The same: of the patches' keys by the kernel, into which the class token's is mixed by its share.

    A CPU's kernel takes 40 % longer for 257 keys than for 256 (torch 2.13, AMX).
    """
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    mixed, logsumexp = flash(query, key[:, :, 1:], value[:, :, 1:], 0.0, False, scale=scaling)
    score = (query @ key[:, :, :1].transpose(2, 3)).squeeze(-1).float() * scaling
    share = torch.sigmoid(score - logsumexp).unsqueeze(-1).to(mixed.dtype)
    return torch.lerp(mixed, value[:, :, :1], share)
