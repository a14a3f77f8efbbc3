"""The definitions that come with imgvec."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def bundled() -> Mapping[str, Path]:
    """The definitions shipped with imgvec, by name."""
    here = Path(__file__).parents[1]
    # in a wheel they lie inside the package; in a checkout (editable install) beside it
    folder = next((f for f in (here / "_collections", here.parent / "collections") if f.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}
