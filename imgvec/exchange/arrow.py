"""A collection's rows as Arrow tables: every field in its type, vectors as lists of fixed length.

JSON is text, and so is what is text to Milvus: a TIMESTAMPTZ as ISO 8601, a GEOMETRY as WKT.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imgvec.errors import MissingExtra
from imgvec.exchange.parquet import CALIBRATION, DESCRIPTION, DYNAMIC, PROJECTION
from imgvec.store import Reads

if TYPE_CHECKING:
    import pyarrow as pa


def schema(store: Reads, projections: Mapping[str, bytes], calibrations: Mapping[str, bytes]) -> pa.Schema:
    """The columns of an export, and in its metadata what the collection remembers of itself and has learned."""
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise MissingExtra("parquet", "an export needs pyarrow") from exc
    kinds = {
        "BOOL": pa.bool_(),
        "INT8": pa.int8(),
        "INT16": pa.int16(),
        "INT32": pa.int32(),
        "INT64": pa.int64(),
        "FLOAT": pa.float32(),
        "DOUBLE": pa.float64(),
        "VARCHAR": pa.string(),
        "JSON": pa.string(),
        "TIMESTAMPTZ": pa.string(),
        "GEOMETRY": pa.string(),
    }
    columns = [
        pa.field(name, pa.list_(kinds[str(kind.element)]) if kind.type == "ARRAY" else kinds[kind.type], kind.nullable)
        for name, kind in store.fields.items()
    ]
    if store.dynamic:
        columns.append(pa.field(DYNAMIC, pa.string(), False))
    columns += [pa.field(name, pa.list_(pa.float32(), each.dim), False) for name, each in store.vectors.items()]
    kept = {PROJECTION + name.encode(): base64.b64encode(data) for name, data in projections.items()}
    kept |= {CALIBRATION + name.encode(): base64.b64encode(data) for name, data in calibrations.items()}
    return pa.schema(columns, {DESCRIPTION: store.description, **kept})


def table(rows: Sequence[Mapping[str, Any]], store: Reads, columns: pa.Schema) -> pa.Table:
    """Rows as a scan of every field and every vector gives them."""
    import pyarrow as pa

    data: dict[str, Any] = {}
    for name, kind in store.fields.items():
        values = [row.get(name) for row in rows]
        data[name] = [None if v is None else _json(v) for v in values] if kind.type == "JSON" else values
    if store.dynamic:
        known = {*store.fields, *store.vectors, DYNAMIC}
        data[DYNAMIC] = [_json({name: v for name, v in row.items() if name not in known}) for row in rows]
    for name, each in store.vectors.items():
        flat = np.concatenate([np.empty(0, np.float32), *(row[name] for row in rows)])
        data[name] = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), each.dim)
    return pa.table(data, columns)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
