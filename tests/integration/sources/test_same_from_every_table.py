"""A table of pandas, polars, Arrow, CSV or JSON lines gives the same rows: as a mapping, a file beside, a manifest."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture
from records import read_source

from imgvec.definition import Definition
from imgvec.errors import SourceError
from imgvec.ingest import Resources, ingest
from imgvec.sources import Table, load_metadata

DEFINITION = Definition.load(
    {
        "encoder": {"model": "fake"},
        "fields": {
            "album": {"type": "VARCHAR", "default": "none"},
            "code": {"type": "VARCHAR", "default": ""},
            "price": {"type": "DOUBLE", "default": -1.0},
            "cost": {"type": "DOUBLE", "default": -1.0},
            "n": {"type": "INT32", "default": -1},
            "ok": {"type": "BOOL", "default": False},
            "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
            "shot_on": {"type": "INT64", "format": "unix_ms", "default": 0},
        },
        "dynamic": False,
    }
)
NOON = dt.datetime(2024, 5, 1, 12, 30, 15)  # noqa: DTZ001  tables have it so: in UTC
COLUMNS: dict[str, list[Any]] = {
    "album": ["cats", None, "1999"],
    "code": [7, 8, 9],
    "price": [1.5, None, 2.0],
    "cost": [Decimal("1.50"), Decimal("2.25"), Decimal("3.00")],
    "n": [1, None, -3],
    "ok": [True, False, True],
    "taken_at": [NOON, None, dt.datetime(1969, 7, 20, 20, 17, 40)],  # noqa: DTZ001
    "shot_on": [dt.date(2024, 5, 1), dt.date(1975, 7, 1), dt.date(2000, 1, 1)],
}
EXPECTED = [
    ("cats", "7", 1.5, 1.5, 1, True, 1_714_566_615_000, 1_714_521_600_000),
    ("none", "8", -1.0, 2.25, -1, False, 0, 173_404_800_000),
    ("1999", "9", 2.0, 3.0, -3, True, -14_182_940_000, 946_684_800_000),
]

Made = Path | Mapping[str, Any] | Table
"""A file, or what is given as `metadata=`."""


def pandas_frame(paths: list[str], *, nullable: bool = False) -> pd.DataFrame:
    frame = pd.DataFrame({"path": paths, **COLUMNS})
    frame["shot_on"] = pd.to_datetime(frame["shot_on"])
    frame["cost"] = frame["cost"].astype(float)
    return frame.convert_dtypes() if nullable else frame


def polars_frame(paths: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"path": paths, **COLUMNS})


def arrow_table(paths: list[str], unit: str = "us", zone: str | None = None) -> pa.Table:
    types = {"n": pa.int32(), "taken_at": pa.timestamp(unit, zone), "cost": pa.decimal128(9, 2)}
    return pa.table({"path": paths, **{name: pa.array(col, types.get(name)) for name, col in COLUMNS.items()}})


def to_file(name: str, write: Callable[[list[str], Path], object]) -> Callable[[list[str], Path], Made]:
    def made(paths: list[str], folder: Path) -> Made:
        write(paths, folder / name)
        return folder / name

    return made


def by_path(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    return {row.pop("path"): row for row in rows}


def numpy_rows(paths: list[str], _: Path) -> Made:
    """Scalars of NumPy's own, and each way to say that a cell is missing."""
    missing = {"price": np.float32("nan"), "n": pd.NA, "taken_at": np.datetime64("NaT"), "album": float("nan")}
    types: dict[str, Callable[[Any], Any]] = {
        "album": np.str_,
        "code": np.uint8,
        "price": np.float32,
        "cost": np.float64,
        "n": np.int16,
        "ok": np.bool_,
        "taken_at": lambda value: np.datetime64(value, "ns"),
        "shot_on": np.datetime64,
    }
    return {
        path: {name: missing[name] if column[i] is None else types[name](column[i]) for name, column in COLUMNS.items()}
        for i, path in enumerate(paths)
    }


def json_lines(paths: list[str], file: Path) -> None:
    rows = [{"path": path, **{name: col[i] for name, col in COLUMNS.items()}} for i, path in enumerate(paths)]
    file.write_text("".join(json.dumps(row, default=_plain) + "\n" for row in rows))


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value.isoformat()


def csv_text(paths: list[str], file: Path) -> None:
    rows = [
        "cats,7,1.5,1.50,1,yes,2024-05-01T14:30:15+02:00,20240501",
        ",8,,2.25,,0,,1975-07-01",
        "1999,9,2,3,-3,TRUE,1969:07:20 20:17:40,2000/01/01",
    ]
    lines = [f"{path},{row}" for path, row in zip(paths, rows, strict=True)]
    file.write_text("\n".join([f"path,{','.join(COLUMNS)}", *lines]))


