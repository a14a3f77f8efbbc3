"""The best times of the kernels that a ViT's pass consists of, each alone, at the model's own shapes.

What `encoder.py` holds the encoder against: linear layers, scaled_dot_product_attention, the activation and the
layernorms of torch, in the encoder's number format, on one batch with all threads. The last block of a model that is
read at its class token is counted for what has to be computed of it. Additions, copies and the readout are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from imgvec.encoders.readout import ImageReadout
from imgvec.encoders.tower import tower_of


@dataclass
class Kernel:
    name: str
    run: Callable[[], object]
    count: int
    """Of them in a pass."""
    images: int
    best: float = field(default=float("inf"))
    """Seconds an image, of one of them."""


class Kernels:
    """Those of a readout at images of `side` pixels, for each of the batch sizes."""

    def __init__(self, readout: ImageReadout, side: int, sizes: tuple[int, ...]) -> None:
        self._device = next(readout.model.parameters()).device
        self._dtype, self._readout = readout.dtype, readout
        self._tower = tower_of(readout, side)
        self.kernels = [kernel for size in sizes for kernel in self._of(size)]

    def _of(self, n: int) -> list[Kernel]:
        tower, block = self._tower, self._tower.blocks[0]
        depth, width = len(tower.blocks), tower.patch.shape[0]
        patches, tokens = tower.offsets.shape[1], tower.offsets.shape[1] + tower.prefix.shape[1]
        up, down = len(block.up[0]), block.down[0].shape[1]
        whole = self._readout.pooling == "mean" or hasattr(self._readout.vision, "head")
        full, last = (depth, 0) if whole else (depth - 1, 1)
        x, normed = self._made(n, tokens, width), nn.LayerNorm(width).to(self._device, self._dtype)
        hidden = self._made(n, tokens, down)
        queries, keys, values = self._made(n, tokens, 3, block.heads, width // block.heads).permute(2, 0, 3, 1, 4)
        one, one_hidden = x[:, :1].contiguous(), hidden[:, :1].contiguous()

        def attention(query: torch.Tensor) -> Callable[[], object]:
            return lambda: nn.functional.scaled_dot_product_attention(query, keys, values)

        rows = [
            ("patches", self._linear(self._made(n, patches, tower.patch[0].numel()), width), 1),
            ("q, k, v", self._linear(x, 3 * width), full),
            ("k, v", self._linear(x, 2 * width), last),
            ("attention", attention(queries), full),
            ("attention of one", attention(queries[:, :, :1]), last),
            ("out", self._linear(x, width), full),
            ("up", self._linear(x, up), full),
            ("activation", lambda: block.activation(hidden), full),
            ("down", self._linear(hidden, width), full),
            ("norm", lambda: normed(x), 2 * full + last),
            ("q of one", self._linear(one, width), last),
            ("out of one", self._linear(one, width), last),
            ("up of one", self._linear(one, up), last),
            ("activation of one", lambda: block.activation(one_hidden), last),
            ("down of one", self._linear(one_hidden, width), last),
        ]
        return [Kernel(name, run, count, n) for name, run, count in rows if count]

    def _made(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=self._device, dtype=self._dtype)

    def _linear(self, x: torch.Tensor, out: int) -> Callable[[], object]:
        weight, bias = self._made(out, x.shape[-1]), self._made(out)
        return lambda: nn.functional.linear(x, weight, bias)

    def measure(self) -> None:
        """Once more each; the best time counts."""
        calls, times = (1, 3) if self._device.type == "cpu" else (20, 1)  # a GPU's are queued
        with torch.inference_mode():
            for kernel in self.kernels:
                kernel.run()
                self._wait()
                for _ in range(times):
                    started = time.perf_counter()
                    for _ in range(calls):
                        kernel.run()
                    self._wait()
                    kernel.best = min(kernel.best, (time.perf_counter() - started) / calls / kernel.images)

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self) -> dict[str, float]:
        """An image: of each kernel all in a pass, at the batch size where it is fastest."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            found[kernel.name] = min(found.get(kernel.name, float("inf")), kernel.count * kernel.best)
        return found
