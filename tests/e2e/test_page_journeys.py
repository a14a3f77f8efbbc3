"""What people do on the page, in a real browser: look around, ask, refine, narrow down, go back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browsing import NARROW, WIDE, Scheme, Visit, visiting
from fakes import FakeEncoder
from pictures import picture
from playwright.sync_api import Browser, Locator, Route, expect
from served import Client, serving

from imgvec import ImageCollection, Settings, StoredId
from imgvec.serving.running import new_token

DEFINITION = {
    "encoder": {"model": "fake"},
    "fields": {
        "album": {"type": "VARCHAR", "max_length": 64, "default": ""},
        "tags": {"type": "ARRAY", "element_type": "VARCHAR", "max_capacity": 8, "max_length": 64, "default": []},
        "stars": {"type": "INT32", "default": 0},
        "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
    },
}
COUNT = 30
DAY = 86_400_000
EVIL = '<img src=x onerror="document.title=1">'


@dataclass(frozen=True)
class Place:
    """A collection that is served, and the folder of its pictures."""

    client: Client
    photos: ImageCollection
    folder: Path

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.client.port}"

    def id_of(self, number: int) -> str:
        where = f'uri == "{self.folder / f"{number:02}.jpg"}"'
        return next(row["id"] for some in self.photos.store.scan(["id"], where) for row in some)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pictures")
    given: dict[str, dict[str, Any]] = {}
    for number in range(COUNT):
        path = folder / f"{number:02}.jpg"
        picture(number).save(path, quality=95)
        given[str(path)] = {
            "album": ["cats", "dogs", EVIL][number % 3],
            "tags": ["odd"] if number % 2 else ["even", "round"],
            "stars": number % 5,
            "taken_at": 1_600_000_000_000 + 40 * DAY * number,
        }
    settings = Settings(uri=str(folder.parent / f"{folder.name}.db"), roots=(folder,))
    with ImageCollection.create(
        "trip", definition=DEFINITION, settings=settings, encoder=FakeEncoder(text=True)
    ) as made:
        made.ingest(folder, metadata=given)
        with serving({"trip": made}) as client:
            yield Place(client, made, folder)


@pytest.fixture
def visit(chrome: Browser, place: Place) -> Iterator[Visit]:
    with visiting(chrome, place.origin) as visit:
        expect(visit.page.locator(".tile img.there").first).to_be_visible()
        yield visit


def said(visit: Visit, words: str) -> None:
    expect(visit.page.locator("#said")).to_contain_text(words)


def names(visit: Visit) -> list[str]:
    return visit.page.locator(".tile:not([hidden]) .name").all_inner_texts()


def tile(visit: Visit, number: int) -> Locator:
    return visit.page.locator(f'.tile[data-index="{number}"]')


def asked(visit: Visit, number: int, place: Place) -> None:
    visit.page.locator("#file").set_input_files(place.folder / f"{number:02}.jpg")
    said(visit, "the most similar first")
    expect(tile(visit, 0).locator(".name")).to_have_text(f"{number:02}.jpg")


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(WIDE, "light"),
        pytest.param(WIDE, "dark", marks=pytest.mark.nightly),
        pytest.param(NARROW, "light", marks=pytest.mark.nightly),
        pytest.param(NARROW, "dark"),
    ],
)
def test_an_hour_of_it(chrome: Browser, place: Place, size: tuple[int, int], scheme: Scheme) -> None:
    """Drop, look, refine, narrow down: and what is there can be read by everybody at each step."""
    with visiting(chrome, place.origin, size=size, scheme=scheme, axe=True) as visit:
        page = visit.page
        said(visit, f"{COUNT} pictures")
        expect(page.locator(".tile img.there").first).to_be_visible()
        assert visit.axe() == []
        asked(visit, 7, place)
        tile(visit, 1).click()
        expect(page.locator("#detail h2")).to_be_visible()
        expect(page.locator("#detail .strip img.there").first).to_be_visible()
        assert visit.axe() == []
        page.get_by_role("button", name="More like this").last.click()
        expect(page.locator("#question .chip")).to_have_count(2)
        page.locator("#detail").get_by_role("button", name="Close").click()
        if size == NARROW:
            page.locator("[data-command=filters]").click()
        page.locator(".choices label", has_text="cats").click()
        assert visit.axe() == []
        if size == NARROW:
            page.locator(".done").click()
        said(visit, "10 pictures")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert visit.axe() == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_back_leads_through_all_that_was_asked_and_a_link_holds_it(visit: Visit, place: Place, chrome: Browser) -> None:
    page = visit.page
    tile(visit, 2).focus()
    first = tile(visit, 2).locator(".name").inner_text()
    page.keyboard.press("s")
    said(visit, "the most similar first")
    expect(tile(visit, 0).locator(".name")).to_have_text(first)
    similar = names(visit)
    hit = place.photos.search(StoredId(place.id_of(int(first[:2]))), limit=3)
    assert similar[:3] == [Path(each.uri).name for each in hit]
    page.locator(".choices label", has_text="dogs").click()
    said(visit, "10 pictures")
    page.locator("#controls select").select_option("-taken_at")
    visit.wait(lambda: names(visit) == sorted(names(visit), reverse=True))
    with visiting(chrome, place.origin, page.url.removeprefix(place.origin)) as other:
        said(other, "10 pictures")
        visit.wait(lambda: names(other) == names(visit))
    page.go_back()
    page.go_back()
    visit.wait(lambda: names(visit) == similar)
    page.go_back()
    said(visit, f"{COUNT} pictures")
    expect(page.locator("#question")).to_be_hidden()
    page.go_forward()
    visit.wait(lambda: names(visit) == similar)
    assert page.locator("#question .chip .text").inner_text() == first


@pytest.mark.nightly
def test_a_picture_is_dropped_and_pasted(visit: Visit, place: Place) -> None:
    page = visit.page
    data = list((place.folder / "11.jpg").read_bytes())
    carry = """([kind, data]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(data)], "11.jpg", {type: "image/jpeg"}));
        const given = {bubbles: true, cancelable: true};
        const event = kind === "paste"
            ? new ClipboardEvent(kind, {...given, clipboardData: carried})
            : new DragEvent(kind, {...given, dataTransfer: carried});
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(carry, ["dragenter", data])
    expect(page.locator("#dropping")).to_be_visible()
    page.evaluate(carry, ["drop", data])
    expect(page.locator("#dropping")).to_be_hidden()
    expect(tile(visit, 0).locator(".name")).to_have_text("11.jpg")
    expect(tile(visit, 0).locator(".worth")).to_have_text("1.00")
    page.keyboard.press("Escape")
    said(visit, f"{COUNT} pictures")
    page.evaluate(carry, ["paste", data])
    expect(tile(visit, 0).locator(".name")).to_have_text("11.jpg")
    page.reload()  # no picture of a visitor is kept
    said(visit, "Drop it here again")


