"""What a Python caller or the command line may give, and that nothing is guessed from a form."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEncoder, FakeStore
from pictures import picture

import imgvec
from imgvec import Crop, ImageBytes, ImageFile, Like, Pixels, StoredId, Text, VectorQuery
from imgvec.errors import QueryError, UnreadableImage
from imgvec.search.guessing import all_guessed, guessed
from imgvec.search.searcher import Searcher


class Unwilling:
    def __array__(self, *_: object, **__: object) -> None:
        raise RuntimeError("it wants gradients")


def test_the_form_that_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    assert guessed(str(path)) == ImageFile(path)
    assert guessed(path) == ImageFile(path)
    assert guessed(tmp_path / "missing") == ImageFile(tmp_path / "missing")
    assert guessed(b"x") == ImageBytes(b"x")
    assert guessed("id:abc") == StoredId("abc")
    assert guessed("a red dress") == Text("a red dress")
    image, vector = guessed(picture(1)), guessed([1, 2.5])
    assert isinstance(image, Pixels)
    assert isinstance(vector, VectorQuery)
    assert vector.array.tolist() == [1, 2.5]
    assert isinstance(guessed(np.zeros((4, 4))), Pixels)
    assert isinstance(guessed(np.zeros((4, 4, 3))), Pixels)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "~nobody_at_all", "/nonexistent/thing"])
def test_what_can_be_no_file_is_a_text(name: str) -> None:
    assert guessed(name) == Text(name)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "the query is empty"),  # as a path it is the working directory
        (Unwilling(), "a Unwilling is not a query: it wants gradients"),
        ([[1], [1, 2]], "a list is not a query: "),
        (3, "a int is not a query: use a path"),
        ("\udcff", "Text takes Unicode text"),
        ("id:\ud800", "StoredId takes the id of a row"),
    ],
)
def test_what_no_form_takes(query: Any, problem: str) -> None:
    with pytest.raises(QueryError, match=problem):
        guessed(query)


def test_a_form_is_itself(tmp_path: Path) -> None:
    form = Like([(Text(str(tmp_path)), 1)])
    assert guessed(form) is form
    assert all_guessed([form, "x"]) == [form, Text("x")]


@pytest.mark.parametrize(
    "one", [Text("x"), StoredId("x"), Crop(ImageFile("x"), (0, 0, 1, 1)), bytearray(b"x"), None, 3]
)
def test_one_form_is_not_many(one: Any) -> None:
    with pytest.raises(QueryError, match="search_many takes a sequence of queries; search takes one"):
        all_guessed(one)


def test_guessed_words_say_that_no_file_has_that_name() -> None:
    searcher = Searcher(FakeStore(), lambda _: FakeEncoder(), max_pixels=10**7, max_bytes=10**7)
    with pytest.raises(QueryError, match="'a red dress' is not a file, and fake has no text side"):
        searcher.search([guessed("a red dress")])
    with pytest.raises(QueryError, match=r"^fake has no text side: search by an image, or use CLIP$"):
        searcher.search([Text("a red dress")])


def strangers(folder: Path) -> list[str]:
    """Words that a guess would take for something else than a text."""
    there, secret = folder / "there.jpg", folder / "secret"
    picture(1).save(there)
    secret.write_text("root:x")
    return ["/etc/hostname", "/etc/passwd", ".", "~", str(there), str(secret), "id:x", "https://example.org/a.jpg",
            "missing.jpg", "file:///etc/passwd"]  # fmt: skip


def test_a_text_is_searched_for_as_text_whatever_file_has_its_name(tmp_path: Path) -> None:
    encoder = FakeEncoder(text=True)
    searcher = Searcher(FakeStore(), lambda _: encoder, max_pixels=10**7, max_bytes=10**7)
    words = strangers(tmp_path)
    expected = encoder.encode_texts(words)
    np.testing.assert_allclose(searcher.vectors([Text(each) for each in words]), expected, atol=1e-6)
    np.testing.assert_allclose(searcher.vectors([Like([(Text(each), 1)]) for each in words]), expected, atol=1e-6)
    assert [answer.request.form for answer in searcher.search([Text(each) for each in words])] == list(map(Text, words))
    assert encoder.encoded == 0


def test_words_that_name_a_file_fail_as_any_others_do_without_a_text_side(tmp_path: Path) -> None:
    searcher = Searcher(FakeStore(), lambda _: FakeEncoder(), max_pixels=10**7, max_bytes=10**7)
    said = set()
    for words in [*strangers(tmp_path), "/etc/nothing-here"]:
        with pytest.raises(QueryError) as raised:
            searcher.search([Text(words)])
        said.add(str(raised.value))
    assert len(said) == 1  # nobody learns from it which files there are


def test_only_the_python_methods_and_the_command_line_guess() -> None:
    package = Path(imgvec.__file__).parent
    users = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # a type is no guess
            if (
                isinstance(node, ast.ImportFrom)
                and node.module == "imgvec.search.guessing"
                and ({alias.name for alias in node.names} - {"Query"})
            ):
                users.add(str(path.relative_to(package)))
    # sharing.py: awaited methods guess in a thread, since they look whether there is such a file
    methods = {"searchable.py", "sharing.py", "verbs/explanation.py", "verbs/recommendation.py"}
    assert users == {*methods, "cli/questions.py"}


def test_a_mistyped_path(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="missing"):
        guessed(str(tmp_path / "cat.JPG"))
