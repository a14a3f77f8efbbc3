"""Passes of a readout: one as it was loaded, or many as a `Tuning` says."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from imgvec.encoders.protocol import Pixels
from imgvec.encoders.readout import Readout
from imgvec.encoders.streams import Streams, keep_freed_memory, processors, streams_of
from imgvec.encoders.tuning import Memory, Tuning, attentions, candidates, fastest
from imgvec.vectors import Vectors

logger = logging.getLogger(__name__)

#: A run of fewer images is over before measuring has paid for itself.
WORTH_MEASURING = 1000
#: Least cosine of a way's vectors to those of the model as it was loaded.
AGREES = 0.999

_Forward = Callable[[torch.Tensor], torch.Tensor]
Turn = Callable[[], AbstractContextManager[None]]
"""Holds what else would compute meanwhile back for one pass; see `turns`."""


def one_pass(readout: _Forward, pixels: Pixels, device: torch.device) -> Vectors:
    """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
    batch = torch.from_numpy(np.require(pixels, requirements=("C", "W")))
    if device.type == "cuda":
        batch = batch.pin_memory()  # from pinned memory the copy does not wait for the GPU
    with torch.inference_mode():
        vectors: Vectors = readout(batch.to(device, non_blocking=True)).cpu().numpy()
    return vectors


class Ways:
    """A readout with each kind of attention that it can be switched to.

    The copies share every weight, and have their own modules and config: what one way is switched to, a query that
    computes meanwhile does not see.
    """

    def __init__(self, readout: Readout) -> None:
        self.readout = readout
        self._switched: dict[str, Readout] = {}

    def __getitem__(self, attention: str | None) -> Readout:
        if attention is None:
            return self.readout
        if attention not in self._switched:
            shared: dict[int, Any] = {id(tensor): tensor for tensor in self.readout.parameters()}
            shared.update((id(tensor), tensor) for tensor in self.readout.buffers())
            other = copy.deepcopy(self.readout, shared)
            other.vision.set_attn_implementation(attention)
            self._switched[attention] = other
        return self._switched[attention]


