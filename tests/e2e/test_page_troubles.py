"""The page in a real browser: what goes wrong, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import visiting
from fakes import FakeEncoder
from pictures import picture
from playwright.sync_api import Browser, expect
from served import serving

from imgvec import ImageCollection, Settings
from imgvec.serving.running import new_token

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def trip(lite_uri: str, tmp_path: Path) -> ImageCollection:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        picture(number).save(folder / f"{number}.jpg", quality=95)
    fields = {
        "price": {"type": "FLOAT", "default": 0},
        "taken_at": {"type": "INT64", "format": "unix_ms", "default": 0},
    }
    made = ImageCollection.create(
        "trip",
        definition={"encoder": {"model": "fake"}, "fields": fields},
        settings=Settings(uri=lite_uri, roots=(folder,)),
        encoder=FakeEncoder(),
    )
    given = {str(folder / "0.jpg"): {"price": 119.84, "taken_at": "2024-05-01"}, str(folder / "1.jpg"): {"price": 5.1}}
    made.ingest(folder, metadata=given)
    return made


def test_a_picture_that_cannot_be_taken_is_called_by_its_name(
    chrome: Browser, trip: ImageCollection, tmp_path: Path
) -> None:
    broken, large = tmp_path / "broken.jpg", tmp_path / "large.jpg"
    broken.write_bytes((tmp_path / "pictures" / "0.jpg").read_bytes()[:300])
    large.write_bytes((tmp_path / "pictures" / "0.jpg").read_bytes() + bytes(2**20))
    with (
        serving({"trip": trip}, max_body=2**20) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}") as visit,
        visit.expected("413", "422"),
    ):
        page = visit.page
        expect(page.get_by_role("status")).to_have_text("4 pictures")
        page.locator("#file").set_input_files(broken)
        expect(page.get_by_role("status")).to_have_text("broken.jpg cannot be read: truncated.")
        page.locator("#file").set_input_files(large)
        expect(page.get_by_role("status")).to_have_text("large.jpg (1.0 MiB) is larger than what this server takes.")


def test_a_server_that_comes_back_is_asked_again(chrome: Browser, trip: ImageCollection) -> None:
    with (
        serving({"trip": trip}) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}") as visit,
        visit.expected("ERR_INTERNET_DISCONNECTED"),
    ):
        page = visit.page
        expect(page.get_by_role("status")).to_have_text("4 pictures")
        page.context.set_offline(True)
        page.locator(".tile").nth(1).focus()
        page.keyboard.press("s")
        expect(page.get_by_role("status")).to_contain_text("cannot be reached")
        page.context.set_offline(False)
        expect(page.get_by_role("status")).to_contain_text("4 pictures, the most similar first")


def test_an_own_picture_outlives_a_reload_but_no_link(chrome: Browser, trip: ImageCollection, tmp_path: Path) -> None:
    with serving({"trip": trip}) as client:
        origin = f"http://127.0.0.1:{client.port}"
        with visiting(chrome, origin) as visit:
            page = visit.page
            expect(page.get_by_role("status")).to_have_text("4 pictures")
            page.locator("#file").set_input_files(tmp_path / "pictures" / "2.jpg")
            expect(page.locator(".tile .name").first).to_have_text("2.jpg")
            page.reload()
            expect(page.get_by_role("status")).to_contain_text("4 pictures, the most similar first")
            expect(page.locator("#question .chip .text")).to_have_text("2.jpg")
            expect(page.locator(".tile .name").first).to_have_text("2.jpg")
            page.get_by_label("Order").select_option("-taken_at")  # what is said is how they stand
            expect(page.get_by_role("status")).to_contain_text("4 pictures, by taken, newest first")
            with visiting(chrome, origin, page.url.removeprefix(origin)) as other:  # in a browser of somebody else
                expect(other.page.get_by_role("status")).to_contain_text("Drop it here again")


def test_a_picture_is_not_left_behind_where_tokens_are_asked_for(
    chrome: Browser, trip: ImageCollection, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    token = new_token(tokens, "page")
    with (
        serving({"trip": trip}, token_file=str(tokens)) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}") as visit,
        visit.expected("401"),
    ):
        page = visit.page
        page.get_by_role("textbox", name="Token").fill(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("4 pictures")
        page.locator("#file").set_input_files(tmp_path / "pictures" / "2.jpg")
        expect(page.locator(".tile .name").first).to_have_text("2.jpg")
        page.reload()
        expect(page.get_by_role("status")).to_contain_text("Drop it here again")


def test_numbers_and_dates_say_what_is_missing(chrome: Browser, trip: ImageCollection) -> None:
    with (
        serving({"trip": trip}) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}") as visit,
    ):
        page = visit.page
        expect(page.get_by_label("Price, to")).to_have_attribute("placeholder", "119.84")
        expect(page.get_by_text("3 without a date")).to_be_visible()
