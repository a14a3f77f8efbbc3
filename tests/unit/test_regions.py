"""Regions: crops of what stands out, by colours or by the tokens of the encoder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeNotes, FakeStore
from PIL import Image
from records import read_source

from imgvec.definition import Definition
from imgvec.encoders.protocol import Pixels, Tokens
from imgvec.errors import EncoderError
from imgvec.images import decode
from imgvec.ingest import Regions, Resources, Views, ingest
from imgvec.ingest.looking import looker
from imgvec.ingest.regions import CELLS, by_colours, by_tokens
from imgvec.report import IngestReport

SIZE = (640, 480)
PHOTOS = Definition.load("photos")


def with_thing(box: tuple[int, int, int, int], size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    """A thing full of colours before a plain ground."""
    image = Image.new("RGB", size, (120, 130, 140))
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image.paste(Image.fromarray(noise).resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST), box)
    return image


def share_within(boxes: Sequence[Sequence[int]], thing: tuple[int, int, int, int]) -> float:
    """The mean share of the boxes' area that lies in the thing."""
    shares = []
    for x0, y0, x1, y1 in boxes:
        width, height = min(x1, thing[2]) - max(x0, thing[0]), min(y1, thing[3]) - max(y0, thing[1])
        shares.append(max(0, width) * max(0, height) / ((x1 - x0) * (y1 - y0)))
    return float(np.mean(shares))


def boxes_of(image: Image.Image, number: int = 13) -> list[tuple[int, int, int, int]]:
    return [view.box for view in Regions(number)(image, *image.size)[1:]]


def test_crops_are_of_what_stands_out_and_still_of_all_the_picture() -> None:
    plain = boxes_of(Image.new("RGB", SIZE, (120, 130, 140)))
    for thing in ((400, 40, 600, 240), (60, 260, 260, 440)):
        image = with_thing(thing)
        found = boxes_of(image)
        assert len({*found}) == 13
        assert share_within(found, thing) > 1.2 * share_within(plain, thing)
        assert share_within(found[:1], thing) > share_within(plain[:1], thing)
        heat = by_colours(image)
        inside = np.zeros((CELLS, CELLS), bool)
        left, top, right, bottom = (np.array(thing) / 40 * (1, 4 / 3, 1, 4 / 3)).astype(int)  # in cells
        inside[top + 1 : bottom, left + 1 : right] = True
        assert heat[inside].min() > 3 * np.median(heat[~inside])
        covered = np.zeros(SIZE, bool)
        for x0, y0, x1, y1 in found:
            assert 0 <= x0 < x1 <= 640
            assert 0 <= y0 < y1 <= 480
            covered[x0:x1, y0:y1] = True
        assert covered.mean() > 0.6


def test_where_nothing_stands_out_crops_cover_the_picture_evenly() -> None:
    found = boxes_of(Image.new("RGB", SIZE))
    covered = np.zeros(SIZE, int)
    for x0, y0, x1, y1 in found:
        covered[x0:x1, y0:y1] += 1
    assert (covered > 0).mean() > 0.75
    quarters = [covered[x : x + 320, y : y + 240].mean() for x in (0, 320) for y in (0, 240)]
    assert max(quarters) < 1.5 * min(quarters)


def test_more_regions_begin_with_the_same_and_small_pictures_have_fewer() -> None:
    image = with_thing((200, 100, 400, 300))
    assert boxes_of(image, 20)[:5] == boxes_of(image, 5)
    assert boxes_of(image) == boxes_of(image.copy())
    whole, *rest = Regions(3)(image, *image.size)
    assert (whole.kind, whole.box, whole.image.size) == ("whole", (0, 0, 640, 480), SIZE)
    assert [(view.kind, view.image.size) for view in rest] == [
        ("region", (view.box[2] - view.box[0], view.box[3] - view.box[1])) for view in rest
    ]
    assert len(Regions(3)(image.resize((31, 200)), 31, 200)) == 1
    least = Regions(8)(image.resize((33, 200)), 33, 200)
    assert len(least) == 9
    assert min(view.box[2] - view.box[0] for view in least) >= 16
    assert (Regions(13).most, Regions(13).least_side(224)) == (14, 623)


def test_crops_of_a_picture_that_was_decoded_smaller_show_the_same_place(tmp_path: Path) -> None:
    large = with_thing((900, 300, 1300, 700), (2000, 1500))
    large.save(tmp_path / "large.jpg", quality=95)
    found = decode((tmp_path / "large.jpg").read_bytes(), uri="", min_side=Regions(6).least_side(32))
    assert found.image.width < 2000
    encoder = FakeEncoder(image_size=32)
    for view in Regions(6)(found.image, found.width, found.height):
        own, exact = (encoder.encode_images([each])[0] for each in (view.image, large.crop(view.box)))
        assert float(own @ exact) > 0.97


def tokens_of(marked: Sequence[tuple[int, int]], grid: tuple[int, int] = (8, 8)) -> Tokens:
    """Of a picture whose marked patches are unlike all others."""
    patches = np.zeros((2, *grid, 4), np.float32)
    patches[..., 0] = 1
    for row, column in marked:
        patches[1, row, column] = (0, 1, 0, 0)
    return Tokens(grid, patches.reshape(2, -1, 4))


