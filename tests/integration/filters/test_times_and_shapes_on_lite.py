"""TIMESTAMPTZ and GEOMETRY on Milvus Lite: rows in and out, and filters against the same question asked in Python."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeEncoder
from pictures import picture
from rows import numbered

from imgvec import ImageCollection, field
from imgvec.cli import main
from imgvec.errors import OptionError, UnsupportedByBackend
from imgvec.exchange import export_vectors, import_vectors, open_source

FIELDS: dict[str, Any] = {
    "at": {"type": "TIMESTAMPTZ", "nullable": True, "index": "AUTO"},
    "made": {"type": "TIMESTAMPTZ", "default": "2000"},
    "place": {"type": "GEOMETRY", "nullable": True, "index": "AUTO"},
    "name": {"type": "VARCHAR", "default": ""},
}
WHAT = {"encoder": {"model": "fake"}, "fields": FIELDS, "index": {"cpu": {"type": "FLAT"}}}
AREA = "POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0))"
ROWS: dict[str, tuple[str | None, str | None]] = {
    "old": ("1960-07-01T00:00:00Z", "POINT (5 5)"),
    "first": ("0001-01-01T00:00:00Z", "POINT (-5 5)"),
    "last": ("9999-12-31T23:59:59.999Z", "POINT (15 5)"),
    "none": (None, None),
    "may": ("2024-05-31T23:59:59.999999Z", "POLYGON ((1 1, 2 1, 2 2, 1 1))"),
    "june": ("2024-06-01T00:00:00Z", "POLYGON ((9 9, 20 9, 20 20, 9 9))"),
    "june_half": ("2024-06-01T00:00:00.500Z", "POLYGON ((-9 -9, 20 -9, 20 20, -9 20, -9 -9))"),
    "june_end": ("2024-06-30T23:59:59.999999Z", "POLYGON ((30 30, 40 30, 40 40, 30 30))"),
    "july": ("2024-07-01T00:00:00Z", "POINT (2.5 7.25)"),
}


def time_of(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


JUNE, JULY = time_of("2024-06-01T00:00:00Z"), time_of("2024-07-01T00:00:00Z")


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    uri = str(tmp_path_factory.mktemp("lite") / "times.db")
    with ImageCollection.create("times", definition=WHAT, uri=uri, encoder=FakeEncoder()) as collection:
        rows = [
            numbered(i, name=name, at=at, made="2000-01-01T00:00:00Z", place=place)
            for i, (name, (at, place)) in enumerate(ROWS.items())
        ]
        vectors = np.random.default_rng(0).standard_normal((len(rows), 16)).astype(np.float32)
        collection.store.upsert(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        yield collection


def found(collection: ImageCollection, where: Any) -> set[str]:
    names = {row["name"] for page in collection.store.scan(["name"], collection.store.rendered(where)) for row in page}
    assert collection.count(where) == len(names)
    return names


at = field("at")
TIMES: list[tuple[Any, Callable[[dt.datetime], bool]]] = [
    (at >= "2024-06", lambda t: t >= JUNE),
    (at > "2024-06", lambda t: t >= JULY),
    (at < "2024-06", lambda t: t < JUNE),
    (at <= "2024-06", lambda t: t < JULY),
    (at == "2024-06", lambda t: JUNE <= t < JULY),
    (at != "2024-06", lambda t: not JUNE <= t < JULY),
    (~(at == "2024-06"), lambda t: not JUNE <= t < JULY),
    (~(at >= "2024-06"), lambda t: t < JUNE),
    (at == "2024-06-01T00:00:00", lambda t: JUNE <= t < JUNE + dt.timedelta(seconds=1)),
    (at == JUNE, lambda t: t == JUNE),
    (at.between("1960", dt.date(2024, 6, 1)), lambda t: time_of("1960-01-01T00:00:00Z") <= t < JUNE.replace(day=2)),
    (at.in_(["1960", "2024-07"]), lambda t: t.year == 1960 or (t.year, t.month) == (2024, 7)),
    (at.not_in(["1960", "2024-07"]), lambda t: not (t.year == 1960 or (t.year, t.month) == (2024, 7))),
    (at <= "9999-12", lambda t: True),
    (at > "9999-12", lambda t: False),
    ('at >= "2024-06" and at < "2024-07"', lambda t: JUNE <= t < JULY),
    ('"2024-06" <= at < "2024-07"', lambda t: JUNE <= t < JULY),
    ("at > ISO '2024-06-01T00:00:00Z'", lambda t: t > JUNE),
    (
        "at + INTERVAL 'P1D' > ISO '2024-06-01T12:00:00Z' and at < \"2100\"",
        lambda t: t.year < 2100 and t > JUNE - dt.timedelta(hours=12),
    ),
]


@pytest.mark.parametrize(("where", "holds"), TIMES, ids=[str(where) for where, _ in TIMES])
def test_times(lite: ImageCollection, where: Any, holds: Callable[[dt.datetime], bool]) -> None:
    expected = {name for name, (text, _) in ROWS.items() if text is not None and holds(time_of(text))}
    assert found(lite, where) == expected


def inside(wkt: str) -> bool:
    """Whether every corner lies in the square of `AREA`, which is enough for points and convex shapes."""
    numbers = [float(each) for each in wkt.strip("POLYGINT( )").replace(",", " ").split()]
    return all(0 <= each <= 10 for each in numbers)


def test_shapes(lite: ImageCollection) -> None:
    shapes = {name: wkt for name, (_, wkt) in ROWS.items() if wkt is not None}
    within = {name for name, wkt in shapes.items() if inside(wkt)}
    place = field("place")
    assert within == {"old", "may", "july"}
    assert found(lite, place.st_within(AREA)) == within
    assert found(lite, ~place.st_within(AREA)) == shapes.keys() - within
    assert found(lite, f"st_within(place, '{AREA}')") == within
    assert found(lite, place.st_contains(AREA)) == {"june_half"}
    assert found(lite, place.st_contains("POINT (2.5 7.25)")) == {"june_half", "july"}
    assert found(lite, place.st_intersects(AREA)) == within | {"june", "june_half"}
    assert found(lite, ~place.st_intersects(AREA)) == {"first", "last", "june_end"}
    assert found(lite, place.is_null()) == {"none"}
    with pytest.raises(UnsupportedByBackend, match="no st_dwithin in metres"):
        lite.count(place.st_dwithin("POINT (5 5)", 100))


def test_hits_are_ordered_counted_and_not_grouped_by_them(lite: ImageCollection) -> None:
    query = f"id:{0:032x}"
    ordered = [hit.fields["name"] for hit in lite.search(query, order_by="at")]
    known = [name for name, (text, _) in ROWS.items() if text is not None]
    assert ordered == [*sorted(known, key=lambda name: time_of(ROWS[name][0] or "")), "none"]
    assert lite.search(query, facet=["made"]).facets["made"].counts == {"2000-01-01T00:00:00Z": len(ROWS)}
    for option in ({"group_by": "at"}, {"order_by": "place"}):
        with pytest.raises(OptionError, match=r"holds (TIMESTAMPTZ|GEOMETRY)"):
            lite.search(query, **option)


def stored(collection: ImageCollection) -> dict[str, Mapping[str, Any]]:
    wanted = ["name", "at", "made", "place"]
    return {row["name"]: {key: row[key] for key in wanted} for page in collection.store.scan(wanted) for row in page}


def to_ms(text: str) -> str:
    """What a CSV is read as: what is beyond milliseconds is cut off."""
    whole, dot, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}{dot}{fraction[:3]}Z"


def test_rows_travel(lite: ImageCollection, tmp_path: Path) -> None:
    before = stored(lite)
    assert {name: (row["at"], row["place"]) for name, row in before.items()} == ROWS
    export_vectors(lite, tmp_path / "out.parquet")
    with ImageCollection.create("again", definition=WHAT, uri=str(tmp_path / "b.db"), encoder=FakeEncoder()) as again:
        import_vectors(again, open_source(tmp_path / "out.parquet"))
        assert stored(again) == before
    export_vectors(lite, tmp_path / "out.npy")
    with ImageCollection.create("csv", definition=WHAT, uri=str(tmp_path / "c.db"), encoder=FakeEncoder()) as again:
        import_vectors(again, open_source(tmp_path / "out.npy"))
        assert stored(again) == {name: {**row, "at": row["at"] and to_ms(row["at"])} for name, row in before.items()}


@pytest.mark.parametrize("table", ["csv", "jsonl", "parquet"])
def test_metadata(tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        picture(seed).save(tmp_path / f"{seed}.png")
    rows = [
        {"path": "0.png", "name": "a", "at": "2024-06-01T12:00:00+02:00", "place": "point(13.40 52.5)"},
        {"path": "1.png", "name": "b", "at": "", "place": ""},
        {"path": "2.png", "name": "c", "at": "2024-06-01", "place": "13.4, 52.5"},
    ]
    metadata = tmp_path / f"m.{table}"
    if table == "csv":
        with metadata.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif table == "jsonl":
        metadata.write_text("\n".join(map(json.dumps, rows)))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), metadata)
    uri = str(tmp_path / "m.db")
    with ImageCollection.create("made", definition=WHAT, uri=uri, encoder=FakeEncoder()) as made:
        report = made.ingest(tmp_path, metadata=metadata)
        assert (report.written, report.refused.total()) == (2, 1)
        assert {name: (row["at"], row["place"]) for name, row in stored(made).items()} == {
            "a": ("2024-06-01T10:00:00Z", "POINT (13.4 52.5)"),
            "b": (None, None),
        }
        assert made.ingest(tmp_path, metadata=metadata).unchanged == 2
    monkeypatch.setenv("IMGVEC_URI", uri)
    for asked in (["--range", "at=2024-06..2024-06"], ["--eq", "at=2024-06-01"], ["--where", 'at >= "2024-06"']):
        assert CliRunner().invoke(main, ["collections", "count", "made", *asked]).stdout.strip() == "1"
    shown = CliRunner().invoke(main, ["collections", "show", "made"]).stdout
    assert "TIMESTAMPTZ or null" in shown
    assert "GEOMETRY or null" in shown
