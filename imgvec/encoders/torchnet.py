"""Nets of other torch packages (timm, open_clip) as encoders, with everything that runs transformers' models fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import torch
from torch import nn

from imgvec import forked
from imgvec.encoders.assembly import width
from imgvec.encoders.devices import choose_device, choose_dtype
from imgvec.encoders.huggingface import HuggingFaceEncoder
from imgvec.encoders.identity import fingerprint, weights_file
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import Binding
from imgvec.encoders.registry import EncoderRequest
from imgvec.encoders.streams import processors, streams_of
from imgvec.errors import EncoderUnavailable


class NetReadout(nn.Module):
    """A net with its rescaling and normalisation before it; `forward` is the whole of the hot path."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self, net: Any, read: Callable[[Any, torch.Tensor], torch.Tensor], pooling: str, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.vision, self.pooling = net, pooling
        self._read = read
        std = torch.tensor(preprocessing.std).view(1, -1, 1, 1)
        self.register_buffer("scale", preprocessing.rescale / std, persistent=False)
        self.register_buffer("shift", -torch.tensor(preprocessing.mean).view(1, -1, 1, 1) / std, persistent=False)
        self.dtype = next(net.parameters()).dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        values = (pixels.float() * self.scale + self.shift).to(self.dtype)
        return self._read(self.vision, values).flatten(1).float()


@dataclass(frozen=True, slots=True)
class Net:
    """A net in float32 on the CPU, with all that is known of it."""

    net: Any
    read: Callable[[Any, torch.Tensor], torch.Tensor]
    """From the net and its (n, 3, side, side) input to (n, …) features."""
    model: str
    """The name by which it can be loaded again, from any folder."""
    pooling: str
    preprocessing: Preprocessing
    fit: str | None
    tokenizer: Callable[[Sequence[str]], torch.Tensor] | None = None
    no_text: str = ""


def encoder_of(made: Net, request: EncoderRequest) -> HuggingFaceEncoder:
    """The encoder on the device and in the number format of the request; raises `EncoderError` for those."""
    on = choose_device(request.device)
    number = choose_dtype(request.dtype, on)
    if on.type == "cpu" and not forked.one_thread():
        streams_of(processors())  # before anything computes with it
    weights = digest(made.net)
    net = made.net.eval().to(number)
    readout = NetReadout(net, made.read, made.pooling, made.preprocessing).to(on).eval()
    side = made.preprocessing.image_size
    identity = {**made.preprocessing.identity(), "pooling": made.pooling, "image_size": side}
    binding = Binding(
        model=made.model,
        revision=None,
        fingerprint=fingerprint(weights, identity),
        layer=None,
        pooling=made.pooling,
        image_size=side,
        dim=width(readout, side, on, made.model),
        fit=made.fit,
    )
    tokenizer = made.tokenizer

    def text(texts: Sequence[str]) -> torch.Tensor:
        assert tokenizer is not None
        vectors: torch.Tensor = net.encode_text(tokenizer(texts).to(on))
        return vectors.float()

    return HuggingFaceEncoder(
        readout,
        made.preprocessing,
        binding,
        device=on,
        text=None if tokenizer is None else text,
        no_text=made.no_text or f"{made.model}: has no text side; use a CLIP or SigLIP model",
        cache_dir=request.cache_dir,
    )


def digest(net: Any) -> str:
    """32 hex digits over every tensor of the state dict: name, dtype, shape and bytes."""
    whole = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(net.state_dict().items()):
        whole.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        whole.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return whole.hexdigest()


def weights_of(request: EncoderRequest) -> Path | None:
    """The safetensors file that the option `weights` names, absolute; raises `EncoderUnavailable`."""
    return weights_file(
        request,
        ".safetensors",
        "weights are read from .safetensors alone, since other files can run code: convert {name} with "
        "safetensors.torch.save_file",
    )


def named(prefix: str, request: EncoderRequest, weights: Path | None) -> str:
    """The name with its file of weights as an absolute path."""
    options = {**request.options, **({"weights": str(weights)} if weights else {})}
    return f"{prefix}:{request.name}" + (f"?{urlencode(options, safe='/')}" if options else "")


def without_layer(request: EncoderRequest) -> None:
    """Raise `EncoderUnavailable` where the spec chooses a layer, which only transformers' models can."""
    if request.spec.layer is not None:
        raise EncoderUnavailable(f"{request.spec.model}: no layer can be chosen in models of this kind")


def first_line(exc: BaseException) -> str:
    """What went wrong, in one line."""
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
