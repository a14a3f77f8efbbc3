"""Image files changed at random: anywhere, in their headers' numbers, and part by part as their container has them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from seeds import seeds


@dataclass(frozen=True)
class Mutant:
    format: str
    kind: str
    seed: int
    """Index of the whole file in `seeds()[format]`."""
    data: bytes
    whole: bool
    """Whether every pixel is still where it was, so that another picture must not come out of it."""


def mutants(format: str, number: int, chance: random.Random) -> list[Mutant]:
    """So many, the kinds in turn."""
    kinds = list(KINDS)
    return [mutant(format, kinds[index % len(kinds)], chance) for index in range(number)]


def mutant(format: str, kind: str, chance: random.Random) -> Mutant:
    seed = chance.randrange(len(seeds()[format]))
    original = seeds()[format][seed]
    changed, whole = KINDS[kind](format, original, chance)
    return Mutant(format, kind, seed, changed, whole)


def parts(format: str, data: bytes) -> list[bytes]:
    """The file's segments, chunks or boxes; joined they are the file."""
    split = {
        "JPEG": _segments,
        "MPO": _segments,
        "PNG": _chunks,
        "WEBP": _riff,
        "AVIF": _boxes,
        "HEIC": _boxes,
        "JXL": _boxes,
        "JPEG2000": _boxes if data[4:8] == b"jP  " else _segments,
    }.get(format, _blocks)
    found = split(data)
    assert b"".join(found) == data
    return found


Change = Callable[[str, bytes, random.Random], tuple[bytes, bool]]
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _flips(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 30])):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    # every chunk of a PNG has a sum of its own; that of a later one, or of a part that is not a pixel, tells nothing
    return bytes(changed), format == "PNG" and changed[:8] == data[:8]


def _cut(_format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    length = chance.randrange(1, len(data))
    # in a plain PPM a number that lost digits is a number
    return data[:length], not (data.startswith(b"P3") and data[length - 1 : length + 1].isdigit())


def _header_numbers(_format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        width = chance.choice([1, 2, 4])
        at = chance.randrange(max(1, min(len(data), 160) - width))
        value = chance.choice(_EXTREMES) & (256**width - 1)
        changed[at : at + width] = value.to_bytes(width, chance.choice(["big", "little"]))
    return bytes(changed), False


def _part_numbers(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    """A number near the start of a part, where lengths, sizes and offsets are; a PNG's sums are made to fit."""
    found = parts(format, data)
    index = chance.randrange(len(found))
    part = bytearray(found[index])
    width = chance.choice([1, 2, 4])
    at = chance.randrange(max(1, min(len(part), 40) - width))
    part[at : at + width] = (chance.choice(_EXTREMES) & (256**width - 1)).to_bytes(width, "big")
    found[index] = _summed(bytes(part)) if format == "PNG" and index else bytes(part)
    return b"".join(found), False


def _swapped(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    found = parts(format, data)
    one, other = chance.randrange(len(found)), chance.randrange(len(found))
    found[one], found[other] = found[other], found[one]
    return b"".join(found), False


def _dropped(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    found = parts(format, data)
    del found[chance.randrange(len(found))]
    return b"".join(found), False


def _repeated(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    found = parts(format, data)
    index = chance.randrange(len(found))
    found[index:index] = [found[index]] * chance.choice([1, 2, 50])
    return b"".join(found), False


def _resized(_format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    changed = bytearray(data)
    at = chance.randrange(len(data))
    if chance.random() < 0.5:
        del changed[at : at + chance.randrange(1, 20)]
    else:
        changed[at:at] = chance.randbytes(chance.randrange(1, 20))
    return bytes(changed), False


def _followed(_format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    """Something behind the end: another file, noise, or zeros, as broken copies have them."""
    other = chance.choice(seeds()[chance.choice(sorted(seeds()))])
    return data + chance.choice([other, chance.randbytes(300), bytes(300)]), True


def _begun_as_another(format: str, data: bytes, chance: random.Random) -> tuple[bytes, bool]:
    """The first bytes of another format, and the rest of this one."""
    other = chance.choice(seeds()[chance.choice([name for name in sorted(seeds()) if name != format])])
    length = chance.choice([2, 4, 12, 40])
    return other[:length] + data[length:], False


KINDS: dict[str, Change] = {
    "bits flipped": _flips,
    "cut off": _cut,
    "numbers in the header": _header_numbers,
    "numbers in a part": _part_numbers,
    "parts swapped": _swapped,
    "a part dropped": _dropped,
    "a part repeated": _repeated,
    "bytes inserted or lost": _resized,
    "something behind": _followed,
    "another's first bytes": _begun_as_another,
}


def _summed(chunk: bytes) -> bytes:
    return chunk[:-4] + zlib.crc32(chunk[4:-4]).to_bytes(4) if len(chunk) >= 12 else chunk


def _segments(data: bytes) -> list[bytes]:
    found, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4])
        found.append(data[at : at + 2 + length])
        at += 2 + length
        if found[-1][1] == 0xDA:  # what follows is coded
            break
    return [*found, *([data[at:]] if at < len(data) else [])]


def _chunks(data: bytes) -> list[bytes]:
    found, at = [data[:8]], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        found.append(data[at:end])
        at = end
    return found


def _riff(data: bytes) -> list[bytes]:
    found, at = [data[:12]], 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        found.append(data[at:end])
        at = end
    return found


def _boxes(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        end = at + size if 8 <= size <= len(data) - at else len(data)
        found.append(data[at:end])
        at = end
    return found


def _blocks(data: bytes) -> list[bytes]:
    """Pieces of twelve bytes as in a TIFF's directory, then the rest."""
    head = min(len(data), 240)
    return [*(data[at : at + 12] for at in range(0, head, 12)), *([data[head:]] if head < len(data) else [])]