class TunedPasses:
    """A readout run as `tuning` says."""

    def __init__(self, ways: Ways, tuning: Tuning, device: torch.device, streams: Streams | None) -> None:
        self.tuning = tuning
        self.readout = ways[tuning.attention]
        self._device = device
        self._streams = streams if tuning.streams > 1 else None
        self._compiled: _Forward | None = None

    @property
    def compiled(self) -> bool:
        return self._compiled is not None

    def __call__(self, pixels: Pixels) -> Vectors:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        if self._streams is not None and len(pixels) < self._streams.count:
            return one_pass(self.readout, pixels, self._device)  # a lone query gets every thread
        each = self.tuning.batch_size
        if self._compiled is None:  # as many rounds of every stream, each as short as that allows
            rounds = -(-len(pixels) // self.tuning.images)
            each = -(-len(pixels) // (rounds * self.tuning.streams))
        parts = [pixels[start : start + each] for start in range(0, len(pixels), each)]
        run = self._padded if self._compiled is not None else self._plain
        return np.concatenate(self._streams.map(run, parts) if self._streams else [run(part) for part in parts])

    def compile(self, sample: Pixels) -> None:
        """Compile for passes of exactly `batch_size` images, which takes a while; raises what the compiler raises."""
        # freezing lets inductor lay the weights out for the CPU's matrix kernels once, not at each product
        options: dict[str, str | int | bool | Callable[..., object]] = {"freezing": True}
        self._compiled = torch.compile(
            self.readout, dynamic=False, options=options if self._device.type == "cpu" else None
        )
        try:
            # where it will run: the number of threads is compiled in
            self._streams.map(self._padded, [sample]) if self._streams else self._padded(sample)
        except BaseException:
            self._compiled = None
            raise

    def _plain(self, pixels: Pixels) -> Vectors:
        return one_pass(self.readout, pixels, self._device)

    def _padded(self, pixels: Pixels) -> Vectors:
        assert self._compiled is not None
        missing = self.tuning.batch_size - len(pixels)
        filled = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else pixels
        return one_pass(self._compiled, filled, self._device)[: len(pixels)]


def choose(
    ways: Ways,
    side: int,
    device: torch.device,
    memory: Memory,
    images: int | None,
    *,
    turn: Turn = nullcontext,
    current: TunedPasses | None = None,
) -> TunedPasses | None:
    """The fastest way to run so many images (None: many); None if measuring is not worth it, or nothing is faster.

    Measures in some seconds unless `memory` has it; compiles if that pays, and is not done in `current`. Every pass is
    made in a `turn` of its own; what is compiled is compiled outside of them.
    """
    tuning = memory.recall()
    if tuning is None and images is not None and images < WORTH_MEASURING:
        return None
    if device.type == "cpu":
        keep_freed_memory()
    streams = streams_of(processors()) if device.type == "cpu" else None
    if tuning is None:
        tuning = _measured(ways, side, device, streams, turn)
        if tuning is None:
            return None
        memory.keep(tuning)
        logger.info("Measured: %s images a second with %s", f"{tuning.rate:.1f}", tuning)
    if current is not None and current.compiled and current.tuning == tuning:
        return current
    passes = TunedPasses(ways, tuning, device, streams)
    if tuning.compiling_pays(images):
        passes = _compiled(passes, ways, side, device, streams, turn)
        memory.keep(passes.tuning)
    return passes


def _measured(ways: Ways, side: int, device: torch.device, streams: Streams | None, turn: Turn) -> Tuning | None:
    tried: dict[Tuning, bool] = {}
    possible = candidates(device, attentions(ways.readout.vision))
    sample = _sample(max(way.images for way in possible), side)
    with turn():
        expected = one_pass(ways.readout, sample[:2], device)

    def seconds_an_image(way: Tuning) -> float:
        try:
            passes = TunedPasses(ways, way, device, streams)
            if way not in tried:  # the first pass of a way warms it up
                with turn():
                    first = passes(sample[: way.images])
                tried[way] = _agree(first[:2], expected)
            if not tried[way]:
                return float("inf")
            return _seconds(passes, sample[: way.images], turn) / way.images
        except (RuntimeError, ValueError, TypeError, MemoryError) as exc:  # out of memory, or not for this model
            logger.debug("%s cannot run: %s", way, exc)
            tried[way] = False
            return float("inf")

    tuning = fastest(possible, seconds_an_image)
    return tuning if tuning.rate > 0 else None


def _compiled(
    passes: TunedPasses, ways: Ways, side: int, device: torch.device, streams: Streams | None, turn: Turn
) -> TunedPasses:
    """Compiled passes, or the given ones where that failed, was not faster or turned the vectors away."""
    tuning = passes.tuning
    sample = _sample(tuning.images, side)
    with turn():
        expected = passes(sample)
    compiled = TunedPasses(ways, tuning, device, streams)
    started = time.perf_counter()
    try:
        compiled.compile(sample[: tuning.batch_size])
    except Exception as exc:  # noqa: BLE001  no compiler here, or one that cannot do this model: it runs all the same
        logger.info("Not compiled: %s", str(exc).splitlines()[0] if str(exc) else type(exc).__name__)
        passes.tuning = replace(tuning, compile_seconds=time.perf_counter() - started)
        return passes
    seconds = time.perf_counter() - started
    with turn():
        agrees = _agree(compiled(sample), expected)
    turns = [(_seconds(passes, sample, turn), _seconds(compiled, sample, turn)) for _ in range(5)]
    plain, faster = (len(sample) / min(column) for column in zip(*turns, strict=True))
    found = replace(tuning, rate=plain, compile_seconds=seconds, compiled_rate=faster if agrees else 0.0)
    logger.info("Compiled in %.0f s: %.1f images a second, %.1f before", seconds, found.compiled_rate, plain)
    passes.tuning = compiled.tuning = found
    return compiled if found.compiled_rate > plain else passes


def _seconds(passes: TunedPasses, sample: Pixels, turn: Turn) -> float:
    with turn():
        started = time.perf_counter()
        passes(sample)
        return time.perf_counter() - started


def _sample(count: int, side: int) -> Pixels:
    """Noise in blocks of 8 pixels, which a patch sees as edges and areas."""
    small = np.random.default_rng(0).integers(0, 256, (count, 3, -(-side // 8), -(-side // 8)), np.uint8)
    return np.ascontiguousarray(small.repeat(8, axis=2).repeat(8, axis=3)[:, :, :side, :side])


def _agree(vectors: Vectors, expected: Vectors) -> bool:
    products = (vectors * expected).sum(axis=1)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    return bool((products >= AGREES * lengths).all())
