"""A command's options are made from the TypedDict that states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Required

import click
import pytest
from click.testing import CliRunner
from typing_extensions import TypedDict, Unpack

from imgvec.cli.stated import options_of
from imgvec.options import Option, python_only, settled


class Work(TypedDict, total=False):
    limit: Annotated[int, Option(10, at_least=1, flags=("-k", "--limit"), help="How many.")]
    min_score: Annotated[float | None, Option(metavar="S", help="Leave out what is less.")]
    share: Annotated[float | None, Option(above=0, at_most=1, help="What share.")]
    strict: Annotated[bool, Option(False, help="Stop at the first.")]
    engine: Annotated[Literal["local", "ray"], Option("local", help="Where.")]
    exclude: Annotated[Sequence[str], Option((), help="Leave out.")]
    mapping: Annotated[
        Mapping[str, str] | None, Option(flags=("--map",), metavar="COLUMN=FIELD", help="Column to field.")
    ]
    params: Annotated[Mapping[str, Any] | None, Option(flags=("-p", "--param"), help="Of the index.")]
    part: Annotated[tuple[int, int] | None, Option(help="Which of how many.")]
    root: Annotated[str | Path | None, Option(help="A folder.")]
    where: Annotated[object, Option(shell=False)]
    stop: Annotated[object, python_only()]


def run(*arguments: str, status: int = 0, but: tuple[str, ...] = ()) -> Any:
    got: dict[str, Any] = {}

    @click.command()
    @click.argument("query")
    @options_of(Work, but=but)
    def command(query: str, **options: Unpack[Work]) -> None:
        got["query"], got["options"] = query, options

    done = CliRunner().invoke(command, ["x", *arguments])
    assert done.exit_code == status, done.output
    return got["options"] if status == 0 and got else done.output


def test_what_is_not_given_has_the_same_default_as_in_python() -> None:
    options = run()
    assert "where" not in options
    assert "stop" not in options
    assert settled(Work, options) == settled(Work, {})


def test_values_are_those_that_the_python_method_takes() -> None:
    options = run(
        "-k", "3", "--min-score", "0.5", "--strict", "--engine", "ray", "--exclude", "a", "--exclude", "b=c",
        "--map", "a=b=c", "--map", "d=e", "-p", "ef=12", "--param", "note=a=b", "--part", "1", "2", "--root", "r",
    )  # fmt: skip
    assert options == {
        "limit": 3, "min_score": 0.5, "share": None, "strict": True, "engine": "ray", "exclude": ("a", "b=c"),
        "mapping": {"a=b": "c", "d": "e"}, "params": {"ef": 12, "note": "a=b"}, "part": (1, 2), "root": "r",
    }  # fmt: skip
    settled(Work, options)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--limit", "0"), "0 is not in the range x>=1"),
        (("--share", "0"), "0.0 is not in the range 0.0<x<=1.0"),
        (("--engine", "spark"), "'spark' is not one of"),
        (("--map", "a"), "'a' is not COLUMN=FIELD"),
        (("--map", "a="), "'a=' is not COLUMN=FIELD"),
        (("-p", "ef"), "'ef' is not KEY=VALUE"),
        (("-p", "ef=["), "'[' is not a valid value"),
        (("--stop", "1"), "No such option"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], problem: str) -> None:
    assert problem in run(*arguments, status=2)


def test_help_says_what_was_stated() -> None:
    said = " ".join(str(run("--help")).split())
    assert "-k, --limit N How many. [default: 10; x>=1]" in said
    assert "--min-score S Leave out what is less." in said
    assert "--engine [local|ray] Where. [default: local]" in said


def test_the_first_type_of_a_union_that_has_a_form_is_the_command_s() -> None:
    class Either(TypedDict, total=False):
        metadata: Annotated[str | Mapping[str, Any] | None, Option(help="A file, in Python a mapping too.")]

    got: dict[str, Any] = {}

    @click.command()
    @options_of(Either)
    def command(**options: Unpack[Either]) -> None:
        got.update(options)

    assert CliRunner().invoke(command, ["--metadata", "a=b.csv"]).exit_code == 0
    assert got == {"metadata": "a=b.csv"}


def test_an_option_can_be_left_out() -> None:
    assert "limit" not in run(but=("limit",))


def test_a_type_without_a_form_is_found_when_the_command_is_made() -> None:
    class Strange(TypedDict, total=False):
        thing: Annotated[object, Option(help="What?")]

    with pytest.raises(TypeError, match=r"thing: .* has no form on the command line"):
        options_of(Strange)(lambda: None)


class Measured(TypedDict, total=False):
    label: Required[Annotated[str, Option(metavar="FIELD", help="Of what.")]]
    k: Annotated[Sequence[int], Option((1, 5), at_least=1, flags=("-k",), metavar="K,…", help="How many.")]
    shares: Annotated[Sequence[float] | None, Option(help="Which.")]


def measured(*arguments: str, status: int = 0) -> Any:
    got: dict[str, Any] = {}

    @click.command()
    @options_of(Measured)
    def command(**options: Unpack[Measured]) -> None:
        got.update(options)

    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == status, done.output
    return got or done.output


def test_numbers_are_a_list_and_what_is_required_is_asked_for() -> None:
    assert measured("--label", "x") == {"label": "x", "k": (1, 5), "shares": None}
    assert measured("--label", "x", "-k", "3, 1", "--shares", "0.5") == {"label": "x", "k": (3, 1), "shares": (0.5,)}
    assert "Missing option '--label'" in measured(status=2)
    for wrong in ("1,x", "0", "", "1,,2", "1.5"):
        said = " ".join(measured("--label", "x", "-k", wrong, status=2).split())
        assert f"'-k': '{wrong}' is not a sequence of whole numbers, each at least 1, like 1,5,10" in said
    assert "-k K,… How many. [default: 1,5]" in " ".join(measured("--help").split())
