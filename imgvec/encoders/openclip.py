"""`open_clip:NAME`: CLIP models of open_clip, pictures and texts in one space.

`open_clip:ViT-B-32?pretrained=laion2b_s34b_b79k` takes the weights that open_clip knows by that tag, from the Hugging
Face hub or its cache; `open_clip:ViT-B-32?weights=FILE.safetensors` a file.
"""

from __future__ import annotations

from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError

from imgvec.encoders.identity import applied
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import Encoder
from imgvec.encoders.quiet import quiet
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.torchnet import Net, encoder_of, first_line, named, weights_of, without_layer
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderUnavailable

_ERRORS = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError, SafetensorError)


def _load(request: EncoderRequest) -> Encoder:
    spec = request.spec
    without_layer(request)
    _known(request)
    weights, tag = weights_of(request), request.options.get("pretrained")
    model = named("open_clip", request, weights)
    tags = open_clip.list_pretrained_tags_by_model(request.name)
    if (weights is None) == (tag is None) or (tag is not None and tag not in tags):
        raise EncoderUnavailable(
            f"{model}: say one of ?weights=FILE.safetensors and ?pretrained=TAG ({', '.join(tags) or 'it has no tags'})"
        )
    if spec.pooling not in (None, "features"):
        raise EncoderUnavailable(f"{model}: can be pooled by features, not {spec.pooling}")
    net = _net(request, str(weights or tag), model)
    preprocessing, fit = applied(_preprocessing(net.visual.preprocess_cfg, model), spec)
    tokenizer, no_text = None, ""
    try:
        with quiet():
            tokenizer = open_clip.get_tokenizer(request.name)
    except (*_ERRORS, OSError) as exc:  # images alone are worth having: some tokenizers come from the hub
        no_text = f"{model}: its tokenizer cannot be loaded: {first_line(exc)}"
    return encoder_of(Net(net, _features, model, "features", preprocessing, fit, tokenizer, no_text), request)


def _known(request: EncoderRequest) -> None:
    if request.name not in open_clip.list_models():
        raise EncoderUnavailable(
            f"{request.spec.model}: open_clip {open_clip.__version__} has no model {request.name!r} (it has "
            f"{', '.join(open_clip.list_models()[:5])}, …: open_clip.list_models())"
        )


def _net(request: EncoderRequest, pretrained: str, model: str) -> Any:
    try:
        with quiet():
            return open_clip.create_model(
                request.name,
                pretrained=pretrained,
                force_image_size=request.spec.image_size,
                pretrained_text=False,  # the checkpoint has the text tower
                require_pretrained=True,
                weights_only=True,
            )
    except _ERRORS as exc:
        if "download" in str(exc):
            raise ModelUnreachable(f"{model}: open_clip cannot fetch its weights: {first_line(exc)}") from exc
        raise EncoderUnavailable(f"{model}: {first_line(exc)}") from exc
    except OSError as exc:  # the hub client's errors for what it cannot reach and has no copy of
        raise ModelUnreachable(f"{model}: open_clip cannot fetch its weights: {first_line(exc)}") from exc


def _preprocessing(config: dict[str, Any], model: str) -> Preprocessing:
    size, mode = config["size"], config["resize_mode"]
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1 or mode not in ("shortest", "squash"):
        raise EncoderUnavailable(f"{model}: wants {size} by {mode}, and only square crops are made")
    (side,) = sides
    resample = Image.Resampling.BILINEAR if config["interpolation"] == "bilinear" else Image.Resampling.BICUBIC
    return Preprocessing(
        resize=side,
        squash=mode == "squash",
        crop=None if mode == "squash" else side,
        resample=int(resample),
        rescale=1 / 255,
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
    )


def _features(net: Any, values: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = net.encode_image(values)
    return made


def _describe(request: EncoderRequest) -> dict[str, Any]:
    _known(request)
    config = open_clip.get_model_config(request.name)
    return {
        "model": request.spec.model,
        "revision": None,
        "family": "open_clip",
        "dim": config["embed_dim"],
        "image_size": config["vision_cfg"]["image_size"],
        "pooling": "features",
        "text": True,
        "pretrained": open_clip.list_pretrained_tags_by_model(request.name),
    }


KIND = EncoderKind(load=_load, describe=_describe, options=frozenset({"weights", "pretrained"}))
