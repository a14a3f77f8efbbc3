"""An explanation as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imgvec.images.squares import Seen

if TYPE_CHECKING:
    from imgvec.explanation.explanation import Explanation, Side

SIDE = 480
"""Pixels of the longer side of each picture, as drawn."""
PAIRS = 8
"""Pairs of patches that are numbered; more would hide the picture."""
GAP = 16
HOT = (255, 80, 0)
COLOURS = ("#1f77b4", "#2ca02c", "#9467bd", "#e377c2", "#17becf", "#bcbd22", "#d62728", "#8c564b")
"""Of the pairs: colours that are told apart, beside a number for who cannot."""


def drawn(explanation: Explanation) -> Image.Image:
    """RGB: the query to the left, the hit to the right."""
    sides = [explanation.query, explanation.hit]
    scales = [SIDE / max(side.picture.size) for side in sides]
    shown = [_heated(side, scale) for side, scale in zip(sides, scales, strict=True)]
    chosen = spread(explanation)
    boxes = explanation.pair_boxes()
    for number, place in enumerate(chosen):
        for image, box, scale in zip(shown, boxes[place], scales, strict=True):
            _mark(image, box, scale, str(number + 1), COLOURS[number % len(COLOURS)])
    height = max(image.height for image in shown)
    whole = Image.new("RGB", (sum(image.width for image in shown) + GAP, height), "white")
    whole.paste(shown[0], (0, (height - shown[0].height) // 2))
    whole.paste(shown[1], (shown[0].width + GAP, (height - shown[1].height) // 2))
    return whole


def spread(explanation: Explanation) -> list[int]:
    """The best pairs that do not lie next to each other, by their places among all."""
    columns = explanation.query.heat.shape[1]
    taken: list[tuple[int, int]] = []
    chosen: list[int] = []
    for place, (first, _) in enumerate(explanation.pairs):
        row, column = divmod(int(first), columns)
        if all(max(abs(row - r), abs(column - c)) > 1 for r, c in taken):
            taken.append((row, column))
            chosen.append(place)
        if len(chosen) == PAIRS:
            break
    return chosen


def _heated(side: Side, scale: float) -> Image.Image:
    """The picture, grey where nothing is hot, and dark where the encoder does not look."""
    size = tuple(max(1, round(each * scale)) for each in side.picture.size)
    picture = side.picture.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]  # two numbers
    x0, y0, x1, y1 = (round(each * scale) for each in side.seen)
    peak = float(side.heat.max())
    levels = (255 * (side.heat / peak) ** 0.7).astype(np.uint8) if peak > 0 else np.zeros(side.heat.shape, np.uint8)
    square = Image.fromarray(levels).resize((max(1, x1 - x0), max(1, y1 - y0)), Image.Resampling.BICUBIC)
    heat = Image.new("L", picture.size, 0)
    heat.paste(square, (x0, y0))
    faded = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.25)
    warm = Image.blend(picture, Image.new("RGB", picture.size, HOT), 0.35)
    shown = Image.composite(warm, faded, heat)
    unseen = Image.new("L", picture.size, 150)
    unseen.paste(0, (max(0, x0), max(0, y0), max(0, min(x1, picture.width)), max(0, min(y1, picture.height))))
    return Image.composite(Image.new("RGB", picture.size, "black"), shown, unseen)


def _mark(image: Image.Image, box: Seen, scale: float, text: str, colour: str) -> None:
    draw = ImageDraw.Draw(image)
    x0, y0, x1, y1 = (round(each * scale) for each in box)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=2)
    font = ImageFont.load_default(14)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    draw.rectangle((x0, y0, x0 + right - left + 6, y0 + bottom - top + 6), fill=colour)
    draw.text((x0 + 3, y0 + 3 - top), text, fill="white", font=font)
