"""The picture of a tuning: what is on it, and where."""

from __future__ import annotations

import re
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from imgvec.errors import MissingExtra, TargetError, UsageError
from imgvec.indexes import plot
from imgvec.indexes.plot import page, save
from imgvec.indexes.recall import Estimate
from imgvec.indexes.tuned import Choice, Point, Tuned


def point(ef: int, recall: float, p50: float, *, held_out: bool = False) -> Point:
    return Point({"ef": ef}, Estimate(recall, recall - 0.01, 1.0, 500), held_out, p50, 2 * p50, 900 / p50)


def tuned(type_: str = "HNSW", *, reached: bool = True, filter: str = "") -> Tuned:
    points = (point(10, 0.8, 1.0), point(20, 0.93, 1.5), point(40, 0.97, 2.5), point(80, 1.0, 4.0))
    held_out = point(40, 0.965, 2.5, held_out=True)
    chosen = held_out if reached else None
    choice = Choice(filter, 1000, (*points, held_out), chosen, held_out, chosen)
    return Tuned(
        collection="photos",
        type=type_,
        build={"M": 16},
        target=0.95 if reached else 0.999,
        limit=10,
        confidence=0.95,
        queries=(500, 500),
        basis="given",
        choices=(choice,),
        params={"ef": 40} if reached else None,
        names=("ef",),
        least=False,
        searches=6,
        grid=180,
        seconds=3.0,
        memory_bytes=1e6,
    )


def svg(html: str) -> ElementTree.Element:
    found = re.search(r"<svg.*</svg>", html, re.DOTALL)
    assert found
    return ElementTree.fromstring(found[0])


def test_every_setting_is_a_mark_and_the_chosen_one_a_ring() -> None:
    drawn = svg(page([tuned()]))
    marks = [each for each in drawn.iter("circle") if each.get("fill") != "none"]
    rings = [each for each in drawn.iter("circle") if each.get("fill") == "none"]
    assert [mark.find("title").text for mark in marks] == [  # type: ignore[union-attr]
        "HNSW, ef 10, recall 0.8000, p50 1.00 ms",
        "HNSW, ef 20, recall 0.9300, p50 1.50 ms",
        "HNSW, ef 40, recall 0.9700, p50 2.50 ms",
        "HNSW, ef 80, recall 1.0000, p50 4.00 ms",
    ]
    across = [float(str(mark.get("cx"))) for mark in marks]
    down = [float(str(mark.get("cy"))) for mark in marks]
    assert across == sorted(across)
    assert down == sorted(down, reverse=True)
    (ring,) = rings
    (target,) = [each for each in drawn.iter("line") if each.get("class") == "target"]
    assert across[1] < float(str(target.get("x1"))) < float(str(ring.get("cx"))) < across[2]
    texts = {each.text for each in drawn.iter("text")}
    assert {"target 0.95", "ef 40", "0.95", "0.99"} <= texts
    assert any("milliseconds" in str(text) for text in texts)


def test_a_page_needs_nothing_else_and_escapes_what_is_in_it() -> None:
    html = page([tuned("HNSW", filter='album == "<b>"'), tuned("IVF_FLAT")])
    assert "http" not in html.replace("http-equiv", "")
    assert "<b>" not in html
    assert "HNSW, album == &quot;&lt;b&gt;&quot;" in html
    assert "IVF_FLAT: ef 40" in html


def test_labels_keep_apart() -> None:
    drawn = svg(page([tuned("HNSW"), tuned("IVF_FLAT"), tuned("IVF_SQ8")]))
    heights = [float(str(each.get("y"))) for each in drawn.iter("text") if each.get("font-weight")]
    assert len(heights) == 3
    assert all(below - above >= 16 for above, below in pairwise(heights))


def test_what_is_not_reached_has_no_ring_and_says_so() -> None:
    html = page([tuned(reached=False)])
    assert not [each for each in svg(html).iter("circle") if each.get("fill") == "none"]
    assert "No setting of HNSW reaches recall@10 of 0.999: the best seen is 0.9650" in html
    assert "target not reached" in html


def test_a_file_is_written_by_its_ending(tmp_path: Path) -> None:
    save(tmp_path / "curve.HTML", [tuned()])
    assert (tmp_path / "curve.HTML").read_text().startswith("<!doctype html>")
    with pytest.raises(UsageError, match=r"\.html or \.png"):
        save(tmp_path / "curve.pdf", [tuned()])
    with pytest.raises(TargetError, match="no such folder"):
        save(tmp_path / "nowhere" / "curve.html", [tuned()])


def test_a_png_without_matplotlib_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"imgvec\[plots\]"):
        save(tmp_path / "curve.png", [tuned()])


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib (extra plots) is not installed")
@pytest.mark.parametrize("results", [[tuned()], [tuned(reached=False)], [tuned("HNSW"), tuned("FLAT")]])
@pytest.mark.slow
def test_a_png_is_a_picture(tmp_path: Path, results: list[Tuned]) -> None:
    from PIL import Image

    save(tmp_path / "curve.png", results)
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50
