"""`~` in paths that people give."""

from __future__ import annotations

import os
from pathlib import Path


def at_home(path: str | os.PathLike[str]) -> Path:
    """The path with `~` or `~user` as a home folder, or as it is where nobody's is meant.

    `Path.expanduser` raises RuntimeError for a file called `~$draft.jpg`.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111  as said above
