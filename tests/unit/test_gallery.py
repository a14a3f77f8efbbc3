"""The page of results: everything that it is given is text, and its pictures are inside."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

from pictures import picture
from PIL import Image

from imgvec.gallery import Picture, Section, page


class Page(HTMLParser):
    """What a browser makes of a page: its elements, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.images: list[dict[str, str | None]] = []
        self.figures: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "figure":
            self.figures.append(dict(attrs)["class"])

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.setdefault(self.tags[-1], []).append(data)


def test_what_the_page_is_given_is_text(tmp_path: Path) -> None:
    path = tmp_path / '"><b>.jpg'
    picture(0).save(path)
    nasty = '<script>x</script> & "quoted" <b>'
    found = Page(
        page(nasty, nasty, [(nasty, nasty)], [Section(nasty, [(Picture(str(path), nasty), [Picture("gone", nasty)])])])
    )
    assert not {"script", "b"} & set(found.tags)
    assert {tag: "".join(texts) for tag, texts in found.texts.items() if tag != "style"} == {
        "title": nasty, "h1": nasty, "p": nasty, "th": nasty, "td": nasty, "h2": nasty, "figcaption": nasty * 2,
    }  # fmt: skip
    assert found.images[0]["alt"] == '"><b>.jpg'


def test_pictures_are_inside_and_the_right_one_is_marked(tmp_path: Path) -> None:
    first, second = tmp_path / "1.png", tmp_path / "2.png"
    picture(1).resize((640, 480)).save(first)
    picture(2).save(second)
    hits = [Picture(str(first), "a", right=True), Picture(str(second), "b"), Picture(str(tmp_path / "gone"), "c")]
    found = Page(page("Demo", "Some.", [], [Section("One", [(Picture(str(first), "asked"), hits)])]))
    assert found.figures == ["query", "right", "", ""]
    assert found.texts["figcaption"] == ["asked", "a", "b", "c"]
    sources = [str(image["src"]) for image in found.images]
    assert sources[0] == sources[1] != sources[2]
    assert sources[3] == "data:,"
    kind, _, data = sources[0].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as small:
        assert small.format == "JPEG"
        assert max(small.size) <= 320


def test_a_box_is_drawn_on_the_picture(tmp_path: Path) -> None:
    path = str(tmp_path / "large.jpg")
    Image.new("RGB", (1600, 1200), (40, 60, 200)).save(path)  # decoded at an eighth of that
    box = (800, 300, 1600, 900)
    found = Page(page("x", "x", [], [Section("x", [(Picture(path, "a"), [Picture(path, "b", box=box)])])]))
    plain, drawn = (str(image["src"]).partition(",")[2] for image in found.images)
    assert plain != drawn
    with Image.open(io.BytesIO(base64.b64decode(drawn))) as small:
        yellow = [
            (x, y)
            for x in range(small.width)
            for y in range(small.height)
            if (seen := small.getpixel((x, y)))[0] > 180 and seen[2] < 120  # type: ignore[index]  # of an RGB image
        ]
        scale = small.width / 1600
    left, right = min(x for x, _ in yellow), max(x for x, _ in yellow)
    top, bottom = min(y for _, y in yellow), max(y for _, y in yellow)
    for at, wanted in zip((left, top, right, bottom), box, strict=True):
        assert abs(at - wanted * scale) <= 4
