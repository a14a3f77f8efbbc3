"""README says what is true: every command and setting stands in it, and its two commands are one line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from imgvec.cli import COMMANDS, main
from imgvec.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join([*path, name]), command


def test_the_commands_are_listed_by_what_they_say_of_themselves() -> None:
    context = click.Context(main)
    assert list(COMMANDS) == main.list_commands(context)
    for name, line in COMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200) == line
    said = CliRunner().invoke(main, ["--help"]).stdout
    assert all(f"\n  {name} " in said for name in COMMANDS)


@pytest.mark.parametrize(("name", "command"), list(commands(main, "imgvec")), ids=lambda value: str(value))
def test_every_command_has_help_and_stands_in_the_readme(name: str, command: click.Command) -> None:
    assert command.help
    assert f"`{name}" in README
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"


def test_every_setting_stands_in_the_readme() -> None:
    for name in Settings.model_fields:
        assert f"`IMGVEC_{name.upper()}`" in README


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_the_two_commands_are_one_line_each(heading: str) -> None:
    [section] = re.findall(rf"^## {heading}\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    [block] = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(block.strip().splitlines()) == 1
    assert "constraints.txt" in block


def test_what_the_readme_links_to_exists() -> None:
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", README):
        file = ROOT / (target or "README.md")
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}, heading
