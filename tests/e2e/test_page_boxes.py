"""Faces and regions on the page: drawn on the open picture, pressed, and searched for; a part of such a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import square_faces
from browsing import EVERY_LOOK, Scheme, Visit, visiting
from fakes import FakeEncoder
from pictures import picture
from playwright.sync_api import Browser, FloatRect, Locator, Response, expect
from served import serving

from imgvec import FaceEncoder, ImageCollection, Settings, enrol_person, name_faces


@pytest.fixture(scope="module")
def club(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An origin where faces are served: Ann and somebody unknown on one picture, Ann and Bob on another."""
    folder = tmp_path_factory.mktemp("club")
    ann = square_faces.picture(folder / "ann.png", "Ann")
    pair = square_faces.picture(folder / "pair.png", "Ann", "Ed")
    three = square_faces.picture(folder / "three.png", "Ann", "Bob", "Cy")
    settings = Settings(uri=str(folder / "club.db"), roots=(folder,))
    encoder = FaceEncoder(square_faces.Squares())
    with ImageCollection.create("club", definition=square_faces.DEFINITION, settings=settings, encoder=encoder) as made:
        made.ingest([pair, three])
        enrol_person(made, "Ann", [ann])
        name_faces(made)
        with serving({"club": made}) as client:
            yield f"http://127.0.0.1:{client.port}"


def placed(spot: Locator) -> FloatRect:
    found = spot.bounding_box()
    assert found is not None
    return found


def query_of(response: Response) -> Any:
    asked = response.request.post_data_json
    assert asked is not None
    return asked["query"]


def share(visit: Visit, spot: Locator) -> list[float]:
    """x0, y0, x1, y1 of a box, as shares of the picture as it is drawn."""
    whole, box = placed(visit.page.locator("#detail .canvas img")), placed(spot)
    left, top = (box["x"] - whole["x"]) / whole["width"], (box["y"] - whole["y"]) / whole["height"]
    return [left, top, left + box["width"] / whole["width"], top + box["height"] / whole["height"]]


@EVERY_LOOK
def test_faces_are_buttons_on_their_picture(chrome: Browser, club: str, size: tuple[int, int], scheme: Scheme) -> None:
    with visiting(chrome, club, size=size, scheme=scheme, axe=True) as visit:
        page = visit.page
        expect(page.locator("#said")).to_have_text("5 faces")
        expect(page.locator(".tile .outline")).to_have_count(5)  # which face of the picture a tile is
        page.locator(".tile", has_text="three.png").first.click()
        spots = page.locator("#detail .spot")
        expect(spots).to_have_count(3)
        expect(page.locator("#detail .views")).to_contain_text("3 faces: Ann. Press one to search for it.")
        expect(page.locator("#detail .canvas img.there")).to_be_visible()
        ann = page.get_by_role("button", name=re.compile(r"^Search for face 1 of 3, Ann, top left"))
        expect(ann.locator(".who")).to_have_text("Ann")
        # the squares are of 64 of 512 pixels, and so are the buttons, however small the picture is shown
        for number, spot in enumerate(spots.all()):
            wanted = [number * 128 / 512, 0, (number * 128 + 64) / 512, 64 / 512]
            assert share(visit, spot) == pytest.approx(wanted, abs=0.01)
        assert visit.axe() == []
        hide = page.get_by_label("Boxes")
        hide.uncheck()
        expect(spots.first).to_be_hidden()
        page.keyboard.press("b")
        expect(spots.first).to_be_visible()
        spots.nth(1).focus()
        page.keyboard.press("Enter")  # by keys
        expect(page.locator("#said")).to_contain_text("the most similar first")
        expect(page.locator("#detail")).to_be_hidden()
        expect(page.locator('.tile[data-index="0"] .name')).to_have_text("three.png")  # Bob is nowhere else
        expect(page.locator('.tile[data-index="1"] .worth')).not_to_have_text("1.00")
        page.go_back()
        ann.click()
        expect(page.locator("#said")).to_contain_text("the most similar first")
        expect(page.locator(".tile:not([hidden]) .worth")).to_have_text(["1.00", "1.00"])  # Ann is on both
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.nightly
def test_a_part_of_a_region_is_a_part_of_its_picture(chrome: Browser, lite_uri: str, tmp_path: Path) -> None:
    """Drawn across the boxes of regions, as these fill the picture, and asked for in pixels of the whole."""
    for number in range(3):
        picture(number, (320, 240)).save(tmp_path / f"{number}.png")
    definition = {"encoder": {"model": "fake"}, "views": {"grid": 2}}
    settings = Settings(uri=lite_uri, roots=(tmp_path,))
    with ImageCollection.create("trip", definition=definition, settings=settings, encoder=FakeEncoder()) as photos:
        photos.ingest(tmp_path)
        with serving({"trip": photos}) as client, visiting(chrome, f"http://127.0.0.1:{client.port}") as visit:
            page = visit.page
            expect(page.locator("#said")).to_have_text("3 pictures")  # each once, not once more for each region
            page.locator(".tile", has_text="1.png").click()
            page.locator("#detail .spot").last.click()
            expect(page.locator("#said")).to_contain_text("the most similar first")
            page.locator('.tile[data-index="0"]').click()  # the region itself
            expect(page.locator("#detail .spot.own")).to_have_count(1)
            assert "view-" in page.url
            canvas = placed(page.locator("#detail .canvas"))
            page.mouse.move(canvas["x"] + 0.1 * canvas["width"], canvas["y"] + 0.2 * canvas["height"])
            page.mouse.down()
            page.mouse.move(canvas["x"] + 0.9 * canvas["width"], canvas["y"] + 0.8 * canvas["height"], steps=4)
            page.mouse.up()
            with page.expect_response("**/search") as answered:
                page.get_by_role("button", name="Search for this part").click()
            assert answered.value.status == 200
            asked = query_of(answered.value)
            assert asked["box"] == pytest.approx([32, 48, 288, 192], abs=2)
            assert "view-" not in asked["crop"]["id"]
            expect(page.locator('.tile[data-index="0"] .name')).to_have_text("1.png")
            # another part of what is searched for, which a region is
            page.go_back()
            page.go_back()
            page.keyboard.press("c")
            page.get_by_role("button", name="By keys").click()
            with page.expect_response("**/search") as answered:
                page.keyboard.press("Enter")
            assert answered.value.status == 200
            assert query_of(answered.value)["box"] == pytest.approx([80, 60, 240, 180], abs=2)