def test_tokens_say_where_of_what_the_encoder_saw() -> None:
    heat = by_tokens(tokens_of([(2, 5)]), (640, 480), None)
    assert {*zip(*np.nonzero(heat > 0.5), strict=True)} == {(row, column) for row in (4, 5) for column in (10, 11)}
    # the middle square alone: 80 pixels less at either side
    heat = by_tokens(tokens_of([(2, 5)]), (640, 480), (80, 0, 560, 480))
    columns = {int(column) for _, column in zip(*np.nonzero(heat > 0.5), strict=True)}
    # columns 5 of 8 of those 480 pixels are pixels 380 to 440, and cells are 40 pixels wide
    assert columns == {9, 10}
    heat = by_tokens(tokens_of([(0, 0)]), (640, 480), (80, 0, 560, 480))
    assert heat[0, :3].tolist() == [heat[0, 0]] * 3  # beyond what it saw is what is at its edge


class SeeingEncoder(FakeEncoder):
    """Says that the brightest patch of a picture stands out."""

    def __init__(self, *, says: Any = "patches", **options: Any) -> None:
        super().__init__(**options)
        self.says, self.looks, self.at_once = says, 0, [0]

    def tokens(self, pixels: Pixels) -> Sequence[Tokens] | None:
        self.looks += len(pixels)
        self.at_once.append(len(pixels))
        if isinstance(self.says, Exception):
            raise self.says
        if self.says is None:
            return None
        bright = pixels.astype(int).sum(axis=1).reshape(len(pixels), 8, 4, 8, 4).sum(axis=(2, 4))
        places = [np.unravel_index(int(np.argmax(each)), each.shape) for each in bright]
        return [tokens_of([(int(row), int(column))]) for row, column in places]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for number, left in enumerate((40, 300, 540)):
        image = Image.new("RGB", SIZE, (30, 30, 30))
        image.paste((250, 250, 250), (left, 200, left + 60, 260))
        image.save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(source: Path, store: FakeStore, encoder: FakeEncoder, *, number: int = 5, **of_machine: int) -> IngestReport:
    resources = Resources(threads=2, max_pixels=50_000_000, max_bytes=10**9, **of_machine)
    views = Views(Regions(number), FakeNotes())
    return ingest(read_source(source), store, {"vector": encoder}, PHOTOS.row_fields, resources, views)


def boxes(store: FakeStore) -> dict[str, list[tuple[int, ...]]]:
    """By picture, the boxes of its rows."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for row in store.rows.values():
        found.setdefault(Path(row["uri"]).name, []).append(tuple(row["box"]))
    return found


@pytest.mark.parametrize("processes", [0, 1])
def test_the_encoder_looks_once_at_each_picture(few: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    if not processes:

        def counting(data: bytes, **options: Any) -> Any:
            decoded.append(options["uri"])
            return decode(data, **options)

        monkeypatch.setattr("imgvec.ingest.decoding.decode", counting)
    encoder, store = SeeingEncoder(), FakeStore()
    report = run(few, store, encoder, processes=processes)
    assert (report.written, report.refused.total(), encoder.looks, encoder.encoded) == (3, 1, 3, 18)
    assert processes or len(decoded) == 4
    assert report.stage_seconds["look"] > 0
    for number, left in enumerate((40, 300, 540)):
        own = boxes(store)[f"{number}.png"]
        with Image.open(few / f"{number}.png") as image:
            assert {*own} == {view.box for view in Regions(5).of_tokens(image, 640, 480, _tokens(encoder, image), None)}
            row = next(row for row in store.rows.values() if tuple(row["box"]) == own[-1] and str(number) in row["uri"])
            wanted = encoder.encode_images([image.crop(own[-1])])[0]
            assert float(row["vector"] @ wanted) > 0.999  # it was made smaller by a whole factor while it waited
        assert any(box[0] <= left and left + 60 <= box[2] for box in own if box != (0, 0, 640, 480))


def _tokens(encoder: SeeingEncoder, image: Image.Image) -> Tokens:
    said = encoder.tokens(encoder.prepare(image)[np.newaxis])
    assert said is not None
    return said[0]


def test_a_model_without_patches_is_asked_once_and_colours_are_looked_at(few: Path) -> None:
    blind, unseeing = FakeStore(), FakeStore()
    encoder = SeeingEncoder(says=None)
    assert run(few, blind, encoder).written == 3
    assert encoder.looks <= 2  # two threads may ask before either is answered
    assert run(few, unseeing, FakeEncoder()).written == 3
    assert boxes(blind) == boxes(unseeing)
    assert looker(Regions(5), {"vector": FakeEncoder()}) is None


def test_an_encoder_that_fails_to_look_ends_the_run(few: Path) -> None:
    store = FakeStore()
    with pytest.raises(EncoderError, match="cannot look at a picture: out of memory"):
        run(few, store, SeeingEncoder(says=RuntimeError("out of memory\nlong tale")))
    assert not store.rows


def test_pictures_that_wait_are_looked_at_together(few: Path) -> None:
    class Slow(SeeingEncoder):
        first = threading.Event()

        def tokens(self, pixels: Pixels) -> Sequence[Tokens] | None:
            if not self.looks:
                self.first.wait(5)  # until the others have asked
            return super().tokens(pixels)

    encoder = Slow(batch_size=2)
    look = looker(Regions(2), {"vector": encoder})
    assert look is not None
    shown = [Image.new("RGB", SIZE, (n, n, n)) for n in range(5)]
    said: list[Tokens | None] = [None] * 5

    def ask(number: int) -> None:
        said[number] = look._tokens(encoder.prepare(shown[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for each in threads:
        each.start()
    while len(look._asked) < 4:
        pass
    encoder.first.set()
    for each in threads:
        each.join(10)
    assert all(each is not None for each in said)
    assert (encoder.looks, max(encoder.at_once)) == (5, 2)
