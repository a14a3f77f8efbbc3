"""Every error: in the tree, documented, told by the command in one line, and whole after a journey."""

from __future__ import annotations

import ast
import pickle
import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import imgvec
from imgvec import errors
from imgvec.cli import main
from imgvec.errors import ImgvecError

ROOT = Path(__file__).parents[2]
CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
MADE: dict[type[ImgvecError], ImgvecError] = {
    errors.DefinitionError: errors.DefinitionError("no", where="index.cpu", source="a.yaml", line=3),
    errors.OptionError: errors.OptionError("limit", "limit = 0 is refused"),
    errors.MissingExtra: errors.MissingExtra("plots", "a PNG needs matplotlib", otherwise="write an .html file"),
    errors.UnreadableImage: errors.UnreadableImage("a.jpg", "empty", "0 bytes"),
    errors.BackendError: errors.BackendError("busy", code=8, retryable=True),
    errors.WriteFailed: errors.WriteFailed("half", written=3, pending=4, code=8, retryable=True),
}


def one(kind: type[ImgvecError]) -> ImgvecError:
    return MADE[kind] if kind in MADE else kind("said\nin two lines")


def test_every_error_is_an_imgvec_error() -> None:
    assert len(CLASSES) > 20
    assert all(issubclass(kind, imgvec.ImgvecError) for kind in CLASSES)
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.MissingExtra, ImportError)
    assert issubclass(errors.OptionError, errors.QueryError)  # as 0.1.0 raised


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    """Each class stands under the one that it inherits from, with words on what it means."""
    above: list[str] = []
    drawn: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ├└─]*)(\w+)( +\S.*)?$", line):
            branches, name, about = found.groups()
            if name not in vars(errors):
                continue
            depth = len(branches) // 4
            above[depth:] = [name]
            drawn[name] = above[depth - 1] if depth else None
            assert about, f"{name} has no words"
    assert drawn == {
        kind.__name__: None if kind is ImgvecError else kind.__mro__[1].__name__ for kind in CLASSES
    }  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_means(kind: type[ImgvecError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != kind.__mro__[1].__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_the_command_tells_every_error_in_one_line(kind: type[ImgvecError], monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def fail() -> None:
        raise one(kind)

    monkeypatch.setitem(main.commands, "fail", fail)
    done = CliRunner().invoke(main, ["fail"])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr == "Error: " + " ".join(str(one(kind)).split()) + "\n"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_travels_between_processes(kind: type[ImgvecError]) -> None:
    error = one(kind)
    arrived = pickle.loads(pickle.dumps(error))
    assert (type(arrived), str(arrived), vars(arrived)) == (kind, str(error), vars(error))


def test_what_errors_carry() -> None:
    failed = MADE[errors.WriteFailed]
    assert isinstance(failed, errors.WriteFailed)
    assert (str(failed), failed.written, failed.pending, failed.code, failed.retryable) == ("half", 3, 4, 8, True)
    refused = MADE[errors.UnreadableImage]
    assert isinstance(refused, errors.UnreadableImage)
    assert (refused.uri, refused.reason, refused.detail) == ("a.jpg", "empty", "0 bytes")
    wrong = MADE[errors.DefinitionError]
    assert isinstance(wrong, errors.DefinitionError)
    assert (str(wrong), wrong.problem, wrong.line) == ("a.yaml:3: index.cpu: no", "no", 3)
    missing = MADE[errors.MissingExtra]
    assert isinstance(missing, errors.MissingExtra)
    assert missing.extra == "plots"
    assert str(missing) == "a PNG needs matplotlib: pip install 'imgvec[plots]', or write an .html file"


def test_a_reason_is_one_of_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="'blurred' is not one of"):
        errors.UnreadableImage("a.jpg", "blurred")  # type: ignore[arg-type]


def test_every_extra_that_an_error_names_is_one() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = []
    for path in (ROOT / "imgvec").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "MissingExtra":
                named += [each.value for each in node.args[:1] if isinstance(each, ast.Constant)]
    assert len(named) >= 8
    assert set(named) <= set(extras)
