"""Mutated image files: each is an upright RGB picture of bounded size, or refused for a known reason; in bounded time.

A file whose pixels all are still there is that picture or refused: a part of it is never made up.
"""

from __future__ import annotations

import random
from functools import cache
from hashlib import blake2b
from pathlib import Path

import pytest
from decoding import MAX_PIXELS, MEBIBYTES, SECONDS, Answer, decoding_child
from mutations import Mutant, mutants
from seeds import seeds
from tally import Tally

from imgvec.errors import UnreadableImage
from imgvec.images import decode

FORMATS = sorted(seeds())


def test_the_whole_files_are_decoded() -> None:
    assert len(FORMATS) >= 10
    for format in FORMATS:
        if format in {"HEIC", "JXL"}:
            continue  # an extra decodes them
        for data in seeds()[format]:
            assert decode(data, uri=format).image.getextrema() != ((0, 0),) * 3


@pytest.mark.parametrize(
    "number",
    [
        20,
        pytest.param(80, marks=pytest.mark.nightly),
        pytest.param(2000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)]),
    ],
)
def test_mutated_files_are_decoded_or_refused(number: int, tally: Tally, tmp_path: Path) -> None:
    """Of each format so many, the same ones every time."""
    chance = random.Random(number)
    wrong = []
    with decoding_child() as child:
        for format in FORMATS:
            for index, mutant in enumerate(mutants(format, number, chance)):
                path = tmp_path / "mutant"
                path.write_bytes(mutant.data)
                answer = child.decoded(path, chance.choice([None, 8]))
                if problem := trouble(mutant, answer, tally):
                    kept = path.rename(tmp_path / f"{format}-{index}")
                    wrong.append(f"{mutant.format} {mutant.seed}, {mutant.kind}: {problem} ({kept})")
    assert not wrong, "\n".join(wrong)


def trouble(mutant: Mutant, answer: Answer, tally: Tally) -> str | None:
    """What is wrong with the answer, counted where it is right."""
    tally.inputs += 1
    if answer["error"]:
        return str(answer["error"])
    if answer["seconds"] > SECONDS:
        return f"takes {answer['seconds']:.1f} s"
    if (answer["mebibytes"] or 0) > MEBIBYTES:
        return f"takes {answer['mebibytes']:.0f} MiB"
    if reason := answer["reason"]:
        if reason not in UnreadableImage.REASONS:
            return f"refused for {reason!r}"
        tally.refused[reason] += 1
        return None
    width, height = answer["size"]
    if answer["mode"] != "RGB" or not 0 < width * height <= MAX_PIXELS:
        return f"decoded as {answer['mode']} of {width} x {height}"
    if (
        mutant.whole
        and answer["pixels"] == [width, height]
        and answer["digest"] != _picture(mutant.format, mutant.seed)
    ):
        return "decoded as another picture"
    tally.accepted += 1
    return None


@cache
def _picture(format: str, seed: int) -> str:
    return blake2b(decode(seeds()[format][seed], uri=format).image.tobytes(), digest_size=16).hexdigest()
