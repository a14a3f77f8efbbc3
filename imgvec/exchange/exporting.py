"""A collection into files, restartable: Parquet parts in the order of the ids, and those into one file.

    FOLDER/export.json              whose rows these are, which, and whether all are there
    FOLDER/000001.parquet …         finished parts; a part appears whole or not at all
    FILE.parquet, FILE.npy + FILE.ids.csv
                                    made of the parts in FILE.….parts, which go once the file is there

The finished parts are the journal: an interrupted export resumes after the last id in them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Unpack

from imgvec.errors import BackendError, TargetError, UsageError
from imgvec.exchange import arrow
from imgvec.exchange.finishing import npy, one_parquet, parts, whole
from imgvec.exchange.options import ExportOptions
from imgvec.exchange.parquet import STATE, opened
from imgvec.exchange.reading import IDS_SUFFIX
from imgvec.filters.fields import text_literal
from imgvec.home import at_home
from imgvec.options import documented, settled
from imgvec.progress import Telling
from imgvec.retry import Retry
from imgvec.rows import FROM_IMAGE
from imgvec.store import Reads

if TYPE_CHECKING:
    import pyarrow as pa

PART_BYTES = 64 * 2**20
"""Of one part, by its Arrow tables; what a crash costs is reading so much again."""
GROUP_BYTES = 8 * 2**20
"""Of one row group: what is held in memory."""
_NONE: Mapping[str, bytes] = MappingProxyType({})


class Origin(Protocol):
    """An `ImageCollection`."""

    @property
    def name(self) -> str: ...
    @property
    def uri(self) -> str: ...
    @property
    def store(self) -> Reads: ...


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote."""

    rows: int
    resumed: int
    """How many of these were written by an earlier, interrupted run."""
    files: tuple[Path, ...]


@documented(ExportOptions)
def export_vectors(
    collection: Origin,
    target: str | Path,
    *,
    retry_seconds: float = 60.0,
    part_bytes: int = PART_BYTES,
    projections: Mapping[str, bytes] = _NONE,
    calibrations: Mapping[str, bytes] = _NONE,
    **options: Unpack[ExportOptions],
) -> ExportReport:
    """Export all rows, or those that match, to `FILE.parquet`, `FILE.npy` (with `FILE.ids.csv`), or a folder of
    Parquet.

    Repeat the call to resume an interrupted export. Parquet keeps every field, the encoder, the definition, the
    `projections` that the collection keeps (.safetensors, by the names that its bindings call them), and, of all rows,
    its `calibrations` (.npz, by the names of their vectors); `.ids.csv` does not distinguish an empty text from a
    missing one. Rows written or deleted during the export may or may not be included. Raises `TargetError` if the
    target already exists, contains other files, or was started with a different filter or collection.
    """
    asked = settled(ExportOptions, options)
    target = Path(os.path.abspath(at_home(target)))  # noqa: PTH100  resolve() would follow links
    finish = {".parquet": one_parquet, ".npy": npy}.get(target.suffix)
    if finish is None and target.suffix and not target.is_dir():
        raise UsageError(f"{target}: the target must be a .parquet file, an .npy file, or a folder")
    folder = target.with_name(target.name + ".parts") if finish else target
    if finish is npy and (table := target.with_suffix(IDS_SUFFIX)).exists():
        raise TargetError(f"{table} already exists, but the fields would be written there: remove or rename it")
    if finish and target.exists():
        also = f" and {folder}" if folder.exists() else ""
        raise TargetError(f"{target} already exists: choose another name, or remove it{also}")
    store = collection.store
    if finish is npy and len(store.vectors) > 1:
        raise UsageError(
            f"{target}: an .npy file holds one vector a row, and {collection.name!r} has {', '.join(store.vectors)}: "
            "export to Parquet"
        )
    expression = store.rendered(asked["where"])
    columns = arrow.schema(store, projections, _NONE if expression else calibrations)
    about = {"imgvec": 1, "uri": _address(collection.uri), "collection": collection.name, "filter": expression,
             "description": store.description}  # fmt: skip
    with _claimed(folder, about):
        tell = Telling("export", asked["on_progress"])
        total = store.count(expression) if asked["on_progress"] else None
        resumed, last = _finished(folder)
        rows = resumed
        pages = _pages(store, expression, last, Retry(retry_seconds))
        for written in _write_parts(folder, _groups(pages, store, columns), columns, part_bytes):
            rows += written
            tell("writing rows", rows, total)
        if finish is None:
            _write_state(folder, {**about, "complete": True, "rows": rows})
            return ExportReport(rows, resumed, tuple(parts(folder)))
        files = finish(folder, target, rows, store)
    shutil.rmtree(folder)
    return ExportReport(rows, resumed, files)


