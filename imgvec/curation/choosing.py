"""Which of two pictures that show the same is the better copy, and why."""

from __future__ import annotations

from imgvec.curation.judging import Relation
from imgvec.curation.subjects import Subject
from imgvec.dates import iso

LOSSLESS = frozenset({"image/png", "image/tiff", "image/bmp", "image/x-portable-pixmap", "image/x-adobe-dng"})
_FINER, _SHARPER, _MORE = 1.05, 1.1, 1.03
"""Ratios of what is no matter of rounding: pixels per pixel, sharpness, and the picture's part that is shown."""

TIE = ("no better, but the first by id",)
"""The reason where nothing tells them apart."""


def preferred(first: Subject, second: Subject, relation: Relation) -> tuple[bool, tuple[str, ...]]:
    """Whether the first is the better one, and why; what says more comes first.

    Of a burst that is the sharper one. Of copies: all of the picture rather than a part, no frame, the finer
    pixels, colour, the format that loses nothing, sharpness; of equal ones what was taken or ingested earlier and says
    more of itself.
    """
    votes: list[tuple[bool, str, str]] = []  # whether the first is better, why it is, and why the second is

    def vote(ratio: float, least: float, first_is: str, second_is: str) -> None:
        if ratio > least or ratio < 1 / least:
            votes.append((ratio > least, first_is, second_is))

    sharper = 1 / relation.sharper
    if relation.kind == "burst":
        vote(sharper, _SHARPER, "sharper", "sharper")
    if relation.framed:
        votes.append((relation.framed == "second", "without the frame", "without the frame"))
    elif relation.kind == "copy":
        beyond = (1 - relation.first_share) - (1 - relation.second_share)
        if abs(beyond) > _MORE - 1:
            votes.append((beyond > 0, "shows more of the picture", "shows more of the picture"))
    sizes = [f"{each.width} x {each.height}" for each in (first, second)]
    finer = f"finer: {sizes[0]} instead of {sizes[1]} pixels", f"finer: {sizes[1]} instead of {sizes[0]} pixels"
    vote(1 / relation.scale, _FINER, *finer)
    if relation.colours[0] != relation.colours[1]:
        votes.append((relation.colours[0], "in colour", "in colour"))
    losslessly = [each.media_type in LOSSLESS for each in (first, second)]
    if losslessly[0] != losslessly[1]:
        types = [each.media_type.removeprefix("image/") for each in (first, second)]
        votes.append((losslessly[0], f"{types[0]} loses nothing", f"{types[1]} loses nothing"))
    if relation.kind == "copy" and abs(relation.scale - 1) < _FINER - 1 and not relation.framed:
        vote(sharper, _SHARPER, "sharper", "sharper")
    votes += _by_date(first, second)
    told = [
        sum(value not in (None, "", 0, [], {}, False) for value in each.fields.values()) for each in (first, second)
    ]
    if told[0] != told[1]:
        votes.append((told[0] > told[1], f"more fields filled: {told[0]}", f"more fields filled: {told[1]}"))
    if not votes:
        return first.id < second.id, TIE
    is_first = votes[0][0]
    return is_first, tuple(why[0] if is_first else why[1] for better, *why in votes if better == is_first)


def _by_date(first: Subject, second: Subject) -> list[tuple[bool, str, str]]:
    votes: list[tuple[bool, str, str]] = []
    if (first.taken_at is None) != (second.taken_at is None):
        votes.append((first.taken_at is not None, "its date is known", "its date is known"))
    elif first.taken_at is not None and second.taken_at is not None and first.taken_at != second.taken_at:
        whys = [f"taken first, {iso(each)}" for each in (first.taken_at, second.taken_at)]
        votes.append((first.taken_at < second.taken_at, whys[0], whys[1]))
    if first.ingested_at != second.ingested_at:
        whys = [f"ingested first, {iso(each.ingested_at)}" for each in (first, second)]
        votes.append((first.ingested_at < second.ingested_at, whys[0], whys[1]))
    return votes
