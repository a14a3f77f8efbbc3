"""Any Hugging Face vision model as an encoder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from imgvec import abandoned, forked
from imgvec.encoders.devices import BATCH_SIZES, out_of_memory
from imgvec.encoders.passes import WORTH_MEASURING, TunedPasses, Ways, choose, one_pass, remembered
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.projection import unit
from imgvec.encoders.protocol import Binding, Pixels, Tokens
from imgvec.encoders.readout import ImageReadout, Readout, with_the_same_weights
from imgvec.encoders.tokens import tokens_of
from imgvec.encoders.tuning import Memory, Tuning
from imgvec.encoders.turns import Tally, Turns, Urgency
from imgvec.encoders.weights import default_cache_dir
from imgvec.errors import EncoderError, EncoderUnavailable, QueryError
from imgvec.vectors import Vectors

T = TypeVar("T")
logger = logging.getLogger(__name__)

#: Passes that each stream has in one batch.
STREAM_TURNS = 4

#: Pictures in one pass of queries, from which on it runs as was found fastest before: setting that up takes as long as
#: it saves on so many. Searches by one picture after the other go on as they began.
WORTH_TAKING = 16


class HuggingFaceEncoder:
    """A vision model of transformers; made by `assembly.assemble`. Implements all of `protocol`."""

    def __init__(
        self,
        readout: Readout,
        preprocessing: Preprocessing,
        binding: Binding,
        *,
        device: torch.device,
        text: Callable[[Sequence[str]], torch.Tensor] | None = None,
        no_text: str = "",
        cache_dir: Path | None = None,
    ) -> None:
        self._readout, self._preprocessing, self._text = readout, preprocessing, text
        self._no_text = no_text
        self.binding = binding
        self.device, self.dtype = device, readout.dtype
        self.batch_size = BATCH_SIZES.get(device.type, 16)
        self._cache_dir = cache_dir or default_cache_dir()
        self._ways = Ways(readout, binding.image_size)
        self._tuned: TunedPasses | None = None
        self._listened_to: ImageReadout | None = None
        self._turns = Turns()
        self._tuning = threading.Lock()
        self._unasked()
        self._left_behind = False
        forked.watch(self)

    def after_fork(self) -> None:
        """In a forked child: see `forked`."""
        self._tuning = threading.Lock()  # another thread of the parent may hold it forever
        self._tuned = None  # its threads are the parent's
        self._unasked()
        self.batch_size = BATCH_SIZES.get(self.device.type, 16)
        self._left_behind = self.device.type != "cpu"

    def _unasked(self) -> None:
        self._asked = 0
        """Pictures of queries so far."""
        self._take_at, self._measure_at = float(WORTH_TAKING), float(WORTH_MEASURING)
        """As many, to look for a remembered choice at, and to measure one."""

    @property
    def supports_text(self) -> bool:
        return self._text is not None

    @property
    def prepare(self) -> Callable[[Image.Image], Pixels]:
        """An upright RGB image to (3, image_size, image_size) uint8; thread-safe, and without the weights to pickle."""
        return self._preprocessing.prepare

    def prepare_for(self, images: int | None = None) -> Tuning | None:
        """Find the fastest way to run this many images on this machine; None means many.

        Measures the model's own forward pass and a lean one, attention, batch size and parallel passes for about 5
        seconds, once per model and machine, and only for 1,000 images or more; the result is kept in the cache folder,
        and measured again, twice at most, if other work had more than a tenth of the processors. Compiles the model if
        the run is long enough to pay for it. Meanwhile, other threads encode as before: a query waits for one pass at
        most, and the new choice takes effect at once. `batch_size` may change, so read it afterwards; vectors agree to
        a cosine of 0.999. Where nobody waits for the call any more, measuring ends after the pass (`imgvec.abandoned`).
        Returns the choice, or None if there is none.
        """
        if forked.one_thread():
            return None  # what is measured there holds for no other process
        memory = self._memory()
        with self._tuning:
            side, current = self.binding.image_size, self._tuned
            tuned = choose(self._ways, side, self.device, memory, images, turn=self._measuring, current=current)
            if tuned is None:
                return None
            with self._turns.turn():
                self._run_by(tuned)
            return tuned.tuning

    @property
    def tally(self) -> Tally:
        """How it has worked."""
        return self._turns.tally

    def encode(self, pixels: Pixels) -> Vectors:
        """(n, 3, image_size, image_size) uint8 to (n, dim) float32 unit vectors.

        Runs `batch_size` images at a time, fewer while queries come, and halves that if memory runs out. Raises
        `EncoderError` for pixels of the wrong shape, if there is not enough memory for a single image, and if the model
        returns vectors that are zero or not finite (with their positions). Threads take turns, pass by pass, and
        queries (`encode_images`, `encode_texts`) go first.
        """
        self._check_process()
        side = self.binding.image_size
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, side, side):
            raise EncoderError(f"expected (n, 3, {side}, {side}) uint8 pixels, not {pixels.shape} {pixels.dtype}")
        parts: list[Vectors] = []
        start = 0
        while start < len(pixels):
            most = self.batch_size
            if self._tuned is not None and self._turns.queried_lately:
                most = min(most, self._tuned.tuning.images)  # one round of the streams
            with self._turns.turn(items=min(most, len(pixels) - start)):
                part = self._pass(pixels[start : start + most])
            parts.append(part)
            start += len(part)
        return self._unit(np.concatenate(parts)) if parts else self._none()

    def _check_process(self) -> None:
        if forked.one_thread() and self._left_behind:
            raise EncoderUnavailable(
                f"{self.binding.model} was loaded on {self.device} before this process was forked, and GPU memory "
                f"is not inherited: use spawn to start processes, or load the encoder in each"
            )

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Upright RGB images to (n, dim) float32 unit vectors: a query, which goes before batches of `encode`.

        Queries from several threads that wait at the same time share a pass. From the first pass of 16 or more on it
        runs as was found fastest on this machine, if that is remembered. After 1,000 pictures it is measured as by
        `prepare_for`, in a call with 16 or more: by then what it costs is less than what was lost. So `batch_size` may
        change, and vectors agree to a cosine of 0.999.
        """
        vectors = [self.encode_prepared([self.prepare(image) for image in batch]) for batch in self._batches(images)]
        return np.concatenate(vectors) if vectors else self._none()

    def encode_prepared(self, prepared: Sequence[Pixels]) -> Vectors:
        """The same of images that `prepare` has prepared."""
        self._check_process()
        untuned = self._tuned is None and not self._tuning.locked()
        if untuned and len(prepared) >= WORTH_TAKING and self._asked >= self._measure_at:
            self._measure_at = 2 * self._asked
            self.prepare_for(self._asked)
        vectors = [self._turns.shared(batch, self._queries, self.batch_size) for batch in self._batches(prepared)]
        return np.concatenate(vectors) if vectors else self._none()

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Texts to (n, dim) float32 unit vectors in the images' space; raises `QueryError` for empty ones."""
        if self._text is None:
            raise QueryError(self._no_text or f"{self.binding.model}: has no text side; use a CLIP or SigLIP model")
        self._check_process()
        parts = [self._turns.shared(batch, self._texts, self.batch_size) for batch in self._batches(texts)]
        return np.concatenate(parts) if parts else self._none()

    def tokens(self, pixels: Pixels) -> Sequence[Tokens] | None:
        """What the model says of each patch, of (n, 3, image_size, image_size) uint8; None if it has no such grid."""
        self._check_process()
        if not isinstance(self._readout, ImageReadout):  # of timm and open_clip, whose layers are not looked into
            return None
        with self._turns.turn():
            if self._listened_to is None:
                self._listened_to = with_the_same_weights(self._readout)
            return tokens_of(self._listened_to, np.ascontiguousarray(pixels), self.device)

    def _queries(self, prepared: list[Pixels]) -> Vectors:
        """In a turn: the unit vectors of queries' pixels."""
        self._asked += len(prepared)
        if len(prepared) >= WORTH_TAKING:
            self._take_remembered()
        pixels = np.stack(prepared)
        parts: list[Vectors] = []
        while sum(map(len, parts)) < len(pixels):
            parts.append(self._pass(pixels[sum(map(len, parts)) :]))
        return self._unit(np.concatenate(parts))

    def _take_remembered(self) -> None:
        """In a turn: run as was measured before, if that is worth it, and nobody is choosing now."""
        if self._tuned is not None or self._asked < self._take_at or forked.one_thread():
            return
        self._take_at = 2 * self._asked
        if not self._tuning.acquire(blocking=False):
            return
        try:
            if (tuned := remembered(self._ways, self.device, self._memory())) is not None:
                self._run_by(tuned)
        finally:
            self._tuning.release()

    def _measuring(self) -> AbstractContextManager[None]:
        """A turn for one pass that measures; raises `Abandoned`."""
        if (call := abandoned.current()) is not None:
            call.check()
        return self._turns.turn(Urgency.MEASURING)

    def _run_by(self, tuned: TunedPasses) -> None:
        """In a turn."""
        self._tuned = tuned
        # several turns of passes side by side: a stream that other work held up does not hold up the others
        self.batch_size = tuned.tuning.images * (STREAM_TURNS if tuned.tuning.streams > 1 else 1)

    def _memory(self) -> Memory:
        return Memory(self._cache_dir, self.binding.fingerprint, self.device, self.dtype)

    def _batches(self, items: Sequence[T]) -> Iterator[Sequence[T]]:
        """`batch_size` of them each, as it is by then."""
        start = 0
        while start < len(items):
            batch = items[start : start + self.batch_size]
            start += len(batch)
            yield batch

    def _texts(self, texts: list[str]) -> Vectors:
        """In a turn: the unit vectors of texts."""
        assert self._text is not None
        with torch.inference_mode():
            return self._unit(self._text(texts).cpu().numpy())

    def _pass(self, pixels: Pixels) -> Vectors:
        """In a turn: the first `batch_size` of them, or fewer if memory runs out; not normalised."""
        while True:
            vectors = self._run(pixels[: self.batch_size])
            if vectors is not None:
                return vectors
            self._halve_batch()

    def _run(self, pixels: Pixels) -> Vectors | None:
        """One pass; None if memory ran out."""
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
        self._take_at = self._measure_at = float("inf")  # what queries took of themselves they leave alone from now on
        self._ways.keep(None)
        logger.warning("Not enough memory on %s: continuing with batches of %d", self.device, self.batch_size)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _unit(self, vectors: Vectors) -> Vectors:
        return np.ascontiguousarray(unit(vectors, self.binding.model))

    def _none(self) -> Vectors:
        return np.empty((0, self.binding.dim), np.float32)
