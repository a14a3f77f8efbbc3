"""From a checkpoint in a local folder to the encoder that it makes, whichever kind of name it was found by."""

from __future__ import annotations

import torch

from imgvec import forked
from imgvec.encoders.devices import choose_device, choose_dtype
from imgvec.encoders.huggingface import HuggingFaceEncoder
from imgvec.encoders.identity import applied, fingerprint
from imgvec.encoders.lastlayer import read_class_token_only
from imgvec.encoders.loading import choose_pooling, load_config, load_model, load_preprocessing, load_tokenizer
from imgvec.encoders.protocol import Binding
from imgvec.encoders.readout import ImageReadout, Readout, truncate
from imgvec.encoders.registry import EncoderRequest
from imgvec.encoders.streams import processors, streams_of
from imgvec.encoders.text import TextReadout
from imgvec.encoders.weights import Checkpoint
from imgvec.errors import EncoderUnavailable


def assemble(checkpoint: Checkpoint, request: EncoderRequest) -> HuggingFaceEncoder:
    """Load the checkpoint's model, read as the request's spec says.

    Raises `EncoderUnavailable`, and `EncoderError` for a device or dtype that cannot be used.
    """
    spec = request.spec
    on = choose_device(request.device)
    number = choose_dtype(request.dtype, on)
    if on.type == "cpu" and not forked.one_thread():
        streams_of(processors())  # before anything computes with it
    config = load_config(checkpoint)
    family, pooling = choose_pooling(checkpoint, config, spec.pooling)
    preprocessing, fit = applied(load_preprocessing(checkpoint), spec)
    model = load_model(checkpoint, config, pooling, number, attention_for(on, number))
    layer = truncate(model, spec.layer)
    readout = ImageReadout(model, family, pooling, preprocessing)
    if pooling == "cls":
        read_class_token_only(readout.vision)
    readout = readout.to(on).eval()
    dim = width(readout, preprocessing.image_size, on, checkpoint.model)
    text, no_text = None, ""
    if family.text and (pooling != "features" or layer is not None):
        no_text = f"{checkpoint.model}: images share a space with text only with pooling `features` on the last layer"
    elif family.text:
        try:
            text = TextReadout(model, load_tokenizer(checkpoint), family)
        except EncoderUnavailable as exc:  # images alone are worth having: SigLIP's tokenizer needs sentencepiece
            no_text = str(exc)
    identity = {**preprocessing.identity(), "pooling": pooling, "layer": layer, "image_size": preprocessing.image_size}
    binding = Binding(
        model=checkpoint.model,
        revision=checkpoint.revision,
        fingerprint=fingerprint(checkpoint.digest(), identity),
        layer=layer,
        pooling=pooling,
        image_size=preprocessing.image_size,
        dim=dim,
        fit=fit,
    )
    return HuggingFaceEncoder(
        readout,
        preprocessing,
        binding,
        device=on,
        text=text,
        no_text=no_text,
        cache_dir=request.cache_dir,
    )


def attention_for(device: torch.device, dtype: torch.dtype) -> str | None:
    """transformers' name of the attention to use; None leaves it to the model, which takes SDPA where it can.

    On CPUs plain matrix products win in bfloat16: DINOv2-S at 16 images of 224 pixels, 42 images a second against 37
    with SDPA (two cores with AVX512-BF16). In float32 SDPA wins, 14 against 12.
    """
    return "eager" if device.type == "cpu" and dtype == torch.bfloat16 else None


def width(readout: Readout, side: int, device: torch.device, model: str) -> int:
    """The length of a vector, seen on one grey image: no config says it for every family and pooling."""
    grey = torch.full((1, 3, side, side), 128, dtype=torch.uint8, device=device)
    try:
        with torch.inference_mode():
            vectors = readout(grey)
    except (RuntimeError, ValueError, AttributeError, TypeError, IndexError) as exc:
        raise EncoderUnavailable(
            f"{model}: cannot be used with {readout.pooling} pooling at {side} pixels: {exc}"
        ) from exc
    return int(vectors.shape[1])
