"""How long a query waits while an ingest runs that measures and compiles its encoder.

    python tests/benchmarks/waiting.py [--queries 200] [--pace 0.1] [--model pypi:dinov2-small-11]

One thread encodes batches of random pixels as an ingest does, and has the encoder tuned twice, with an empty memory, so
that it measures and then compiles; another asks one picture after the other, `--pace` seconds apart. "busy" are queries
while batches are encoded, "tuning" those that came while the encoder was being tuned. A batch is the median of the
ingest's own while nobody asks, before it is tuned or after, whichever takes longer.

Exit status 1 where p99 of `--queries` queries is more than two batches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from imgvec.encoders import EncoderSpec, load_encoder

AFTERWARDS = 20.0
"""Seconds for which it is asked on once the encoder is tuned."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pypi:dinov2-small-11")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--pace", type=float, default=0.1, help="seconds between two queries (default: 0.1)")
    parser.add_argument("--claimed", type=int, default=1_000_000, help="images that the encoder is told will come")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    encoder = load_encoder(EncoderSpec(args.model), device=args.device)
    side = encoder.binding.image_size
    pixels = rng.integers(0, 256, (256, 3, side, side), np.uint8)
    picture = Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8))
    encoder.encode_images([picture])

    tuning, over = threading.Event(), threading.Event()
    tuned: list[tuple[str, float]] = []
    waits: dict[str, list[float]] = {"busy": [], "tuning": []}

    def batches(seconds: float) -> list[float]:
        """Encode for so long; the seconds of each batch."""
        took, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end and not over.is_set():
            started = time.perf_counter()
            encoder.encode(np.stack(list(pixels[: encoder.batch_size])))
            took.append(time.perf_counter() - started)
            time.sleep(0.002)  # as an ingest that takes the next batch from its queue
        return took

    def ingest() -> None:
        for images in (1000, args.claimed):  # the first measures, the second compiles
            batches(8)
            tuning.set()
            started = time.perf_counter()
            chosen = encoder.prepare_for(images)
            tuned.append((str(chosen), time.perf_counter() - started))
            tuning.clear()
        while not over.is_set():
            batches(2)

    with tempfile.TemporaryDirectory() as empty:
        encoder._cache_dir = Path(empty)
        batches(1)  # warms up
        alone = [float(np.median(batches(10)))]
        thread = threading.Thread(target=ingest)
        thread.start()
        threads, wrong = torch.get_num_threads(), 0
        end = float("inf")
        while time.perf_counter() < end or sum(map(len, waits.values())) < args.queries:
            during = tuning.is_set()
            started = time.perf_counter()
            encoder.encode_images([picture])
            waits["tuning" if during else "busy"].append(time.perf_counter() - started)
            wrong += torch.get_num_threads() != threads
            if len(tuned) == 2 and end == float("inf"):
                end = time.perf_counter() + AFTERWARDS
            if time.perf_counter() > end + 10 * AFTERWARDS:
                break  # fewer than wanted: they waited that long
            time.sleep(args.pace)
        over.set()
        thread.join()
        over.clear()
        batches(1)
        alone.append(float(np.median(batches(10))))

    print(f"{args.model}, {encoder.device}, {threads} threads; a batch alone: {alone[0]:.2f} s, tuned {alone[1]:.2f} s")
    for text, seconds in tuned:
        print(f"  tuned in {seconds:.1f} s: {text}")
    for name, found in (*waits.items(), ("all", waits["busy"] + waits["tuning"])):
        if found:
            p50, p99 = np.percentile(found, [50, 99])
            print(
                f"  {name:<7} {len(found):4} queries: median {p50:.3f} s, p99 {p99:.3f} s, longest {max(found):.3f} s"
            )
    bound = 2 * max(alone)
    p99 = float(np.percentile(waits["busy"] + waits["tuning"], 99))
    print(f"  p99 {p99:.3f} s of at most two batches, {bound:.3f} s; torch's threads changed under {wrong} queries")
    sys.exit(0 if p99 <= bound and not wrong else 1)


if __name__ == "__main__":
    main()
