"""Pictures with several rows: what is written, skipped, healed and deleted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeNotes, FakeStore
from pictures import picture
from PIL import Image
from records import gone_from, read_source

from imgvec.definition import Definition
from imgvec.encoders.protocol import Pixels
from imgvec.errors import EncoderError
from imgvec.images import decode
from imgvec.ingest import Grid, Resources, StoredPictures, View, Views, ingest, prune
from imgvec.ingest.encoding import encoded
from imgvec.ingest.items import Prepared
from imgvec.ingest.journal import TORN
from imgvec.ingest.run import Run
from imgvec.report import IngestReport
from imgvec.rows import view_id, view_ids
from imgvec.sources import load_metadata, record_id
from imgvec.vectors import Vectors

PHOTOS = Definition.load("photos")
GRID = Grid((2, 3))


class Cut(BaseException):
    """Stands for a process that ends: nothing catches it but the test."""


@pytest.fixture
def journal() -> FakeNotes:
    return FakeNotes()


def run(
    source: Any,
    store: FakeStore,
    journal: FakeNotes,
    encoder: FakeEncoder,
    *,
    expand: Any = GRID,
    metadata: Any = None,
    id_column: str | None = None,
    **options: Any,
) -> IngestReport:
    records = read_source(source, metadata=load_metadata(metadata) if metadata else None, id_column=id_column)
    resources = Resources(threads=2, max_pixels=50_000_000, max_bytes=10**9)
    return ingest(records, store, {"vector": encoder}, PHOTOS.row_fields, resources, Views(expand, journal), **options)


def sound(store: FakeStore, journal: FakeNotes) -> None:
    """Every row is a view of a picture in the journal, and every view of those is a row of that very picture."""
    wanted = {}
    for id_, entry in journal.rows.items():
        assert entry["content_hash"] != TORN
        for row_id in view_ids(id_, entry["views"]):
            wanted[row_id] = (id_, entry["uri"], entry["content_hash"])
    assert {id_: (row["image_id"], row["uri"], row["content_hash"]) for id_, row in store.rows.items()} == wanted


@pytest.fixture
def few(tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for seed in range(5):
        picture(seed).save(folder / f"{seed}.png")
    return folder


def test_a_picture_has_a_row_for_each_view(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    report = run(few, store, journal, encoder)
    assert (report.seen, report.written) == (5, 5)
    assert len(store.rows) == 5 * 14
    sound(store, journal)
    uri = str(few / "0.png")
    whole = store.rows[record_id(uri)]
    assert (whole["image_id"], whole["view"], whole["box"], whole["at_ms"]) == (whole["id"], "whole", [0, 0, 64, 48], 0)
    image = decode((few / "0.png").read_bytes(), uri=uri).image
    np.testing.assert_allclose(whole["vector"], encoder.encode_images([image])[0], atol=1e-6)
    # 64 x 48 in crops of 2/3 and of 2/4, by steps of half a crop
    boxes = [
        (0, 0, 43, 32), (21, 0, 64, 32), (0, 16, 43, 48), (21, 16, 64, 48),
        *((x, y, x + 32, y + 24) for y in (0, 12, 24) for x in (0, 16, 32)),
    ]  # fmt: skip
    for ordinal, box in enumerate(boxes):
        row = store.rows[view_id(whole["id"], "region", ordinal)]
        assert (row["image_id"], row["view"], tuple(row["box"])) == (whole["id"], "region", box)
        assert (row["uri"], row["album"], row["width"], row["height"]) == (uri, "", 64, 48)
        np.testing.assert_allclose(row["vector"], encoder.encode_images([image.crop(box)])[0], atol=1e-6)


def test_crops_of_a_picture_that_was_decoded_smaller_show_the_same_place(tmp_path: Path) -> None:
    with Image.radial_gradient("L") as gradient:
        large = gradient.resize((1600, 1200)).convert("RGB")
    encoder = FakeEncoder(image_size=32)
    large.save(tmp_path / "large.jpg", quality=95)
    found = decode((tmp_path / "large.jpg").read_bytes(), uri="", min_side=GRID.least_side(32))
    assert found.image.width < 1600
    for view in GRID(found.image, found.width, found.height):
        assert view.image.width * 1600 / found.image.width == pytest.approx(view.box[2] - view.box[0], abs=12)
        own, exact = (encoder.encode_images([each])[0] for each in (view.image, large.crop(view.box)))
        assert float(own @ exact) > 0.99


def test_a_grid_leaves_out_what_is_too_small_to_see() -> None:
    assert len(GRID.boxes(64, 48)) == 13
    assert len(GRID.boxes(31, 400)) == 4  # a third crop of it would be 15 pixels wide
    assert GRID.boxes(23, 400) == []
    assert [view.kind for view in GRID(Image.new("RGB", (9, 9)), 9, 9)] == ["whole"]


def test_what_is_unchanged_is_skipped_by_the_journal_alone(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(few, store, journal, encoder)
    monkeypatch.setattr(store, "get", lambda *_, **__: pytest.fail("the rows were read"))
    report = run(few, store, journal, encoder)
    assert (report.unchanged, report.written, encoder.encoded) == (5, 0, 70)
    assert "decode" not in report.stage_seconds


def test_new_metadata_goes_to_every_row_with_the_vector_that_it_had(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    uri = str(few / "1.png")
    run(few, store, journal, encoder, metadata={uri: {"album": "cats", "views": 7}})
    before = {id_: row["vector"] for id_, row in store.rows.items()}
    assert run(few, store, journal, encoder, metadata={uri: {"album": "cats", "views": 7}}).unchanged == 5
    report = run(few, store, journal, encoder, metadata={uri: {"album": "dogs"}})
    assert (report.updated, report.unchanged, encoder.encoded) == (1, 4, 70)
    rows = [row for row in store.rows.values() if row["uri"] == uri]
    assert [(row["album"], row["views"]) for row in rows] == [("dogs", 7)] * 14
    for id_, row in store.rows.items():
        np.testing.assert_array_equal(row["vector"], before[id_])
    sound(store, journal)


def test_a_changed_picture_loses_the_views_that_it_has_no_more(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    run(few, store, journal, encoder, metadata={str(few / "2.png"): {"album": "cats"}})
    picture(9).resize((28, 40)).save(few / "2.png")
    report = run(few, store, journal, encoder)
    assert (report.written, report.unchanged, len(store.rows)) == (1, 4, 4 * 14 + 5)
    sound(store, journal)
    assert {row["album"] for row in store.rows.values() if row["uri"] == str(few / "2.png")} == {"cats"}
    picture(10).save(few / "2.png")
    run(few, store, journal, encoder)
    assert len(store.rows) == 5 * 14
    sound(store, journal)


def test_rows_that_somebody_deleted_come_back_with_new_metadata(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    run(few, store, journal, encoder)
    uris = [str(few / f"{n}.png") for n in (0, 1)]
    del store.rows[record_id(uris[0])], store.rows[view_id(record_id(uris[1]), "region", 4)]
    report = run(few, store, journal, encoder, metadata={uri: {"album": "cats"} for uri in uris})
    assert (report.written, report.unchanged, len(store.rows)) == (2, 3, 70)
    assert [store.rows[record_id(uri)]["album"] for uri in uris] == ["cats", "cats"]
    sound(store, journal)


class Blind(FakeEncoder):
    """Has no vector for what is all white."""

    def encode(self, pixels: Pixels) -> Vectors:
        if any((each == 255).all() for each in pixels):
            raise EncoderError("all white")
        return super().encode(pixels)


def test_a_view_without_a_vector_costs_the_whole_picture(few: Path, store: FakeStore, journal: FakeNotes) -> None:
    white = picture(2).copy()
    white.paste((255, 255, 255), (32, 24, 64, 48))  # the last of its crops
    white.save(few / "2.png")
    report = run(few, store, journal, Blind())
    assert (report.written, report.refused) == (4, {"not encodable": 1})
    assert len(store.rows) == 56
    sound(store, journal)


def test_a_picture_without_rows_goes_through_every_encoder_beside_others() -> None:
    encoders = {"vector": FakeEncoder(), "texture": FakeEncoder(seed=5, dim=24, image_size=48)}

    def prepared(views: int) -> Prepared:
        shapes = {name: (views, 3, *[encoder.binding.image_size] * 2) for name, encoder in encoders.items()}
        pixels = {name: np.full(shape, 200, np.uint8) for name, shape in shapes.items()} if views else {}
        return Prepared({"id": f"{views}", "uri": "u"}, [{}] * views, pixels)

    ready = encoded([prepared(2), prepared(0), prepared(1)], encoders, Run(False, None, None, 0.0, lambda: False))
    assert [each.row["id"] for each in ready] == ["2", "0", "1"]
    for name, dim in (("vector", 16), ("texture", 24)):
        assert [each.vectors[name].shape for each in ready] == [(2, dim), (0, dim), (1, dim)]


def test_batches_are_bounded_in_rows(
    pictures: Path, store: FakeStore, journal: FakeNotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imgvec.ingest.pipeline.WRITE_ROWS", 40)
    encoder = FakeEncoder(batch_size=16)
    sizes: list[int] = []
    encode = encoder.encode

    def counting(pixels: Pixels) -> Vectors:
        sizes.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(encoder, "encode", counting)
    run(pictures, store, journal, encoder)
    assert set(sizes) == {14}  # two pictures are more than 16
    assert max(store.upserts) <= 40
    sizes.clear()
    run(pictures, FakeStore(), FakeNotes(), encoder, expand=Grid((2,)))
    assert set(sizes) == {15, 10}
    small = FakeEncoder(batch_size=4)
    monkeypatch.setattr(encoder, "batch_size", 4)
    sizes.clear()
    run(pictures, FakeStore(), FakeNotes(), encoder)
    assert max(sizes) <= small.batch_size


class Faces:
    """As many views as the picture's first pixel says, and no whole one."""

    most = 9
    own_fields = frozenset[str]()

    def least_side(self, side: int) -> int:
        return side

    def __call__(self, image: Image.Image, width: int, height: int) -> Sequence[View]:
        count = image.getpixel((0, 0))[0] // 10  # type: ignore[index]
        return [View("face", (n, 0, n + 20, 20), image.crop((n, 0, n + 20, 20))) for n in range(count)]