@pytest.mark.nightly
def test_words_where_the_encoder_has_them(visit: Visit, place: Place) -> None:
    page = visit.page
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type(EVIL)
    page.keyboard.press("Enter")
    said(visit, "the most similar first")
    expect(page.locator("#question .text")).to_have_text(f"“{EVIL}”")
    assert page.title() == "trip · imgvec"


@pytest.mark.nightly
def test_a_part_of_a_picture(visit: Visit, place: Place) -> None:
    page = visit.page
    tile(visit, 0).click()
    canvas = page.locator("#detail .canvas")
    expect(canvas.locator("img.there")).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Search for this part").click()
    said(visit, "the most similar first")
    found = re.search(r"box=(\d+)%2C(\d+)%2C(\d+)%2C(\d+)", page.url)
    assert found is not None
    image = picture(0)
    for got, share, whole in zip(map(int, found.groups()), (0.25, 0.25, 0.75, 0.75), 2 * image.size, strict=True):
        assert got == pytest.approx(share * whole, abs=2)
    page.keyboard.press("c")  # another one, by keys
    page.get_by_role("button", name="By keys").click()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    visit.wait(lambda: page.url.count("box=") and found[0] not in page.url)
    said(visit, "the most similar first")


@pytest.mark.nightly
def test_refining_by_keys(visit: Visit, place: Place) -> None:
    page = visit.page
    asked(visit, 4, place)
    wanted, unwanted = names(visit)[6], names(visit)[1]
    tile(visit, 6).focus()
    page.keyboard.press("+")
    expect(page.locator(".tile.plus .name")).to_have_text([wanted])
    visit.wait(lambda: wanted in names(visit)[:3])
    tile(visit, names(visit).index(unwanted)).focus()
    page.keyboard.press("-")
    expect(page.locator("#question .chip")).to_have_count(3)
    visit.wait(lambda: len(names(visit)) == COUNT - 1)
    assert unwanted not in names(visit)
    page.go_back()
    visit.wait(lambda: unwanted in names(visit))
    page.go_forward()
    visit.wait(lambda: unwanted not in names(visit))
    page.locator("#question").get_by_role("button", name="Clear").click()
    said(visit, f"{COUNT} pictures")
    tile(visit, 3).focus()
    page.keyboard.press("+")  # examples alone: none of them is in the answer
    visit.wait(lambda: len(names(visit)) == COUNT - 1)


