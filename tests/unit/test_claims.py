"""One id, one image: what comes again, near or far, and that a second run over the same source writes nothing."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import picture
from records import read_source

from imgvec.definition import Definition, field_problem
from imgvec.engines import worker
from imgvec.engines.ray import _add
from imgvec.errors import ImgvecError, WriteFailed
from imgvec.images import BytesReader, content_hash
from imgvec.ingest import Resources, claimed, claims, ingest
from imgvec.report import IngestReport
from imgvec.sources import Again, Item, Record, Source, record_id
from imgvec.sources.seen import Seen
from imgvec.vectors import Vectors

PHOTOS = Definition.load("photos")
FILES = 6


def record(id_: str, uri: str, **metadata: Any) -> Record:
    return Record(id_, uri, BytesReader(b"x", uri), metadata)


def run(records: Iterator[Item], store: FakeStore, **options: Any) -> IngestReport:
    resources = Resources(threads=2, max_pixels=10**6, max_bytes=10**9)
    return ingest(records, store, {"vector": FakeEncoder(batch_size=2)}, PHOTOS.row_fields, resources, **options)


class TestClaims:
    def test_the_first_has_it_however_many_come_between(self) -> None:
        table = Seen(slots=4)
        keys = [int(key) for key in np.random.default_rng(0).integers(0, 2**64, 5000, np.uint64)]
        keys += [0, 2**64 - 1, *range(2, 2000)]
        assert all(table.claim(key, key ^ 1) is None for key in keys)
        assert [table.claim(key, 7) for key in keys] == [key ^ 1 for key in keys]
        assert len(table) == len(keys)

    def test_what_a_million_take(self) -> None:
        table = Seen()
        for key in np.random.default_rng(0).integers(1, 2**64, 200_000, np.uint64).tolist():
            table.claim(key, key)
        size = sum(sys.getsizeof(each) for each in (table._keys, table._marks))
        assert 24 * 200_000 <= size <= 48 * 200_000 + 1000

    def test_near_and_far(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(claims, "REMEMBERED_URIS", 3)
        source = [
            record("A", "/0.jpg"), record("A", "/1.jpg"), record("A", "/0.jpg"), record("A", "/0.jpg", album="x"),
            *(record(str(n), f"/n{n}.jpg") for n in range(5)), record("A", "/2.jpg"),
        ]  # fmt: skip
        found = list(claimed(source))
        assert [one for one in found if isinstance(one, Again)] == [
            Again("A", "/1.jpg", False, "/0.jpg"),
            Again("A", "/0.jpg", True, "/0.jpg"),
            Again("A", "/0.jpg", False, "/0.jpg"),
            Again("A", "/2.jpg", False, None),
        ]

    def test_a_path_s_own_id_needs_no_memory_of_the_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(claims, "REMEMBERED_URIS", 0)
        (_, again) = claimed([record(record_id("/a"), "/a", n=1), record(record_id("/a"), "/a", n=2)])
        assert again == Again(record_id("/a"), "/a", False, "/a")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}),
            ({"o": {"x": 1, "y": 2}}, {"o": {"y": 2, "x": 1}}),
            ({"v": np.float32(0.5), "w": np.arange(3000)}, {"v": np.float32(0.5), "w": np.arange(3000)}),
            ({"o": {1: "x", "y": 2}}, {"o": {1: "x", "y": 2}}),
            ({"s": "\udcff"}, {"s": "\udcff"}),
        ],
    )
    def test_the_same_values_are_the_same(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        (_, again) = claimed([record("A", "/a", **one), record("A", "/a", **other)])
        assert isinstance(again, Again)
        assert again.same

    def test_another_picture_of_an_id_is_not_the_first_one_again(self) -> None:
        """The uri of a picture that was given is made of its id, so that it says nothing of the picture."""
        given = [("A", b"x"), ("A", b"x"), ("A", b"y"), (None, b"x"), (None, b"y"), (None, b"x"), ("B", picture(1)),
                 ("B", picture(2))]  # fmt: skip
        found = [one for one in claimed(iter(Source(given))) if isinstance(one, Again)]
        assert [(one.id, one.same) for one in found] == [
            ("A", True), ("A", False), (record_id(f"given://{content_hash(b'x')}"), True), ("B", False),
        ]  # fmt: skip
        refusal = found[1].refusal("given://A")
        assert refusal.reason == "given twice"
        assert "given://A is already in the source with another picture or different metadata" in refusal.detail

    def test_values_that_differ_in_the_middle(self) -> None:
        other = np.arange(3000)
        other[1500] = 0  # which NumPy's own repr leaves out
        (_, again) = claimed([record("A", "/a", w=np.arange(3000)), record("A", "/a", w=other)])
        assert isinstance(again, Again)
        assert not again.same


def test_both_uris_are_named_however_far_apart(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(12):
        picture(n).save(tmp_path / f"{n}.png")
    rows = [{"path": f"{n % 11}.png", "sku": "Y" if n in (0, 900) else f"z{n % 11}"} for n in range(901)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for expected in (12, 0, 0):
        log = tmp_path / "e.jsonl"
        report = run(read_source(tmp_path / "m.jsonl", id_column="sku"), store, errors=log)
        assert (report.written, report.updated, report.refused) == (expected, 0, {"given twice": 1})
        assert report.seen == report.written + report.unchanged + report.duplicates + 1
        (line,) = map(json.loads, log.read_text().splitlines())
        assert line["uri"] == f"{tmp_path}/9.png"
        assert f"its id 'Y' is already used by {tmp_path}/0.png" in line["detail"]
        monkeypatch.setattr(claims, "REMEMBERED_URIS", 5)  # from here on the first one's uri is the database's
    assert store.rows["Y"]["uri"] == f"{tmp_path}/0.png"


def test_an_id_stays_with_an_image_that_was_moved(tmp_path: Path, store: FakeStore) -> None:
    picture(1).save(tmp_path / "a.png")
    for name, counts in (("a.png", (1, 0)), ("b.png", (0, 1)), ("b.png", (0, 0))):
        if not (tmp_path / name).exists():
            (tmp_path / "a.png").rename(tmp_path / name)
        (tmp_path / "m.csv").write_text(f"path,sku\n{name},A\n")
        report = run(read_source(tmp_path / "m.csv", id_column="sku"), store)
        assert (report.written, report.updated) == counts
    assert store.rows["A"]["uri"] == f"{tmp_path}/b.png"


def test_the_first_keeps_its_id_where_it_could_not_be_read(tmp_path: Path, store: FakeStore) -> None:
    """Which of two images has an id is the source's order alone: not what the network was like that day."""
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,sku\nnone.png,A\na.png,A\n")
    report = run(read_source(tmp_path / "m.csv", id_column="sku"), store)
    assert (report.written, report.refused) == (0, {"missing": 1, "given twice": 1})


