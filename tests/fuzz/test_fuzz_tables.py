"""Metadata tables: what is stored is what the cells mean, or that image is refused; a second run writes nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder
from fields import fitting, texts, values
from hypothesis import strategies as st
from meaning import ABSENT, Meaning, free, meaning, same
from pictures import picture
from tally import Fuzz, Tally

from imgvec import ImageCollection

FIELDS: dict[str, dict[str, Any]] = {
    "flag": {"type": "BOOL", "default": False},
    "tiny": {"type": "INT8", "default": -7},
    "short": {"type": "INT16", "default": -7},
    "whole": {"type": "INT32", "default": -7},
    "long": {"type": "INT64", "default": -7},
    "single": {"type": "FLOAT", "default": -0.5},
    "double": {"type": "DOUBLE", "default": -0.5},
    "album": {"type": "VARCHAR", "max_length": 16, "default": "none"},
    "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_length": 16, "max_capacity": 4, "default": ["none"]},
    "counts": {"type": "ARRAY", "element_type": "INT32", "max_capacity": 4, "default": []},
    "shares": {"type": "ARRAY", "element_type": "FLOAT", "max_capacity": 4, "default": []},
    "exif": {"type": "JSON", "default": {}},
    "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
    "maybe": {"type": "INT64", "nullable": True},
}
DEFINITION = {"encoder": {"model": "fake"}, "index": {"cpu": {"type": "FLAT"}}, "fields": FIELDS}
FREE = ["place", "score", "x1", "_y", "Å", "a b"]
IMAGES = 6

Row = dict[str, Any]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        picture(number, (16, 16)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    uri = str(tmp_path_factory.mktemp("tables") / "lite.db")
    with ImageCollection.create("tables", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
        yield made


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """A row an image: some declared fields with what mostly fits them, some fields of no declaration."""
    names = draw(st.lists(st.sampled_from([*FIELDS, *FREE[:4]]), min_size=1, max_size=5, unique=True))
    return [
        {name: draw(fitting(FIELDS[name]) if name in FIELDS else values) for name in names if draw(st.integers(0, 9))}
        for _ in range(draw(st.integers(1, IMAGES)))
    ]


def meant(row: Mapping[str, Any]) -> dict[str, Meaning]:
    return {name: meaning(FIELDS[name], value) if name in FIELDS else free(value) for name, value in row.items()}


class Checked:
    """A collection that is emptied, filled, and held against what its rows mean."""

    def __init__(self, collection: ImageCollection, images: Path, tally: Tally) -> None:
        self.collection, self.images, self.tally = collection, images, tally

    def emptied(self) -> None:
        self.collection.delete([row["id"] for rows in self.collection.store.scan(["id"]) for row in rows])

    def stored(self) -> dict[int, Row]:
        """Rows by the number of their image."""
        every = [row["id"] for rows in self.collection.store.scan(["id"]) for row in rows]
        return {int(Path(row["uri"]).stem): row for row in self.collection.get(every).values()}

    def check(self, source: Path, given: Sequence[Row | None], metadata: Any = None) -> None:
        """`source` has the first images, and metadata or the source itself says `given` of them.

        None is a row that Python cannot hold, as of a date of the year 10000: it is refused.
        """
        self.emptied()
        report = self.collection.ingest(source, metadata=metadata)
        stored = self.stored()
        assert report.written == len(stored)
        assert set(report.refused) <= {"metadata refused"}, report.refused
        for number, row in enumerate(given):
            self.tally.inputs += 1
            if row is None:
                assert number not in stored
                self.tally.refused["metadata refused"] += 1
            elif number in stored:
                self._check_row(row, stored[number])
                self.tally.accepted += 1
            else:
                assert not all(one.clear for one in meant(row).values()), f"refused: {row}"
                self.tally.refused["metadata refused"] += 1
        again = self.collection.ingest(source, metadata=metadata)
        assert (again.written, again.updated, again.unchanged) == (0, 0, report.written)
        assert dict(again.refused) == dict(report.refused)
        if metadata is not None:
            self.collection.ingest(source)
            kept = self.stored()
            assert all(_same_row(kept[number], row) for number, row in stored.items())

    def _check_row(self, row: Row, stored: Row) -> None:
        for name, one in meant(row).items():
            assert one.values, f"{name} = {row[name]!r} stored as {stored.get(name)!r}"
            default = FIELDS[name].get("default") if name in FIELDS else None
            fair = [default if value is ABSENT else value for value in one.values]
            if name in FIELDS and FIELDS[name]["type"] == "FLOAT":
                assert stored[name] in fair
                continue
            assert any(same(stored.get(name), value) for value in fair), (
                f"{name} = {row[name]!r} stored as {stored.get(name)!r}"
            )
        for name, declared in FIELDS.items():
            if name not in row:
                assert same(stored[name], declared.get("default")), f"{name}: {stored[name]!r}"


def _same_row(one: Row, other: Row) -> bool:
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


@pytest.fixture
def checked(collection: ImageCollection, images: Path, tally: Tally) -> Checked:
    return Checked(collection, images, tally)


def test_a_mapping_of_python_values(fuzz: Fuzz, checked: Checked) -> None:
    def check(given: list[Row]) -> None:
        checked.check(checked.images, given, {str(checked.images / f"{n}.png"): row for n, row in enumerate(given)})

    fuzz(check, rows(), day=80, night=5000)


def test_a_data_frame(fuzz: Fuzz, checked: Checked) -> None:
    """Whose gaps pandas fills, which turns integers to floats and dates to its own."""
    pandas = pytest.importorskip("pandas")

    def check(given: list[Row]) -> None:
        try:
            frame = pandas.DataFrame(given, index=[str(checked.images / f"{n}.png") for n in range(len(given))])
            table = frame.to_dict("index")
        except (ValueError, TypeError, OverflowError, AttributeError):
            return  # not a frame that pandas makes
        cells = [{name: _unwrapped(value) for name, value in row.items()} for row in table.values()]
        checked.check(checked.images, cells, table)

    fuzz(check, rows(), day=40, night=3000)


def _unwrapped(value: Any) -> Any:
    return value.to_pydatetime() if hasattr(value, "to_pydatetime") and str(value) != "NaT" else value


def test_json_lines(fuzz: Fuzz, checked: Checked, tmp_path: Path) -> None:
    """As metadata, and as a manifest."""
    file, manifest = tmp_path / "metadata.jsonl", checked.images / "manifest.jsonl"

    def check(given: list[Row]) -> None:
        told, lines = [], []
        for number, row in enumerate(given):
            cells = {name: value for name, value in row.items() if _is_json(value)}
            lines.append(json.dumps({"path": f"{checked.images}/{number}.png", **cells}))
            told.append({**json.loads(lines[-1])})
            del told[-1]["path"]
        file.write_text("\n".join(lines), encoding="utf-8")
        checked.check(checked.images, told, file)
        manifest.write_text("\n".join(lines), encoding="utf-8")
        checked.check(manifest, told)

    fuzz(check, rows(), day=40, night=3000)


def _is_json(value: Any) -> bool:
    try:
        json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return False
    return True


_CELLS = texts | values.map(str)


@st.composite
def text_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]], str, str, str]:
    """Columns, rows of cells, the ending of the file, its encoding and the end of its lines."""
    columns = draw(st.lists(st.sampled_from([*FIELDS, *FREE[:4]]), min_size=1, max_size=4, unique=True))
    cells = st.lists(_CELLS.map(_writable), min_size=len(columns), max_size=len(columns))
    ending = draw(st.sampled_from([".csv", ".tsv"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    return (
        columns,
        draw(st.lists(cells, min_size=1, max_size=IMAGES)),
        ending,
        encoding,
        draw(st.sampled_from(["\n", "\r\n"])),
    )


def _writable(cell: str) -> str:
    return cell.encode("utf-8", "ignore").decode().replace("\0", "")


def test_csv(fuzz: Fuzz, checked: Checked, tmp_path: Path) -> None:
    """As metadata, and as a manifest."""

    def check(table: tuple[list[str], list[list[str]], str, str, str]) -> None:
        columns, cells, ending, encoding, end = table
        told = [dict(zip(columns, row, strict=True)) for row in cells]
        for file, source in (
            (tmp_path / f"metadata{ending}", checked.images),
            (checked.images / f"table{ending}", None),
        ):
            with file.open("w", encoding=encoding, newline="") as stream:
                writer = csv.writer(stream, lineterminator=end, delimiter="\t" if ending == ".tsv" else ",")
                writer.writerow(["path", *columns])
                writer.writerows([f"{checked.images}/{n}.png", *row] for n, row in enumerate(cells))
            if source is None:
                checked.check(file, told)
            else:
                checked.check(source, told, file)

    fuzz(check, text_tables(), day=50, night=4000)


_ARROW = [
    *(pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()),
    *(pa.string(), pa.large_string(), pa.binary(), pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns")),
    *(pa.timestamp("ms", "UTC"), pa.timestamp("us", "Asia/Kolkata"), pa.decimal128(10, 2), pa.decimal128(20, 0)),
    *(pa.list_(pa.string()), pa.list_(pa.int64()), pa.list_(pa.float32()), pa.struct([("a", pa.int64())])),
    *(pa.time32("s"), pa.duration("ms"), pa.dictionary(pa.int32(), pa.string())),
]


@st.composite
def arrow_columns(draw: st.DrawFn) -> dict[str, pa.Array]:
    length = draw(st.integers(1, IMAGES))
    columns = {}
    for name in draw(st.lists(st.sampled_from([*FIELDS, *FREE[:4]]), min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(_ARROW))
        given = [draw(fitting(FIELDS[name]) if name in FIELDS else values) for _ in range(length)]
        columns[name] = pa.array([_as_arrow(value, kind) for value in given], kind)
    return columns


def _as_arrow(value: Any, kind: pa.DataType) -> Any:
    try:
        pa.array([value], kind).validate(full=True)
        return pa.array([value], kind)[0].as_py() if not pa.types.is_timestamp(kind) else value
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
        return None


def _python_row(table: pa.Table, number: int) -> Row | None:
    try:
        [row] = table.slice(number, 1).to_pylist()
    except (OverflowError, ValueError):
        return None
    return dict(row)


def test_parquet(fuzz: Fuzz, checked: Checked) -> None:
    file = checked.images / "table.parquet"

    def check(columns: dict[str, pa.Array]) -> None:
        length = len(next(iter(columns.values())))
        table = pa.table({"path": [f"{n}.png" for n in range(length)], **columns})
        try:
            pq.write_table(table, file)
        except (pa.ArrowException, ValueError):
            return  # not a table that Parquet holds
        told = pq.read_table(file, columns=list(columns))
        checked.check(file, [_python_row(told, number) for number in range(length)])

    fuzz(check, arrow_columns(), day=60, night=4000)
