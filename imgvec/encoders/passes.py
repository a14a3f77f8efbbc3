"""Passes of a readout: one as it was loaded, or many as a `Tuning` says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from imgvec.encoders.protocol import Pixels, Vectors
from imgvec.encoders.readout import ImageReadout
from imgvec.encoders.streams import Streams, keep_freed_memory, processors
from imgvec.encoders.tuning import Memory, Tuning, attentions, candidates, fastest

logger = logging.getLogger(__name__)

#: A run of fewer images is over before measuring has paid for itself.
WORTH_MEASURING = 1000
#: Least cosine of a way's vectors to those of the model as it was loaded.
AGREES = 0.999

_Forward = Callable[[torch.Tensor], torch.Tensor]


def one_pass(readout: _Forward, pixels: Pixels, device: torch.device) -> Vectors:
    """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
    batch = torch.from_numpy(np.require(pixels, requirements=("C", "W")))
    if device.type == "cuda":
        batch = batch.pin_memory()  # from pinned memory the copy does not wait for the GPU
    with torch.inference_mode():
        vectors: Vectors = readout(batch.to(device, non_blocking=True)).cpu().numpy()
    return vectors


class TunedPasses:
    """A readout run as `tuning` says. Switches the attention of the model itself."""

    def __init__(self, readout: ImageReadout, tuning: Tuning, device: torch.device, streams: Streams | None) -> None:
        self.tuning = tuning
        self._readout, self._device = readout, device
        self._streams = streams if tuning.streams > 1 else None
        self._compiled: _Forward | None = None
        if tuning.attention is not None:
            readout.vision.set_attn_implementation(tuning.attention)

    def __call__(self, pixels: Pixels) -> Vectors:
        """(n, 3, side, side) uint8 to (n, width) float32, not normalised."""
        if self._streams is not None and len(pixels) < self._streams.count:
            return one_pass(self._readout, pixels, self._device)  # a lone query gets every thread
        each = min(self.tuning.batch_size, -(-len(pixels) // self.tuning.streams))
        parts = [pixels[start : start + each] for start in range(0, len(pixels), each)]
        run = self._padded if self._compiled is not None else self._plain
        return np.concatenate(self._streams.map(run, parts) if self._streams else [run(part) for part in parts])

    def compile(self, sample: Pixels) -> None:
        """Compile for passes of exactly `batch_size` images, which takes a while; raises what the compiler raises."""
        # freezing lets inductor lay the weights out for the CPU's matrix kernels once, not at each product
        options: dict[str, str | int | bool | Callable[..., object]] = {"freezing": True}
        self._compiled = torch.compile(
            self._readout, dynamic=False, options=options if self._device.type == "cpu" else None
        )
        try:
            # where it will run: the number of threads is compiled in
            self._streams.map(self._padded, [sample]) if self._streams else self._padded(sample)
        except BaseException:
            self._compiled = None
            raise

    def _plain(self, pixels: Pixels) -> Vectors:
        return one_pass(self._readout, pixels, self._device)

    def _padded(self, pixels: Pixels) -> Vectors:
        assert self._compiled is not None
        missing = self.tuning.batch_size - len(pixels)
        filled = np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))) if missing else pixels
        return one_pass(self._compiled, filled, self._device)[: len(pixels)]


def choose(
    readout: ImageReadout, side: int, device: torch.device, memory: Memory, images: int | None
) -> TunedPasses | None:
    """The fastest way to run so many images (None: many); None where measuring is not worth it, or nothing is faster.

    Measures in some seconds unless `memory` has it; compiles if that pays.
    """
    tuning = memory.recall()
    if tuning is None and images is not None and images < WORTH_MEASURING:
        return None
    if device.type == "cpu":
        keep_freed_memory()
    streams = Streams(processors()) if device.type == "cpu" and processors() > 1 else None
    if tuning is None:
        tuning = _measured(readout, side, device, streams)
        if tuning is None:
            return None
        memory.keep(tuning)
        logger.info("Measured: %s images a second with %s", f"{tuning.rate:.1f}", tuning)
    passes = TunedPasses(readout, tuning, device, streams)
    if tuning.compiling_pays(images):
        passes = _compiled(passes, readout, side, device, streams)
        memory.keep(passes.tuning)
    return passes


def _measured(readout: ImageReadout, side: int, device: torch.device, streams: Streams | None) -> Tuning | None:
    loaded = readout.vision.config._attn_implementation
    ways = candidates(device, attentions(readout.vision))
    sample = _sample(max(way.images for way in ways), side)
    expected = one_pass(readout, sample[:2], device)
    tried: dict[Tuning, bool] = {}

    def seconds_an_image(way: Tuning) -> float:
        try:
            passes = TunedPasses(readout, way, device, streams)
            if way not in tried:  # the first pass of a way warms it up
                tried[way] = _agree(passes(sample[: way.images])[:2], expected)
            if not tried[way]:
                return float("inf")
            started = time.perf_counter()
            passes(sample[: way.images])
            return (time.perf_counter() - started) / way.images
        except (RuntimeError, ValueError, TypeError, MemoryError) as exc:  # out of memory, or not for this model
            logger.debug("%s cannot run: %s", way, exc)
            tried[way] = False
            return float("inf")

    tuning = fastest(ways, seconds_an_image)
    if tuning.rate > 0:
        return tuning
    readout.vision.set_attn_implementation(loaded)
    return None


def _compiled(
    passes: TunedPasses, readout: ImageReadout, side: int, device: torch.device, streams: Streams | None
) -> TunedPasses:
    """Compiled passes, or the given ones where that failed, was not faster or turned the vectors away."""
    tuning = passes.tuning
    sample = _sample(tuning.images, side)
    expected = passes(sample)
    compiled = TunedPasses(readout, tuning, device, streams)
    started = time.perf_counter()
    try:
        compiled.compile(sample[: tuning.batch_size])
    except Exception as exc:  # noqa: BLE001  no compiler here, or one that cannot do this model: it runs all the same
        logger.info("Not compiled: %s", str(exc).splitlines()[0] if str(exc) else type(exc).__name__)
        passes.tuning = replace(tuning, compile_seconds=time.perf_counter() - started)
        return passes
    seconds = time.perf_counter() - started
    compiled(sample)
    turns = [(_seconds(passes, sample), _seconds(compiled, sample)) for _ in range(5)]
    plain, faster = (len(sample) / min(column) for column in zip(*turns, strict=True))
    if not _agree(compiled(sample), expected):
        faster = 0.0
    found = replace(tuning, rate=plain, compile_seconds=seconds, compiled_rate=faster)
    logger.info("Compiled in %.0f s: %.1f images a second, %.1f before", seconds, faster, plain)
    passes.tuning = compiled.tuning = found
    return compiled if faster > plain else passes


def _seconds(passes: TunedPasses, sample: Pixels) -> float:
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
