"""Data sets of Hugging Face on disk, as `save_to_disk` writes them: a folder of Arrow files, or of such folders.

    data/dataset_dict.json                    {"splits": ["train", "test"]}, where there are several
    data/train/state.json                     {"_data_files": [{"filename": "data-00000-of-00002.arrow"}, …], …}
    data/train/dataset_info.json              the features; the files' schemas have them too
    data/train/data-00000-of-00002.arrow      an Arrow stream (or an Arrow file)

An image is called `FILE.arrow!KEY`, like a row of a Parquet file. Hugging Face's own library is not needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from imgvec.errors import MissingExtra, SourceError, UnreadableImage
from imgvec.sources.arrow import (
    HELD_ROWS,
    bytes_of_row,
    check_type,
    holds_images,
    image_column,
    only_image_column,
    records,
    row_of,
    sheet_of,
)
from imgvec.sources.columns import Columns
from imgvec.sources.guards import Guards
from imgvec.sources.kinds import Kind
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading, printable
from imgvec.sources.records import Found

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_JSON_BYTES = 16 * 2**20


def is_data_set(folder: str) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    # as text, since a folder's name need not be UTF-8
    there = [os.path.isfile(f"{folder}/{name}") for name in (_SPLITS, _STATE, "dataset_info.json")]  # noqa: PTH113
    return there[0] or all(there[1:])


def read_data_set(place: Place, reading: Reading) -> Iterator[Found]:
    """The images of a folder, split by split and file by file, or of one Arrow file; raises `SourceError`."""
    if not os.path.isdir(place.where):  # noqa: PTH112
        yield from _read_file(place, reading)
        return
    for folder in _folders(place.where):
        for name in _files(folder):
            path = f"{folder}/{name}"
            yield from _read_file(Place(path, reading.uri(path)), reading)


def _read_file(place: Place, reading: Reading) -> Iterator[Found]:
    with _opened(place) as file:
        schema, columns = file.schema, reading.columns
        image = _image_column(place, columns, schema)
        texts = None if image is None else _texts(file, image, columns)
        sheet = sheet_of(place, columns, schema, image, texts)
        yield from records(sheet, file.batches(HELD_ROWS), reading)


def _reopen(place: Place, key: str, guards: Guards, columns: Columns) -> bytes:
    uri = f"{place.uri}!{key}"
    with _opened(place) as file:
        named = Columns(image=_feature(file.schema)) if columns.image is None else columns
        image = only_image_column(place, named, file.schema)
        check_type(place, file.schema, image)
        row = row_of(_texts(file, image, columns), key)
        if row is None:
            raise UnreadableImage(uri, "missing", "no such row")
        return bytes_of_row(file.batches(), image, row, uri, guards.max_bytes)


def _image_column(place: Place, columns: Columns, schema: Any) -> str | None:
    if columns.image is None and columns.uri is None and "image" not in schema.names and (found := _feature(schema)):
        return found
    return image_column(place, columns, schema)


def _feature(schema: Any) -> str | None:
    """The only column of images, by what Hugging Face says of its features, or else by its type."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        features = {name for name, feature in info["info"]["features"].items() if feature.get("_type") == "Image"}
    except (KeyError, TypeError, ValueError, AttributeError):
        features = set(schema.names)
    found = [name for name in schema.names if name in features and holds_images(schema.field(name).type)]
    return found[0] if len(found) == 1 else None


def _texts(file: _ArrowFile, image: str, columns: Columns) -> Iterator[Any] | None:
    """The texts that rows could be called by, batch by batch; None without any."""
    import pyarrow as pa

    if columns.uri:
        kind = file.schema.field(columns.uri).type if columns.uri in file.schema.names else None
    else:
        held = file.schema.field(image).type
        index = held.get_field_index("path") if pa.types.is_struct(held) else -1
        kind = held.field(index).type if index >= 0 else None
    if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    return (batch.column(columns.uri) if columns.uri else batch.column(image).field("path") for batch in file.batches())


def _folders(folder: str) -> list[str]:
    if not os.path.isfile(f"{folder}/{_SPLITS}"):  # noqa: PTH113 - likewise
        return [folder]
    splits = _json(folder, _SPLITS).get("splits")
    if not isinstance(splits, list) or not splits:
        raise SourceError(f"{printable(folder)}/{_SPLITS} names no splits")
    return [f"{folder}/{_own_name(folder, _SPLITS, split)}" for split in splits]


def _files(folder: str) -> list[str]:
    state = _json(folder, _STATE)
    if state.get("_indices_data_files"):
        raise SourceError(
            f"{printable(folder)}: its rows are a selection: call flatten_indices() before save_to_disk()"
        )
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
        raise SourceError(f"{printable(folder)}/{_STATE} names no data files")
    return [_own_name(folder, _STATE, one.get("filename")) for one in files]


def _own_name(folder: str, file: str, name: object) -> str:
    """A name in the folder itself; raises `SourceError` for what leads elsewhere."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise SourceError(f"{printable(folder)}/{file}: {name!r} is not in this folder")
    if os.path.islink(f"{folder}/{name}"):  # noqa: PTH114
        raise SourceError(f"{printable(folder)}/{name}: a symbolic link, which is not followed here")
    return name


def _json(folder: str, name: str) -> dict[str, Any]:
    shown = f"{printable(folder)}/{name}"
    try:
        with open(f"{folder}/{name}", "rb") as file:  # noqa: PTH123
            data = file.read(_JSON_BYTES + 1)
        found = json.loads(data) if len(data) <= _JSON_BYTES else None
    except (OSError, ValueError, RecursionError) as exc:
        raise SourceError(f"{shown}: cannot be read: {exc}; is the data set complete?") from exc
    if not isinstance(found, dict):
        raise SourceError(f"{shown}: not a JSON object")
    return found


class _ArrowFile:
    """An open Arrow stream or file, gone through from its start as often as it is asked for."""

    def __init__(self, source: Any) -> None:
        import pyarrow as pa

        self._source, self._ipc = source, pa.ipc
        source.seek(0)
        self._is_stream = source.read(6) != b"ARROW1"
        self.schema = self._reader().schema

    def _reader(self) -> Any:
        self._source.seek(0)
        return self._ipc.open_stream(self._source) if self._is_stream else self._ipc.open_file(self._source)

    def batches(self, rows: int | None = None) -> Iterator[Any]:
        """Its record batches, in slices of at most so many rows."""
        reader = self._reader()
        whole = reader if self._is_stream else map(reader.get_batch, range(reader.num_record_batches))
        for batch in whole:
            batch.validate(full=True)  # offsets that lead out of the file would be read otherwise
            for start in range(0, batch.num_rows, rows or max(batch.num_rows, 1)):
                yield batch.slice(start, rows)


@contextmanager
def _opened(place: Place) -> Iterator[_ArrowFile]:
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise MissingExtra("parquet", f"{place}: Arrow files need pyarrow") from exc
    with place.opened() as file:
        try:
            # a batch can be a thousand images; of a mapped file only those in hand are in memory
            with pa.PythonFile(file, "r") if "://" in place.where else pa.memory_map(place.where) as source:
                yield _ArrowFile(source)
        except (pa.ArrowException, OSError) as exc:
            raise SourceError(
                f"{place}: not an Arrow file, or damaged: {exc}; everything before this point was read"
            ) from exc


KIND = Kind(name="datasets", read=read_data_set, endings=(".arrow",), holds=is_data_set, reopen=_reopen)
