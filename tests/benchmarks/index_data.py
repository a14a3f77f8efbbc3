"""Vectors for the index benchmarks, and a collection of them."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # rows.py and milvus_server.py lie beside this folder

from rows import numbered

from imgvec.exchange import NoEncoder, unbound_binding

if TYPE_CHECKING:
    from imgvec.milvus import Store

Vectors = NDArray[np.float32]
DIM = 384


def no_encoder(dim: int) -> NoEncoder:
    """Only a binding: the vectors are here already."""
    return NoEncoder(unbound_binding(dim))


def real() -> tuple[Vectors, Vectors] | None:
    """CIFAR-10 as (50,000, 384) rows and (10,000, 384) queries, unit vectors; None without IMGVEC_TEST_DATA.

    The queries are in random order: in the file they are sorted by class, and some classes are easier than others.
    """
    data = os.environ.get("IMGVEC_TEST_DATA")
    if not data or not (Path(data) / "vectors_cifar10.npy").exists():
        return None
    made = unit(np.load(Path(data) / "vectors_cifar10.npy").astype(np.float32))
    with gzip.open(Path(data) / "vectors_cifar10.tsv.gz", "rt", encoding="utf-8") as lines:
        train = np.array([line.rstrip("\n").split("\t")[1] == "train" for line in lines])
    return made[train], np.random.default_rng(2).permutation(made[~train])


def vectors(rows: int) -> Vectors:
    """(rows, 384) unit vectors: the real ones, then noisy copies of them; random ones where there are none."""
    found, rng = real(), np.random.default_rng(0)
    base = found[0] if found else unit(rng.standard_normal((50_000, DIM)).astype(np.float32))
    if rows <= len(base):
        return base[:rows]
    more = base[rng.integers(0, len(base), rows - len(base))]
    noise = rng.standard_normal(more.shape).astype(np.float32) * np.float32(0.5 / np.sqrt(base.shape[1]))
    return np.concatenate([base, unit(more + noise)])


def whitened(made: Vectors) -> Vectors:
    """(n, 384) unit vectors of the DINOv2 ViT-S as the (n, 256) of a new collection: behind the map for classes."""
    from imgvec.encoders.purposes import shipped

    return unit(shipped("dinov2-small-11/classes")(made))


def crops(cache: Path, each: int = 62) -> Vectors:
    """(n, 384) unit vectors of `each` random crops of every clothing photo in IMGVEC_TEST_DATA, in random order.

    `pypi:dinov2-small-11` at 112 px makes them: crops of 8 to 100 % of a photo, half of them flipped. They take some
    minutes, and are kept in `cache`.
    """
    if cache.exists():
        return np.asarray(np.load(cache), np.float32)
    from imgvec.encoders import EncoderSpec, load_encoder

    encoder = load_encoder(EncoderSpec("pypi:dinov2-small-11", image_size=112))
    rng = np.random.default_rng(6)
    made = []
    for path in sorted((Path(os.environ["IMGVEC_TEST_DATA"]) / "clothing").rglob("*.jpg")):
        with Image.open(path) as photo:
            upright = photo.convert("RGB")
        made.append(encoder.encode_images([_crop(upright, rng) for _ in range(each)]))
    vectors = rng.permutation(np.concatenate(made))
    np.save(cache, vectors)
    return vectors


def _crop(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    area = photo.width * photo.height * rng.uniform(0.08, 1.0)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = min(photo.width, round(np.sqrt(area * aspect))), min(photo.height, round(np.sqrt(area / aspect)))
    left, top = rng.integers(0, photo.width - width + 1), rng.integers(0, photo.height - height + 1)
    part = photo.crop((left, top, left + width, top + height)).resize((128, 128))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def unit(made: Vectors) -> Vectors:
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def fill(store: Store, made: Vectors, **columns: NDArray[np.int64]) -> None:
    """Upsert a row a vector, with short fields, and wait until they are sealed."""
    for start in range(0, len(made), 5000):
        part = made[start : start + 5000]
        rows = [
            numbered(start + i, **{name: int(values[start + i]) for name, values in columns.items()})
            for i in range(len(part))
        ]
        store.upsert(rows, part)
    store.flush()