def with_faces(count: int, path: Path, seed: int = 0) -> None:
    image = picture(seed)
    image.putpixel((0, 0), (10 * count, 0, 0))
    image.save(path)


def test_a_picture_without_rows_is_in_the_journal_and_not_looked_at_again(
    tmp_path: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    with_faces(0, tmp_path / "none.png")
    with_faces(3, tmp_path / "three.png", 1)
    assert run(tmp_path, store, journal, encoder, expand=Faces()).written == 2
    assert len(store.rows) == 3
    assert [entry["views"] for entry in journal.rows.values() if "none" in entry["uri"]] == [{}]
    metadata = {str(tmp_path / "none.png"): {"album": "a"}}
    report = run(tmp_path, store, journal, encoder, expand=Faces(), metadata=metadata)
    assert (report.unchanged, encoder.encoded) == (2, 3)
    with_faces(0, tmp_path / "three.png", 2)
    run(tmp_path, store, journal, encoder, expand=Faces())
    assert store.rows == {}
    sound(store, journal)


CHANGES: dict[str, Callable[[Path], None]] = {
    "fewer": lambda folder: with_faces(1, folder / "a.png", 7),
    "more": lambda folder: with_faces(8, folder / "a.png", 7),
    "new": lambda folder: with_faces(4, folder / "z.png", 7),
}


@pytest.mark.parametrize("cuts", [*itertools.product(range(3), repeat=2)], ids=str)
@pytest.mark.parametrize(("first", "second"), [*itertools.product(CHANGES, repeat=2)])
def test_a_kill_between_any_two_calls_is_healed(
    tmp_path: Path, encoder: FakeEncoder, first: str, second: str, cuts: tuple[int, int]
) -> None:
    """Of two changes the runs end after so many calls that write; each makes three at least."""
    store, journal = FakeStore(), FakeNotes()
    for number, name in enumerate("abc"):
        with_faces(5, tmp_path / f"{name}.png", number)
    run(tmp_path, store, journal, encoder, expand=Faces())
    sound(store, journal)
    CHANGES[first](tmp_path)
    with pytest.raises(Cut):
        run(tmp_path, *cut_after(cuts[0], store, journal), encoder, expand=Faces())
    CHANGES[second](tmp_path)
    if second == first:
        with_faces(2, tmp_path / "a.png", 11)
    with pytest.raises(Cut):
        run(tmp_path, *cut_after(cuts[1], store, journal), encoder, expand=Faces())
    run(tmp_path, store, journal, encoder, expand=Faces())
    sound(store, journal)
    assert run(tmp_path, store, journal, encoder, expand=Faces()).written == 0


@pytest.mark.parametrize("calls", range(3))
def test_a_kill_while_metadata_is_written_is_healed(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder, calls: int
) -> None:
    run(few, store, journal, encoder)
    metadata = {str(few / f"{n}.png"): {"album": "cats"} for n in range(5)}
    with pytest.raises(Cut):
        run(few, *cut_after(calls, store, journal), encoder, metadata=metadata)
    run(few, store, journal, encoder, metadata=metadata)
    assert {row["album"] for row in store.rows.values()} == {"cats"}
    sound(store, journal)


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("size", [(64, 48), (28, 40)], ids=["as many views", "fewer"])
def test_a_kill_before_a_change_that_is_taken_back_is_healed(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder, calls: int, size: tuple[int, int]
) -> None:
    file = few / "2.png"
    run(few, store, journal, encoder)
    former = file.read_bytes()
    picture(9, size).save(file)
    with suppress(Cut):  # where fewer calls are made
        run(few, *cut_after(calls, store, journal), encoder)
    file.write_bytes(former)
    run(few, store, journal, encoder)
    sound(store, journal)
    assert len(store.rows) == 70


@pytest.mark.parametrize("calls", range(1, 3))
def test_a_kill_before_metadata_that_is_taken_back_is_healed(
    few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder, calls: int
) -> None:
    former = {str(few / f"{n}.png"): {"album": "cats"} for n in range(5)}
    run(few, store, journal, encoder, metadata=former)
    with pytest.raises(Cut):
        run(few, *cut_after(calls, store, journal), encoder, metadata={uri: {"album": "dogs"} for uri in former})
    run(few, store, journal, encoder, metadata=former)
    assert {row["album"] for row in store.rows.values()} == {"cats"}
    sound(store, journal)


def test_an_id_that_is_a_views_is_refused(
    few: Path, tmp_path: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
) -> None:
    """As a table of a collection's own rows gives them."""
    run(few, store, journal, encoder)
    uri = str(few / "1.png")
    rows = [row for row in store.rows.values() if row["uri"] == uri]
    table = tmp_path / "rows.jsonl"
    table.write_text("".join(json.dumps({"path": uri, "key": row["id"]}) + "\n" for row in rows))
    report = run(table, store, journal, encoder, id_column="key")
    assert (report.unchanged, report.refused) == (1, {"metadata refused": 13})
    sound(store, journal)


def cut_after(calls: int, store: FakeStore, journal: FakeNotes) -> tuple[FakeStore, FakeNotes]:
    """Both, as seen by a process that ends after so many calls that write."""
    left = itertools.count(calls, -1)

    def live() -> None:
        if next(left) <= 0:
            raise Cut

    class Ending(FakeStore):
        def upsert(self, rows: Sequence[Mapping[str, Any]], vectors: Vectors) -> int:
            live()
            return super().upsert(rows, vectors)

        def discard(self, ids: Sequence[str]) -> None:
            live()
            super().discard(ids)

    class EndingNotes(FakeNotes):
        def upsert(self, rows: Sequence[Mapping[str, Any]]) -> int:
            live()
            return super().upsert(rows)

        def delete(self, ids: Sequence[str]) -> int:
            live()
            return super().delete(ids)

    seen, noted = Ending(), EndingNotes()
    seen.rows, noted.rows = store.rows, journal.rows
    return seen, noted


class TestStoredPictures:
    @pytest.fixture
    def stored(self, few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder) -> StoredPictures:
        run(few, store, journal, encoder)
        return StoredPictures(store, journal)

    def test_a_picture_goes_by_its_id_or_that_of_a_row(
        self, stored: StoredPictures, few: Path, store: FakeStore, journal: FakeNotes
    ) -> None:
        first, second = (record_id(str(few / f"{n}.png")) for n in (0, 1))
        ids = [view_id(first, "region", 12), first, view_id(second, "region", 0), "nobody"]
        assert stored.of(ids) == [first, second]
        assert stored.delete(ids) == 2
        assert (len(store.rows), len(journal.rows), stored.count()) == (42, 3, 3)
        sound(store, journal)
        assert stored.delete(ids) == 0

    def test_a_picture_without_rows(
        self, tmp_path: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
    ) -> None:
        folder = tmp_path / "faces"
        folder.mkdir()
        with_faces(0, folder / "none.png")
        run(folder, store, journal, encoder, expand=Faces())
        stored = StoredPictures(store, journal)
        own = record_id(str(folder / "none.png"))
        assert next(iter(stored.scan())) == [(own, str(folder / "none.png"))]
        assert stored.has_any([own])
        (folder / "none.png").unlink()
        asked: list[tuple[int, int]] = []
        assert prune(stored, gone_from(folder), confirm=lambda *numbers: asked.append(numbers) is None) == 1
        assert (asked, journal.rows) == ([(1, 1)], {})

    def test_rows_whose_journal_was_lost_are_listed_and_deleted(
        self, stored: StoredPictures, few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder
    ) -> None:
        journal.rows.clear()
        assert sorted(uri for some in stored.scan() for _, uri in some) == sorted(map(str, few.iterdir()))
        assert stored.count() == 5
        assert stored.delete([record_id(str(few / "3.png"))]) == 1
        assert len(store.rows) == 56
        assert run(few, store, journal, encoder).written == 5
        sound(store, journal)

    @pytest.mark.parametrize("calls", range(3))
    def test_a_kill_while_pictures_are_deleted(
        self, few: Path, store: FakeStore, journal: FakeNotes, encoder: FakeEncoder, calls: int
    ) -> None:
        """Afterwards the same call deletes the rest, and an ingest makes whole what it has in its source."""
        run(few, store, journal, encoder)
        ids = [record_id(str(few / f"{n}.png")) for n in (0, 1)]
        with pytest.raises(Cut):
            StoredPictures(*cut_after(calls, store, journal)).delete(ids)
        copied = FakeStore(), FakeNotes()
        copied[0].rows, copied[1].rows = dict(store.rows), dict(journal.rows)
        StoredPictures(*copied).delete(ids)
        assert len(copied[0].rows) == 42
        sound(*copied)
        run(few, store, journal, encoder)
        assert len(store.rows) == 70
        sound(store, journal)
