"""Brace patterns, as shards are named: `shard-{000..127}.tar`, `{train,test}.tar`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from imgvec.home import at_home

_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


def has_braces(source: str | Path) -> bool:
    """Whether the source is a brace pattern; a path that exists is none."""
    return _BRACES.search(str(source)) is not None and not os.path.lexists(at_home(source))


def expand(source: str | Path) -> Iterator[str | Path]:
    """Each name that the pattern stands for, in order; a source without braces is itself the only one.

    Numbers have as many digits as the first one of the range is written with.
    """
    if not has_braces(source):
        yield source
        return
    text = str(source)
    found = _BRACES.search(text)
    assert found is not None
    first, last, words = found.groups()
    middles = words.split(",") if words else (f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1))
    for middle in middles:
        yield from expand(text[: found.start()] + middle + text[found.end() :])