@dataclass(frozen=True)
class Row:
    file: int
    """Its number; one past the last does not exist, two past it is not an image."""
    id: str
    album: str


ROWS = st.lists(
    st.builds(Row, st.integers(0, FILES + 1), st.sampled_from("abcdefgh"), st.sampled_from(["", "cat", "dog"])),
    max_size=24,
)


@dataclass(frozen=True)
class Version:
    """A manifest, and the pictures' contents at the time."""

    rows: Sequence[Row]
    contents: Sequence[int]
    """Which picture each file holds."""
    ids: bool
    kind: str

    def write(self, folder: Path) -> None:
        for number, content in enumerate(self.contents):
            picture(content, (24, 16)).save(folder / f"{number}.png")
        (folder / f"{FILES + 1}.png").write_text("not an image")
        rows = [{"path": f"{row.file}.png", "sku": row.id, "album": row.album} for row in self.rows]
        if self.kind == "csv":
            text = "path,sku,album\n" + "".join(f"{','.join(row.values())}\n" for row in rows)
        else:
            text = "".join(json.dumps({**row, "album": row["album"] or None}) + "\n" for row in rows)
        for old in folder.glob("m.*"):
            old.unlink()
        (folder / f"m.{self.kind}").write_text(text)

    def records(self, folder: Path, **options: Any) -> Iterator[Any]:
        mapping = {"album": "album"}
        return read_source(
            folder / f"m.{self.kind}", id_column="sku" if self.ids else None, mapping=mapping, root=folder, **options
        )

    def expected(self) -> dict[str, str]:
        """uri by id: the first row of each id, where its file is a picture."""
        first: dict[str, str] = {}
        for row in self.rows:
            uri = f"{row.file}.png"
            first.setdefault(row.id if self.ids else record_id(uri), uri)
        return {id_: uri for id_, uri in first.items() if int(uri.partition(".")[0]) < FILES}


VERSIONS = st.lists(
    st.builds(
        Version,
        ROWS,
        st.lists(st.integers(0, 9), min_size=FILES, max_size=FILES),
        st.booleans(),
        st.sampled_from(["csv", "jsonl"]),
    ),
    min_size=1,
    max_size=3,
)


