"""Images that lie on disk: a folder, a file or a glob, walked in a stable order."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import chain
from typing import NamedTuple

from imgvec.errors import SourceError, UnreadableImage
from imgvec.images.records import FileReader, describe_mode, path_trouble
from imgvec.images.sources.reading import Item, Reading, printable

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

MAGIC = re.compile(r"[*?\[]")
"""What makes a path that is not there a glob."""


def read_single(path: str, reading: Reading) -> Iterator[Item]:
    """A source by itself; raises `SourceError` at the call where nothing is there or it cannot be listed."""
    return _records(_single(path, reading.recursive), reading)


def read_one(path: str, reading: Reading) -> Iterator[Item]:
    """One of several sources: what is wrong with it is a refusal, and the others are still read."""
    return _records(_several(path, reading.recursive), reading)


def files_matching(pattern: str) -> Iterator[str]:
    """Absolute paths of the files that match, whatever their endings, by name."""
    return (found.path for found in _glob(pattern, every_suffix=True) if found.trouble is None)


def read_file(path: str, reading: Reading) -> Item:
    """The file at the absolute `path`, as a list or a manifest names it; whether it is there shows when it is read."""
    uri = reading.uri(path)
    return reading.record(uri, FileReader(os.path.realpath(path), uri), reading.known(path, uri))


class _Found(NamedTuple):
    """Something on disk that is to be read, or is refused already."""

    path: str
    """Absolute."""
    folder: str | None = None
    """The source's folder that it was found below; None where the source names it."""
    trouble: tuple[str, str] | None = None
    """Reason and detail of a refusal."""


def _records(found: Iterable[_Found], reading: Reading) -> Iterator[Item]:
    for path, folder, trouble in found:
        uri = reading.uri(path)
        if trouble is not None:
            yield UnreadableImage(printable(uri), *trouble)
            continue
        # Only a link that the source names itself gets here; the reader refuses links, so it is given the target.
        target = os.path.realpath(path) if folder is None else path
        yield reading.record(uri, FileReader(target, uri), reading.known(path, uri, folder=folder))


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
            problem = "no image matches the pattern" if MAGIC.search(path) else "there is no such file or folder"
            raise SourceError(f"{printable(path)}: {problem}; check the path") from exc
        return chain([first], matches)
    except (OSError, ValueError) as exc:
        refusal = UnreadableImage(printable(path), *path_trouble(exc))
        raise SourceError(f"{refusal}; check the path and its permissions") from exc
    return iter([_file(path, mode)])


def _several(path: str, recursive: bool) -> Iterator[_Found]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as exc:
        matches = _glob(path)
        yield next(matches, _Found(path, trouble=path_trouble(exc)))
        yield from matches
        return
    if stat.S_ISDIR(mode):
        yield from _walk(path, recursive=recursive)
    else:
        yield _file(path, mode)


def _file(path: str, mode: int) -> _Found:
    return _Found(path, trouble=None if stat.S_ISREG(mode) else ("not a regular file", describe_mode(mode)))


def _glob(pattern: str, *, every_suffix: bool = False) -> Iterator[_Found]:
    """Files that match, nothing where `pattern` is none; only folders that can lead to a match are listed."""
    names = pattern.split("/")
    fixed = next((i for i, name in enumerate(names) if MAGIC.search(name)), None)
    if fixed is None:
        return
    folder, pattern_names = "/".join(names[:fixed]) or "/", names[fixed:]
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    yield from _walk(
        folder,
        enters=lambda relative: _leads(relative.split("/"), pattern_names),
        takes=lambda relative: matches(relative.split("/"), pattern_names),
        every_suffix=every_suffix,
    )


def matches(names: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob, both split at their slashes."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(matches(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and matches(names[1:], pattern[1:])


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
    every_suffix: bool = False,
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
        if entry.is_symlink() or (suffix in OTHER_SUFFIXES and not every_suffix) or not takes(relative):
            continue
        if entry.is_file(follow_symlinks=False):
            yield _Found(entry.path, folder)
        elif suffix in IMAGE_SUFFIXES:
            yield _Found(entry.path, folder, ("not a regular file", "a FIFO, socket or device"))


def _listing(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((one for one in entries if not one.name.startswith(".")), key=lambda one: one.name)
