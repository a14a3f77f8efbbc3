"""A collection that is calibrated on the page: what is a match, how likely it is, and that there is nothing like it."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import NARROW, WIDE, Visit, visiting
from fakes import FakeEncoder
from pictures import picture
from PIL import Image
from playwright.sync_api import Browser, expect
from served import serving

from imgvec import ImageCollection, ImageFile, Settings
from imgvec.serving.running import new_token

FEW = 12
"""Tiles that are compared with the library's hits."""
LONG = 600_000
"""Milliseconds that pretrained weights may take on a busy machine."""


@dataclass(frozen=True)
class Asked:
    """A picture that is searched by, and what the page has to say of it."""

    path: Path
    match: bool | None
    """None where that is not known before: of edited copies a share is found, which no calibration promises."""
    original: str = ""
    """The name of the picture that it is a copy of."""


def calibrated_on_the_page(visit: Visit, query: Path) -> None:
    page = visit.page
    expect(page.locator(".tile img.there").first).to_be_visible()
    page.locator("#file").set_input_files(query)
    expect(page.locator("#said")).to_contain_text("the most similar first")
    expect(page.locator('.tile[data-index="0"] .worth')).not_to_contain_text("%")
    page.get_by_role("button", name="Which are matches?").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("code")).to_have_text("imgvec calibrate -c trip")
    dialog.get_by_role("button", name="Calibrate").click()
    expect(dialog.get_by_role("status")).to_contain_text("at a false-match rate of 1%", timeout=LONG)
    expect(dialog.get_by_role("status")).to_contain_text("edited copies it finds")
    close = dialog.get_by_role("button", name="Close")
    expect(close).to_be_focused()
    assert visit.axe() == []
    close.press("Enter")
    expect(page.get_by_role("button", name="Which are matches?")).to_be_hidden()


def judged_as_by_the_library(visit: Visit, photos: ImageCollection, asked: Asked) -> None:
    page = visit.page
    wanted = photos.search(ImageFile(asked.path), limit=120)
    assert wanted.verdict is not None
    match = wanted.verdict.match
    assert asked.match in (None, match)
    page.locator("#file").set_input_files(asked.path)
    expect(page.locator("#question .text")).to_have_text(asked.path.name)
    said = page.locator("#said")
    if match:
        expect(said).to_contain_text("There is a match, at a false-match rate of 1%.")
    else:
        expect(said).to_have_text(
            "Nothing like it: no picture is a match, at a false-match rate of 1%. These come closest."
        )
        expect(said).to_have_class("no-match")
    for number, hit in enumerate(wanted[:FEW]):
        name, probability = Path(hit.uri).name, hit.probability
        assert probability is not None
        tile = page.locator(f'.tile[data-index="{number}"]')
        expect(tile.locator(".worth")).to_have_text(f"{probability:.0%}")
        expect(tile).to_have_attribute("aria-label", f"{name}, {probability:.0%} likely the same")
    page.get_by_label("Matches only").check()
    if not match:
        expect(page.locator(".tile:not([hidden])")).to_have_count(0)
        expect(said).to_have_text("Nothing like it: no picture is a match, at a false-match rate of 1%.")
    else:
        expect(page.locator(".tile:not([hidden])")).to_have_count(len(wanted.matches))
        expect(page.locator('.tile[data-index="0"] .name')).to_have_text(asked.original)
        page.locator('.tile[data-index="0"]').click()
        expect(page.locator("#detail .worth")).to_have_text(f"{wanted[0].probability:.0%} likely the same")
        page.locator("#detail").get_by_role("button", name="Close").click()
    page.get_by_label("Matches only").uncheck()
    expect(page.locator('.tile[data-index="5"]')).to_be_visible()
    if not match:
        assert visit.axe() == []
    page.keyboard.press("Escape")
    expect(page.locator("#question")).to_be_hidden()


def copy(path: Path, to: Path) -> Path:
    with Image.open(path) as image:
        image.convert("RGB").save(to, quality=40)
    return to


