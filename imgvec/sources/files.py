"""Images that lie on disk: a folder, a file or a glob, walked in a stable order."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, NamedTuple

from imgvec.errors import Reason, SourceError, UnreadableImage
from imgvec.images.readers import FileReader, describe_mode, path_trouble
from imgvec.sources.links import Links
from imgvec.sources.names import composed, present
from imgvec.sources.passing import is_system
from imgvec.sources.reading import Item, Reading, printable
from imgvec.sources.records import DANGLING, EXCLUDED, LINK, SYSTEM, TAKEN, Found, PassedOver

#: File name endings, in lower case, that say image: such a file is never passed over without a word.
IMAGE_SUFFIXES = frozenset(
    ".3fr .apng .arw .avif .bmp .cr2 .cr3 .crw .dcr .dds .dng .erf .gif .heic .heics .heif .heifs .hif .ico .iiq .j2k "
    ".jfif .jp2 .jpe .jpeg .jpf .jpg .jpx .jxl .kdc .mef .mos .mpo .mrw .nef .nrw .orf .pbm .pef .pfm .pgm .png .pnm "
    ".ppm .psd .raf .rw2 .rwl .sr2 .srf .srw .svg .svgz .tga .tif .tiff .webp .x3f".split()
)

#: Endings that are surely no images. Folder walks and globs pass over them without a word; every other file is
#: tried, since a photo without an extension is found only by opening it, and a refusal is better than a gap.
OTHER_SUFFIXES = frozenset(
    ".7z .aac .aae .arrow .avi .bash .bat .bin .bz2 .c .cfg .conf .cpp .cs .css .csv .db .dll .doc .docx .exe .flac "
    ".go .gz .h .h5 .hpp .htm .html .ini .ipynb .java .jar .js .json .jsonl .lock .log .lua .m4a .m4v .md .mkv .mov "
    ".mp3 .mp4 .mpg .msi .ndjson .npy .npz .odt .ogg .onnx .parquet .pdf .php .pickle .pkl .ppt .pptx .pt .pth .py "
    ".pyc .r .rar .rb .rs .rst .rtf .safetensors .sh .so .sql .sqlite .srt .swift .tar .tgz .toml .ts .tsv .txt "
    ".wav .webm .xls .xlsx .xml .xmp .xz .yaml .yml .zip .zst".split()
)

MAGIC = re.compile(r"[*?\[]")
"""What makes a path that is not there a glob."""


def read_single(path: str, reading: Reading) -> Iterator[Found]:
    """A source by itself; raises `SourceError` at the call if nothing is there or it cannot be listed."""
    return _records(_single(path, reading), reading)


def read_one(path: str, reading: Reading) -> Iterator[Found]:
    """One of several sources: what is wrong with it is a refusal, and the others are still read."""
    return _records(_several(path, reading), reading)


def files_matching(pattern: str, reading: Reading) -> Iterator[str | PassedOver]:
    """Absolute paths of the files that match, whatever their endings, by name."""
    for found in _glob(pattern, reading, every_suffix=True):
        if found.passed:
            yield PassedOver(printable(reading.uri(found.path)), found.passed)
        elif found.trouble is None:
            yield found.path


def read_file(path: str, reading: Reading, fields: Mapping[str, Any], row: Mapping[str, Any] | None) -> Item:
    """The file at the absolute `path`, as a list or a manifest names it; whether it is there shows when it is read."""
    uri = reading.uri(path)
    return reading.image(uri, FileReader(os.path.realpath(path), uri), path, fields=fields, row=row)


class _Entry(NamedTuple):
    """Something on disk that is to be read, is refused already, or passed over."""

    path: str
    """Absolute."""
    folder: str | None = None
    """The source's folder that it was found below; None if the source names it."""
    trouble: tuple[Reason, str] | None = None
    """Reason and detail of a refusal."""
    passed: str | None = None
    """Why it is passed over."""
    is_link: bool = False


