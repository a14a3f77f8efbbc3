"""Passes of a readout: one as it was loaded, or many as a `Tuning` says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch

from imgvec.encoders.lean import APART, LeanReadout, key_is_apart
from imgvec.encoders.others import Others
from imgvec.encoders.protocol import Pixels
from imgvec.encoders.readout import ImageReadout, Readout, with_the_same_weights
from imgvec.encoders.streams import Streams, keep_freed_memory, processors, streams_of
from imgvec.encoders.tower import UnknownTower
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
    """A readout, with each kind of attention that it can be switched to and, of a ViT, its lean forward pass.

    What is switched shares every weight, and has its own modules and config: what one way is switched to, a query that
    computes meanwhile does not see.
    """

    def __init__(self, readout: Readout, side: int) -> None:
        self.readout, self._side = readout, side
        self._made: dict[tuple[str | None, bool], _Forward] = {}

    def of(self, tuning: Tuning) -> _Forward:
        """What runs as `tuning` says; raises `UnknownTower` where there is no lean pass."""
        key = (tuning.attention, tuning.lean)
        found = self._made.get(key)
        if found is None:
            found = self._lean(tuning.attention) if tuning.lean else self._switched(tuning.attention)
            self._made[key] = found
        return found

    def lean(self, device: torch.device) -> list[str]:
        """The attentions that a lean pass is worth measuring with; none where there is no lean pass."""
        try:
            found = self.of(Tuning("sdpa", 1, lean=True))
        except (UnknownTower, RuntimeError, AttributeError, TypeError) as exc:  # names that another release changed
            logger.debug("No lean forward pass: %s", exc)
            return []
        assert isinstance(found, LeanReadout)
        return [*[APART][: key_is_apart(device, found.prefix.shape[1], found.offsets.shape[1])], "sdpa"]

    def keep(self, tuning: Tuning | None) -> None:
        """Forget what other ways run, and its copies of weights."""
        wanted = None if tuning is None else (tuning.attention, tuning.lean)
        self._made = {key: found for key, found in self._made.items() if key == wanted}

    def _lean(self, attention: str | None) -> LeanReadout:
        if not isinstance(self.readout, ImageReadout) or attention is None:
            raise UnknownTower("not a model of transformers")
        for other in list(self._made.values()):
            if isinstance(other, LeanReadout):
                return other.switched(attention)
        return LeanReadout(self.readout, self._side, attention).eval()

    def _switched(self, attention: str | None) -> Readout:
        if attention is None:
            return self.readout
        other = with_the_same_weights(self.readout)
        other.vision.set_attn_implementation(attention)
        return other


class TunedPasses:
    """A readout run as `tuning` says."""

    def __init__(self, ways: Ways, tuning: Tuning, device: torch.device, streams: Streams | None) -> None:
        self.tuning = tuning
        self.readout = ways.of(tuning)
        self._device = device
        self._streams = streams if tuning.streams > 1 else None
        self._compiled: _Forward | None = None

    @property
    def compiled(self) -> bool:
        return self._compiled is not None

    @property
    def compiles(self) -> bool:
        """Whether compiling is worth trying."""
        return getattr(self.readout, "compiles", True)

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
    known = memory.recall()
    worth = images is None or images >= WORTH_MEASURING
    if known is None and not worth:
        return None
    if device.type == "cpu":
        keep_freed_memory()
    streams = streams_of(processors()) if device.type == "cpu" else None
    tuning = known
    if known is None or (known.doubtful and worth) or not _runs(ways, known):
        tuning = _measured(ways, side, device, streams, turn, known)
        if tuning is None:
            return None
        memory.keep(tuning)
        logger.info("Measured: %s images a second with %s", f"{tuning.rate:.1f}", tuning)
    assert tuning is not None
    if current is not None and current.compiled and current.tuning == tuning:
        return current
    passes = TunedPasses(ways, tuning, device, streams)
    ways.keep(tuning)
    if passes.compiles and tuning.compiling_pays(images):
        passes = _compiled(passes, ways, side, device, streams, turn)
        memory.keep(passes.tuning)
    return passes


def remembered(ways: Ways, device: torch.device, memory: Memory) -> TunedPasses | None:
    """As was measured on this machine before; None if it was not. Takes a tenth of a second and copies weights."""
    known = memory.recall()
    if known is None or not _runs(ways, known):
        return None
    if device.type == "cpu":
        keep_freed_memory()
    passes = TunedPasses(ways, known, device, streams_of(processors()) if device.type == "cpu" else None)
    ways.keep(known)
    return passes


def _runs(ways: Ways, tuning: Tuning) -> bool:
    """Whether a remembered way is one that there is."""
    try:
        ways.of(tuning)
    except (UnknownTower, RuntimeError, ValueError, AttributeError, TypeError) as exc:
        logger.debug("%s is remembered and cannot run: %s", tuning, exc)
        return False
    return True


def _measured(
    ways: Ways, side: int, device: torch.device, streams: Streams | None, turn: Turn, known: Tuning | None
) -> Tuning | None:
    tried: dict[Tuning, bool] = {}
    possible = candidates(device, attentions(ways.readout.vision), ways.lean(device))
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

    with Others() as others:
        tuning = fastest(possible, seconds_an_image, known=known)
    if tuning.rate <= 0:
        ways.keep(None)
        return None
    return tuning.instead_of(known, others.share)


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
