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
    "--definition", metavar="FILE|NAME", help="What a new collection is: a YAML file, or photos, products, faces."
)
gpu_option = click.option("--gpu", is_flag=True, help="Build the definition's GPU index in a new collection.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o`, of which the first format is the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="What to print."
    )


def filter_options(command: F) -> F:
    """`--where`, `--eq` and `--range`; see `combined`."""
    where = click.option("--where", metavar="EXPR", help="Only rows that match a Milvus boolean expression.")
    eq = click.option(
        "--eq", multiple=True, metavar="FIELD=VALUE", help="Only rows whose field is VALUE; for an array, contains it."
    )
    ranges = click.option(
        "--range",
        "ranges",
        multiple=True,
        metavar="FIELD=A..B",
        help="Only rows whose field is from A up to and with B, numbers or dates: 2024-01..2024-03; A.. or ..B too.",
    )
    return where(eq(ranges(command)))


def combined(
    collection: ImageCollection, where: Filter | str | None, eq: tuple[str, ...], ranges: tuple[str, ...]
) -> Filter | None:
    """`--where` and every `--eq` and `--range`, all of which must hold."""
    from imgvec.filters import Raw, equals_text, range_text

    parts: list[Filter] = [Raw(where) if isinstance(where, str) else where] if where else []
    for option, pairs, of_text in (("--eq", eq, equals_text), ("--range", ranges, range_text)):
        for pair in pairs:
            name, sign, value = pair.partition("=")
            if not sign:
                form = "FIELD=VALUE" if option == "--eq" else "FIELD=A..B"
                raise click.BadParameter(f"{pair!r} is not {form}", param_hint=option)
            parts.append(of_text(name, value, collection.store.fields, dynamic=collection.store.dynamic))
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = whole & part
    return whole


def settings(ctx: click.Context) -> Settings:
    """The settings, with the options before the command in place of the environment's."""
    from imgvec.settings import Settings

    given: Mapping[str, Any] = ctx.obj
    return Settings.load(**given)


def opened(ctx: click.Context, name: str) -> ImageCollection:
    from imgvec.collection import ImageCollection

    return ImageCollection.open(name, settings=settings(ctx))


def notice(text: str) -> None:
    """Something a person should know; never on stdout, which belongs to results."""
    click.echo(f"Note: {text}", err=True)


def confirmed(question: str, yes: bool) -> bool:
    """Ask before something is deleted; without a terminal only `--yes` is a yes."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is no terminal to ask on: add --yes.")
    try:
        return click.confirm(question, err=True)
    except click.Abort as exc:
        if isinstance(exc.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from exc
        raise
