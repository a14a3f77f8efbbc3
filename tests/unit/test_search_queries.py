"""What becomes of a query of each form, at the edges of the forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture

from imgvec.errors import OptionError, UnreadableImage
from imgvec.search.forms import VectorQuery
from imgvec.search.guessing import guessed
from imgvec.search.searcher import Searcher


@pytest.fixture
def searcher() -> Searcher:
    return Searcher(FakeStore(), lambda _: FakeEncoder(text=True), max_pixels=10**7, max_bytes=10**7)


def test_an_array_of_greys_is_an_image(searcher: Searcher) -> None:
    grey = np.asarray(picture(3).convert("L"))
    of_greys, of_colours = searcher.vectors([guessed(grey), guessed(np.stack([grey] * 3, axis=-1))])
    np.testing.assert_allclose(of_greys, of_colours, atol=1e-6)


@pytest.mark.parametrize("text", ["so long a name " * 300, "a\0b", "~nobody-of-this-name/cat"])
def test_what_no_file_can_be_called_is_a_text(searcher: Searcher, text: str) -> None:
    [vector] = searcher.vectors([guessed(text)])
    np.testing.assert_allclose(vector, FakeEncoder(text=True).encode_texts([text])[0], atol=1e-6)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"cat\.jpg: missing \(no such file\)") as raised:
        guessed(str(tmp_path / "cat.jpg"))
    assert (raised.value.reason, raised.value.detail) == ("missing", "no such file")


@pytest.mark.parametrize(
    ("limit", "offset", "name", "value"), [(0, 0, "limit", 0), (-1, 0, "limit", -1), (1, -1, "offset", -1)]
)
def test_limits(searcher: Searcher, limit: int, offset: int, name: str, value: int) -> None:
    with pytest.raises(OptionError, match=rf"^{name} must be a whole number, at least \d, not {value}$"):
        searcher.search([VectorQuery(np.ones(16))], limit=limit, offset=offset)
