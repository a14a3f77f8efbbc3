"""`keras:NAME`: a model of keras.applications, computed by Keras on TensorFlow, torch or JAX.

Weights are `imagenet`, which Keras downloads and keeps in its own cache, or `keras:NAME?weights=FILE.weights.h5`. The
last feature map is averaged; with `?layer=fc2` the output of that layer of the whole classifier is read instead, and
the weights have to be the classifier's. The backend is Keras's own choice (KERAS_BACKEND, ~/.keras/keras.json), or
torch where that one is not installed; the vectors are the same.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec import forked
from imgvec.encoders.foreign import ForeignEncoder, answer_of
from imgvec.encoders.identity import applied, fingerprint, weights_file
from imgvec.encoders.kerasbackend import keras
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import Binding, Encoder, Pixels
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderError, EncoderUnavailable

BATCH_SIZE, GPU_BATCH_SIZE = 16, 64

#: Sides that keras.applications were trained at, where that is not 224 (the `input_shape` that each one documents).
SIDES = {
    "InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299, "NASNetLarge": 331,
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380,
    "EfficientNetB5": 456, "EfficientNetB6": 528, "EfficientNetB7": 600,
    "EfficientNetV2B1": 240, "EfficientNetV2B2": 260, "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
}  # fmt: skip
SIDE = 224


class KerasNet:
    """A net and its own preprocessing, as a function from pixels to features."""

    def __init__(self, net: Any, preprocess: Any, device: str | None, model: str) -> None:
        self._net, self._preprocess, self._device, self._model = net, preprocess, device, model
        self._left_behind = False
        forked.watch(self)

    def after_fork(self) -> None:
        """In a forked child: see `forked`."""
        self._left_behind = keras.backend.backend() != "torch" or self._device not in (None, "cpu:0")

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        if self._left_behind:
            raise EncoderUnavailable(
                f"{self._model} was loaded before this process was forked, which {keras.backend.backend()} does not "
                f"survive: use spawn to start processes, or load the encoder in each"
            )
        values = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1), dtype=np.float32)
        with keras.device(self._device) if self._device else nullcontext():
            made = self._net.predict_on_batch(self._preprocess(values, data_format="channels_last"))
        return np.asarray(made, np.float32).reshape(len(pixels), -1)

    def digest(self) -> str:
        """32 hex digits over the weights in their order, and over what the preprocessing makes of a ramp.

        Without names, which Keras numbers by how many layers a process has made before.
        """
        whole = hashlib.blake2b(digest_size=16)
        for weight in self._net.get_weights():
            whole.update(json.dumps([str(weight.dtype), list(weight.shape)]).encode())
            whole.update(weight.tobytes())
        ramp = np.arange(0, 255, 5, dtype=np.float32)[:48].reshape(1, 4, 4, 3)
        made = np.asarray(self._preprocess(ramp, data_format="channels_last"))
        whole.update(np.rint(made * 1000).astype("<i4").tobytes())
        return whole.hexdigest()


def _load(request: EncoderRequest) -> Encoder:
    spec = request.spec
    if spec.layer is not None:
        raise EncoderUnavailable(f"{spec.model}: no layer can be chosen by number; name one: ?layer=fc2")
    if request.dtype not in ("auto", "fp32"):
        raise EncoderError(f"{spec.model}: Keras computes in fp32 here, so dtype cannot be {request.dtype!r}")
    layer, weights = request.options.get("layer"), _weights(request)
    options = {**request.options, **({"weights": str(weights)} if weights else {})}
    model = f"keras:{request.name}" + (f"?{urlencode(options, safe='/')}" if options else "")
    pooling = "mean" if layer is None else "features"
    if spec.pooling not in (None, pooling):
        raise EncoderUnavailable(f"{model}: can be pooled by {pooling}, not {spec.pooling}")
    make = _application(request)
    preprocessing, fit = applied(_preprocessing(request.name), spec)
    side = preprocessing.image_size
    device = _device(request.device, model)
    with keras.device(device) if device else nullcontext():
        net = _net(make, weights, layer, side, model)
    run = KerasNet(net, sys.modules[make.__module__].preprocess_input, device, model)
    dim = answer_of(model, run, np.full((1, 3, side, side), 128, np.uint8), 1).shape[1]
    identity = {**preprocessing.identity(), "pooling": pooling, "layer": layer, "image_size": side}
    binding = Binding(
        model=model,
        revision=None,
        fingerprint=fingerprint(run.digest(), identity),
        layer=None,
        pooling=pooling,
        image_size=side,
        dim=dim,
        fit=fit,
    )
    batch = GPU_BATCH_SIZE if device and device.startswith("gpu") else BATCH_SIZE
    return ForeignEncoder(run, preprocessing.prepare, binding, batch_size=batch)


def _application(request: EncoderRequest) -> Any:
    """The function of keras.applications, whose module has its preprocessing too."""
    make = getattr(keras.applications, request.name, None)
    if not request.name[:1].isupper() or not callable(make):
        names = ", ".join(name for name in dir(keras.applications) if name[0].isupper())
        raise EncoderUnavailable(f"{request.spec.model}: keras.applications has no {request.name!r}, but {names}")
    if keras.config.image_data_format() != "channels_last":
        raise EncoderUnavailable(f"{request.spec.model}: set Keras's image_data_format to channels_last")
    return make


def _weights(request: EncoderRequest) -> Path | None:
    return weights_file(
        request,
        ".h5",
        "weights are read from HDF5 alone (model.save_weights('{stem}.weights.h5')), since other files can run code",
    )


def _net(make: Any, weights: Path | None, layer: str | None, side: int, model: str) -> Any:
    """The net that is read; Keras refuses weights that are missing or of another shape."""
    top = {"include_top": True} if layer else {"include_top": False, "pooling": "avg", "input_shape": (side, side, 3)}
    try:
        net = make(weights=str(weights) if weights else "imagenet", **top)
        if layer is None:
            return net
        if net.input_shape[1] != side:
            raise EncoderUnavailable(f"{model}: the classifier wants {net.input_shape[1]} pixels, not {side}")
        if layer not in {each.name for each in net.layers}:
            last = ", ".join(each.name for each in net.layers[-5:])
            raise EncoderUnavailable(f"{model}: no layer {layer!r}; the last ones are {last}")
        return keras.Model(net.inputs, net.get_layer(layer).output)
    except EncoderUnavailable:
        raise
    except Exception as exc:  # Keras raises bare Exception for a download that failed
        line = (str(exc).splitlines() or [type(exc).__name__])[0][:300]
        if weights is None and "fetch failure" in line:
            raise ModelUnreachable(
                f"{model}: Keras cannot fetch its weights ({line}); name a file: ?weights=FILE.weights.h5"
            ) from exc
        raise EncoderUnavailable(f"{model}: {line}") from exc


def _preprocessing(name: str) -> Preprocessing:
    """The whole picture to the net's square, as `keras.utils.load_img(target_size=…, interpolation="bilinear")` does;
    the values stay 0 to 255, and the net's own `preprocess_input` does the rest."""
    nothing, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    side = SIDES.get(name, SIDE)
    return Preprocessing(side, True, None, int(Image.Resampling.BILINEAR), 1.0, nothing, one)


def _device(name: str, model: str) -> str | None:
    """Keras's name of a device as torch names it; None leaves the choice to Keras. Raises `EncoderError`."""
    kind, _, number = name.partition(":")
    if kind in ("auto", "cpu"):
        return None if kind == "auto" else "cpu:0"
    if keras.backend.backend() == "torch":
        from imgvec.encoders.devices import choose_device

        choose_device(name)
        there = kind == "cuda"
    else:
        there = kind == "cuda" and int(number or 0) < len(keras.distribution.list_devices("gpu"))
    if not there:
        raise EncoderError(f"{model}: device {name!r} cannot be used by Keras on {keras.backend.backend()} here")
    return f"gpu:{number or 0}"


def _describe(request: EncoderRequest) -> dict[str, Any]:
    _application(request)
    preprocessing = _preprocessing(request.name)
    return {
        "model": request.spec.model,
        "revision": None,
        "family": "keras.applications",
        "backend": keras.backend.backend(),
        "image_size": preprocessing.image_size,
        "pooling": "features" if "layer" in request.options else "mean",
        "text": False,
        "preprocessing": preprocessing.identity(),
    }


KIND = EncoderKind(load=_load, describe=_describe, options=frozenset({"layer", "weights"}))
