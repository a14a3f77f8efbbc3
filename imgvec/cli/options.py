"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.filters import Filter
    from imgvec.settings import Settings

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
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o`; the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )


def filter_options(command: F) -> F:
    """`--where`, `--eq` and `--range`; see `combined`."""
    where = click.option("--where", metavar="EXPR", help="Only rows that match this Milvus boolean expression.")
    eq = click.option(
        "--eq",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Only rows whose field equals VALUE, or contains it if an array; repeatable.",
    )
    ranges = click.option(
        "--range",
        "ranges",
        multiple=True,
        metavar="FIELD=A..B",
        help="Only rows whose field lies between A and B, inclusive. Numbers or dates: 2024-01..2024-03, 2024.. or "
        "..1999; repeatable.",
    )
    return where(eq(ranges(command)))


def combined(
    collection: ImageCollection, where: Filter | str | None, eq: tuple[str, ...], ranges: tuple[str, ...]
) -> Filter | None:
    """`--where`, `--eq` and `--range` combined with AND."""
    from imgvec.filters import Raw, equals_text, range_text
    from imgvec.meant import suggestion

    fields = collection.store.fields
    parts: list[Filter] = [Raw(where) if isinstance(where, str) else where] if where is not None else []
    for option, pairs, of_text in (("--eq", eq, equals_text), ("--range", ranges, range_text)):
        for pair in pairs:
            name, sign, value = pair.partition("=")
            if not sign:
                form = "FIELD=VALUE" if option == "--eq" else "FIELD=A..B"
                raise click.BadParameter(f"{pair!r} is not {form}", param_hint=option)
            parts.append(of_text(name, value, fields, dynamic=collection.store.dynamic))
            if name not in fields and (meant := suggestion(name, fields)):
                notice(f"no field {name!r}{meant} It is read as a key of the dynamic field.")
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole


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
