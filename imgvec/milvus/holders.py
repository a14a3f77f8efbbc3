"""Which process holds a Milvus Lite database, where the system says so."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_LOCKS = Path("/proc/locks")
_LINE = re.compile(
    r"\d+: FLOCK +\w+ +\w+ (?P<process>[1-9]\d*) (?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) "
)
_NAMES = frozenset({"imgvec", "milvus-lite"})


def holder(path: Path) -> str:
    """The process that holds the database at a path, as `process 1234 (imgvec serve)`; empty where nobody can tell.

    Linux says in /proc/locks who locked which file, by device and inode; 0 is a process outside of this container. Of
    what it runs the command's words are told, and no options, which may hold a password.
    """
    with suppress(OSError, ValueError):
        lock = (path / "LOCK").stat()
        here = (os.major(lock.st_dev), os.minor(lock.st_dev), lock.st_ino)
        for line in _LOCKS.read_text().splitlines():
            found = _LINE.match(line)
            if found and (int(found["major"], 16), int(found["minor"], 16), int(found["inode"])) == here:
                words = _command(int(found["process"]))
                return f"process {found['process']}" + (f" ({words})" if words else "")
    return ""


def _command(process: int) -> str:
    """`imgvec serve`, or the program's name; empty where it belongs to somebody else."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    words = [word for word in words if word]
    for place, word in enumerate(words[:4]):
        name = Path(word).name
        if name == "__main__.py":
            name = Path(word).parent.name
        if name in _NAMES:
            following = [each for each in words[place + 1 :] if re.fullmatch(r"[a-z]+", each)]
            return " ".join([name, *following[:1]])
    return Path(words[0]).name if words else ""
