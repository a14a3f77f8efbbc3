"""The page in a real browser: what is selected is taken along or deleted; duplicates are looked through and tidied."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import copies
import pytest
from browsing import EVERY_LOOK, NARROW, WIDE, Scheme, Visit, visiting
from fakes import FakeEncoder
from playwright.sync_api import Browser, Locator, Page, expect
from served import Client, serving

from imgvec import ImageCollection, Settings

pytestmark = pytest.mark.timeout(600)

SCENES = 12


@dataclass(frozen=True)
class Site:
    """A server of its own."""

    client: Client
    root: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    def count(self, name: str) -> int:
        return int(self.client.get(f"/v1/collections/{name}/count").json["count"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`scenes` has twelve pictures; `doubles` has them too, three of them twice and one of these a third time."""
    folder = tmp_path_factory.mktemp("tidying")
    scenes, doubles = folder / "scenes", folder / "doubles"
    for each in (scenes, doubles):
        each.mkdir()
        for seed in range(SCENES):
            (each / f"scene{seed:02}.jpg").write_bytes(copies.jpeg(copies.scene(seed, (320, 240))))
    for seed in range(3):
        (doubles / f"copy{seed}.jpg").write_bytes((doubles / f"scene{seed:02}.jpg").read_bytes())
    (doubles / "third.jpg").write_bytes((doubles / "scene00.jpg").read_bytes())
    uri = str(folder / "lite.db")
    served = {}
    for path in (scenes, doubles):
        with ImageCollection.create(
            path.name, definition={"encoder": {"model": "fake"}}, uri=uri, encoder=FakeEncoder()
        ) as made:
            made.ingest(path)
        settings = Settings(uri=uri, roots=(folder,))
        served[path.name] = ImageCollection.open(path.name, settings=settings, encoder=FakeEncoder())
    with serving(served) as client:
        yield Site(client, folder)


def tiles(page: Page) -> Locator:
    return page.locator(".tile:not(.empty):visible")


def selected(page: Page) -> int:
    return page.locator(".tile.selected").count()


