"""Textured pictures made on the spot, and edited copies of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps


def scene(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Overlapping shapes with some grain, another picture for each seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(each) for each in rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.uniform(-0.1, 1.0, 2) * size
        w, h = rng.uniform(0.03, 0.3, 2) * size
        colour = tuple(int(each) for each in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=colour)
    grain = np.asarray(image, np.float32) + rng.normal(0, 3, (size[1], size[0], 1))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 92, **more: object) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, **more)
    return data.getvalue()


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def cropped(image: Image.Image, share: float = 0.8) -> Image.Image:
    width, height = image.size
    left, top = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    return image.crop((left, top, width - left, height - top))


def framed(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, round(max(image.size) * 0.08), (255, 255, 255))


def small(image: Image.Image, side: int = 64) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((side, side))
    return copy


def moved(image: Image.Image, seed: int) -> Image.Image:
    """What a camera sees that is held again: shifted, turned, from a slightly other place, with other noise."""
    rng = np.random.default_rng(seed)
    width, height = image.size
    turn = np.deg2rad(rng.uniform(1, 2.5)) * rng.choice([-1, 1])
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * np.array([width, height]) * 0.41
    corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners += np.array([width, height]) / 2 + rng.uniform(0.02, 0.05, 2) * (width, height) * rng.choice([-1, 1], 2)
    corners += rng.uniform(-0.012, 0.012, (4, 2)) * (width, height)
    to = (round(width * 0.82), round(height * 0.82))
    seen = image.transform(to, Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BICUBIC)
    noisy = np.asarray(seen, np.float32) * rng.uniform(0.96, 1.04) + rng.normal(0, 4, (to[1], to[0], 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def save(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
