"""Finds images that a source no longer has, for pruning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from imgvec.errors import SourceError
from imgvec.sources import registry
from imgvec.sources.braces import expand
from imgvec.sources.files import MAGIC, as_present, matches, split_glob
from imgvec.sources.named import path_of, scheme_of
from imgvec.sources.passing import Excludes
from imgvec.sources.places import Place
from imgvec.sources.reading import absolute


def gone_from(
    sources: Iterable[str | Path],
    *,
    root: str | Path | None = None,
    exclude: Iterable[str] = (),
    on_unsure: Callable[[str], None] | None = None,
) -> Callable[[str], bool]:
    """A test of uris: whether an image that this source had is no longer there.

    True only where the uri belongs to the source and the file system says that there is no such file, or the archive,
    which is there and whole, that it has no such member. What is there but refused, or cannot be asked about, is not
    gone, a link that leads nowhere among it; nor is anything below a folder of the source, or in an archive, that is
    gone itself; nor what a URL, an object store, a list or a manifest named; nor what `exclude` matches.

    `on_unsure` is told uris below a folder of the source, such as `x.zip!y.jpg`, where there is neither such a file nor
    such an archive: it is no longer known whether this was a member or a file, so these do not count as gone.
    """
    base = None if root is None else as_present(absolute(root))
    paths = [as_present(path) for path in _paths(sources)]
    named = frozenset(paths)
    folders = tuple(path.rstrip("/") + "/" for path in paths if os.path.isdir(path))  # noqa: PTH112
    members = cache(_members)  # of this test's own: an archive may change before the next one is made
    globs = [path.split("/") for path in paths if MAGIC.search(path) and not os.path.lexists(path)]
    starts = [*folders, *(found[0].rstrip("/") + "/" for path in paths if (found := split_glob(path)))]
    excludes = Excludes.of(exclude)

    def is_ours(path: str) -> bool:
        return path in named or any(matches(path.split("/"), glob) for glob in globs)

    def is_excluded(path: str) -> bool:
        return any(path.startswith(start) and excludes.match(path.removeprefix(start)) for start in starts)

    def is_gone(uri: str) -> bool:
        # No file's uri has an empty component, so this one is a URL.
        if "://" in uri or (base is None and not uri.startswith("/")):
            return False
        path = os.path.abspath(os.path.join(base or "/", uri))  # noqa: PTH100, PTH118
        if member := registry.split_member(uri):
            archive = os.path.abspath(os.path.join(base or "/", member[0]))  # noqa: PTH100, PTH118
            if (
                on_unsure
                and path.startswith(folders)
                and not is_excluded(path)
                and not os.path.lexists(archive)
                and _is_there(path) is False
            ):
                on_unsure(uri)
            known = members(archive) if is_ours(archive) else None
            if known is None or member[1] in known or excludes.match(member[1]):
                return False
        elif not (is_ours(path) or path.startswith(folders)) or is_excluded(path):
            return False
        return _is_there(path) is False

    return is_gone


def _is_there(path: str) -> bool | None:
    """Whether the file system has something at `path`; None if it cannot be asked, or a link on the way leads
    nowhere: to a disk, say, that is not mounted.
    """
    try:
        return bool(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        above = os.path.dirname(path)  # noqa: PTH120
        while not os.path.lexists(above):
            above = os.path.dirname(above)  # noqa: PTH120
        return None if os.path.islink(above) and not os.path.exists(above) else False  # noqa: PTH110, PTH114
    except (OSError, ValueError):
        return None


def _paths(sources: Iterable[str | Path]) -> Iterable[str]:
    for source in sources:
        scheme = scheme_of(source) if isinstance(source, str) else None
        if scheme == "file":
            yield absolute(path_of(str(source)))
        elif scheme is None:
            yield from map(absolute, expand(source))


def _members(archive: str) -> frozenset[str] | None:
    """The paths of an archive's members, None if they are not known for sure."""
    kind = registry.by_ending(archive)
    try:
        return None if kind is None or kind.members is None else kind.members(Place(archive, archive))
    except SourceError:
        return None
