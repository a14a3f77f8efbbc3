"""Metadata of images: rows of a table, looked up by path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from imgvec.errors import SourceError, UnreadableImage
from imgvec.home import at_home
from imgvec.sources.frames import Table, frame_rows, parquet_rows
from imgvec.sources.names import alike, composed, is_another, plain_path
from imgvec.sources.tables import OnBad, column_of, csv_rows, json_rows


def _with_slashes(row: str) -> str:
    return os.path.normpath(row.strip().replace("\\", "/"))


class Metadata:
    """Rows by image path, and which of them no image asked for.

    A row's path is absolute, or relative to the metadata file's folder, to `--root`, or to the source's folder. The
    rows are held in memory: some hundred bytes a row beside its values.
    """

    refused: Sequence[UnreadableImage]
    """What stands for no image: a row that is broken, or names none. `read_source` passes them on."""

    def __init__(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        *,
        folder: str,
        refused: Sequence[UnreadableImage] = (),
        unclear: Mapping[str, str] | None = None,
    ) -> None:
        """`rows` by normalised path (`_key`); `folder` is the absolute folder that relative paths start from.

        `unclear` says of a path what is wrong with its rows: its image is refused.
        """
        self._rows, self.refused, self._unclear = rows, refused, unclear or {}
        self._folder = folder
        self._used: set[str] = set()
        self._plain: dict[str, list[str]] = {}
        for key in rows:
            if not key.isascii() or "\\" in key or key != key.strip():
                self._plain.setdefault(plain_path(key), []).append(key)
        self._taken: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def lookup(self, path: str, uri: str, *, folder: str | None = None, member: str | None = None) -> Mapping[str, Any]:
        r"""The fields for the image at the absolute `path`, called `uri`, found below the source's `folder`.

        Of an archive's image `path` is `archive!member`, and its path in the archive alone, `member`, finds it too.

        Values are as the file has them (strings in CSV); empty CSV cells and JSON nulls are left out. No row gives
        no fields. Where several rows name the image, the most explicit path wins and the others stay unused.

        A row that names no image exactly is found by one whose name differs in how accents are composed, `\` for `/`,
        or spaces around it. Raises `ValueError` if that fits two images, or two rows.
        """
        keys = list(self._keys(path, uri, folder, member))
        for key in keys:
            if key in self._rows:
                return self._row(key, uri)
        for key in keys if self._plain else ():
            rows = self._plain.get(composed(key), ())
            if len(rows) > 1:
                raise ValueError(f"two metadata rows match it, {rows[0]!r} and {rows[1]!r}: keep one")
            for row in rows:
                on_disk = member is None and "://" not in path
                others = alike(path) if on_disk else []
                start = path.removesuffix(key)
                if on_disk and (is_another(start + row, path) or start + _with_slashes(row) in others):
                    continue  # another file, which the row names exactly
                if others:
                    raise ValueError(f"the metadata row {row!r} also matches {others[0]}: spell the path exactly")
                self._taken.setdefault(row, uri)
                return self._row(row, uri)
        return {}

    def _row(self, key: str, uri: str) -> Mapping[str, Any]:
        if self._taken.get(key, uri) != uri:
            raise ValueError(f"the metadata row {key!r} also matches {self._taken[key]}: spell the path exactly")
        self._used.add(key)
        if key in self._unclear:
            raise ValueError(self._unclear[key])
        return self._rows[key]

    @property
    def columns(self) -> list[str]:
        """The names of all fields, in the order in which they come."""
        return list(dict.fromkeys(name for row in self._rows.values() for name in row))

    @property
    def unused(self) -> list[str]:
        """Paths of rows that no lookup has matched so far, in the order of the file."""
        return [key for key in self._rows if key not in self._used]

    def _keys(self, path: str, uri: str, folder: str | None, member: str | None) -> Iterator[str]:
        yield path
        yield uri
        if "://" not in path:
            yield os.path.relpath(path, self._folder)
        if member is not None:
            yield os.path.normpath(member)
        if folder is not None:
            yield os.path.relpath(path, folder)


PATH_COLUMNS = ("path", "SourceFile", "file_name", "uri", "url")
"""Columns that say which image a row is about, where none is named: the first that is there."""


def load_metadata(
    metadata: str | Path | Mapping[str, Mapping[str, Any]] | Table, *, path_column: str | None = None
) -> Metadata:
    """Read a CSV (comma, semicolon, tab), JSON-lines or Parquet file with a column of paths, or take a mapping by path,
    or a data frame (pandas, polars) or Arrow table with such a column.

    The column of paths is `path_column`, or else the first of `PATH_COLUMNS`, however it is capitalized.

    Relative paths of a mapping or a data frame start from the working directory. A row that is broken or names no image
    costs itself alone (`Metadata.refused`), and rows of the same path cost its image. Raises `SourceError`, with the
    line where there is one: no such file, not UTF-8, no column of paths, a quote that is not closed, no good row.
    """
    refused: list[UnreadableImage] = []

    def on_bad(place: str, line: int, problem: str) -> None:
        refused.append(UnreadableImage(f"{place}:{line}", "metadata refused", problem))

    wanted = PATH_COLUMNS if path_column is None else (path_column, *PATH_COLUMNS)
    if isinstance(metadata, Mapping):
        where, folder, rows = "metadata", Path.cwd(), _mapping_rows(metadata, on_bad)
    elif isinstance(metadata, Table):
        where, folder, rows = (
            "metadata",
            Path.cwd(),
            _with_paths(frame_rows(metadata, wanted), wanted, "metadata", on_bad),
        )
    else:
        file = Path(os.path.abspath(at_home(metadata)))  # noqa: PTH100 - resolve() would follow links
        where, folder, rows = str(file), file.parent, _file_rows(file, wanted, on_bad)
    found: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    unclear: dict[str, str] = {}
    for line, path, fields in rows:
        if not isinstance(path, str) or not path:
            on_bad(where, line, "`path` is empty or not a string")
            continue
        # a Path would cost a microsecond a row more
        key = path if "://" in path else os.path.normpath(os.path.expanduser(path))  # noqa: PTH111
        if key in found:
            unclear[key] = f"the metadata has it in row {lines[key]} and again in row {line}: keep one of them"
            continue
        found[key], lines[key] = fields, line
    if refused and not found:
        raise SourceError(f"{refused[0].uri}: {refused[0].detail}; no valid rows")
    return Metadata(found, folder=str(folder), refused=refused, unclear=unclear)


def _mapping_rows(metadata: Mapping[Any, Any], on_bad: OnBad) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    for number, (path, fields) in enumerate(metadata.items(), 1):
        if not isinstance(path, str | os.PathLike):
            on_bad("metadata", number, f"{path!r} is not a path")
        elif isinstance(fields, Mapping):
            yield number, os.fspath(path), dict(fields)
        else:
            on_bad("metadata", number, f"the fields of {path!r} must be a mapping")


def _with_paths(
    rows: Iterator[tuple[int, dict[str, Any] | str]], wanted: Sequence[str], where: str, on_bad: OnBad
) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    for number, row in rows:
        if isinstance(row, str):
            on_bad(where, number, row)
            continue
        column = column_of(row, wanted)
        path = row.pop(column) if column else None
        yield number, os.fspath(path) if isinstance(path, os.PathLike) else path, row


def _file_rows(file: Path, wanted: Sequence[str], on_bad: OnBad) -> Iterator[tuple[int, Any, dict[str, Any]]]:
    return _with_paths(table_rows(file, wanted, on_bad), wanted, str(file), on_bad)


def table_rows(file: Path, wanted: Sequence[str], on_bad: OnBad) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a CSV, JSON-lines or Parquet file with their numbers, as cells by column; or what is wrong with one.

    A CSV has one of the columns `wanted`, however it is capitalized. Raises `SourceError`.
    """
    if _is_parquet(file):
        yield from parquet_rows(file)
        return
    try:
        # utf-8-sig: spreadsheet programs begin a UTF-8 file with a byte order mark.
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            where = str(file)
            is_json = _is_json(file, lines)
            yield from (
                json_rows(where, lines, on_bad=on_bad) if is_json else csv_rows(where, lines, wanted, on_bad=on_bad)
            )
    except OSError as exc:
        raise SourceError(f"{file}: cannot read the metadata: {exc.strerror or exc}") from exc


def _is_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(4) == b"PAR1"
    except OSError as exc:
        raise SourceError(f"{file}: cannot read the metadata: {exc.strerror or exc}") from exc


def _is_json(file: Path, lines: TextIO) -> bool:
    if (suffix := file.suffix.lower()) in (".csv", ".tsv", ".jsonl", ".ndjson"):
        return "json" in suffix
    start = lines.read(4096).lstrip()
    lines.seek(0)
    return start[:1] in ("{", "[")
