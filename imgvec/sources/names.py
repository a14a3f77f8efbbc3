r"""Names that can be written in more than one way: accents composed (NFC) or not (NFD), `\` for `/`.

A Mac's names are often NFD, spreadsheets and keyboards write NFC; Linux takes the two for different names.
"""

from __future__ import annotations

import os
import re
from unicodedata import normalize

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def composed(name: str) -> str:
    """The name in NFC, by which names that look alike are compared."""
    return name if name.isascii() else normalize("NFC", name)


def is_windows(path: str) -> bool:
    """Whether the path begins with a drive or a host of Windows."""
    return _WINDOWS.match(path) is not None


def plain_path(text: str) -> str:
    """A path as it is compared: NFC, with `/`, without spaces around it."""
    return composed(os.path.normpath(text.strip().replace("\\", "/")))


def present(path: str) -> str:
    """The absolute path of what is called so, however its accents are composed; `path` where there is nothing.

    Raises `ValueError` if two are called so, neither of them exactly.
    """
    if (path.isascii() and "\\" not in path) or os.path.lexists(path):
        return path
    for form in dict.fromkeys((path, path.replace("\\", "/"))):
        found = _walked(form)
        if found is not None:
            return found
    return path


def _walked(path: str) -> str | None:
    here = ""
    for name in os.path.normpath(path).split("/")[1:]:
        forms = dict.fromkeys((name, composed(name), normalize("NFD", name)))
        there = [form for form in forms if os.path.lexists(f"{here}/{form}")]
        if not there:
            return None
        if len(there) > 1 and there[0] != name:
            raise ValueError(
                f"{here or '/'} has both {there[0]} and {there[1]}, which differ only in how accents are composed"
            )
        here = f"{here}/{there[0]}"
    return here


def alike(path: str) -> list[str]:
    """Other files beside `path` whose names differ only in how accents are composed."""
    folder, _, name = path.rpartition("/")
    others = sorted({composed(name), normalize("NFD", name)} - {name})
    return [other for form in others if is_another(other := f"{folder}/{form}", path)]


def is_another(other: str, path: str) -> bool:
    """Whether there is a file at `other` and it is not the one at `path`: a Mac has one file under both names."""
    try:
        return not os.path.samestat(os.lstat(other), os.lstat(path))
    except (OSError, ValueError):
        return os.path.lexists(other)
