"""Dates asked for by people, and filters that mean the same on every backend or are refused as the filters they are."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from rows import numbered

from imgvec import ImageCollection, dynamic, field
from imgvec.cli import main
from imgvec.dates import span
from imgvec.errors import FilterError

FIELDS: dict[str, Any] = {
    "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
    "n": {"type": "INT32", "default": 0},
    "x": {"type": "FLOAT", "default": 0.0},
    "ok": {"type": "BOOL", "default": False},
    "album": {"type": "VARCHAR", "default": ""},
}
TAKEN = {
    "undated": 0,
    "y1960": span("1960-07-01").start,
    "may_end": span("2024-06-01").start - 1,
    "june": span("2024-06-01").start,
    "june_noon": span("2024-06-01T12:00").start,
    "june_end": span("2024-06").end - 1,
    "july": span("2024-07-01").start,
}


@pytest.fixture
def dated(backend_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageCollection]:
    """A collection `dated` at IMGVEC_URI with a row for each of `TAKEN`, which is its album."""
    monkeypatch.setenv("IMGVEC_URI", backend_uri)
    what = {"encoder": {"model": "fake"}, "fields": FIELDS, "index": {"cpu": {"type": "FLAT"}}}
    rows = [
        numbered(i, album=album, taken_at=ms, uploaded=ms, n=i, x=float(np.float32(i / 10)), ok=bool(i % 2))
        for i, (album, ms) in enumerate(TAKEN.items())
    ]
    with ImageCollection.create("dated", definition=what, uri=backend_uri, encoder=FakeEncoder()) as collection:
        vectors = np.random.default_rng(0).standard_normal((len(rows), 16)).astype(np.float32)
        collection.store.upsert(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        yield collection


def found(collection: ImageCollection, where: Any) -> set[str]:
    hits = collection.search(f"id:{0:032x}", where=where)
    assert collection.count(where) == len(hits)
    return {str(hit.fields["album"]) for hit in hits}


JUNE = {"june", "june_noon", "june_end"}


def test_every_form_of_a_date_finds_the_same(dated: ImageCollection) -> None:
    berlin = dt.timezone(dt.timedelta(hours=2))
    taken = field("taken_at")
    for where in (
        'taken_at >= "2024-06" and taken_at <= "2024-06-30"',
        'taken_at == "2024-06"',
        '"2024-06-01" <= taken_at < "2024-07-01"',
        "taken_at >= 20240601 and taken_at < 20240701",
        f"taken_at >= {TAKEN['june']} and taken_at < {TAKEN['july']}",
        taken == "2024-06",
        taken.between("2024-06-01", dt.date(2024, 6, 30)),
        (taken >= dt.datetime(2024, 6, 1, 2, tzinfo=berlin)) & (taken < np.datetime64("2024-07-01")),
        taken.in_(["2024-06-01", dt.date(2024, 6, 30)]),
        (dynamic("uploaded") >= dt.date(2024, 6, 1)) & (dynamic("uploaded") <= dt.date(2024, 6, 30)),
    ):
        assert found(dated, where) == JUNE, where
    for where in ('taken_at < "2000"', taken < dt.date(2000, 1, 1), taken <= "1999", taken.between("1900", "1999")):
        assert found(dated, where) == {"y1960"}, where  # what has no date is not of 1970
    for where in ('taken_at != "2024-06"', ~(taken == "2024-06"), taken.not_in(["2024-06"])):
        assert found(dated, where) == {"y1960", "may_end", "july"}, where
    assert found(dated, "taken_at == 0") == found(dated, taken == 0) == {"undated"}
    assert len(found(dated, field("ingested_at") == "2023-11-14")) == len(TAKEN)


def test_the_same_raw_filter_on_every_backend(dated: ImageCollection) -> None:
    names = list(TAKEN)
    for where, numbers in {
        "x == 0.1": [1],
        "0.3 == x": [3],
        "x in [0.1, 0.3]": [1, 3],
        "x > 0.1": [2, 3, 4, 5, 6],
        "x <= 0.3": [0, 1, 2, 3],
        "n == 2.0": [2],
        "n in [1.0, 2]": [1, 2],
        "n < 2.5": [0, 1, 2],
        "n > 4.5": [5, 6],
        "1 < n < 3": [2],
        "not n < 5.5": [6],
    }.items():
        assert found(dated, where) == {names[i] for i in numbers}, where


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("taken_at >= 2024-01-01", "2024-01-01 at column 13 .* in quotes"),
        ("taken_at >= 1717200000", "column 13 would be 1970"),
        ("ok == 1", "which cannot be compared with 1 at column 7"),
        ('n == "2"', 'which cannot be compared with "2" at column 6'),
        ("n == 2.5", "column 6: it holds only whole numbers"),
        ("album > 5", "column 9"),
        ("n n", "unexpected 'n' at column 3"),
        ("n ==", "ends at column 5, without a value"),
        # these the backend refuses
        ('n + 1 == "a"', 'rejects the filter n \\+ 1 == "a": '),
        ("n", "rejects the filter n: "),
        ("album == n", "rejects the filter album == n: "),
        ('n like "a%"', "rejects the filter n like"),
    ],
)
def test_what_no_backend_takes_is_a_filter_error(dated: ImageCollection, where: str, says: str) -> None:
    for ask in (dated.count, lambda where: dated.search(f"id:{0:032x}", where=where), dated.delete_where):
        with pytest.raises(FilterError, match=says):
            ask(where)
    assert dated.count() == len(TAKEN)


def imgvec(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == status, result.output + str(result.exception)
    return result


def test_every_command_takes_dates(dated: ImageCollection, tmp_path: Path) -> None:
    june = ["--range", "taken_at=2024-06..2024-06-30"]
    same = ["--eq", "taken_at=2024-06", "--where", 'taken_at >= "2024-06-01"']
    for filters in (june, same):
        assert imgvec("collections", "count", "dated", *filters).stdout == "3\n"
        assert imgvec("evaluate", "-c", "dated", "--label", "album", *filters, status=1).stderr.count("\n") == 1
        imgvec("index", "verify", "-c", "dated", *filters)
    hits = json.loads(imgvec("search", f"id:{0:032x}", "-c", "dated", *june, "-o", "json").stdout)
    assert {hit["fields"]["taken_at"]: hit["fields"]["taken_at_ms"] for hit in hits} == {
        "2024-06-01T00:00:00Z": TAKEN["june"],
        "2024-06-01T12:00:00Z": TAKEN["june_noon"],
        "2024-06-30T23:59:59.999Z": TAKEN["june_end"],
    }
    assert {hit["fields"]["ingested_at"] for hit in hits} == {"2023-11-14T22:13:20Z"}
    table = imgvec("search", f"id:{0:032x}", "-c", "dated", "-k", "9").stdout
    assert "taken_at" in table
    assert "2024-06-01T12:00:00Z" in table
    assert "1970" not in table
    rows = list(csv.DictReader(io.StringIO(imgvec("search", f"id:{0:032x}", "-c", "dated", "-o", "csv").stdout)))
    by_album = {row["album"]: (row["taken_at"], row["taken_at_ms"]) for row in rows}
    assert by_album["undated"] == ("", "0")
    assert by_album["july"] == ("2024-07-01T00:00:00Z", str(TAKEN["july"]))
    out = tmp_path / "out.parquet"
    assert "3 rows exported" in imgvec("collections", "export", "-c", "dated", str(out), *june).stdout
    assert "FIELD=A..B" in imgvec("collections", "count", "dated", "--range", "n", status=2).stderr
    assert "write A..B" in imgvec("collections", "count", "dated", "--range", "n=5", status=1).stderr
    said = imgvec("index", "tune", "-c", "dated", "--where", "taken_at >= 2024-01-01", status=1).stderr
    assert "put it in quotes" in said
    assert "3 rows deleted" in imgvec("collections", "delete", "dated", *june, "--yes").stdout
    assert imgvec("collections", "count", "dated", "--range", "n=..3").stdout == "3\n"
