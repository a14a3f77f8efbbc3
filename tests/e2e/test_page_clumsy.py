"""The page in a real browser, as clumsy people use it: addresses that lead nowhere, others who tidy at the same time,
and what others have stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import copies
import pytest
from browsing import Visit, visiting
from fakes import FakeEncoder
from playwright.sync_api import Browser, Route, expect
from served import Client, serving

from imgvec import ImageCollection, Settings

pytestmark = pytest.mark.timeout(600)

SCENES, TWICE = 8, 3
ODD = ("a\u0001b", "b\bc\f", "'\"\\", "tab\t line\n\r", "\u2028\u202e", "\U0001f600")
IMAGES = "/v1/collections/doubles/images"


@pytest.fixture
def client(lite_uri: str, tmp_path: Path) -> Iterator[Client]:
    """`doubles` has eight pictures, three of them twice."""
    folder = tmp_path / "doubles"
    folder.mkdir()
    for seed in range(SCENES):
        (folder / f"scene{seed}.jpg").write_bytes(copies.jpeg(copies.scene(seed, (320, 240))))
    for seed in range(TWICE):
        (folder / f"copy{seed}.jpg").write_bytes((folder / f"scene{seed}.jpg").read_bytes())
    definition = {
        "encoder": {"model": "fake"},
        "fields": {"album": {"type": "VARCHAR", "max_length": 64, "default": ""}},
    }
    with ImageCollection.create("doubles", definition=definition, uri=lite_uri, encoder=FakeEncoder()) as made:
        made.ingest(folder, metadata={str(folder / f"scene{at}.jpg"): {"album": each} for at, each in enumerate(ODD)})
    settings = Settings(uri=lite_uri, roots=(folder,))
    opened = ImageCollection.open("doubles", settings=settings, encoder=FakeEncoder())
    with serving({"doubles": opened}) as found:
        yield found


@pytest.fixture
def visit(chrome: Browser, client: Client) -> Iterator[Visit]:
    with visiting(chrome, f"http://127.0.0.1:{client.port}", None) as found:
        yield found


def review(visit: Visit) -> list[dict[str, Any]]:
    """Opens the review of duplicates, once they have been found; gives the groups."""
    visit.open("/#view=duplicates")
    visit.page.get_by_role("button", name="Find duplicates").click()
    with visit.page.expect_response(re.compile("/v1/jobs/[0-9a-f]+/result")) as found:
        expect(visit.page.get_by_role("heading", name=f"Group 1 of {TWICE}")).to_be_visible()
    return list(found.value.json()["groups"])


def delete_all(visit: Visit) -> None:
    visit.page.keyboard.press("Delete")
    visit.page.get_by_role("dialog").get_by_role("button", name=re.compile(r"Delete \d picture")).click()


def test_a_group_that_there_is_not(visit: Visit) -> None:
    review(visit)
    job = visit.page.url.partition("job=")[2].partition("&")[0]
    for group, shown in {"0": 1, "-1": 1, "cats": 1, "1.5": 1, "99": TWICE, "2.9": 2, "Infinity": TWICE}.items():
        visit.page.evaluate("(to) => { location.hash = to }", f"#view=duplicates&job={job}&group={group}")
        expect(visit.page.get_by_role("heading", name=f"Group {shown} of {TWICE}")).to_be_visible()
    expect(visit.page.locator(".review-picture")).to_have_count(2)
    visit.page.keyboard.press("y")
    expect(visit.page.get_by_text("1 decided")).to_be_visible()


def test_a_view_that_there_is_not(visit: Visit) -> None:
    visit.open("/#view=gallery")
    expect(visit.page.locator(".tile:visible")).to_have_count(SCENES + TWICE)
    expect(visit.page.locator("#filters .facet")).not_to_have_count(0)
    visit.page.keyboard.press("s")
    expect(visit.page.locator("#question")).to_be_visible()


def test_all_that_was_to_go_has_gone(visit: Visit, client: Client) -> None:
    """Somebody else has deleted the same copies, between the review and its confirmation."""
    groups = review(visit)
    for _ in groups:
        expect(visit.page.locator(".review-frame img.there")).to_have_count(2)
        visit.page.keyboard.press("y")
    gone = [each["id"] for group in groups for each in group["others"]]
    client.post(f"{IMAGES}/delete", {"ids": gone, "confirm": True})
    with visit.expected("404"):
        delete_all(visit)
        expect(visit.page.get_by_text("0 pictures deleted")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="No duplicates")).to_be_visible()


def test_a_selection_that_has_gone(visit: Visit, client: Client) -> None:
    visit.open()
    expect(visit.page.locator(".tile:visible img.there")).to_have_count(SCENES + TWICE)
    visit.page.keyboard.press("x")
    expect(visit.page.locator("#tray strong")).to_have_text("1 selected")
    ids = json.loads(visit.page.evaluate("sessionStorage.getItem('imgvec-selected-doubles')"))
    client.post(f"{IMAGES}/delete", {"ids": ids, "confirm": True})
    visit.page.get_by_role("button", name="Delete…").click()
    with visit.expected("404"):
        visit.page.get_by_role("dialog").get_by_role("button", name="Delete 1 picture").click()
        expect(visit.page.get_by_text("0 pictures deleted")).to_be_visible()
    expect(visit.page.locator("#tray")).to_be_hidden()


def test_who_leaves_while_it_is_deleted(visit: Visit, client: Client) -> None:
    review(visit)
    for _ in range(TWICE):
        expect(visit.page.locator(".review-frame img.there")).to_have_count(2)
        visit.page.keyboard.press("y")
    held: list[Route] = []
    visit.page.route("**/images/delete", lambda route: held.append(route))
    delete_all(visit)
    visit.wait(lambda: held)
    visit.page.keyboard.press("Escape")
    expect(visit.page.locator(".tile:visible img.there")).to_have_count(SCENES + TWICE)
    held[0].continue_()
    expect(visit.page.get_by_text(f"{TWICE} pictures deleted.")).to_be_visible()
    expect(visit.page.locator(".tile:visible")).to_have_count(SCENES)


def test_what_others_have_stored_is_asked_for_as_it_is(visit: Visit, client: Client) -> None:
    """A value with a control character is a choice like any other; a number that no calendar has is shown as it is."""
    visit.open()
    page = visit.page
    album = page.get_by_role("region", name="Album")
    for odd in ODD:
        page.evaluate("(odd) => { location.hash = new URLSearchParams({'f.album': odd}) }", odd)
        expect(page.locator("#said")).to_have_text("1 picture match")
    expect(album.get_by_role("checkbox", checked=True)).to_have_count(1)
    shown = page.evaluate("async () => { const dom = await import('/page/dom.js'); return dom.date(1.7e18) }")
    assert shown == "1700000000000000000"
