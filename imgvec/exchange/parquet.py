"""Parquet files, or folders of them, with a column of vectors; an export of imgvec's own among them."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgvec.definition.description import further_vectors
from imgvec.errors import MissingExtra, SourceError
from imgvec.exchange.source import Chunk, Row, VectorSource
from imgvec.sources.frames import arrow_rows
from imgvec.vectors import Vectors

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
DESCRIPTION = b"imgvec"
"""The key, in a schema's metadata, of the description of the collection that an export came from."""
PROJECTION = b"imgvec.projection "
"""What the key begins with, before its name, of a projection that this collection keeps: .safetensors in base64."""
CALIBRATION = b"imgvec.calibration "
"""Likewise, before the name of a vector, of the calibration that this collection keeps: .npz in base64."""
STATE = "export.json"
"""In a folder that imgvec exports to: whose rows these are, and whether all are there."""
DYNAMIC = "$meta"
"""The column, in exports and in Milvus's own files, that holds the dynamic fields as JSON text."""
_INDEX_COLUMN = "__index_level_"  # what pandas calls a data frame's row numbers


def open_parquet(path: Path, vector_column: str = "vector") -> VectorSource:
    """Vectors from a list column: the one of that name, or else the only column of lists of floats.

    The other columns are fields. Raises `SourceError`: not Parquet, no such column, an export that is not finished.
    """
    files = _files(path)
    rows, schema, said = 0, None, None
    projections: dict[str, bytes] = {}
    calibrations: dict[str, bytes] = {}
    for file in files:
        with opened(file) as parquet:
            if schema is not None and set(parquet.schema_arrow.names) != set(schema.names):
                raise SourceError(f"{file} and {files[0]} have different columns: import them one by one")
            described = (parquet.schema_arrow.metadata or {}).get(DESCRIPTION)
            if schema is not None and described != said:
                raise SourceError(f"{file} and {files[0]} come from different collections: import them one by one")
            schema, said = schema or parquet.schema_arrow, described
            projections |= _kept(file, parquet.schema_arrow, PROJECTION)
            calibrations |= _kept(file, parquet.schema_arrow, CALIBRATION)
            rows += parquet.metadata.num_rows
    assert schema is not None
    name = _vector_column(path, schema, vector_column)
    dim = _dim(files, name, schema)
    text = None if said is None else said.decode(errors="replace")
    further = {each: _dim(files, each, schema) for each in further_vectors(text or "") if each in schema.names}

    def chunks(size: int) -> Iterator[Chunk]:
        first = 0
        for file in files:
            with opened(file) as parquet:
                for batch in parquet.iter_batches(size, use_threads=False):
                    vectors, problems = _vectors(batch.column(name), dim)
                    more = {}
                    for each, length in further.items():
                        more[each], lacking = _vectors(batch.column(each), length)
                        problems |= {row: f"{each}: {why}" for row, why in lacking.items()}
                    yield Chunk(first, vectors, _fields(batch, {name, *further}), problems, more)
                    first += batch.num_rows

    return VectorSource(
        path,
        rows,
        dim,
        chunks,
        description=text or None,
        further=further,
        projections=projections,
        calibrations=calibrations,
        copied=bool(text),
    )


def _kept(file: Path, schema: pa.Schema, before: bytes) -> dict[str, bytes]:
    try:
        return {
            key.removeprefix(before).decode(): base64.b64decode(value, validate=True)
            for key, value in (schema.metadata or {}).items()
            if key.startswith(before)
        }
    except ValueError as exc:
        what = before.decode().strip().removeprefix("imgvec.")
        raise SourceError(f"{file}: a {what} in its metadata is damaged: {exc}") from exc


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The Parquet file; what pyarrow finds wrong with it becomes a `SourceError`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtra("parquet", f"{path}: Parquet needs pyarrow") from exc
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as exc:
        raise SourceError(f"{path} is not a Parquet file, or is damaged: {exc}") from exc


def plain_rows(batch: Any) -> list[Row]:
    """The rows of an Arrow table or batch as Python has them, without nulls; dates are ISO 8601 text.

    Raises `SourceError` for a row that Python cannot hold.
    """
    return [
        {name: _plain(value) for name, value in _held(row).items() if value is not None} for row in arrow_rows(batch)
    ]


def _held(row: Row | str) -> Row:
    if isinstance(row, str):
        raise SourceError(f"row of the Parquet file: {row}")
    return row


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    state = path / STATE
    if state.is_file() and not json.loads(state.read_text(encoding="utf-8"))["complete"]:
        raise SourceError(f"{path} is an unfinished export: run the export again to complete it")
    files = sorted(each for each in path.glob("*.parquet") if not each.name.startswith("."))
    if not files:
        raise SourceError(f"{path} contains no *.parquet files")
    return files


def _vector_column(path: Path, schema: pa.Schema, wanted: str) -> str:
    if wanted in schema.names:
        names = [wanted] if _is_list(schema.field(wanted).type) else []
    else:
        names = [field.name for field in schema if _is_list(field.type) and _is_float(field.type.value_type)]
    if len(names) != 1:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise SourceError(f"{path}: name the column with the vectors (lists of numbers); there are {columns}")
    return names[0]


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return lists and (_is_float(kind.value_type) or types.is_integer(kind.value_type))


def _is_float(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return bool(types.is_floating(kind))


def _dim(files: Sequence[Path], name: str, schema: pa.Schema) -> int:
    """The length of the vectors: what the type says, or else that of the first one."""
    import pyarrow.compute as pc
    import pyarrow.types as types

    kind = schema.field(name).type
    if types.is_fixed_size_list(kind):
        return int(kind.list_size)
    for file in files:
        with opened(file) as parquet:
            for batch in parquet.iter_batches(1000, columns=[name], use_threads=False):
                lengths = pc.list_value_length(batch.column(0)).drop_null()
                if len(lengths) and lengths[0].as_py():
                    return int(lengths[0].as_py())
    raise SourceError(f"{files[0]}: column {name} contains no vectors")


def _vectors(column: pa.Array, dim: int) -> tuple[Vectors, dict[int, str]]:
    """The (n, dim) float32 vectors of a list column, and which rows have none of that length."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    good = lengths == dim
    vectors = np.zeros((len(column), dim), np.float32)
    if good.any():
        flat = column.filter(good).flatten().to_numpy(zero_copy_only=False)  # nulls within become NaN
        with np.errstate(over="ignore"):
            vectors[good] = flat.astype(np.float32).reshape(-1, dim)
    wrong = np.flatnonzero(~good)
    said = {int(row): "none" if lengths[row] < 0 else f"{lengths[row]} elements, not {dim}" for row in wrong}
    return vectors, said


def _fields(batch: Any, vectors: Collection[str]) -> list[Row]:
    names = [name for name in batch.schema.names if name not in vectors and not name.startswith(_INDEX_COLUMN)]
    if not names:
        return [{} for _ in range(batch.num_rows)]
    return plain_rows(batch.select(names))