def saved(page: Page, label: str) -> tuple[str, bytes]:
    """The file that a button gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name=label, exact=True).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_a_selection_is_taken_along(chrome: Browser, site: Site) -> None:
    with visiting(chrome, site.origin, "/#c=scenes") as visit:
        page = visit.page
        expect(tiles(page)).to_have_count(SCENES)
        expect(page.locator("#tray")).to_be_hidden()
        # by keys
        tiles(page).nth(0).focus()
        page.keyboard.press("x")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+X")
        assert selected(page) == 3
        page.keyboard.press("x")
        assert selected(page) == 2
        # by the boxes, which do not open the picture
        tiles(page).nth(4).hover()
        tiles(page).nth(4).get_by_role("checkbox").click()
        tiles(page).nth(6).get_by_role("checkbox").click(modifiers=["Shift"])
        assert selected(page) == 5
        expect(page.locator("#detail")).to_be_hidden()
        expect(page.locator("#tray strong")).to_have_text("5 selected")
        expect(tiles(page).nth(0)).to_have_attribute("aria-selected", "true")
        expect(tiles(page).nth(2)).to_have_attribute("aria-selected", "false")

        name, data = saved(page, "CSV")
        assert name == "pictures.csv"
        head, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        assert len(rows) == 5
        uris = [row[head.index("uri")] for row in rows]
        name, data = saved(page, "JSON")
        assert (name, [row["fields"]["uri"] for row in json.loads(data)]) == ("pictures.json", uris)
        name, data = saved(page, "Paths")
        assert (name, data.decode().splitlines()) == ("pictures.txt", uris)
        name, data = saved(page, "Originals (zip)")
        assert name == "originals.zip"
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            assert [found.read(each) for each in found.namelist()[:-1]] == [Path(uri).read_bytes() for uri in uris]
        name, data = saved(page, "Thumbnails (zip)")
        assert name == "thumbnails.zip"
        assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 6

        # it is kept in this tab, and by collection
        page.reload()
        expect(page.locator("#tray strong")).to_have_text("5 selected")
        page.get_by_label("Collection").select_option("doubles")
        expect(page.locator("#tray")).to_be_hidden()
        page.go_back()
        expect(page.locator("#tray strong")).to_have_text("5 selected")
        expect(tiles(page)).to_have_count(SCENES)
        page.keyboard.press("Shift+A")
        expect(page.locator("#tray strong")).to_have_text("12 selected")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#tray")).to_be_hidden()
        assert selected(page) == 0


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "dark"), (NARROW, "light")])
def test_the_tray_and_its_question_can_be_read(
    chrome: Browser, site: Site, size: tuple[int, int], scheme: Scheme
) -> None:
    with visiting(chrome, site.origin, "/#c=scenes", size=size, scheme=scheme, axe=True) as visit:
        page = visit.page
        expect(tiles(page).first).to_be_visible()
        page.keyboard.press("Shift+A")
        expect(page.locator("#tray")).to_be_visible()
        assert visit.axe() == []
        page.get_by_role("button", name="Delete…").click()
        question = page.get_by_role("dialog", name="Delete 12 pictures?")
        expect(question).to_be_visible()
        assert visit.axe() == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Escape")
        expect(question).to_be_hidden()
        assert site.count("scenes") == SCENES


def test_nothing_is_deleted_before_it_is_confirmed(chrome: Browser, site: Site) -> None:
    with visiting(chrome, site.origin, "/#c=scenes") as visit:
        page = visit.page
        tiles(page).nth(3).focus()
        page.keyboard.press("x")
        page.get_by_role("button", name="Delete…").click()
        page.get_by_role("button", name="Cancel").click()
        assert site.count("scenes") == SCENES
        page.get_by_role("button", name="Delete…").click()
        page.get_by_role("button", name="Delete 1 picture", exact=True).click()
        expect(page.get_by_text("1 picture deleted.")).to_be_visible()
        name, paths = saved(page, "Save their paths")
        assert name == "deleted-paths.txt"
        [path] = paths.decode().splitlines()
        assert Path(path).is_file()
        assert Path(path).parent == site.root / "scenes"
        expect(tiles(page)).to_have_count(SCENES - 1)
        assert site.count("scenes") == SCENES - 1
        assert len(list((site.root / "scenes").iterdir())) == SCENES


def groups(visit: Visit) -> None:
    """Find duplicates, and see the groups."""
    page = visit.page
    page.get_by_role("button", name="Duplicates").click()
    page.get_by_label("Only the same files").check()
    page.get_by_role("button", name="Find duplicates").click()
    expect(page.get_by_role("heading", name="Group 1 of 3")).to_be_visible()


def test_duplicates_are_tidied_by_keys(chrome: Browser, site: Site) -> None:
    with visiting(chrome, site.origin, "/#c=doubles") as visit:
        page = visit.page
        expect(tiles(page)).to_have_count(SCENES + 4)
        groups(visit)
        expect(page.get_by_text("Best copy")).to_have_count(1)
        expect(page.locator(".review-frame img.there")).to_have_count(page.locator(".review-picture").count())
        # keys for pictures of the grid, which is not there, do nothing
        page.evaluate("document.activeElement.blur()")
        address = page.url
        for key in (" ", "s", "+", "-"):
            page.keyboard.press(key)
        assert page.url == address
        # decide, look again, take back
        page.keyboard.press("y")
        expect(page.get_by_role("heading", name="Group 2 of 3")).to_be_visible()
        page.keyboard.press("k")
        expect(page.locator(".review-picture.goes")).not_to_have_count(0)
        page.keyboard.press("u")
        expect(page.locator(".review-picture.goes")).to_have_count(0)
        # the best can go as well, but not all of them
        page.keyboard.press("1")
        expect(page.locator(".review-picture").first).to_have_class("review-picture best goes")
        for number in range(2, page.locator(".review-picture").count() + 1):
            page.keyboard.press(str(number))
        expect(page.get_by_text("One of them stays")).to_be_visible()
        expect(page.locator(".review-picture:not(.goes)")).to_have_count(1)
        page.keyboard.press("y")
        page.keyboard.press("y")
        page.keyboard.press("n")
        expect(page.get_by_text("3 decided")).to_be_visible()
        # what was decided outlives a reload, and "back" leads out
        page.reload()
        expect(page.get_by_text("3 decided")).to_be_visible()
        assert site.count("doubles") == SCENES + 4
        page.keyboard.press("Delete")
        question = page.get_by_role("dialog")
        expect(question).to_contain_text("Of 2 groups")
        going = int(question.get_by_role("heading").inner_text().split()[1])
        assert going in (2, 3)
        page.keyboard.press("Escape")
        assert site.count("doubles") == SCENES + 4
        page.keyboard.press("Delete")
        page.get_by_role("dialog").get_by_role("button", name=f"Delete {going} pictures").click()
        expect(page.get_by_text(f"{going} pictures deleted.")).to_be_visible()
        assert site.count("doubles") == SCENES + 4 - going
        expect(page.get_by_role("heading", name="Group 1 of 1")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Group 1 of 1")).to_be_visible()
        page.get_by_role("button", name="Duplicates").click()
        expect(tiles(page)).to_have_count(SCENES + 4 - going)
        assert len(list((site.root / "doubles").iterdir())) == SCENES + 4


@EVERY_LOOK
def test_the_review_can_be_read(chrome: Browser, site: Site, size: tuple[int, int], scheme: Scheme) -> None:
    with visiting(chrome, site.origin, "/#c=doubles&view=duplicates", size=size, scheme=scheme, axe=True) as visit:
        page = visit.page
        # an earlier test may have looked already: what it found is shown
        again = page.get_by_role("button", name="Look again")
        find = page.get_by_role("button", name="Find duplicates")
        expect(again.or_(find)).to_be_visible()
        if again.is_visible():
            again.click()
        assert visit.axe() == []
        find.click()
        expect(page.locator(".review-frame img.there").nth(1)).to_be_visible()
        assert visit.axe() == []
        page.get_by_role("button", name="Keep the best").click()
        page.get_by_role("button", name="Previous").click()
        assert visit.axe() == []
        page.get_by_role("button", name=re.compile(r"Delete \d+ pictures?…")).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert visit.axe() == []
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Take back").click()
        expect(page.locator(".review-picture.goes")).to_have_count(0)


def test_the_way_out_of_the_review_and_what_the_pictures_are_called(
    chrome: Browser, lite_uri: str, tmp_path: Path
) -> None:
    """Copies of one name are told apart by their folders; the note of what went offers the paths of the files."""
    picture = copies.jpeg(copies.scene(1, (320, 240)))
    for folder in ("2023/may", "backup"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "IMG_1.jpg").write_bytes(picture)
    settings = Settings(uri=lite_uri, roots=(tmp_path,))
    twice = ImageCollection.create(
        "twice", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=FakeEncoder()
    )
    twice.ingest(tmp_path)
    with (
        twice,
        serving({"twice": twice}) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}") as visit,
    ):
        page = visit.page
        expect(page.get_by_role("status")).to_have_text("2 pictures")
        page.get_by_role("button", name="Duplicates").click()
        expect(page.get_by_role("status")).to_have_text("Duplicates")
        ways = (
            lambda: page.keyboard.press("Escape"),
            page.get_by_role("button", name="Back to the pictures").click,
            page.get_by_role("link", name="imgvec").click,
        )
        for leave in ways:
            leave()
            expect(tiles(page)).to_have_count(2)
            expect(page.get_by_role("status")).to_have_text("2 pictures")
            page.get_by_role("button", name="Duplicates").click()
        page.get_by_role("button", name="Find duplicates").click()
        named = page.locator(".review-name span")
        expect(named).to_have_count(2)
        assert sorted(named.all_inner_texts()) == ["2023/may/IMG_1.jpg", "backup/IMG_1.jpg"]
        gone = named.nth(1).inner_text()
        page.keyboard.press("y")
        page.keyboard.press("Delete")
        page.get_by_role("dialog").get_by_role("button", name="Delete 1 picture").click()
        expect(page.get_by_text("1 picture deleted.")).to_be_visible()
        assert saved(page, "Save their paths") == ("deleted-paths.txt", f"{tmp_path / gone}\n".encode())
        page.get_by_role("button", name="Dismiss").click()
        page.get_by_role("button", name="Back to the pictures").click()
        expect(page.get_by_role("status")).to_have_text("1 picture")


def test_a_copy_that_is_the_last_one_left_stays(chrome: Browser, site: Site) -> None:
    """Somebody else deletes what was to stay, between the review and its confirmation."""
    with visiting(chrome, site.origin, "/#c=doubles&view=duplicates") as visit:
        page = visit.page
        expect(page.get_by_role("button", name=re.compile("Look again|Find duplicates"))).to_be_visible()
        if page.get_by_role("button", name="Look again").is_visible():
            page.get_by_role("button", name="Look again").click()
        page.get_by_role("button", name="Find duplicates").click()
        expect(page.locator(".review-picture")).not_to_have_count(0)
        page.keyboard.press("y")
        result = page.evaluate("() => new URLSearchParams(location.hash.slice(1)).get('job')")
        [group, *_] = site.client.get(f"/v1/jobs/{result}/result").json["groups"]
        body = {"ids": [group["best"]["id"]], "confirm": True}
        assert site.client.post("/v1/collections/doubles/images/delete", body).json == {"deleted": 1}
        before = site.count("doubles")
        page.keyboard.press("Delete")
        page.get_by_role("dialog").get_by_role("button", name=re.compile(r"Delete \d+ picture")).click()
        expect(page.get_by_text(re.compile("0 pictures deleted"))).to_be_visible()
        assert site.count("doubles") == before
