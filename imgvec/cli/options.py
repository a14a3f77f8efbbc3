"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.settings import Settings

ERROR_STATUS = "imgvec.error_status"
"""In `ctx.meta`: the exit status of an error, where 1 says something else."""

F = TypeVar("F", bound=Callable[..., Any])

collection_option = click.option("-c", "--collection", "name", required=True, metavar="NAME", help="The collection.")
definition_option = click.option(
    "--definition",
    metavar="FILE|NAME",
    help="Definition of a new collection: a YAML file, or photos, products or faces.",
)
gpu_option = click.option("--gpu", is_flag=True, help="Give a new collection the definition's GPU index.")
no_projection_option = click.option(
    "--no-projection",
    is_flag=True,
    help="Keep a new collection's vectors as the encoder makes them, whatever the definition says.",
)
LISTING = "run it again with --errors FILE to see which, and why"

yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o`; the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )


def settings(ctx: click.Context) -> Settings:
    """The settings; options given before the command override the environment."""
    from imgvec.settings import Settings

    given: Mapping[str, Any] = ctx.obj
    return Settings.load(**given)


def opened(ctx: click.Context, name: str, *, load: bool = True) -> ImageCollection:
    from imgvec.collection import ImageCollection

    return ImageCollection.open(name, settings=settings(ctx), load=load)


def notice(text: str) -> None:
    """Print a notice to stderr: stdout is for results only."""
    click.echo(f"Note: {text}", err=True)


def check_writable(*files: str | Path | None) -> None:
    """Raise `TargetError` where one of these files could not be written, before there is anything to write."""
    from imgvec.errors import TargetError

    for file in (each for each in files if each):
        was_there = Path(file).exists()
        try:
            Path(file).open("a").close()
        except (OSError, ValueError) as exc:
            raise TargetError(f"{file}: cannot be written: {getattr(exc, 'strerror', None) or exc}") from exc
        if not was_there:
            Path(file).unlink(missing_ok=True)


def confirmed(question: str, yes: bool) -> bool:
    """Ask before deleting; without a terminal, only `--yes` confirms."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} No terminal to ask on: add --yes.")
    try:
        return click.confirm(question, err=True)
    except click.Abort as exc:
        if isinstance(exc.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from exc
        raise