FORMS: dict[str, Callable[[list[str], Path], Made]] = {
    "pandas dict": lambda paths, _: pandas_frame(paths).set_index("path").to_dict("index"),
    "pandas nullable dict": lambda paths, _: pandas_frame(paths, nullable=True).set_index("path").to_dict("index"),
    "pandas object dict": lambda paths, _: pandas_frame(paths).astype(object).set_index("path").to_dict("index"),
    "pandas frame": lambda paths, _: pandas_frame(paths),
    "pandas frame, paths as index": lambda paths, _: pandas_frame(paths).set_index("path"),
    "pandas frame, nullable": lambda paths, _: pandas_frame(paths, nullable=True),
    "polars frame": lambda paths, _: polars_frame(paths),
    "arrow table": lambda paths, _: arrow_table(paths),
    "pandas csv": to_file("t.csv", lambda paths, file: pandas_frame(paths).to_csv(file, index=False)),
    "pandas csv with numbers": to_file("t.csv", lambda paths, file: pandas_frame(paths).to_csv(file)),
    "pandas json, iso": to_file(
        "t.jsonl",
        lambda paths, file: pandas_frame(paths).to_json(file, orient="records", lines=True, date_format="iso"),
    ),
    "pandas json, epoch": to_file(
        "t.jsonl",
        lambda paths, file: pandas_frame(paths).to_json(
            file, orient="records", lines=True, date_format="epoch", date_unit="ms"
        ),
    ),
    "pandas parquet": to_file("t.parquet", lambda paths, file: pandas_frame(paths).to_parquet(file)),
    "pandas nullable parquet": to_file(
        "t.parquet", lambda paths, file: pandas_frame(paths, nullable=True).to_parquet(file)
    ),
    "polars dicts": lambda paths, _: by_path(polars_frame(paths).to_dicts()),
    "polars csv": to_file("t.csv", lambda paths, file: polars_frame(paths).write_csv(file)),
    "polars json": to_file("t.jsonl", lambda paths, file: polars_frame(paths).write_ndjson(file)),
    "polars parquet": to_file("t.parquet", lambda paths, file: polars_frame(paths).write_parquet(file)),
    "polars with NaN": to_file(
        "t.csv",
        lambda paths, file: polars_frame(paths).with_columns(pl.col("price").fill_null(math.nan)).write_csv(file),
    ),
    "arrow pylist": lambda paths, _: by_path(arrow_table(paths).to_pylist()),
    "arrow ns pylist": lambda paths, _: by_path(arrow_table(paths, "ns").to_pylist()),
    "arrow csv": to_file("t.csv", lambda paths, file: pa_csv.write_csv(arrow_table(paths), file)),
    "arrow parquet": to_file("t.parquet", lambda paths, file: pq.write_table(arrow_table(paths), file)),
    "arrow parquet, utc": to_file(
        "t.parquet", lambda paths, file: pq.write_table(arrow_table(paths, "ms", "UTC"), file)
    ),
    "arrow parquet, ns": to_file("t.parquet", lambda paths, file: pq.write_table(arrow_table(paths, "ns"), file)),
    "arrow parquet, dictionary": to_file(
        "t.parquet",
        lambda paths, file: pq.write_table(
            (table := arrow_table(paths)).set_column(1, "album", table["album"].dictionary_encode()), file
        ),
    ),
    "numpy scalars": numpy_rows,
    "json lines": to_file("t.jsonl", json_lines),
    "csv": to_file("t.csv", csv_text),
}  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        picture(i).save(folder / f"{i}.jpg")
    return folder


def rows_of(store: FakeStore) -> list[tuple[Any, ...]]:
    rows = sorted(store.rows.values(), key=lambda row: row["uri"])
    return [tuple(row[name] for name in COLUMNS) for row in rows]


@pytest.mark.filterwarnings("ignore:'epoch' date format is deprecated")
@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows(form: str, photos: Path, tmp_path: Path) -> None:
    paths = [str(photos / f"{i}.jpg") for i in range(3)]
    made = FORMS[form](paths, tmp_path)
    store, encoder = FakeStore(), FakeEncoder()
    ways: list[Callable[[], Any]] = [lambda: read_source(photos, metadata=load_metadata(made))]
    if isinstance(made, Path):
        columns = {name: name for name in COLUMNS}
        ways.append(lambda: read_source(made, mapping=columns if "numbers" in form else None))
    resources = Resources(threads=2, max_pixels=10**7, max_bytes=10**7)
    for number, way in enumerate(ways):
        report = ingest(way(), store, {"vector": encoder}, DEFINITION.row_fields, resources, errors=tmp_path / "errors")
        said = (tmp_path / "errors").read_text()
        assert (report.written, report.unchanged) == ((3, 0) if number == 0 else (0, 3)), said
        found = rows_of(store)
        assert found == EXPECTED
        assert [[type(value) for value in row] for row in found] == [[type(value) for value in row] for row in EXPECTED]
    again = ingest(ways[-1](), store, {"vector": encoder}, DEFINITION.row_fields, resources)
    assert again.unchanged == 3


def test_what_is_no_table_is_refused(photos: Path, tmp_path: Path) -> None:
    class Columned:
        columns = ("path",)

    with pytest.raises(SourceError, match="a Columned is not metadata"):
        load_metadata(Columned())
    with pytest.raises(SourceError, match="`path` is empty or not a string"):
        load_metadata(pd.DataFrame({"album": ["a"]}))
    (tmp_path / "m.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(SourceError, match=r"m\.parquet: not a Parquet file, or damaged"):
        load_metadata(tmp_path / "m.parquet")
