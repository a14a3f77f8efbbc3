"""What a source skips by name: system folders, and what the caller excludes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from imgvec.errors import UsageError

SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        *("@eaDir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
        *("@Recycle", "@Recently-Snapshot", ".@__thumb", "@__thumb"),  # QNAP
        *("~snapshot", ".snapshot", ".snapshots", ".zfs", ".wdmc"),  # NetApp, openSUSE, TrueNAS, Western Digital
        *("$RECYCLE.BIN", "RECYCLER", "RECYCLED", "System Volume Information", "FOUND.000"),  # Windows
        *(".Trash", ".Trashes", ".thumbnails", "lost+found"),  # Unix
        *("__MACOSX", ".AppleDouble", ".fseventsd", ".Spotlight-V100", ".DocumentRevisions-V100"),  # macOS
        *(".TemporaryItems", "Network Trash Folder", "Temporary Items"),
    )
)
"""Thumbnails, snapshots and recycle bins, in any case of letters; one that is itself named as a source is read."""


def is_system(folder: str) -> bool:
    """Whether a folder of this name holds what a NAS or an operating system keeps for itself."""
    name = folder.casefold()
    return name in SYSTEM_FOLDERS or name.startswith(".trash-")


@dataclass(frozen=True, slots=True)
class Excludes:
    """Patterns as in .gitignore, for paths below a source."""

    patterns: Sequence[str] = ()
    _spec: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Excludes:
        """Raises `UsageError` for what is not a pattern."""
        given = [patterns] if isinstance(patterns, str) else [os.fspath(pattern) for pattern in patterns]
        if not given:
            return cls()
        import pathspec

        lines = []
        for pattern in given:
            # in a file this would be a comment, and here it is `#recycle`
            line = "\\" + pattern if pattern.startswith("#") else pattern
            try:
                (parsed,) = pathspec.GitIgnoreSpec.from_lines([line]).patterns
                usable = parsed.include is not None
            except (ValueError, IndexError):
                usable = False
            if not usable:
                raise UsageError(f"--exclude {pattern!r}: not a .gitignore pattern (such as `raw/`, `*.png`, `/top`)")
            lines.append(line)
        return cls(tuple(given), pathspec.GitIgnoreSpec.from_lines(lines))

    def match(self, path: str, *, folder: bool = False) -> bool:
        """Whether `path`, relative to its source, is excluded, or a folder that it lies in."""
        return self._spec is not None and bool(self._spec.match_file(path + "/" if folder else path))