def _records(entries: Iterable[_Entry], reading: Reading) -> Iterator[Found]:
    for path, folder, trouble, passed, is_link in entries:
        uri = reading.uri(path)
        if passed is not None:
            yield PassedOver(printable(uri), passed)
        elif trouble is not None:
            yield UnreadableImage(printable(uri), *trouble)
        else:
            # Only a link that is to be followed gets here; the reader refuses links, so it is given the target.
            target = os.path.realpath(path) if folder is None or is_link else path
            yield reading.image(uri, FileReader(target, uri), path, folder=folder)


def _single(path: str, reading: Reading) -> Iterator[_Entry]:
    """A source by itself: what is wrong with it is an error now, before anything is loaded for the work to come."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as elsewhere here, a Path costs more than the call
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return _walk(path, reading)
    except FileNotFoundError as exc:
        matches, passed = _glob(path, reading), list[_Entry]()
        for entry in matches:
            passed.append(entry)
            if entry.passed is None or len(passed) >= _LOOKED_AT:
                return chain(passed, matches)
        said = [PassedOver(printable(entry.path), str(entry.passed)) for entry in passed]
        problem = "no image matches the pattern" if MAGIC.search(path) else "no such file or folder"
        raise SourceError(f"{printable(path)}: {problem}; {instead(said)}") from exc
    except (OSError, ValueError) as exc:
        refusal = UnreadableImage(printable(path), *path_trouble(exc))
        raise SourceError(f"{refusal}; check the path and its permissions") from exc
    return iter([_file(path, mode)])


_LOOKED_AT = 10_000
"""Things passed over that a glob may match before its first image, to be an error at once if there is none."""


def instead(passed: Sequence[PassedOver]) -> str:
    """What to do about a pattern that matches nothing, or only what is passed over."""
    if not passed:
        return "check the path"
    counts = Counter(one.why for one in passed)
    said = ", ".join(f"{number:,} x {why}" for why, number in counts.most_common())
    links = "; use --follow-links (follow_links=True in Python) to follow links" if LINK in counts else ""
    return f"passed over: {said} (the first: {passed[0].uri}){links}"


def _several(path: str, reading: Reading) -> Iterator[_Entry]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError) as exc:
        matches = _glob(path, reading)
        yield next(matches, _Entry(path, trouble=path_trouble(exc)))
        yield from matches
        return
    if stat.S_ISDIR(mode):
        yield from _walk(path, reading)
    else:
        yield _file(path, mode)


def _file(path: str, mode: int) -> _Entry:
    return _Entry(path, trouble=None if stat.S_ISREG(mode) else ("not a regular file", describe_mode(mode)))


def split_glob(pattern: str) -> tuple[str, list[str]] | None:
    """The folder that a glob starts from, and the names below it; None if it is not a glob."""
    names = pattern.split("/")
    fixed = next((i for i, name in enumerate(names) if MAGIC.search(name)), None)
    return None if fixed is None else ("/".join(names[:fixed]) or "/", names[fixed:])


def as_present(path: str) -> str:
    """An absolute path, or a glob, as what is there is called (`present`); raises `SourceError`."""
    found = None if os.path.lexists(path) else split_glob(path)
    try:
        return present(path) if found is None else "/".join((present(found[0]).rstrip("/"), *found[1]))
    except ValueError as exc:
        raise SourceError(f"{printable(path)}: {exc}: spell it exactly") from exc


def _glob(pattern: str, reading: Reading, *, every_suffix: bool = False) -> Iterator[_Entry]:
    """Files that match, nothing where `pattern` is none; only folders that can lead to a match are listed."""
    found = split_glob(pattern)
    if found is None:
        return
    folder, names = found
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    yield from _walk(
        folder,
        reading,
        enters=lambda relative: _leads(relative.split("/"), names),
        takes=lambda relative: matches(relative.split("/"), names),
        every_suffix=every_suffix,
    )


def matches(names: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob, both split at their slashes."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(matches(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return bool(names) and _fits(names[0], pattern[0]) and matches(names[1:], pattern[1:])


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or (not name.isascii() and fnmatchcase(composed(name), composed(pattern)))


def _leads(names: list[str], pattern: list[str]) -> bool:
    """Whether something below the folder `names` can match."""
    if not names or not pattern:
        return bool(pattern)
    return pattern[0] == "**" or (_fits(names[0], pattern[0]) and _leads(names[1:], pattern[1:]))


def _walk(
    folder: str,
    reading: Reading,
    *,
    enters: Callable[[str], bool] = lambda _: True,
    takes: Callable[[str], bool] = lambda _: True,
    every_suffix: bool = False,
) -> Iterator[_Entry]:
    """Files below `folder`, one folder's names at a time in memory; `enters` and `takes` choose by relative path."""
    prefix, excludes = folder.rstrip("/") + "/", reading.excludes

    def tried(relative: str) -> bool:
        return (every_suffix or _suffix(relative) not in OTHER_SUFFIXES) and takes(relative)

    def comes_by(relative: str, is_folder: bool) -> bool:
        """Whether this walk takes what lies there by itself."""
        names = relative.split("/")
        folders = names if is_folder else names[:-1]
        return not (
            any(name.startswith(".") for name in names)
            or any(is_system(name) for name in folders)
            or excludes.match(relative, folder=is_folder)
            or not (reading.recursive or not folders)
            or not all(enters("/".join(folders[: end + 1])) for end in range(len(folders)))
            or not (is_folder or tried(relative))
        )

    links = Links(folder, comes_by) if reading.follow_links else None
    # A stack of its own: a path of 4096 bytes can be 2048 folders deep, more than Python's recursion allows. The flag
    # says that a link led there.
    todo: list[tuple[str | os.DirEntry[str], bool]] = [(folder, False)]
    while todo:
        entry, by_link = todo.pop()
        if isinstance(entry, str):
            try:
                todo.extend((one, by_link) for one in reversed(_listing(entry)))
            except OSError as exc:
                reason, detail = path_trouble(exc)
                yield _Entry(entry, folder, (reason, f"cannot list this folder: {detail}"))
            continue
        path, relative, is_link = entry.path, entry.path.removeprefix(prefix), entry.is_symlink()
        if is_link and links is None:
            # what it leads to is not looked at: that may be away, or hang
            if tried(relative) or (reading.recursive and not _suffix(relative) and enters(relative)):
                yield _Entry(path, folder, passed=EXCLUDED if excludes.match(relative) else LINK)
            continue
        by_link = by_link or is_link
        try:
            status = os.stat(path) if by_link else None  # noqa: PTH116
        except OSError as exc:
            if tried(relative):
                is_image = _suffix(relative) in IMAGE_SUFFIXES
                yield _Entry(path, folder, _dangling(path, exc) if is_image else None, None if is_image else DANGLING)
            continue
        if entry.is_dir():
            if not reading.recursive or not enters(relative):
                continue
            if is_system(entry.name):
                yield _Entry(path, folder, passed=SYSTEM)
            elif excludes.match(relative, folder=True):
                yield _Entry(path, folder, passed=EXCLUDED)
            elif links and status and not links.is_new(path, status, is_folder=True):
                yield _Entry(path, folder, passed=TAKEN)
            else:
                todo.append((path, by_link))
        elif tried(relative):
            if excludes.match(relative):
                yield _Entry(path, folder, passed=EXCLUDED)
            elif not entry.is_file():
                if _suffix(relative) in IMAGE_SUFFIXES:
                    yield _Entry(path, folder, ("not a regular file", "a FIFO, socket or device"))
            elif links and status and not links.is_new(path, status, is_folder=False):
                yield _Entry(path, folder, passed=TAKEN)
            else:
                yield _Entry(path, folder, is_link=is_link)


def _dangling(path: str, exc: OSError) -> tuple[Reason, str]:
    reason, detail = path_trouble(exc)
    if reason != "missing":
        return reason, detail
    target = printable(os.readlink(path)) if os.path.islink(path) else ""  # noqa: PTH114, PTH115
    return reason, f"a symbolic link to {target}, which does not exist" if target else detail


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def _listing(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((one for one in entries if not one.name.startswith(".")), key=lambda one: one.name)
