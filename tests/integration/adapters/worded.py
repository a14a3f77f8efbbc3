"""An encoder with a text side and no weights: the vector of a text is that of the picture drawn from it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from opened_names import write_them
from PIL import Image

from imgvec import CallableEncoder, abandoned
from imgvec.abandoned import Abandoned
from imgvec.encoders import EncoderKind

SIDE = 32
DEFINITION = {
    "encoder": {"model": "worded:plain"},
    "fields": {
        "caption": {"type": "VARCHAR", "max_length": 500, "default": ""},
        "number": {"type": "INT64", "default": 0},
    },
}


def drawn(text: str) -> Image.Image:
    """Eight by eight colours that the text alone decides."""
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1))


def drawn_in(folder: Path, names: Sequence[str]) -> Path:
    """The folder, made, with a picture of each name."""
    folder.mkdir()
    for name in names:
        drawn(name).save(folder / f"{name}.png")
    return folder


def colours(pixels: Any) -> Any:
    grid = pixels.reshape(len(pixels), 8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(2, 4)).reshape(len(pixels), -1)
    return grid - 127.5


WAITS = "wait for "
"""A text that begins so is waited for until nobody awaits its vector; that is told by files in the folder it names."""


def of_texts(texts: Sequence[str]) -> Any:
    for text in texts:
        if text.startswith(WAITS):
            _wait(Path(text.removeprefix(WAITS)))
    return colours(np.stack([np.asarray(drawn(text)) for text in texts]))


def _wait(folder: Path) -> None:
    (folder / "begun").touch()
    try:
        abandoned.pause(60)
    except Abandoned:
        (folder / "abandoned").touch()
        raise


def worded(texts: bool = True) -> CallableEncoder:
    return CallableEncoder(
        colours, name="worded:plain", version="1", image_size=SIDE, texts=of_texts if texts else None
    )


OPENED = "WORDED_OPENED"
"""Names the file in which such a process notes what names it asks for, from its first query on."""


def _loaded() -> CallableEncoder:
    if notes := os.environ.get(OPENED):
        write_them(notes)
    return worded()


KIND = EncoderKind(load=lambda request: _loaded())
"""What the entry point of `plugged` names, so that another process opens such a collection by itself."""


def plugged(folder: Path) -> dict[str, str]:
    """The environment of a process in which `worded:plain` is an encoder."""
    about = folder / "worded_plugin-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: worded-plugin\nVersion: 1\n", "utf-8")
    (about / "entry_points.txt").write_text("[imgvec.encoders]\nworded = worded:KIND\n", "utf-8")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "OMP_NUM_THREADS": "1"}