class DyingStore(FakeStore):
    """Writes so many times, and then no more."""

    writes_left = 10**6

    def upsert(self, rows: Sequence[Any], vectors: Vectors) -> int:
        if self.writes_left <= 0:
            raise WriteFailed("killed", written=0, pending=len(rows))
        self.writes_left -= 1
        return super().upsert(rows, vectors)


def contents(store: FakeStore) -> dict[str, dict[str, Any]]:
    return {
        id_: {name: value for name, value in row.items() if name not in ("ingested_at", "vector")}
        | {"vector": row["vector"].tolist()}
        for id_, row in store.rows.items()
    }


def through_chunks(records: Iterator[Item], store: FakeStore) -> None:
    """As the Ray engine does it: one reader, workers that see chunks."""
    for pickled in worker.read(lambda: records, ".", pickle.dumps):
        run(iter([pickle.loads(each) for each in pickle.loads(pickled).pickled]), store)


def settles(folder: Path, versions: Sequence[Version], cut: int, chunk: int) -> None:
    folder.mkdir(exist_ok=True)
    patch = pytest.MonkeyPatch()
    for name, value in (("reading.LOOKUP_ROWS", chunk), ("pipeline.WRITE_ROWS", 2), ("claims.REMEMBERED_URIS", chunk)):
        patch.setattr(f"imgvec.ingest.{name}", value)
    patch.setattr(worker, "CHUNK_RECORDS", chunk)
    store = FakeStore()
    with patch.context():
        for version in versions:
            version.write(folder)
            before = {id_: dict(row) for id_, row in store.rows.items()}
            run(version.records(folder), store)
            assert {id_: row["uri"] for id_, row in store.rows.items() if id_ in version.expected()} == (
                version.expected()
            )
            for id_, uri in version.expected().items():
                assert store.rows[id_]["content_hash"] == content_hash((folder / uri).read_bytes())
            settled = contents(store)
            again = run(version.records(folder), store)
            assert (again.written, again.updated) == (0, 0)
            assert contents(store) == settled
            for way in ("cut", "parts", "chunks"):
                other = DyingStore(rows={id_: dict(row) for id_, row in before.items()})
                if way == "cut":
                    other.writes_left = cut
                    try:
                        run(version.records(folder), other)
                    except ImgvecError:
                        other.writes_left = 10**6
                        run(version.records(folder), other)
                elif way == "parts":
                    for rank in (1, 0):
                        run(version.records(folder, part=(rank, 2)), other)
                else:
                    through_chunks(version.records(folder), other)
                assert contents(other) == settled, way
    patch.undo()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=VERSIONS, cut=st.integers(0, 6), chunk=st.integers(1, 9))
@pytest.mark.slow
def test_a_run_over_an_unchanged_source_writes_nothing(
    tmp_path: Path, versions: list[Version], cut: int, chunk: int
) -> None:
    settles(tmp_path, versions, cut, chunk)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=VERSIONS, cut=st.integers(0, 20), chunk=st.integers(1, 30))
def test_a_run_over_an_unchanged_source_writes_nothing_at_length(
    tmp_path: Path, versions: list[Version], cut: int, chunk: int
) -> None:
    settles(tmp_path, versions, cut, chunk)


def test_what_a_source_says_comes_through_chunks(
    tmp_path: Path, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the Ray engine adds it up: counts over all chunks, each notice told once."""
    monkeypatch.setattr(worker, "CHUNK_RECORDS", 2)
    picture(1).save(tmp_path / "z.png")
    for n in range(5):
        (tmp_path / f"{n}.png").symlink_to("z.png")
    (tmp_path / "m.jsonl").write_text("".join(f'{{"path": "z.png", "width": 1, "n": {n}}}\n' for n in (1, 1, 2)))
    total, told = IngestReport(), []
    sources = [tmp_path / "m.jsonl", tmp_path]
    for pickled in worker.read(lambda: read_source(sources, field_problem=field_problem), ".", pickle.dumps):
        part = run(iter([pickle.loads(each) for each in pickle.loads(pickled).pickled]), store)
        told += _add(total, part)
    assert (total.written, total.duplicates, total.seen) == (1, 1, 4)
    assert total.refused == {"given twice": 2}  # other metadata, and the folder's own without any
    assert total.passed_over == {"symbolic link": 5}
    assert total.first_passed_over == {"symbolic link": f"{tmp_path}/0.png"}
    assert len(told) == 1
    assert total.notices == told
