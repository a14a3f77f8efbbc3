"""Faces that are squares of one colour each, what finds them, and a collection of them.

Whatever finds faces plugs in as they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgvec import FaceEncoder, ImageCollection
from imgvec.faces import Detected
from imgvec.faces.model import Aligned
from imgvec.rows import view_ids
from imgvec.vectors import Vectors

SIDE = 64
COLOURS = {"Ann": (200, 40, 40), "Bob": (40, 200, 40), "Cy": (40, 40, 200), "Di": (200, 200, 40), "Ed": (40, 200, 200)}


@dataclass(frozen=True, slots=True)
class Squares:
    """Faces are the squares of 64 pixels that are not black; a grey line in their middle turns them to the side."""

    name = "squares:64"
    version = "1"
    side = 8
    dim = 3
    unit = False
    distance = 0.3
    seen = 512

    def detect(self, pixels: NDArray[np.uint8]) -> Sequence[Detected]:
        step = SIDE
        found = []
        for y in range(0, pixels.shape[0] - step + 1, step):
            for x in range(0, pixels.shape[1] - step + 1, step):
                if pixels[y + step // 2, x + 4].max() > 20:
                    found.append(Detected((x, y, x + step, y + step), 1.0))
        return found

    def align(self, pixels: NDArray[np.uint8], face: Detected) -> Aligned:
        x0, y0, x1, y1 = (round(side) for side in face.box)
        inside = pixels[y0:y1, x0:x1]
        middle, chip = inside[len(inside) // 2, len(inside) // 2].astype(int), inside[8, 8]
        turned = 1.0 if np.ptp(middle) < 10 else 0.0
        return Aligned(np.broadcast_to(chip, (8, 8, 3)).astype(np.uint8), turned)

    def encode(self, chips: NDArray[np.uint8]) -> Vectors:
        found: Vectors = (chips.mean(axis=(1, 2)) / 255).astype(np.float32)
        return found


def picture(path: Path, *people: str | tuple[int, int, int], wide: int = 8, turned: bool = False) -> Path:
    """A picture of 512 x 512 with a square for each, 64 pixels apart."""
    image = np.zeros((512, 512, 3), np.uint8)
    for number, person in enumerate(people):
        colour = COLOURS[person] if isinstance(person, str) else person
        y, x = divmod(number * 2, wide)
        image[y * 128 : y * 128 + SIDE, x * SIDE : x * SIDE + SIDE] = colour
        if turned:
            image[y * 128 + SIDE // 2, x * SIDE + 16 : x * SIDE + SIDE] = 128
    Image.fromarray(image).save(path)
    return path


def near(person: str, by: int) -> tuple[int, int, int]:
    red, green, blue = COLOURS[person]
    return (red + by, green, blue)


DEFINITION: dict[str, Any] = {
    "encoder": {"model": "squares:64"},
    "views": {"faces": 8},
    "fields": {"identity": {"type": "VARCHAR", "max_length": 64, "default": "", "index": "AUTO"}},
    "vector": {"metric_type": "L2"},
    "index": {"cpu": {"type": "FLAT"}},
}


def created(uri: str) -> ImageCollection:
    return ImageCollection.create("club", definition=DEFINITION, uri=uri, encoder=FaceEncoder(Squares()))


def persons(club: ImageCollection) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rows in club.store.scan(["uri", "person", "box"]):
        for row in sorted(rows, key=lambda row: list(row["box"])):
            found.setdefault(Path(row["uri"]).stem, []).append(row["person"])
    return found


def sound(club: ImageCollection) -> None:
    """The journal counts the rows that there are, by their ids."""
    assert club.handle.target.journal is not None
    wanted = set()
    for entries in club.handle.target.journal.scan(["views", "content_hash"]):
        for entry in entries:
            assert entry["content_hash"]
            wanted |= {*view_ids(entry["id"], entry["views"])}
    assert {row["id"] for rows in club.store.scan(["id"]) for row in rows} == wanted
