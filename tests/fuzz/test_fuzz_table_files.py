"""Table files as they come: broken, in other encodings, with enormous cells. Each is read as it is meant or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import FakeEncoder
from hypothesis import strategies as st
from pictures import picture
from tally import Fuzz, Tally

from imgvec import ImageCollection
from imgvec.errors import SourceError

DEFINITION = {
    "encoder": {"model": "fake"},
    "index": {"cpu": {"type": "FLAT"}},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": "none"},
        "stars": {"type": "INT8", "default": -1},
    },
}
IMAGES = 5
ENDINGS = [".csv", ".tsv", ".jsonl", ".parquet"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        picture(number, (16, 16)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageCollection]:
    uri = str(tmp_path_factory.mktemp("files") / "lite.db")
    with ImageCollection.create("files", definition=DEFINITION, uri=uri, encoder=FakeEncoder()) as made:
        yield made


def _emptied(collection: ImageCollection) -> None:
    collection.delete([row["id"] for rows in collection.store.scan(["id"]) for row in rows])


def _albums(collection: ImageCollection) -> dict[int, str]:
    rows = [row for part in collection.store.scan(["uri", "album"]) for row in part]
    return {int(Path(row["uri"]).stem): row["album"] for row in rows}


def _table(ending: str, folder: Path, albums: list[str], end: str = "\n") -> str:
    paths = [f"{folder}/{number}.png" for number in range(len(albums))]
    if ending == ".jsonl":
        lines = [
            json.dumps({"path": p, "album": a, "stars": 3}, ensure_ascii=False)
            for p, a in zip(paths, albums, strict=True)
        ]
        return end.join(lines) + end
    mark = "\t" if ending == ".tsv" else ","
    lines = [mark.join([p, f'"{a}"', "3"]) for p, a in zip(paths, albums, strict=True)]
    return end.join([mark.join(["path", "album", "stars"]), *lines]) + end


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, random.Random]:
    return draw(st.sampled_from(ENDINGS)), draw(st.randoms(use_true_random=False))


_INSERTS = [
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b",",
        b";",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n\n",
        b"\x1a",
        b"\xed\xa0\x80",
    ),
    *(
        b"x" * 200_000,
        b"," * 5000,
        b"\n" * 5000,
        b"{" * 5000,
        b"[" * 100_000,
        b'"' * 999,
        b"sep=;\n",
        b"path",
        b"album",
        b"NaN",
        b"null",
    ),
    *(b"1e999", b"9" * 5000, b'{"path": 1}\n', b"[]\n", b'"\\ud800"', b"-Infinity", b'{"a": {"b": ' * 2000),
]


def _damage(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                changed[at:at] = chance.choice(_INSERTS)
            case 3:
                del changed[at : at + chance.randrange(1, 30)]
            case _:
                changed[at:at] = changed[: chance.randrange(len(changed) + 1)]
    return bytes(changed)


def _written(ending: str, images: Path, file: Path) -> bytes:
    albums = [f"of {number}" for number in range(IMAGES)]
    if ending != ".parquet":
        return _table(ending, images, albums).encode()
    paths = [f"{images}/{number}.png" for number in range(IMAGES)]
    pq.write_table(pa.table({"path": paths, "album": albums, "stars": [3] * IMAGES}), file)
    return file.read_bytes()


def test_a_damaged_manifest(
    fuzz: Fuzz, tally: Tally, collection: ImageCollection, images: Path, tmp_path: Path
) -> None:
    """Rows are written or refused one by one; where the file itself breaks off, what came before is written."""

    def check(drawn: tuple[str, random.Random]) -> None:
        ending, chance = drawn
        file = tmp_path / f"manifest{ending}"
        file.write_bytes(_damage(_written(ending, images, file), chance))
        _emptied(collection)
        with tally.expecting(SourceError):
            report = collection.ingest(file)
            assert report.written == collection.count() <= IMAGES
            assert set(_albums(collection)) <= set(range(IMAGES))

    fuzz(check, damaged(), day=120, night=6000)
    assert tally.accepted
    assert tally.refused


def test_damaged_metadata(fuzz: Fuzz, tally: Tally, collection: ImageCollection, images: Path, tmp_path: Path) -> None:
    """Every image is written or refused by name, and every broken row by its line, or nothing is read at all."""

    def check(drawn: tuple[str, random.Random]) -> None:
        ending, chance = drawn
        file = tmp_path / f"metadata{ending}"
        file.write_bytes(_damage(_written(ending, images, file), chance))
        _emptied(collection)
        with tally.expecting(SourceError):
            report = collection.ingest(images, metadata=file)
            assert report.written <= IMAGES <= report.seen == report.written + report.refused.total()
            assert set(report.refused) <= {"metadata refused"}

    fuzz(check, damaged(), day=120, night=6000)
    assert tally.accepted
    assert tally.refused


_ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "cp1252",
    "latin-1",
    "cp932",
    "gb18030",
    "koi8-r",
]
_LETTERS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='",;\t\\'), min_size=1, max_size=8)


def test_encodings(fuzz: Fuzz, tally: Tally, collection: ImageCollection, images: Path, tmp_path: Path) -> None:
    """A text comes out as it was, or the table is refused: never as other letters."""

    def check(drawn: tuple[str, str, str, list[str], bool]) -> None:
        ending, encoding, end, albums, is_manifest = drawn
        file = tmp_path / f"table{ending}"
        try:
            file.write_bytes(_table(ending, images, albums, end).encode(encoding))
        except UnicodeEncodeError:
            return
        _emptied(collection)
        with tally.expecting(SourceError):
            report = collection.ingest(file) if is_manifest else collection.ingest(images, metadata=file)
            stored = _albums(collection)
            # a line that is not UTF-8 costs itself alone
            assert set(report.refused) <= {"metadata refused"}
            assert is_manifest or report.written == IMAGES
            for number, album in enumerate(albums):
                assert stored.get(number, album) == album

    tables = st.tuples(
        st.sampled_from([".csv", ".tsv", ".jsonl"]),
        st.sampled_from(_ENCODINGS),
        st.sampled_from(["\n", "\r\n"]),
        st.lists(_LETTERS, min_size=1, max_size=IMAGES),
        st.booleans(),
    )
    fuzz(check, tables, day=60, night=3000)
    assert tally.accepted
    assert tally.refused


def test_one_bad_row_costs_itself_alone(
    fuzz: Fuzz, tally: Tally, collection: ImageCollection, images: Path, tmp_path: Path
) -> None:
    """In a manifest, whatever is in its cells."""

    def check(drawn: tuple[str, int, dict[str, Any]]) -> None:
        ending, position, cells = drawn
        rows: list[dict[str, Any]] = [
            {"path": f"{images}/{n}.png", "album": f"of {n}", "stars": 3} for n in range(IMAGES)
        ]
        rows[position] |= cells
        file = tmp_path / f"manifest{ending}"
        if ending == ".jsonl":
            file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        else:
            lines = [[_cell(row[name]) for name in ("path", "album", "stars")] for row in rows]
            file.write_text("path,album,stars\n" + "\n".join(map(",".join, lines)), encoding="utf-8", newline="")
        _emptied(collection)
        tally.inputs += 1
        report = collection.ingest(file)
        others = {number: f"of {number}" for number in range(IMAGES) if number != position}
        assert others.items() <= _albums(collection).items()
        tally.accepted += report.written == IMAGES
        tally.refused.update(report.refused)

    bad = st.fixed_dictionaries(
        {},
        optional={
            "path": st.sampled_from(
                [
                    *(
                        "",
                        " ",
                        "\0",
                        "nowhere.png",
                        "/",
                        ".",
                        "..",
                        "~nobody/x",
                        "a\nb",
                        "http://x",
                        "ftp://x/y",
                        5,
                        ["a"],
                    ),
                    _Long("é", 3000),
                ]
            ),
            "album": st.sampled_from(
                ["x" * 65, _Long("y", 200_000), "\ud800", "\0", 1.5, ["a"], {"a": 1}, True, 10**30]
            ),
            "stars": st.sampled_from(
                [*("many", 300, -129, 1.5, float("nan"), float("inf"), [], {}, True, 10**30), _Long("9", 5000)]
            ),
        },
    )
    fuzz(check, st.tuples(st.sampled_from([".csv", ".jsonl"]), st.integers(0, IMAGES - 1), bad), day=60, night=3000)


class _Long(str):
    """A long text that is shown short."""

    def __new__(cls, letter: str, length: int) -> _Long:
        return super().__new__(cls, letter * length)

    def __repr__(self) -> str:
        return f"{self[0]!r} * {len(self)}"


def _cell(value: Any) -> str:
    return '"' + str(value).encode("utf-8", "ignore").decode().replace('"', '""') + '"'
