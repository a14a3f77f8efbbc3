"""How soon the page of `imgvec serve` shows something, in a real browser.

    python tests/benchmarks/page.py [--photos 400] [--rounds 10]

A real server (uvicorn, in this process) holds a collection of photos; Chromium, driven by Playwright, opens the page at
1280 by 800 pixels. Measured by the browser's own clock, each round in a context that knows nothing yet:

- first picture: from the page's opening (the start of the navigation) until a picture is decoded in the grid;
- an answer drawn: from the last byte of the answer of a search (Resource Timing) until the frame after the tiles are
  filled: by a stored picture, by an uploaded one, and by the next question while another is shown.

Exits with 1 where a median is above 1 s for the first picture, or above 150 ms for an answer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from jpegs import jpegs

sys.path.insert(0, str(Path(__file__).parents[1]))
from browsing import Visit, browser, visiting
from playwright.sync_api import expect
from served import serving

from imgvec import ImageCollection, Settings

MODEL = "pypi:dinov2-small-11"
FIRST, DRAWN = 1.0, 0.150

_MARK = "() => performance.getEntriesByName('imgvec:first-picture')[0]?.startTime ?? null"
_DRAWN = """() => {
  const ends = performance.getEntriesByType("resource").filter((each) => each.name.endsWith("/search"));
  const drawn = performance.getEntriesByName("imgvec:drawn");
  return ends.length && drawn.length ? drawn.at(-1).startTime - ends.at(-1).responseEnd : null;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, data in jpegs(asked.photos):
            files.append(Path(folder) / name)
            files[-1].write_bytes(data)
        uri = str(Path(folder) / "lite.db")
        with ImageCollection.create("photos", definition={"encoder": {"model": MODEL}}, uri=uri) as photos:
            photos.ingest([str(file) for file in files])
        settings = Settings(uri=uri, roots=(Path(folder),))
        photos = ImageCollection.open("photos", settings=settings)
        with serving({"photos": photos}) as client, browser() as chrome:
            origin = f"http://127.0.0.1:{client.port}"
            with visiting(chrome, origin) as visit:  # thumbnails are made and modules read once
                settled(visit)
            taken: dict[str, list[float]] = {"first picture": [], "similar": [], "uploaded": [], "next": []}
            for number in range(asked.rounds):
                with visiting(chrome, origin) as visit:
                    settled(visit)
                    taken["first picture"].append(float(visit.page.evaluate(_MARK)) / 1000)
                    visit.page.locator(".tile").nth(number % 10).focus()
                    visit.page.keyboard.press("s")
                    taken["similar"].append(drawn(visit, 1))
                    visit.page.locator(".tile").nth(2).focus()
                    visit.page.keyboard.press("s")
                    taken["next"].append(drawn(visit, 2))
                    visit.page.locator("#file").set_input_files(files[number])
                    taken["uploaded"].append(drawn(visit, 3))
    for name, seconds in taken.items():
        print(f"{name:<14} median {1000 * statistics.median(seconds):6.0f} ms   most {1000 * max(seconds):6.0f} ms")
    late = [name for name in taken if statistics.median(taken[name]) > (FIRST if name == "first picture" else DRAWN)]
    if late:
        sys.exit(f"too late: {', '.join(late)}")


def settled(visit: Visit) -> None:
    """Until a screenful of pictures is there."""
    expect(visit.page.locator(".tile img.there").nth(9)).to_be_visible()
    visit.wait(lambda: visit.page.evaluate(_MARK))


def drawn(visit: Visit, questions: int) -> float:
    """Seconds from the answer of the latest of so many questions until it is drawn."""
    asked = "() => performance.getEntriesByType('resource').filter((each) => each.name.endsWith('/search')).length"
    visit.wait(lambda: visit.page.evaluate(asked) >= questions)
    visit.wait(lambda: (visit.page.evaluate(_DRAWN) or -1) > 0)
    return float(visit.page.evaluate(_DRAWN)) / 1000


if __name__ == "__main__":
    main()
