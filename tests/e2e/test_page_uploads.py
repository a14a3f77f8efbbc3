"""Pictures that are added on the page, by a job of the server; and the views of a picture, drawn on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import visiting
from fakes import FakeEncoder
from pictures import picture
from playwright.sync_api import Browser, expect
from served import serving

from imgvec import ImageCollection, Settings

pytestmark = pytest.mark.nightly


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five pictures, of which two are the same, and a file that is none."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(4):
        picture(number).save(folder / f"{number}.jpg", quality=95)
    (folder / "4.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (folder / "5.jpg").write_bytes(b"not a picture")
    return sorted(folder.iterdir())


def collection(uri: str, root: Path) -> ImageCollection:
    settings = Settings(uri=uri, roots=(root,))
    return ImageCollection.create(
        "trip", definition={"encoder": {"model": "fake"}}, settings=settings, encoder=FakeEncoder()
    )


def test_pictures_are_added(chrome: Browser, lite_uri: str, tmp_path: Path, files: list[Path]) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    with (
        serving({"trip": collection(lite_uri, kept)}, upload_dir=str(kept)) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}", axe=True) as visit,
    ):
        page = visit.page
        expect(page.locator("#said")).to_have_text("0 pictures")
        page.get_by_role("button", name="Add pictures").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Pictures to add").set_input_files(files)
        expect(dialog.get_by_role("status")).to_contain_text("6 pictures, ")
        assert visit.axe() == []
        dialog.get_by_role("button", name="Add them").click()
        expect(dialog.get_by_role("status")).to_have_text(
            "4 pictures added, 1 there already, 1 refused", timeout=60_000
        )
        expect(dialog.locator(".refused li")).to_have_text(["5.jpg: not an image"])
        assert visit.axe() == []
        dialog.get_by_role("button", name="Close").click()
        expect(page.locator("#said")).to_have_text("4 pictures")
        expect(page.locator(".tile img.there")).to_have_count(4)
        # several that are dropped are added, and what is there is not stored twice
        carry = """(all) => {
            const carried = new DataTransfer();
            for (const [name, data] of all) {
                carried.items.add(new File([new Uint8Array(data)], name, {type: "image/jpeg"}));
            }
            const given = {bubbles: true, cancelable: true, dataTransfer: carried};
            document.body.dispatchEvent(new DragEvent("drop", given));
        }"""
        page.evaluate(carry, [[path.name, list(path.read_bytes())] for path in files[:2]])
        expect(dialog.get_by_role("status")).to_contain_text("2 pictures, ")
        dialog.get_by_role("button", name="Add them").click()
        expect(dialog.get_by_role("status")).to_have_text("0 pictures added, 2 there already", timeout=60_000)


def test_where_no_pictures_are_kept_it_is_said(chrome: Browser, lite_uri: str, tmp_path: Path) -> None:
    with (
        serving({"trip": collection(lite_uri, tmp_path)}) as client,
        visiting(chrome, f"http://127.0.0.1:{client.port}", axe=True) as visit,
    ):
        page = visit.page
        page.get_by_role("button", name="Add pictures").click()
        dialog = page.get_by_role("dialog")  # before anything is picked
        expect(dialog).to_contain_text("imgvec serve --upload-dir FOLDER")
        expect(dialog).to_contain_text("imgvec ingest FOLDER -c trip")
        assert visit.axe() == []
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0)


def test_views_are_drawn_on_their_picture_and_pressed(
    chrome: Browser, lite_uri: str, tmp_path: Path, files: list[Path]
) -> None:
    definition = {"encoder": {"model": "fake"}, "views": {"grid": 2}}
    settings = Settings(uri=lite_uri, roots=(tmp_path,))
    with ImageCollection.create("trip", definition=definition, settings=settings, encoder=FakeEncoder()) as photos:
        photos.ingest(files[:3])
        with (
            serving({"trip": photos}) as client,
            visiting(chrome, f"http://127.0.0.1:{client.port}", axe=True) as visit,
        ):
            page = visit.page
            page.locator(".tile").first.click()
            expect(page.locator("#detail .spot").first).to_be_visible()
            count = page.locator("#detail .spot").count()
            expect(page.locator("#detail .views")).to_contain_text(f"{count} region")
            assert visit.axe() == []
            page.locator("#detail .spot").last.click()
            expect(page.locator("#said")).to_contain_text("the most similar first")
            expect(page.locator(".tile .outline").first).to_be_visible()