def test_filters_are_made_of_the_fields_and_counts_are_right(visit: Visit, place: Place) -> None:
    page = visit.page
    album = page.get_by_role("region", name="Album")
    expect(album.locator(".count")).to_have_text(["10", "10", "10"])
    album.get_by_text(EVIL).click()
    said(visit, "10 pictures match")
    expect(page.get_by_role("region", name="Tags").locator(".count")).to_have_text(["5", "5", "5"])
    expect(album.locator(".count")).to_have_text(["10", "10", "10"])
    album.get_by_text("cats").click()
    said(visit, "20 pictures match")
    page.locator("#filters").get_by_role("button", name="Clear").click()
    stars = page.get_by_role("region", name="Stars")
    stars.get_by_label("Stars, from").fill("3")
    stars.get_by_label("Stars, from").press("Tab")
    said(visit, "12 pictures match")
    expect(page.get_by_label("Stars, to")).to_be_focused()
    page.keyboard.type("3")
    page.keyboard.press("Tab")
    said(visit, "6 pictures match")
    page.locator("#filters").get_by_role("button", name="Clear").click()
    said(visit, f"{COUNT} pictures")
    bars = page.get_by_role("region", name="Taken").locator(".bars")
    expect(bars.locator("g")).to_have_count(39)
    bars.locator("g").nth(5).click(force=True)
    found = re.search(r"f\.taken_at=(\d{4}-\d\d)-01\.\.(\d{4}-\d\d)-\d\d", page.url)
    assert found is not None
    assert found[1] == found[2] == "2021-02"
    said(visit, "1 picture match")


def test_a_grid_is_walked_through_by_keys(visit: Visit) -> None:
    page = visit.page
    tile(visit, 0).focus()
    columns = int(page.locator("[role=grid]").get_attribute("aria-colcount") or 0)
    for key, index in (
        ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0), ("ArrowUp", 0),
        ("End", COUNT - 1), ("ArrowRight", COUNT - 1), ("Home", 0),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(tile(visit, index)).to_be_focused()
    page.keyboard.press(" ")
    expect(page.locator("#detail h2")).to_have_text(names(visit)[0])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail h2")).to_have_text(names(visit)[1])
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(tile(visit, 1)).to_be_focused()
    assert page.locator(".tile[tabindex='0']").count() == 1


