"""What to read: a folder, a file, a glob or an iterable of paths, as a lazy stream of records and refusals."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.metadata import Metadata
from imgvec.images.records import FileReader, Record, describe_mode, path_trouble, record_id

#: Longest uri in UTF-8 bytes: the length of the collection's `uri` field, and of a path on Linux (PATH_MAX).
MAX_URI_BYTES = 4096

#: File name endings, in lower case, that say image: such a file is never passed over without a word.
IMAGE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .j2k .jfif .jp2 .jpe .jpeg .jpf .jpg .jpx .jxl .mpo .pbm .pfm .pgm .png .pnm "
    ".ppm .tif .tiff .webp".split()
)

#: Endings that are surely no images. Folder walks and globs pass over them without a word; every other file is
#: tried, since a photo without an extension is found only by opening it, and a refusal is better than a gap.
OTHER_SUFFIXES = frozenset(
    ".7z .aac .aae .avi .bash .bat .bin .bz2 .c .cfg .conf .cpp .cs .css .csv .db .dll .doc .docx .exe .flac .go "
    ".gz .h .h5 .hpp .htm .html .ini .ipynb .java .jar .js .json .jsonl .lock .log .lua .m4a .m4v .md .mkv .mov "
    ".mp3 .mp4 .mpg .msi .ndjson .npy .npz .odt .ogg .onnx .parquet .pdf .php .pickle .pkl .ppt .pptx .pt .pth .py "
    ".pyc .r .rar .rb .rs .rst .rtf .safetensors .sh .so .sql .sqlite .srt .swift .tar .tgz .toml .ts .tsv .txt "
    ".wav .webm .xls .xlsx .xml .xmp .xz .yaml .yml .zip .zst".split()
)

_MAGIC = re.compile(r"[*?\[]")


def read_source(
    source: str | Path | Iterable[str | Path],
    *,
    root: str | Path | None = None,
    recursive: bool = True,
    metadata: Metadata | None = None,
) -> Iterator[Record | UnreadableImage]:
    """Stream the images of a source, and what is refused before it is read, in a stable order.

    A folder is walked in the order of names, whatever the file system; hidden entries are passed over, symbolic links
    below it are not followed. A glob knows `*`, `?`, `[…]` and `**`, takes files only and skips the same; a path that
    exists is never a glob. `~` is expanded. A link that is named itself is followed. Each item of an iterable is such
    a source, taken when its turn comes; an item that is not there is refused (`missing`) rather than an error.

    A record's uri is the absolute path without resolving links, or, with `root`, the path relative to it. Refusals
    are values: nothing that could be an image is lost without a word, and a folder that cannot be listed is one too.

    Raises `SourceError`, for a single path at the call: nothing is there, it cannot be listed, or it is outside `root`.
    """
    base = None if root is None else _absolute(root)
    if base is not None and not os.path.isdir(base):  # noqa: PTH112
        raise SourceError(f"{base}: the root is not a folder")
    if isinstance(source, str | Path):
        path = _absolute(source)
        _uri(path, base)
        return _records(_single(path, recursive), base, metadata)
    return _records(_many(source, recursive), base, metadata)


def gone_from(source: str | Path | Iterable[str | Path], *, root: str | Path | None = None) -> Callable[[str], bool]:
    """A test of uris: whether an image that this source had is no longer there.

    True only where the uri belongs to the source and the file system says that there is no such file. What is there but
    refused, or cannot be asked about, is not gone; nor is anything below a folder of the source that is gone itself.
    """
    base = None if root is None else _absolute(root)
    paths = [_absolute(one) for one in ([source] if isinstance(source, str | Path) else source)]
    named = frozenset(paths)
    folders = tuple(path.rstrip("/") + "/" for path in paths if os.path.isdir(path))  # noqa: PTH112
    globs = [path.split("/") for path in paths if _MAGIC.search(path) and not os.path.lexists(path)]

    def is_gone(uri: str) -> bool:
        # No file's uri has an empty component, so this one is a URL.
        if "://" in uri or (base is None and not uri.startswith("/")):
            return False
        path = os.path.abspath(os.path.join(base or "/", uri))  # noqa: PTH100, PTH118
        ours = path in named or path.startswith(folders) or any(_matches(path.split("/"), glob) for glob in globs)
        try:
            return ours and not os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, ValueError):
            return False

    return is_gone


class _Found(NamedTuple):
    """Something on disk that is to be read, or is refused already."""

    path: str
    """Absolute."""
    folder: str | None = None
    """The source's folder that it was found below; None where the source names it."""
    trouble: tuple[str, str] | None = None
    """Reason and detail of a refusal."""


def _records(
    found: Iterable[_Found], root: str | None, metadata: Metadata | None
) -> Iterator[Record | UnreadableImage]:
    for path, folder, trouble in found:
        uri = _uri(path, root)
        trouble = trouble or _name_trouble(uri)
        if trouble is not None:
            yield UnreadableImage(_printable(uri), *trouble)
            continue
        # Only a link that the source names itself gets here; the reader refuses links, so it is given the target.
        target = os.path.realpath(path) if folder is None else path
        fields = {} if metadata is None else metadata.lookup(path, uri, folder=folder)
        yield Record(record_id(uri), uri, FileReader(target, uri), fields)