def test_what_was_calibrated_is_judged(chrome: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(140):
        picture(number).save(folder / f"{number:03}.png")
    picture(999).save(tmp_path / "stranger.png")
    known = copy(folder / "007.png", tmp_path / "known.jpg")
    settings = Settings(uri=str(tmp_path / "trip.db"), roots=(folder,))
    definition = {"encoder": {"model": "fake"}}
    with ImageCollection.create(
        "trip", definition=definition, settings=settings, encoder=FakeEncoder(dim=64)
    ) as photos:
        photos.ingest(folder)
        with (
            serving({"trip": photos}) as client,
            visiting(chrome, f"http://127.0.0.1:{client.port}", size=NARROW, scheme="dark", axe=True) as visit,
        ):
            calibrated_on_the_page(visit, known)
            judged_as_by_the_library(visit, photos, Asked(known, True, "007.png"))
            judged_as_by_the_library(visit, photos, Asked(tmp_path / "stranger.png", False))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_real_photos_are_judged(chrome: Browser, test_data: Path, tmp_path: Path) -> None:
    """By pretrained weights: copies of photos of clothes, pressed or cropped; and what are no clothes."""
    skimage = pytest.importorskip("skimage", reason="the demo's photos")
    root = test_data / "clothing"
    with (root / "labels.tsv").open(encoding="utf-8") as table:
        some = [root / row["path"] for row in csv.DictReader(table, delimiter="\t") if row["split"] == "test"][:140]
    settings = Settings(uri=str(tmp_path / "trip.db"), roots=(root,))
    definition = {"encoder": {"model": "pypi:dinov2-small-11"}}
    with ImageCollection.create("trip", definition=definition, settings=settings) as photos:
        photos.ingest(some)
        known = copy(some[20], tmp_path / "known.jpg")
        cropped = tmp_path / "cropped.jpg"
        with Image.open(some[40]) as image:
            width, height = image.size
            inside = (width // 16, height // 16, width - width // 16, height - height // 16)
            made = io.BytesIO()
            image.convert("RGB").crop(inside).save(made, "JPEG", quality=70)
            cropped.write_bytes(made.getvalue())
        with (
            serving({"trip": photos}) as client,
            visiting(chrome, f"http://127.0.0.1:{client.port}", size=WIDE, axe=True) as visit,
        ):
            visit.page.set_default_timeout(LONG)
            calibrated_on_the_page(visit, known)
            for path, match, original in ((known, True, some[20]), (cropped, None, some[40])):
                judged_as_by_the_library(visit, photos, Asked(path, match, original.name))
            for name in ("hubble_deep_field.jpg", "page.png", "coins.png"):
                stranger = Path(skimage.__file__).parent / "data" / name
                judged_as_by_the_library(visit, photos, Asked(stranger, False))


@pytest.mark.nightly
def test_too_few_pictures_are_not_offered_it(chrome: Browser, tmp_path: Path) -> None:
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
    settings = Settings(uri=str(tmp_path / "trip.db"), roots=(tmp_path,))
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=FakeEncoder()
    ) as photos:
        photos.ingest(tmp_path)
        with serving({"trip": photos}) as client, visiting(chrome, f"http://127.0.0.1:{client.port}") as visit:
            page = visit.page
            page.locator('.tile[data-index="0"]').focus()
            page.keyboard.press("s")
            expect(page.locator("#said")).to_contain_text("the most similar first")
            expect(page.get_by_role("button", name="Which are matches?")).to_be_hidden()


def test_who_may_not_calibrate_is_not_offered_it(chrome: Browser, tmp_path: Path) -> None:
    folder, tokens = tmp_path / "pictures", tmp_path / "tokens"
    folder.mkdir()
    for number in range(132):
        picture(number, (16, 16)).save(folder / f"{number}.png")
    settings = Settings(uri=str(tmp_path / "trip.db"), roots=(folder,))
    given = {scope: new_token(tokens, scope, [scope]) for scope in ("write", "admin")}
    with ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=FakeEncoder()
    ) as photos:
        photos.ingest(folder)
        with serving({"trip": photos}, token_file=str(tokens)) as client:
            for scope, token in given.items():
                with visiting(chrome, f"http://127.0.0.1:{client.port}") as visit, visit.expected("401"):
                    page = visit.page
                    page.get_by_role("textbox", name="Token").fill(token)
                    page.keyboard.press("Enter")
                    page.locator('.tile[data-index="0"]').focus()
                    page.keyboard.press("s")
                    expect(page.locator("#said")).to_contain_text("the most similar first")
                    offered = page.get_by_role("button", name="Which are matches?")
                    expect(offered).to_be_visible(visible=scope == "admin")
