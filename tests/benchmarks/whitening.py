"""What the maps are worth that come with imgvec: classes and edited copies, before and after; and the file they lie in.

    python tests/benchmarks/whitening.py [--data FOLDER] [--cache FOLDER]
    python tests/benchmarks/whitening.py --make imgvec/encoders/dinov2-small-11.safetensors

Classes: the test photos of the clothing set, each asking for the others of its class: P@1 and mAP. Copies: edited
copies of every third of them (eight edits, four of which cut, frame, turn or darken) that look for their original among
all photos of the set: P@1. Exact search in NumPy, pypi:dinov2-small-11. `--cache` keeps what was encoded. The exit
status is 1 where a map does not raise what its purpose is for, or the encoder of a purpose gives other vectors than
NumPy. `--make` writes the maps from the mean and covariance of the vectors of 1,000 photos (dinov2s11_moments.npz).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.options import SHRINKAGE
from imgvec.encoders.projection import Projection
from imgvec.encoders.purposes import POWERS, shipped
from imgvec.images import decode
from imgvec.images.edits import EDITS

MODEL = "pypi:dinov2-small-11"
DIM = 256
GREY, WHITE = (236, 236, 236), (255, 255, 255)
Vectors = np.ndarray[Any, np.dtype[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("IMGVEC_TEST_DATA")
    parser.add_argument("--data", type=Path, default=Path(given) if given else None)
    parser.add_argument("--cache", type=Path, help="a folder for vectors, read if they are there")
    parser.add_argument("--make", type=Path, metavar="FILE", help="write the maps, and measure nothing")
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data, or set IMGVEC_TEST_DATA")
    if args.make is not None:
        make(args.data / "dinov2s11_moments.npz", args.make)
        return

    rows = [line.split("\t") for line in (args.data / "clothing" / "labels.tsv").read_text().splitlines()[1:]]
    labels = np.array([label for _, label, _ in rows])
    test = np.array([place for place, row in enumerate(rows) if row[2] == "test"])
    asking = test[::3]
    photos = [Image.open(args.data / "clothing" / path).convert("RGB") for path, _, _ in rows]
    found: dict[str, tuple[float, float, float]] = {}
    same = True
    for purpose, fit in (("classes", "crop"), ("copies", "resize")):
        bare = load_encoder(EncoderSpec(MODEL, purpose=purpose, projection="none"))

        def vectors(name: str, images: Callable[[], Sequence[Image.Image]], encoder=bare, fit=fit) -> Vectors:
            file = None if args.cache is None else args.cache / f"{name.replace(' ', '_')}_{fit}.npy"
            if file is not None and file.is_file():
                return np.load(file)
            made = encoder.encode_images(images())
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, made)
            return made

        stored = vectors("photos", lambda: photos)
        copies = {
            name: vectors(f"copies_{name}", lambda edit=edit: [edited(photos[place], edit) for place in asking])
            for name, edit in edits().items()
        }
        projection = shipped(f"dinov2-small-11/{purpose}")
        for name, behind in ((f"{fit}, as encoded", None), (f"{fit}, the map for {purpose}", projection)):
            space = unit(stored, behind)
            first = {edit: (unit(each, behind) @ space.T).argmax(axis=1) == asking for edit, each in copies.items()}
            found[name] = (*classes(space[test], labels[test]), float(np.mean(list(first.values()))))
            by_edit = ", ".join(f"{edit} {each.mean():.2f}" for edit, each in first.items())
            p1, mean_ap, copied = found[name]
            print(f"{name:26} classes P@1 {p1:.3f} mAP {mean_ap:.3f}  copies P@1 {copied:.3f}  ({by_edit})", flush=True)
        few = photos[:8]
        made = load_encoder(EncoderSpec(MODEL, purpose=purpose)).encode_images(few)
        same &= float((made * unit(bare.encode_images(few), projection)).sum(axis=1).min()) > 0.999
    (plain, mapped), (whole, whitened) = list(found.values())[:2], list(found.values())[2:]
    better = mapped[0] > plain[0] and mapped[1] > plain[1] and whitened[2] > whole[2]
    print("each map raises what its purpose is for" if better else "a map does NOT raise what its purpose is for")
    print("the encoders give what NumPy gives" if same else "an encoder does NOT give what NumPy gives")
    sys.exit(not (better and same))


def make(moments: Path, file: Path) -> None:
    """Write the directions, once, in float16, and of each purpose their scales."""
    from safetensors.numpy import save_file

    known = np.load(moments)
    mean, covariance = known["mean"], known["covariance"]
    directions = Projection.pca(mean, covariance, DIM).matrix
    lengths = {
        purpose: np.linalg.norm(Projection.pca(mean, covariance, DIM, power=power, shrinkage=SHRINKAGE).matrix, axis=0)
        for purpose, power in POWERS.items()
    }
    scales = {purpose: (each / each.mean()).astype(np.float32) for purpose, each in lengths.items()}
    arrays = {"mean": mean.astype(np.float16), "directions": directions.astype(np.float16), **scales}
    save_file(arrays, file, metadata={"of": MODEL, "fitted_to": f"{int(known['count'])} photos"})
    print(f"{file}: {file.stat().st_size:,} bytes")


def unit(vectors: Vectors, projection: Projection | None) -> Vectors:
    if projection is not None:
        vectors = (vectors - projection.mean) @ projection.matrix
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def classes(vectors: Vectors, labels: np.ndarray[Any, Any]) -> tuple[float, float]:
    """P@1 and mAP, each vector against all others."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :-1]
    relevant = labels[ranked] == labels[:, None]
    at = np.cumsum(relevant, axis=1) / np.arange(1, ranked.shape[1] + 1)
    return float(relevant[:, 0].mean()), float(((at * relevant).sum(axis=1) / relevant.sum(axis=1)).mean())


def edits() -> Mapping[str, Callable[[Image.Image], bytes]]:
    """Those of the demo that change pixels, and harder ones."""
    usual = {name: edit for name, edit in EDITS.items() if name != "exif rotation"}
    return {**usual, "corner": corner, "framed": framed, "turned": turned, "small and dark": small_and_dark}


def edited(photo: Image.Image, edit: Callable[[Image.Image], bytes]) -> Image.Image:
    return decode(edit(photo), uri="copy").image


def jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=90)
    return data.getvalue()


def corner(image: Image.Image) -> bytes:
    """The upper left, 60 % of each side."""
    return jpeg(image.crop((0, 0, round(image.width * 0.6), round(image.height * 0.6))))


def framed(image: Image.Image) -> bytes:
    """In the middle of a grey canvas, 1.6 times as wide and high."""
    canvas = Image.new("RGB", (round(image.width * 1.6), round(image.height * 1.6)), GREY)
    canvas.paste(image, (round(image.width * 0.3), round(image.height * 0.3)))
    return jpeg(canvas)


def turned(image: Image.Image) -> bytes:
    return jpeg(image.rotate(15, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE))


def small_and_dark(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((96, 96))
    return jpeg(ImageEnhance.Brightness(small).enhance(0.5))


if __name__ == "__main__":
    main()