def _name_trouble(uri: str) -> tuple[str, str] | None:
    try:
        size = len(uri.encode())
    except UnicodeEncodeError:
        return "unusable name", "it is not UTF-8; rename it"
    if size > MAX_URI_BYTES:
        return "unusable name", f"its path takes {size:,} bytes, the limit is {MAX_URI_BYTES:,}"
    return None


def _single(path: str, recursive: bool) -> Iterator[_Found]:
    """A source by itself: what is wrong with it is an error now, before anything is loaded for the work to come."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as elsewhere here, a Path costs more than the call
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return _walk(path, recursive=recursive)
    except FileNotFoundError as exc:
        matches = _glob(path)
        first = next(matches, None)
        if first is None:
            problem = "no image matches the pattern" if _MAGIC.search(path) else "there is no such file or folder"
            raise SourceError(f"{_printable(path)}: {problem}; check the path") from exc
        return chain([first], matches)
    except (OSError, ValueError) as exc:
        refusal = UnreadableImage(_printable(path), *path_trouble(exc))
        raise SourceError(f"{refusal}; check the path and its permissions") from exc
    return iter([_file(path, mode)])


def _many(paths: Iterable[str | Path], recursive: bool) -> Iterator[_Found]:
    for path in map(_absolute, paths):
        try:
            mode = os.stat(path).st_mode  # noqa: PTH116
        except (OSError, ValueError) as exc:
            matches = _glob(path)
            yield next(matches, _Found(path, trouble=path_trouble(exc)))
            yield from matches
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, recursive=recursive)
        else:
            yield _file(path, mode)


def _file(path: str, mode: int) -> _Found:
    return _Found(path, trouble=None if stat.S_ISREG(mode) else ("not a regular file", describe_mode(mode)))


def _glob(pattern: str) -> Iterator[_Found]:
    """Files that match, nothing where `pattern` is none; only folders that can lead to a match are listed."""
    names = pattern.split("/")
    fixed = next((i for i, name in enumerate(names) if _MAGIC.search(name)), None)
    if fixed is None:
        return
    folder, pattern_names = "/".join(names[:fixed]) or "/", names[fixed:]
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    yield from _walk(
        folder,
        enters=lambda relative: _leads(relative.split("/"), pattern_names),
        takes=lambda relative: _matches(relative.split("/"), pattern_names),
    )


def _matches(names: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


def _leads(names: list[str], pattern: list[str]) -> bool:
    """Whether something below the folder `names` can match."""
    if not names or not pattern:
        return bool(pattern)
    return pattern[0] == "**" or (fnmatchcase(names[0], pattern[0]) and _leads(names[1:], pattern[1:]))


def _walk(
    folder: str,
    *,
    recursive: bool = True,
    enters: Callable[[str], bool] = lambda _: True,
    takes: Callable[[str], bool] = lambda _: True,
) -> Iterator[_Found]:
    """Files below `folder`, one folder's names at a time in memory; `enters` and `takes` choose by relative path."""
    prefix = folder.rstrip("/") + "/"
    # A stack of its own: a path of 4096 bytes can be 2048 folders deep, more than Python's recursion allows.
    todo: list[str | os.DirEntry[str]] = [folder]
    while todo:
        entry = todo.pop()
        if isinstance(entry, str):
            try:
                todo.extend(reversed(_listing(entry)))
            except OSError as exc:
                reason, detail = path_trouble(exc)
                yield _Found(entry, folder, (reason, f"a folder that cannot be listed: {detail}"))
            continue
        relative = entry.path.removeprefix(prefix)
        if entry.is_dir(follow_symlinks=False):
            if recursive and enters(relative):
                todo.append(entry.path)
            continue
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if entry.is_symlink() or suffix in OTHER_SUFFIXES or not takes(relative):
            continue
        if entry.is_file(follow_symlinks=False):
            yield _Found(entry.path, folder)
        elif suffix in IMAGE_SUFFIXES:
            yield _Found(entry.path, folder, ("not a regular file", "a FIFO, socket or device"))


def _listing(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((one for one in entries if not one.name.startswith(".")), key=lambda one: one.name)


def _absolute(path: str | Path) -> str:
    text = os.path.expanduser(os.fspath(path))  # noqa: PTH111
    if not text:
        raise SourceError("the path of a source is empty; `.` is the working directory")
    return os.path.abspath(text)  # noqa: PTH100 - resolve() would follow links


def _uri(path: str, root: str | None) -> str:
    if root is None:
        return path
    prefix = root.rstrip("/") + "/"
    if path == root:
        return "."
    if not path.startswith(prefix):
        raise SourceError(
            f"{_printable(path)}: outside the root {_printable(root)}; choose a root that holds every source"
        )
    return path.removeprefix(prefix)


def _printable(text: str) -> str:
    r"""Bytes of a name that are no UTF-8 as `\xNN`, so that it can be printed and stored."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
