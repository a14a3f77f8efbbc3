"""`timm:NAME`: any model of timm (VGG, ResNet, ConvNeXt, EfficientNet, ViT, …), with its own preprocessing.

Weights are timm's own, from the Hugging Face hub or its cache, or `timm:NAME?weights=FILE.safetensors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from timm.data import resolve_model_data_config

from imgvec.encoders.identity import applied
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import Encoder
from imgvec.encoders.quiet import quiet
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.torchnet import Net, encoder_of, first_line, named, weights_of, without_layer
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable

#: What timm and the hub client raise for names, files and weights that do not fit together.
_ERRORS = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError, SafetensorError)


def _load(request: EncoderRequest) -> Encoder:
    spec = request.spec
    without_layer(request)
    _known(request)
    weights = weights_of(request)
    model = named("timm", request, weights)
    net = _net(request, weights, model)
    preprocessing, fit = applied(preprocessing_of(resolve_model_data_config(net), spec.image_size, model), spec)
    pooling, read = _reading(net, spec.pooling, model)
    return encoder_of(Net(net, read, model, pooling, preprocessing, fit), request)


def _known(request: EncoderRequest) -> None:
    name = request.name.partition(".")[0]
    if not timm.is_model(name):
        alike = ", ".join(timm.list_models(f"*{name}*")[:5]) or "see timm.list_models()"
        raise EncoderUnavailable(f"{request.spec.model}: timm {timm.__version__} has no model {name!r} ({alike})")


def _net(request: EncoderRequest, weights: Path | None, model: str) -> Any:
    """The net without its classifier; every weight that is left came from the file, or from timm's own."""
    size = {} if request.spec.image_size is None else {"img_size": request.spec.image_size}
    try:
        overlay = _overlay(request.name, weights) if weights else {}
        try:
            net = _created(request.name, overlay, size)
        except TypeError:  # convolutions take any size, and no argument for it
            if not size:
                raise
            net = _created(request.name, overlay, {})
        net.reset_classifier(0)
    except _ERRORS as exc:
        raise EncoderUnavailable(f"{model}: {first_line(exc)}") from exc
    except OSError as exc:  # the hub client's errors for what it cannot reach and has no copy of
        raise ModelUnreachable(
            f"{model}: timm cannot fetch its weights ({first_line(exc)}); name a file: "
            f"timm:{request.name}?weights=FILE.safetensors"
        ) from exc
    return net


def _created(name: str, overlay: dict[str, Any], size: dict[str, int]) -> Any:
    classes = {"num_classes": overlay["num_classes"]} if overlay else {}
    with quiet():
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay or None, **classes, **size)


def _overlay(name: str, weights: Path) -> dict[str, Any]:
    """What makes timm load the file, and refuse one that lacks a weight: as many classes as the file has."""
    config = timm.get_pretrained_cfg(name)
    classifier = getattr(config, "classifier", None)
    first = classifier if isinstance(classifier, str) or not classifier else classifier[0]
    with safe_open(weights, framework="pt") as tensors:
        key = f"{first}.weight"
        classes = int(tensors.get_slice(key).get_shape()[0]) if key in tensors.keys() else 0  # noqa: SIM118  no mapping
    return {"file": str(weights), "num_classes": classes, "label_offset": 0, "custom_load": False}


def preprocessing_of(config: dict[str, Any], side: int | None, model: str) -> Preprocessing:
    """timm's evaluation transform; raises `EncoderUnavailable` for one that is not a resize and a centre crop."""
    channels, height, width = config["input_size"]
    mode = config.get("crop_mode") or "center"
    if channels != 3 or height != width or mode not in ("center", "squash"):
        raise EncoderUnavailable(
            f"{model}: wants {channels} x {height} x {width} with {mode} crops, and only square RGB crops are made"
        )
    side = side or height
    resample = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}
    return Preprocessing(
        resize=int(side / config["crop_pct"]),
        squash=mode == "squash",
        crop=side,
        resample=int(resample.get(config["interpolation"], Image.Resampling.BICUBIC)),
        rescale=1 / 255,
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
    )


def _reading(net: Any, pooling: str | None, model: str) -> tuple[str, Any]:
    """The pooling, and how a vector is read: `pooler` is the model's own, what its classifier would see."""
    if pooling in (None, "pooler"):
        return "pooler", _head
    prefix = int(getattr(net, "num_prefix_tokens", 0) or 0)
    if pooling == "mean":
        return "mean", _Mean(prefix, net.num_features)
    if pooling == "cls" and prefix and getattr(net, "cls_token", None) is not None:
        return "cls", _class_token
    able = "pooler, mean or cls" if prefix else "pooler or mean"
    raise EncoderUnavailable(f"{model}: can be pooled by {able}, not {pooling}")


def _head(net: Any, values: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = net(values)
    return made


def _class_token(net: Any, values: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = net.forward_features(values)[:, 0]
    return made


class _Mean:
    """The mean of the last tokens or of the last feature map, whichever axis its channels are on."""

    def __init__(self, prefix: int, channels: int) -> None:
        self.prefix, self.channels = prefix, channels

    def __call__(self, net: Any, values: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = net.forward_features(values)
        if made.ndim == 3:
            return made[:, self.prefix :].float().mean(dim=1)
        axes = (2, 3) if made.shape[1] == self.channels else (1, 2)
        return made.float().mean(dim=axes)


def _describe(request: EncoderRequest) -> dict[str, Any]:
    _known(request)
    net = timm.create_model(request.name, pretrained=False, num_classes=0)
    preprocessing = preprocessing_of(resolve_model_data_config(net), request.spec.image_size, request.spec.model)
    return {
        "model": request.spec.model,
        "revision": None,
        "family": "timm",
        "dim": int(getattr(net, "head_hidden_size", None) or net.num_features),
        "image_size": preprocessing.image_size,
        "pooling": "pooler",
        "text": False,
        "preprocessing": preprocessing.identity(),
        "licence": net.pretrained_cfg.get("license"),
    }


KIND = EncoderKind(load=_load, describe=_describe, options=frozenset({"weights"}))