@pytest.mark.nightly
def test_a_hundred_thousand_are_a_few_elements(chrome: Browser, place: Place) -> None:
    """Scrolled to the middle and the end; the rows come from the test, since nobody waits for so many to be stored."""
    total, step = 100_000, 10_000

    def rows(route: Route) -> None:
        after = re.search(r"after=(\d+)", route.request.url)
        limit = int(re.search(r"limit=(\d+)", route.request.url)[1])  # type: ignore[index]  # the page says it
        begin = int(after[1]) + 1 if after else 0
        some = range(begin, min(total, begin + min(limit, step)))
        images = [{"id": str(n), "uri": f"/p/{n}.jpg", "fields": {}, "thumbnail": f"/v1/t/{n % 50}"} for n in some]
        route.fulfill(json={"images": images, "next": str(some[-1]) if some[-1] + 1 < total else None})

    def described(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "rows": total, "pictures": total})

    jpeg = (place.folder / "00.jpg").read_bytes()
    with visiting(chrome, place.origin, None) as visit:
        page = visit.page
        page.route("**/v1/collections/trip", described)
        page.route("**/images?*", rows)
        page.route("**/v1/t/*", lambda route: route.fulfill(body=jpeg, content_type="image/jpeg"))
        visit.open()
        said(visit, "100,000 pictures")
        scroller = page.locator("#scroller")
        for share in (0.5, 1.0):
            scroller.evaluate("(each, share) => each.scrollTo(0, share * each.scrollHeight)", share)
            visit.wait(lambda: page.locator(".tile img.there").count() > 10 and not page.locator(".tile.empty").count())
            assert page.locator(".tile").count() < 150
        assert names(visit)[-1] == "99999.jpg"
        page.locator(".tile:not([hidden])").last.focus()
        page.keyboard.press("Home")
        expect(tile(visit, 0)).to_be_focused()
        assert page.locator("[role=grid]").get_attribute("aria-rowcount") == str(
            -(-total // int(page.locator("[role=grid]").get_attribute("aria-colcount") or 1))
        )


def test_a_token_is_asked_for_and_kept_for_the_tab(chrome: Browser, place: Place, tmp_path: Path) -> None:
    token = new_token(tmp_path / "tokens", "page")
    photos = ImageCollection.open("trip", settings=place.photos.settings, encoder=FakeEncoder(text=True))
    with serving({"trip": photos}, token_file=str(tmp_path / "tokens")) as client:
        origin = f"http://127.0.0.1:{client.port}"
        with visiting(chrome, origin, axe=True) as visit, visit.expected("401"):
            page = visit.page
            field = page.get_by_label("Token", exact=True).last
            expect(field).to_be_focused()
            assert visit.axe() == []
            field.fill("wrong")
            field.press("Enter")
            expect(page.get_by_text("This one is not known here")).to_be_visible()
            page.get_by_label("Token", exact=True).last.fill(token)
            page.keyboard.press("Enter")
            expect(page.locator(".tile img.there").first).to_be_visible()
            for name in ("Add pictures", "Duplicates"):  # it may read alone
                expect(page.get_by_role("button", name=name)).to_be_hidden()
            page.locator(".tile").first.focus()
            page.keyboard.press("x")
            expect(page.locator("#tray").get_by_role("button", name="CSV")).to_be_visible()
            expect(page.locator("#tray").get_by_role("button", name="Delete…")).to_have_count(0)
            page.reload()
            expect(page.locator(".tile img.there").first).to_be_visible()
            assert not [url for url in visit.requests if token in url]
            assert page.evaluate("JSON.stringify([localStorage, document.cookie])") == '[{},""]'
            sources = page.locator(".tile img.there").evaluate_all("(all) => all.map((each) => each.src.slice(0, 5))")
            assert set(sources) == {"blob:"}


@pytest.mark.nightly
def test_what_the_server_refuses_is_said(chrome: Browser, place: Place, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 this is not a picture")
    with visiting(chrome, place.origin) as visit, visit.expected("415", "422"):
        said(visit, f"{COUNT} pictures")
        visit.page.locator("#file").set_input_files(broken)
        expect(visit.page.locator("#said")).not_to_contain_text("pictures")
        assert visit.page.locator("#said").inner_text()
    with visiting(chrome, place.origin, "/#c=nothing") as visit:
        said(visit, "There is no collection called nothing here.")
    with visiting(chrome, place.origin, "/#open=nobody") as visit, visit.expected("404"):
        expect(visit.page.locator(".note.bad")).to_contain_text("no row has this id")
