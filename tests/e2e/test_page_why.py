"""Why a picture was found, on the page: asked for, ended, drawn over both pictures, refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from browsing import NARROW, WIDE, Scheme, Visit, visiting
from fakes import FakeEncoder
from pictures import picture
from playwright.sync_api import Browser, Locator, Route, expect
from served import serving

from imgvec import ImageCollection, Settings
from imgvec.encoders.protocol import Encoder


@dataclass(frozen=True)
class Place:
    origin: str
    folder: Path


def served(folder: Path, encoder: Encoder | None, model: str) -> Iterator[Place]:
    settings = Settings(uri=str(folder / "why.db"), roots=(folder,))
    definition = {"encoder": {"model": model}}
    with ImageCollection.create("trip", definition=definition, settings=settings, encoder=encoder) as photos:
        photos.ingest(folder / "photos")
        with serving({"trip": photos}) as client:
            yield Place(f"http://127.0.0.1:{client.port}", folder / "photos")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Pictures whose encoder has no patches: regions are left out of them, one after another."""
    folder = tmp_path_factory.mktemp("why")
    (folder / "photos").mkdir()
    for number in range(6):
        picture(number, (120, 90)).save(folder / "photos" / f"{number}.png")
    yield from served(folder, FakeEncoder(), "fake")


def opened(visit: Visit, number: int = 1) -> Locator:
    """A picture that was found for the first one, looked at; its panel."""
    page = visit.page
    expect(page.locator(".tile img.there").first).to_be_visible()
    page.locator('.tile[data-index="0"]').focus()
    page.keyboard.press("s")
    expect(page.locator("#said")).to_contain_text("the most similar first")
    page.locator(f'.tile[data-index="{number}"]').focus()
    page.keyboard.press("Enter")
    panel = page.locator('section[aria-label="Why it was found"]')
    expect(panel.get_by_role("button")).to_be_visible()
    return panel


def colours(panel: Locator) -> list[float]:
    """The sum of all that is drawn of each of the two pictures."""
    found: list[float] = panel.locator("canvas").evaluate_all(
        """(all) => all.map((each) => {
            const {data} = each.getContext("2d").getImageData(0, 0, each.width, each.height);
            return data.reduce((sum, one) => sum + one, 0);
        })"""
    )
    return found


@pytest.mark.parametrize(
    ("size", "scheme"),
    [
        pytest.param(WIDE, "light"),
        pytest.param(WIDE, "dark", marks=pytest.mark.nightly),
        pytest.param(NARROW, "light", marks=pytest.mark.nightly),
        pytest.param(NARROW, "dark", marks=pytest.mark.nightly),
    ],
)
def test_it_can_be_waited_for_ended_and_asked_for_again(
    chrome: Browser, place: Place, size: tuple[int, int], scheme: Scheme
) -> None:
    held: list[Route] = []
    with visiting(chrome, place.origin, size=size, scheme=scheme, axe=True) as visit:
        page = visit.page
        ended: list[str] = []
        page.on("requestfailed", lambda request: ended.append(request.url))
        page.route("**/explain", lambda route: held.append(route))
        panel = opened(visit)
        status, progress = panel.get_by_role("status"), panel.get_by_role("progressbar")
        panel.get_by_role("button").focus()
        page.keyboard.press("Enter")
        visit.wait(lambda: held)
        expect(status).to_have_text("Comparing patches of the two pictures… Escape ends it.")
        expect(progress).to_have_accessible_name("Comparing the two pictures")
        assert progress.evaluate("(each) => each.position") == -1  # nobody knows how long it takes
        assert visit.axe() == []
        page.keyboard.press("x")  # meanwhile the rest can be done
        expect(page.locator("#tray")).to_contain_text("1 selected")
        page.keyboard.press("x")
        expect(page.locator("#tray")).to_be_hidden()
        for end in ("Escape", "button"):
            visit.wait(lambda: held)
            if end == "button":
                panel.get_by_role("button", name="Cancel").click()
            else:
                page.keyboard.press("Escape")
            expect(status).to_have_text("Ended.")
            expect(progress).to_be_hidden()
            # nobody waits for the answer, which the server need not make
            visit.wait(lambda: any(url.endswith("/explain") for url in ended))
            ended.clear()
            held.clear()
            expect(page.locator("#detail")).to_be_visible()  # Escape ended it, and closed nothing
            if end == "Escape":
                panel.get_by_role("button", name="Why was it found?").click()
        page.unroute("**/explain")
        page.keyboard.press("w")
        expect(panel.locator("canvas")).to_have_count(2)