def _address(uri: str) -> str:
    """The uri from anywhere: a Milvus Lite file's may be relative, and another file from another folder."""
    return uri if "://" in uri else os.path.abspath(at_home(uri))  # noqa: PTH100  resolve() follows links


@contextmanager
def _claimed(folder: Path, about: Mapping[str, Any]) -> Iterator[None]:
    """Reserve the folder for this export; raises `TargetError` if it belongs to another export, is finished, or is in
    use.
    """
    state = folder / STATE
    if not state.is_file() and folder.is_dir() and any(not each.name.startswith(".") for each in folder.iterdir()):
        raise TargetError(f"{folder} contains other files: use an empty or new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("wb") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise TargetError(f"another export is writing to {folder}") from exc
        if state.is_file():
            begun = json.loads(state.read_text(encoding="utf-8"))
            if differing := [name for name, value in about.items() if begun.get(name) != value]:
                raise TargetError(
                    f"the export in {folder} was started with a different {' and '.join(differing)}: finish it, "
                    f"choose another name, or remove it"
                )
            if begun["complete"]:
                raise TargetError(f"{folder} already contains a finished export: choose another name, or remove it")
        else:
            _write_state(folder, {**about, "complete": False})
        for left in folder.glob(".*.parquet"):
            left.unlink()
        yield


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    with whole(folder / STATE) as partial:
        partial.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")


def _finished(folder: Path) -> tuple[int, str | None]:
    """How many rows the finished parts hold, and the last id."""
    rows, last = 0, None
    for part in parts(folder):
        with opened(part) as file:
            rows += file.metadata.num_rows
            if file.metadata.num_rows:
                last = file.read_row_group(file.num_row_groups - 1, columns=["id"]).column("id")[-1].as_py()
    return rows, last


def _pages(store: Reads, expression: str, last: str | None, retry: Retry) -> Iterator[list[dict[str, Any]]]:
    """The rows after the id `last`, page by page; a scan that ends early begins again after the last page."""

    def scan() -> Iterator[list[dict[str, Any]]]:
        after = f"id > {text_literal(last)}" if last is not None else ""
        return store.scan(
            ["*", *store.vectors, FROM_IMAGE], " and ".join(f"({part})" for part in (expression, after) if part)
        )

    pages = scan()

    def next_page() -> list[dict[str, Any]] | None:
        nonlocal pages
        try:
            return next(pages, None)
        except BackendError:
            pages = scan()
            raise

    while (page := retry.call(next_page)) is not None:
        last = page[-1]["id"]
        yield page


def _groups(pages: Iterator[list[dict[str, Any]]], store: Reads, columns: pa.Schema) -> Iterator[pa.Table]:
    """The pages as tables of about `GROUP_BYTES`."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    for page in pages:
        tables.append(arrow.table(page, store, columns))
        if sum(table.nbytes for table in tables) >= GROUP_BYTES:
            yield pa.concat_tables(tables)
            tables = []
    if tables:
        yield pa.concat_tables(tables)


def _write_parts(folder: Path, groups: Iterator[pa.Table], columns: pa.Schema, part_bytes: int) -> Iterator[int]:
    """Write the groups behind the parts there are; gives the rows of each. There is a part even without rows."""
    import pyarrow.parquet as pq

    group = next(groups, None)
    while group is not None or not parts(folder):
        number = len(parts(folder)) + 1
        with whole(folder / f"{number:06}.parquet") as partial, pq.ParquetWriter(partial, columns) as writer:
            size = 0
            while group is not None:
                writer.write_table(group)
                size += group.nbytes
                yield group.num_rows
                if size >= part_bytes:
                    break  # the part is finished before more is read, which may fail
                group = next(groups, None)
        group = next(groups, None)
