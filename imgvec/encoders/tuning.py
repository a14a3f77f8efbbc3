"""Finds the fastest way to run a model on this machine: measured once in a few seconds, and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
import transformers

from imgvec.encoders.attention import PRODUCTS
from imgvec.encoders.streams import processors

logger = logging.getLogger(__name__)

#: Seconds that choosing may take; a model so slow that each way was not even tried once takes the best of the tried.
SECONDS = 5.0
#: A way that was this much slower at its best is not measured again.
HOPELESS = 1.15
#: The same after one turn, in which other work may have hit it alone.
HOPELESS_AT_FIRST = 1.5
#: Share of the processors that others had while measuring, from which on the choice is doubtful.
BUSY = 0.1
#: How often a doubtful choice is measured again, and what another way must gain to replace it.
AGAIN, GAIN = 3, 1.05
#: What compiling is taken to cost and to bring until it was done once (DINOv2-S on two cores: 14 s for 1.12).
COMPILE_SECONDS, COMPILE_GAIN = 20.0, 1.1


@dataclass(frozen=True, slots=True)
class Tuning:
    """One way to run a model. The vectors agree to a cosine of 0.999, whichever it is."""

    attention: str | None
    """transformers' name of it; None leaves the model's own."""
    batch_size: int
    """Images in one pass."""
    streams: int = 1
    """Passes side by side, with one thread each; 1 is one pass with all threads."""
    rate: float = 0.0
    """Images a second, as measured."""
    compile_seconds: float = 0.0
    """What compiling took; 0 if it was never done."""
    compiled_rate: float = 0.0
    """Images a second when compiled; 0 if that failed or was never done."""
    lean: bool = False
    """Whether it is run by imgvec's lean forward pass; see `lean`."""
    busy: float = 0.0
    """Share of the processors that other work had while this was measured."""
    measured: int = 1
    """How many times."""

    @property
    def doubtful(self) -> bool:
        """Whether it is to be measured again, because the machine was busy."""
        return self.busy > BUSY and self.measured < AGAIN

    @property
    def way(self) -> tuple[str | None, int, int, bool]:
        """What is run, apart from what was found about it."""
        return self.attention, self.batch_size, self.streams, self.lean

    def instead_of(self, known: Tuning | None, busy: float) -> Tuning:
        """This one as just measured, beside others that had such a share of the processors, after `known`.

        The same way keeps what is known about compiling it.
        """
        found = replace(self, busy=busy, measured=1 if known is None else known.measured + 1)
        if known is None or known.way != self.way:
            return found
        return replace(found, compile_seconds=known.compile_seconds, compiled_rate=known.compiled_rate)

    @property
    def images(self) -> int:
        """In all passes that run side by side."""
        return self.batch_size * self.streams

    def compiling_pays(self, images: int | None) -> bool:
        """Whether it saves more than it costs over so many images; None are many."""
        if self.compile_seconds and self.compiled_rate <= self.rate:
            return False
        if images is None:
            return True
        compiled = self.compiled_rate or self.rate * COMPILE_GAIN
        return images * (1 / self.rate - 1 / compiled) > (self.compile_seconds or COMPILE_SECONDS)


def candidates(device: torch.device, attentions: Sequence[str | None], lean: Sequence[str] = ()) -> list[Tuning]:
    """What is worth measuring, the likeliest first.

    `attentions` are those that the model can be switched to, `lean` those of its lean pass, if it has one.
    """
    if device.type != "cpu":
        # there the vendors' fused kernels win, and memory bounds the batch
        fused = "sdpa" if "sdpa" in attentions else attentions[0]
        ways = [Tuning(attention, size, lean=True) for attention in lean for size in (64, 128, 256)]
        return ways + [Tuning(fused, size) for size in (64, 32, 128, 256)]
    cores = processors()
    ways = [Tuning(attention, size, cores, lean=True) for size in (8, 4) for attention in lean if cores > 1]
    ways += [Tuning(attention, 16, lean=True) for attention in lean[:1]]
    ways += [Tuning(lean[0], 8, lean=True)] if lean and cores == 1 else []
    first, *others = attentions
    if cores > 1:
        ways += [Tuning(first, size, cores) for size in ((8, 4) if lean else (4, 8, 2))]
        ways += [Tuning(other, 4, cores) for other in others]
    ways += [Tuning(attention, size) for size in (8, 16) for attention in (attentions[:1] if lean else attentions)]
    return ways


def attentions(vision: transformers.PreTrainedModel) -> list[str | None]:
    """The ways of attention that a model can be switched between; [None] if it has its own only."""
    if getattr(vision, "_supports_attention_backend", False) and getattr(vision, "_supports_sdpa", False):
        return [PRODUCTS, "sdpa"]
    return [None]


def fastest(
    ways: Sequence[Tuning],
    seconds_an_image: Callable[[Tuning], float],
    limit: float = SECONDS,
    *,
    known: Tuning | None = None,
) -> Tuning:
    """The way with the least `seconds_an_image` at its best; measured in turns, so that other load hits all alike.

    A way that cannot run has infinitely many. The way of `known` stays, unless another one is clearly faster.
    """
    deadline = time.monotonic() + limit
    best: dict[Tuning, float] = {}
    left = list(ways)
    for turn in range(4):
        for way in left:
            best[way] = min(best.get(way, float("inf")), seconds_an_image(way))
            if time.monotonic() > deadline:
                break
        quickest = min(best, key=best.__getitem__)
        hopeless = (HOPELESS if turn else HOPELESS_AT_FIRST) * best[quickest]
        left = [way for way in left if best.get(way, float("inf")) <= hopeless]
        if time.monotonic() > deadline or len(left) <= 1:
            break
    before = next((way for way in best if known is not None and way.way == known.way), quickest)
    if best[before] <= GAIN * best[quickest]:
        quickest = before
    return replace(quickest, rate=1 / best[quickest])


class Memory:
    """What was measured, one small JSON file for each machine, model and number format."""

    def __init__(self, cache_dir: Path, fingerprint: str, device: torch.device, dtype: torch.dtype) -> None:
        key = json.dumps([_machine(device), fingerprint, str(dtype), torch.__version__, transformers.__version__])
        self._file = cache_dir / "tuning" / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"

    def recall(self) -> Tuning | None:
        """None if nothing usable is remembered."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
            tuning = Tuning(**{field.name: known[field.name] for field in fields(Tuning)})
            usable = tuning.batch_size >= 1 and 1 <= tuning.streams <= processors() and tuning.rate > 0
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return tuning if usable else None

    def keep(self, tuning: Tuning) -> None:
        """Remember; where the folder cannot be written, the next run measures again."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, suffix=".part")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(tuning), file)
            Path(name).replace(self._file)
        except OSError as exc:
            logger.info("The measured tuning cannot be kept in %s: %s", self._file.parent, exc)


def _machine(device: torch.device) -> list[str | int]:
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features", "CPU part")
    cpu = sorted({line for line in lines if line.startswith(wanted)})
    return [device.type, platform.machine(), platform.processor(), processors(), torch.get_num_threads(), *cpu]