def test_what_both_show_is_drawn_over_both(chrome: Browser, place: Place) -> None:
    with visiting(chrome, place.origin, axe=True) as visit:
        panel = opened(visit)
        panel.get_by_role("button").focus()
        visit.page.keyboard.press("Enter")
        marked = ["What was searched for, with what it shares marked", "This picture, with what it shares marked"]
        for name in marked:
            expect(panel.get_by_role("img", name=name)).to_be_visible()
        expect(panel.get_by_role("heading", name="Why it was found")).to_be_focused()
        expect(panel.locator(".legend")).to_contain_text("in both")
        assert visit.axe() == []
        with_it = colours(panel)
        visit.page.keyboard.press("w")
        expect(panel.get_by_label("Overlay")).not_to_be_checked()
        expect(panel.get_by_role("img", name="This picture", exact=True)).to_be_visible()
        without = colours(panel)
        assert all(abs(one - other) > 1000 for one, other in zip(with_it, without, strict=True))
        panel.get_by_label("Overlay").press(" ")
        assert colours(panel) == with_it
        visit.page.keyboard.press("Escape")
        expect(visit.page.locator("#detail")).to_be_hidden()


@pytest.mark.nightly
def test_a_refusal_is_a_sentence(chrome: Browser, place: Place) -> None:
    with visiting(chrome, place.origin) as visit:
        panel = opened(visit, 2)
        name = visit.page.locator("#detail h2").inner_text()
        kept = place.folder / name
        shutil.move(kept, kept.with_suffix(".away"))
        try:
            with visit.expected("422", "404", "410", "409"):
                panel.get_by_role("button").click()
                said = "A stored picture that this takes cannot be opened here."
                expect(panel.get_by_role("status")).to_have_text(said)
            expect(panel.get_by_role("progressbar")).to_be_hidden()
        finally:
            shutil.move(kept.with_suffix(".away"), kept)
        panel.get_by_role("button", name="Why was it found?").click()  # again, now that it is there
        expect(panel.locator("canvas")).to_have_count(2)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("size", "scheme"),
    [pytest.param(WIDE, "dark"), pytest.param(NARROW, "light")],
)
def test_patches_of_real_photos_are_paired(
    chrome: Browser, tmp_path: Path, size: tuple[int, int], scheme: Scheme
) -> None:
    """By pretrained weights: a photo and its mirror image, whose best pairs mirror each other."""
    skimage = pytest.importorskip("skimage", reason="the demo's photos")
    from PIL import Image, ImageOps

    (tmp_path / "photos").mkdir()
    source = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    source.save(tmp_path / "photos" / "0.png")
    ImageOps.mirror(source).save(tmp_path / "photos" / "1.png")
    for some in served(tmp_path, None, "pypi:dinov2-small-11"):
        with visiting(chrome, some.origin, size=size, scheme=scheme, axe=True) as visit:
            panel = opened(visit)
            panel.get_by_role("button").click()
            expect(panel.locator("canvas")).to_have_count(2)
            first, second = panel.locator(".heated").all()
            count = panel.locator(".pairs button").count()
            assert count >= 4
            expect(first.locator(".pair")).to_have_count(count)
            expect(panel.locator(".legend")).to_contain_text("It is like the mirror image.")
            place = "(all) => all.map((each) => parseFloat(each.style.left) + parseFloat(each.style.width) / 2)"
            ours, theirs = (each.locator(".pair").evaluate_all(place) for each in (first, second))
            mirrored = [abs(one + other - 100) for one, other in zip(ours, theirs, strict=True)]
            assert sorted(mirrored)[count // 2] < 10  # a patch is 6 % wide
            one = panel.get_by_role("button", name="Show pair 2 alone")
            one.press("Enter")
            expect(one).to_have_attribute("aria-pressed", "true")
            expect(first.locator(".pair:not(.other)")).to_have_text(["2"])
            expect(second.locator(".pair:not(.other)")).to_have_text(["2"])
            assert visit.axe() == []
            one.press("Enter")
            expect(first.locator(".pair.other")).to_have_count(0)
            assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
