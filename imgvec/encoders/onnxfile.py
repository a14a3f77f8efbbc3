"""`onnx:FILE`: a model in an ONNX file, computed by onnxruntime.

How pictures become its input is stated beside it, in `FILE.json` or `preprocessor_config.json`, by the names that
Hugging Face's image processors have:

    {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3,
     "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

`size` as height and width resizes the whole picture. Without `image_mean` the values are 0 to 1, and with
`"do_rescale": false` as well 0 to 255.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from imgvec.encoders.foreign import ForeignEncoder, answer_of
from imgvec.encoders.identity import applied, digest_of_files, fingerprint
from imgvec.encoders.onnxsession import OnnxSession, providers
from imgvec.encoders.preprocess import Preprocessing, from_parameters
from imgvec.encoders.protocol import Binding, Encoder, Pixels
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.errors import EncoderError, EncoderUnavailable
from imgvec.home import at_home

#: Images in one pass, as in `devices.py`; a file with a fixed batch has that one.
BATCH_SIZE, GPU_BATCH_SIZE = 16, 64

_NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
#: Outputs that are taken where a file has several and none is named, the likeliest first.
_VECTORS = ("image_embeds", "image_features", "pooler_output")
_TOKENS = ("last_hidden_state",)
_AXES = {2: "features", 3: "tokens", 4: "a feature map"}


def _load(request: EncoderRequest) -> Encoder:
    spec, (file, model) = request.spec, _file_of(request)
    if spec.layer is not None:
        raise EncoderUnavailable(f"{model}: no layer can be chosen in an ONNX file; name an output by ?output=NAME")
    if request.dtype not in ("auto", "fp32"):
        raise EncoderError(f"{model}: the file has its own number format, so dtype cannot be {request.dtype!r}")
    weights = _digest(file, model)
    preprocessing, fit = applied(_preprocessing(file, model), spec)
    session = OnnxSession(file, model, providers(request.device, model))
    entry = _input(session, model, preprocessing.image_size)
    output, pooling = _output(session, request.options.get("output"), spec.pooling, model)
    run = partial(_run, session, entry, output, pooling, preprocessing)
    side = preprocessing.image_size
    dim = answer_of(model, run, np.full((1, 3, side, side), 128, np.uint8), 1).shape[1]
    identity = {**preprocessing.identity(), "output": output, "pooling": pooling, "image_size": side}
    binding = Binding(
        model=model,
        revision=None,
        fingerprint=fingerprint(weights, identity),
        layer=None,
        pooling=pooling,
        image_size=side,
        dim=dim,
        fit=fit,
    )
    batch = entry.batch or (GPU_BATCH_SIZE if session.on_gpu else BATCH_SIZE)
    return ForeignEncoder(run, preprocessing.prepare, binding, batch_size=batch)


def _file_of(request: EncoderRequest) -> tuple[Path, str]:
    """The file, and the name by which it can be loaded from any folder."""
    file = at_home(request.name).resolve()
    if not file.is_file():
        raise EncoderUnavailable(f"{request.spec.model}: no such file")
    output = request.options.get("output")
    return file, f"onnx:{file}" + (f"?output={output}" if output else "")


def _preprocessing(file: Path, model: str) -> Preprocessing:
    beside = (file.with_name(file.name + ".json"), file.with_name("preprocessor_config.json"))
    stated = next((path for path in beside if path.is_file()), None)
    if stated is None:
        raise EncoderUnavailable(
            f"{model}: nothing says how pictures become its input: write {beside[0].name} beside it, such as "
            f'{{"size": {{"shortest_edge": 256}}, "crop_size": {{"height": 224, "width": 224}}, "resample": 3, '
            f'"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}}'
        )
    try:
        parameters = json.loads(stated.read_text(encoding="utf-8"))
        parameters = {"image_processor_type": "CLIPImageProcessor", **parameters}
        parameters.setdefault("do_center_crop", "crop_size" in parameters)
        parameters.setdefault("do_normalize", "image_mean" in parameters)
        preprocessing = from_parameters(parameters)
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise EncoderUnavailable(f"{model}: {stated.name} cannot be read: {type(exc).__name__}: {exc}") from exc
    if preprocessing is None:
        raise EncoderUnavailable(
            f"{model}: {stated.name} does not say a resize to one square: `size` has height and width, or "
            f"shortest_edge beside a `crop_size`"
        )
    return preprocessing


def _digest(file: Path, model: str) -> str:
    """Over the file, and the files of weights that it refers to."""
    try:
        graph = onnx.load_model(file, load_external_data=False).graph
    except (DecodeError, ValueError, OSError) as exc:
        raise EncoderUnavailable(f"{model}: not a readable ONNX file: {exc}") from exc
    kept = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    others = [file.parent / name for name in sorted(kept)]
    for name, other in zip(sorted(kept), others, strict=True):
        if not other.is_file() or not other.resolve().is_relative_to(file.parent):
            raise EncoderUnavailable(f"{model}: its weights are in {name}, which is not beside it")
    return digest_of_files(file, *others)


class _Input:
    """The one input of a file: where the channels are, the numbers and the batch that it wants."""

    def __init__(self, name: str, dtype: Any, channels_last: bool, batch: int | None) -> None:
        self.name, self.dtype, self.channels_last, self.batch = name, dtype, channels_last, batch


def _input(session: OnnxSession, model: str, side: int) -> _Input:
    entries = session.inputs()
    shape = list(entries[0].shape) if entries else []
    if len(entries) != 1 or entries[0].type not in _NUMBERS or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        said = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in entries)
        raise EncoderUnavailable(f"{model}: wants one input of pictures with 3 channels, and this file has {said}")
    channels_last = shape[1] != 3
    sides = shape[1:3] if channels_last else shape[2:]
    fixed = [length for length in sides if isinstance(length, int)]
    if any(length != side for length in fixed):
        raise EncoderUnavailable(
            f"{model}: its input is {' x '.join(map(str, sides))} pixels, so image_size cannot be {side}"
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return _Input(entries[0].name, _NUMBERS[entries[0].type], channels_last, batch)


def _output(session: OnnxSession, named: str | None, pooling: str | None, model: str) -> tuple[str, str]:
    """The output that is read, and how: `features` as it is, `cls` or `mean` of its tokens, `mean` of a map."""
    ranks = {entry.name: len(entry.shape) for entry in session.outputs()}
    has = ", ".join(f"{name} ({_AXES.get(rank, f'{rank} axes')})" for name, rank in ranks.items())
    if named is not None and named not in ranks:
        raise EncoderUnavailable(f"{model}: no output {named!r}; it has {has}")
    tokens = pooling in ("cls", "mean")
    if named is None:
        fitting = [name for name, rank in ranks.items() if rank in ((3, 4) if tokens else (2,))]
        liked = [name for name in (_TOKENS if tokens else _VECTORS) if name in fitting]
        named = next(iter(liked or (fitting if len(fitting) == 1 else [])), None)
    if named is None:
        raise EncoderUnavailable(
            f"{model}: it has the outputs {has}: say which by ?output=NAME, and for tokens or a feature map set "
            f"`pooling` to cls or mean"
        )
    possible = {2: ("features",), 3: ("cls", "mean"), 4: ("mean",)}.get(ranks[named], ())
    chosen = pooling or (possible[0] if len(possible) == 1 else None)
    if chosen not in possible:
        wanted = " or ".join(possible) or "nothing"
        raise EncoderUnavailable(
            f"{model}: {named} ({_AXES.get(ranks[named], '?')}) can be pooled by {wanted}, not {pooling}"
        )
    return named, chosen


def _run(
    session: OnnxSession, entry: _Input, output: str, pooling: str, preprocessing: Preprocessing, pixels: Pixels
) -> NDArray[np.float32]:
    """(n, 3, side, side) uint8 to (n, dim) float32, not normalised."""
    values = pixels if entry.dtype == np.uint8 else preprocessing.values(pixels).astype(entry.dtype)
    if entry.channels_last:
        values = values.transpose(0, 2, 3, 1)
    if entry.batch and len(values) < entry.batch:  # a fixed batch is filled up
        values = np.concatenate([values, np.repeat(values[-1:], entry.batch - len(values), axis=0)])
    made = session.run(output, {entry.name: np.ascontiguousarray(values)})[: len(pixels)]
    return _pooled(np.asarray(made, dtype=np.float32), pooling)


def _pooled(made: NDArray[np.float32], pooling: str) -> NDArray[np.float32]:
    if made.ndim == 4:
        return np.asarray(made.mean(axis=(2, 3)))
    if made.ndim == 3 and pooling == "cls":
        return made[:, 0]
    if made.ndim == 3:  # the patches of a square picture make a square; what stands before them is no patch
        patches = math.isqrt(made.shape[1]) ** 2
        return np.asarray(made[:, made.shape[1] - patches :].mean(axis=1))
    return made


def _describe(request: EncoderRequest) -> dict[str, Any]:
    file, model = _file_of(request)
    preprocessing, _ = applied(_preprocessing(file, model), request.spec)
    session = OnnxSession(file, model, providers("cpu", model))
    return {
        "model": model,
        "revision": None,
        "family": "onnx",
        "image_size": preprocessing.image_size,
        "outputs": {entry.name: entry.shape for entry in session.outputs()},
        "preprocessing": preprocessing.identity(),
    }


KIND = EncoderKind(load=_load, describe=_describe, options=frozenset({"output"}))
