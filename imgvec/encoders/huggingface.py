"""Any Hugging Face vision model as an encoder."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from imgvec.encoders import forked
from imgvec.encoders.devices import BATCH_SIZES, choose_device, choose_dtype, out_of_memory
from imgvec.encoders.lastlayer import read_class_token_only
from imgvec.encoders.loading import choose_pooling, load_config, load_model, load_preprocessing, load_tokenizer
from imgvec.encoders.passes import TunedPasses, choose, one_pass
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.projection import Projection, load_named
from imgvec.encoders.protocol import Binding, EncoderSpec, Pixels, Vectors
from imgvec.encoders.readout import ImageReadout, truncate
from imgvec.encoders.text import TextReadout
from imgvec.encoders.tuning import Memory, Tuning
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.encoders.weights import default_cache_dir, locate
from imgvec.errors import EncoderError, EncoderUnavailable, QueryError

logger = logging.getLogger(__name__)

#: Passes that each stream has in one batch.
STREAM_TURNS = 4
#: A vector shorter than this has no direction.
MIN_NORM = 1e-12


class HuggingFaceEncoder:
    """A vision model of transformers; made by `load_encoder`. Implements `protocol.Encoder`."""

    def __init__(
        self,
        readout: ImageReadout,
        preprocessing: Preprocessing,
        binding: Binding,
        *,
        device: torch.device,
        text: TextReadout | None = None,
        no_text: str = "",
        projection: Projection | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._readout, self._preprocessing, self._text, self._projection = readout, preprocessing, text, projection
        self._no_text = no_text
        self.binding = binding
        self.device, self.dtype = device, readout.dtype
        self.batch_size = BATCH_SIZES.get(device.type, 16)
        self._cache_dir = cache_dir or default_cache_dir()
        self._tuned: TunedPasses | None = None
        self._turn = threading.RLock()
        self._left_behind = False
        forked.watch(self)

    def after_fork(self) -> None:
        """In a forked child: see `forked`."""
        self._turn = threading.RLock()  # another thread of the parent may hold it for ever
        self._tuned = None  # its threads are the parent's
        self.batch_size = BATCH_SIZES.get(self.device.type, 16)
        self._left_behind = self.device.type != "cpu"

    @property
    def supports_text(self) -> bool:
        return self._text is not None

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An upright RGB image to (3, image_size, image_size) uint8; thread-safe, and without the weights to pickle."""
        return self._preprocessing.prepare

    def prepare_for(self, images: int | None = None) -> Tuning | None:
        """Run as fast as this machine can for a run of so many images; None: not known, and many.

        Chooses attention, batch size and passes side by side by measuring for about 5 seconds, the first time for a
        model on a machine, and not for fewer than 1,000 images; what was measured is kept in the cache folder. Compiles
        where the run is long enough to pay for it. `batch_size` changes with it, and is to be read afterwards; the
        vectors agree to a cosine of 0.999. Answers what was chosen, None for nothing.
        """
        if forked.one_thread():
            return None  # what is measured there holds for no other process
        memory = Memory(self._cache_dir, self.binding.fingerprint, self.device, self.dtype)
        with self._turn:
            self._tuned = choose(self._readout, self.binding.image_size, self.device, memory, images)
            if self._tuned is None:
                return None
            tuning = self._tuned.tuning
            # several turns of passes side by side: a stream that other work held up does not hold up the others
            self.batch_size = tuning.images * (STREAM_TURNS if tuning.streams > 1 else 1)
            return self._tuned.tuning

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) float32 unit vectors.

        Runs `batch_size` images at a time, and halves that when the memory does not suffice. Raises `EncoderError`
        for pixels of another shape, where the memory suffices for not even one image, and where the model answers
        with something that has no direction (it then names the positions). Several threads take turns.
        """
        self._check_process()
        with self._turn:
            return self._encoded(pixels)

    def _check_process(self) -> None:
        if forked.one_thread() and self._left_behind:
            raise EncoderUnavailable(
                f"{self.binding.model} was loaded on {self.device} before this process was forked, and a GPU's memory "
                "does not follow: start processes by spawn, or load it in each"
            )

    def _encoded(self, pixels: Pixels) -> Vectors:
        side = self.binding.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, side, side):
            raise EncoderError(f"expected (n, 3, {side}, {side}) uint8 pixels, not {pixels.shape} {pixels.dtype}")
        parts: list[Vectors] = []
        start = 0
        while start < len(pixels):
            part = self._run(pixels[start : start + self.batch_size])
            if part is None:
                self._halve_batch()
                continue
            parts.append(part)
            start += len(part)
        return self._unit(np.concatenate(parts)) if parts else self._none()

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) float32 unit vectors."""
        starts = range(0, len(images), self.batch_size)
        batches = [images[start : start + starts.step] for start in starts]
        vectors = [self.encode(np.stack([self.prepare(image) for image in batch])) for batch in batches]
        return np.concatenate(vectors) if vectors else self._none()

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) float32 unit vectors in the images' space; raises `QueryError` for empty ones."""
        if self._text is None:
            raise QueryError(self._no_text or f"{self.binding.model}: has no text side; take a CLIP or SigLIP model")
        if not texts:
            return self._none()
        self._check_process()
        parts = []
        with self._turn, torch.inference_mode():
            for start in range(0, len(texts), self.batch_size):
                parts.append(self._text(texts[start : start + self.batch_size]).cpu().numpy())
        return self._unit(np.concatenate(parts))

    def _run(self, pixels: Pixels) -> Vectors | None:
        """One pass; None if the memory did not suffice."""
        try:
            return self._tuned(pixels) if self._tuned else one_pass(self._readout, pixels, self.device)
        except (RuntimeError, ValueError, MemoryError) as exc:
            if out_of_memory(exc):
                return None
            raise EncoderError(f"{self.binding.model}: {str(exc).splitlines()[0]}") from exc

    def _halve_batch(self) -> None:
        """Called outside of the except clause, whose traceback would keep the failed pass's tensors alive."""
        if self.batch_size == 1:
            raise EncoderError(f"{self.binding.model}: not enough memory on {self.device} for a single image")
        at_once = min(self.batch_size, self._tuned.tuning.images) if self._tuned else self.batch_size
        self.batch_size = max(1, at_once // 2)
        self._tuned = None  # passes side by side need the memory of all of them
        logger.warning("Not enough memory on %s: going on with batches of %d", self.device, self.batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _unit(self, vectors: Vectors) -> Vectors:
        """Normalise, project, normalise: a projection is fitted on the encoder's own unit vectors."""
        vectors = _normalised(vectors, self.binding.model)
        if self._projection is not None:
            vectors = _normalised(self._projection(vectors), self.binding.model)
        return np.ascontiguousarray(vectors)

    def _none(self) -> Vectors:
        return np.empty((0, self.binding.dim), np.float32)


def load_encoder(
    spec: EncoderSpec, *, device: str = "auto", dtype: str = "auto", cache_dir: Path | None = None
) -> HuggingFaceEncoder:
    """Load a model.

    `device` is `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; `dtype` `auto`, `fp32`, `bf16`, `fp16`; `cache_dir` where models
    of a package index are kept (None: the platform's cache folder). Neither device nor dtype is part of the binding:
    vectors agree to a cosine of 0.999. Raises `EncoderUnavailable` (`ModelUnreachable` where another model may be taken
    instead) and `EncoderError` for a device or dtype that cannot be used.
    """
    on = choose_device(device)
    number = choose_dtype(dtype, on)
    checkpoint = locate(spec.model, spec.revision, cache_dir=cache_dir)
    config = load_config(checkpoint)
    family, pooling = choose_pooling(checkpoint, config, spec.pooling)
    preprocessing = load_preprocessing(checkpoint)
    if spec.image_size is not None:
        preprocessing = preprocessing.with_size(spec.image_size)
    projection, projection_name = load_named(spec.projection) if spec.projection else (None, None)

    model = load_model(checkpoint, config, pooling, number, attention_for(on, number))
    layer = truncate(model, spec.layer)
    readout = ImageReadout(model, family, pooling, preprocessing)
    if pooling == "cls":
        read_class_token_only(readout.vision)
    readout = readout.to(on).eval()
    dim = _width(readout, preprocessing.image_size, on, checkpoint.model)
    if projection is not None:
        if len(projection.mean) != dim:
            raise EncoderUnavailable(
                f"{spec.projection}: projects {len(projection.mean)} dimensions, the model has {dim}"
            )
        dim = projection.matrix.shape[1]
    text, no_text = None, ""
    if family.text and (pooling != "features" or layer is not None):
        no_text = f"{checkpoint.model}: images share a space with text only by `features` of the last layer"
    elif family.text:
        try:
            text = TextReadout(model, load_tokenizer(checkpoint), family)
        except EncoderUnavailable as exc:  # images alone are worth having: SigLIP's tokenizer needs sentencepiece
            no_text = str(exc)
    identity = {**preprocessing.identity(), "pooling": pooling, "layer": layer, "image_size": preprocessing.image_size}
    binding = Binding(
        model=checkpoint.model,
        revision=checkpoint.revision,
        fingerprint=_fingerprint(checkpoint.digest(), identity),
        layer=layer,
        pooling=pooling,
        image_size=preprocessing.image_size,
        dim=dim,
        projection=projection_name,
    )
    return HuggingFaceEncoder(
        readout,
        preprocessing,
        binding,
        device=on,
        text=text,
        no_text=no_text,
        projection=projection,
        cache_dir=cache_dir,
    )


def load_with_fallback(
    spec: EncoderSpec,
    fallback: str | None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    cache_dir: Path | None = None,
) -> tuple[HuggingFaceEncoder, bool]:
    """`load_encoder`, or the model `fallback` if the first one cannot be reached; the second value says which.

    The fallback takes over the image size and nothing else, since layers and poolings differ between models. Weights
    that are reached and broken, refused or incomplete are an error all the same.
    """
    try:
        return load_encoder(spec, device=device, dtype=dtype, cache_dir=cache_dir), False
    except ModelUnreachable:
        if fallback is None or fallback == spec.model:
            raise
    other = EncoderSpec(fallback, image_size=spec.image_size)
    return load_encoder(other, device=device, dtype=dtype, cache_dir=cache_dir), True


def attention_for(device: torch.device, dtype: torch.dtype) -> str | None:
    """transformers' name of the attention to use; None leaves it to the model, which takes SDPA where it can.

    On CPUs plain matrix products win in bfloat16: DINOv2-S at 16 images of 224 pixels, 42 images a second against 37
    with SDPA (two cores with AVX512-BF16). In float32 SDPA wins, 14 against 12.
    """
    return "eager" if device.type == "cpu" and dtype == torch.bfloat16 else None


def _width(readout: ImageReadout, side: int, device: torch.device, model: str) -> int:
    """The length of a vector, seen on one grey image: no config says it for every family and pooling."""
    grey = torch.full((1, 3, side, side), 128, dtype=torch.uint8, device=device)
    try:
        with torch.inference_mode():
            vectors = readout(grey)
    except (RuntimeError, ValueError, AttributeError, TypeError, IndexError) as exc:
        raise EncoderUnavailable(f"{model}: cannot be read by {readout.pooling} at {side} pixels: {exc}") from exc
    return int(vectors.shape[1])


def _fingerprint(weights: str, identity: dict[str, Any]) -> str:
    text = json.dumps({"weights": weights, **identity}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _normalised(vectors: Vectors, model: str) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A NaN or an infinity makes the norm not finite too; float32 squares overflow only from 1e19 on.
    wrong = np.flatnonzero(~(np.isfinite(norms) & (norms >= MIN_NORM)))
    if wrong.size:
        raise EncoderError(f"{model}: no direction in the vectors at {wrong[:10].tolist()} (not finite, or zero)")
    unit: Vectors = vectors / norms
    return unit
