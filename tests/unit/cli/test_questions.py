"""What the words of `--like` and `--by` mean."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from pictures import picture

from imgvec.cli.questions import hybrid, weighted
from imgvec.errors import QueryError
from imgvec.search.forms import Form, ImageFile, StoredId, Text
from imgvec.search.fusion import Fusion
from imgvec.search.hybrid import Hybrid, Part


@pytest.mark.parametrize(
    ("words", "form", "weight"),
    [
        ("at night", Text("at night"), 1),
        ("at night:0.5", Text("at night"), 0.5),
        ("at night:-2", Text("at night"), -2),
        ("16:9", Text("16"), 9),
        ("16:9:1", Text("16:9"), 1),
        ("1e5:1e5", Text("1e5:1e5"), 1),
        ("red: nan", Text("red: nan"), 1),
        (":5", Text(":5"), 1),
        ("id:0b1f", StoredId("0b1f"), 1),
        ("id:0b1f:.5", StoredId("0b1f"), 0.5),
        ("id:12345", StoredId("12345"), 1),
        ("id:12345:2.", StoredId("12345"), 2),
    ],
)
def test_a_weight_stands_behind_the_last_colon(words: str, form: Form, weight: float) -> None:
    assert weighted(words) == (form, weight)


def test_a_file_of_the_whole_name_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat.jpg", "cat:2"):
        picture(1).save(tmp_path / name, "JPEG")
    assert weighted("cat:2") == (ImageFile(Path("cat:2")), 1)
    assert weighted("cat:2:3") == (ImageFile(Path("cat:2")), 3)
    assert weighted("cat.jpg:0.5") == (ImageFile(Path("cat.jpg")), 0.5)


@pytest.mark.parametrize(
    ("by", "fusion", "asked"),
    [
        ((), None, StoredId("0b1f")),
        (("texture",), None, Hybrid([Part(StoredId("0b1f"), "texture")], "weights")),
        (
            ("vector", "texture:0.5"),
            "weights",
            Hybrid([Part(StoredId("0b1f")), Part(StoredId("0b1f"), "texture", 0.5)], "weights"),
        ),
    ],
)
def test_a_question_by_several_vectors(by: tuple[str, ...], fusion: Fusion | None, asked: Form | Hybrid) -> None:
    assert hybrid(StoredId("0b1f"), by, (), fusion) == asked


@pytest.mark.parametrize("by", ["texture:", "texture:much", ":0.5", "", "a:1:2", "a=b"])
def test_a_vector_and_its_weight_are_checked(by: str) -> None:
    with pytest.raises(click.UsageError, match="is not NAME or NAME:WEIGHT"):
        hybrid(StoredId("0b1f"), [by], (), None)


def test_a_fusion_of_nothing_is_refused() -> None:
    with pytest.raises(click.UsageError, match="name their vectors with --by"):
        hybrid(StoredId("0b1f"), (), (), "rrf")
    with pytest.raises(QueryError, match="the weight of a part"):
        hybrid(StoredId("0b1f"), ["texture:0"], (), "rrf")
