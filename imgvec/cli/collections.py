"""`imgvec collections`: list, create, show, alias, rename, drop, count, delete.

`deployment.py` has load and release, `exchange.py` import and export, `projecting.py` fit-projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from imgvec.cli.deployment import load, release, said
from imgvec.cli.exchange import export, import_
from imgvec.cli.lazy import Group
from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import (
    confirmed,
    definition_option,
    gpu_option,
    no_projection_option,
    notice,
    opened,
    output_option,
    settings,
    yes_option,
)
from imgvec.cli.output import print_json, print_table
from imgvec.cli.projecting import fit_projection
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection


@click.group(cls=Group)
def collections() -> None:
    """List, create, inspect, fill and delete collections."""


@collections.command("list")
@output_option("table", "json")
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the collections made by imgvec."""
    from imgvec.database import list_collections

    rows: list[dict[str, Any]] = [
        {
            "name": found.name,
            "aliases": list(found.aliases),
            "model": found.binding.model,
            "dim": found.binding.dim,
            "about": found.definition.about,
        }
        for found in list_collections(settings(ctx))
    ]
    if output == "json":
        print_json(rows)
    else:
        shown = [{**row, "aliases": ", ".join(row["aliases"])} for row in rows]
        print_table(["name", "aliases", "model", "dim", "about"], shown)


@collections.command()
@click.argument("name")
@definition_option
@gpu_option
@no_projection_option
@click.option(
    "--dim",
    type=click.IntRange(1, 32_768),
    metavar="D",
    help="Store vectors of D dimensions made elsewhere; no encoder.",
)
@click.pass_context
def create(
    ctx: click.Context, name: str, definition: str | None, gpu: bool, no_projection: bool, dim: int | None
) -> None:
    """Create an empty collection called NAME.

    With --dim it holds vectors made elsewhere, and can be searched by vector or by stored id.
    """
    from imgvec.collection import ImageCollection

    if dim is not None and gpu:
        raise click.UsageError("--gpu and --dim cannot be combined.")
    if dim is not None:
        import imgvec

        empty = imgvec.create_for_vectors(
            name, dim=dim, definition=definition, settings=settings(ctx), on_notice=notice
        )
        with empty:
            click.echo(f"{name}: created, for vectors of dim {dim} made elsewhere")
            _show_deployment(empty)
        return
    made = ImageCollection.create(
        name,
        definition=definition,
        gpu=gpu,
        projection=not no_projection,
        settings=settings(ctx),
        on_notice=notice,
    )
    with made as collection:
        click.echo(f"{name}: created, for vectors of {collection.binding.model} (dim {collection.binding.dim})")
        for vector, binding in list(collection.bindings.items())[1:]:
            click.echo(f"  {vector}: vectors of {binding.model} (dim {binding.dim})")
        _show_deployment(collection)


@collections.command()
@click.argument("name")
@output_option("text", "json")
@click.pass_context
def show(ctx: click.Context, name: str, output: str) -> None:
    """Show the encoders, fields, indexes and row count of NAME, and what is loaded where."""
    with opened(ctx, name) as collection:
        data: dict[str, Any] = collection.describe()
    if output == "json":
        print_json(data)
        return
    click.echo(f"{data['name']}: {data['about'] or 'no description'}")
    if data["aliases"]:
        click.echo(f"  aliases: {', '.join(data['aliases'])}")
    for part in ("uri", "rows", "pictures"):
        if part != "pictures" or "views" in data["definition"]:  # else as many as rows
            click.echo(f"  {part}: {data[part]}")
    _show_vector(data, "  ")
    for vector, of_vector in data["vectors"].items():
        click.echo(f"  further vector {vector}:")
        _show_vector(of_vector, "    ")
    for line in said(data["deployment"]):
        click.echo(f"  {line}")
    click.echo("  fields:")
    for field, kind in data["fields"].items():
        parts = data["definition"].get("fields", {}).get(field, {}).get("from_image") or ()
        filled = ", else ".join([parts] if isinstance(parts, str) else parts)
        click.echo(f"    {field}: {kind}{f', from the image: {filled}' if filled else ''}")


def _show_deployment(collection: ImageCollection) -> None:
    """What is loaded where; nothing on Milvus Lite, which has no other place."""
    if collection.store.capabilities.cluster:
        for line in said(collection.store.loaded()):
            click.echo(f"  {line}")


def _show_vector(data: Mapping[str, Any], indent: str) -> None:
    """What a vector is, its index and its encoder."""
    for part in ("vector", "index", "encoder"):
        said = ", ".join(f"{key} {inner}" for key, inner in data[part].items() if inner not in (None, {}, ""))
        click.echo(f"{indent}{part}: {said}")
    if known := data["calibration"]:
        said = f"calibrated {known['at']} with {known['pictures']:,} pictures, matches: {known['matches']}"
        click.echo(f"{indent}{said}{'; ' if known['note'] else ''}{known['note']}")


@collections.command()
@click.argument("name")
@click.argument("alias")
@click.option("--drop", is_flag=True, help="Remove the alias instead.")
@click.pass_context
def alias(ctx: click.Context, name: str, alias: str, drop: bool) -> None:
    """Let ALIAS stand for NAME.

    If it stands for another collection, it is moved. An alias can be used wherever a collection's name can, except to
    drop or rename the collection.
    """
    import imgvec

    with opened(ctx, name) as collection:
        if drop:
            imgvec.drop_alias(collection, alias)
            click.echo(f"{alias}: removed")
            return
        former = imgvec.set_alias(collection, alias)
        moved = f", moved from {former}" if former not in (None, collection.name) else ""
        click.echo(f"{alias}: now stands for {collection.name}{moved}")


@collections.command()
@click.argument("name")
@click.argument("new")
@click.pass_context
def rename(ctx: click.Context, name: str, new: str) -> None:
    """Give the collection NAME the name NEW; its aliases stay."""
    import imgvec

    with opened(ctx, name) as collection:
        imgvec.rename(collection, new)
    click.echo(f"{name}: now called {new}")


@collections.command()
@click.argument("name")
@yes_option
@click.pass_context
def drop(ctx: click.Context, name: str, yes: bool) -> None:
    """Delete the whole collection NAME, after asking."""
    with opened(ctx, name) as collection:
        collection.handle.check_drop()
        rows = counted(collection.count(), "row")
        if collection.definition.views is not None:
            rows += f" of {counted(collection.count_pictures(), 'picture')}"
        if not confirmed(f"Drop {name} and its {rows}?", yes):
            raise click.Abort
        collection.drop()
    click.echo(f"{name}: dropped")


@collections.command()
@click.argument("name")
@click.option("--pictures", is_flag=True, help="Count pictures, each of which may have several rows (views).")
@filter_options
@click.pass_context
def count(ctx: click.Context, name: str, pictures: bool, where: str | None, chosen: Chosen) -> None:
    """Count the rows of NAME, or only those that match."""
    with opened(ctx, name) as collection:
        matching = combined(collection, where, chosen)
        click.echo(collection.count_pictures(matching) if pictures else collection.count(matching))


@collections.command()
@click.argument("name")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Delete the picture or row with this id.")
@filter_options
@yes_option
@click.pass_context
def delete(
    ctx: click.Context,
    name: str,
    ids: tuple[str, ...],
    where: str | None,
    chosen: Chosen,
    yes: bool,
) -> None:
    """Delete rows of NAME by id or by filter, after asking.

    In a collection with views whole pictures are deleted: those with this id or a row with it, or with a matching row.
    """
    if bool(ids) == bool(where or chosen):
        raise click.UsageError("Say which rows to delete: use --id, or --where, --eq, --in and --range.")
    with opened(ctx, name) as collection:
        matching = combined(collection, where, chosen)
        what = "row" if collection.definition.views is None else "picture"
        number = len(collection.pictures.of(ids)) if ids else collection.count_pictures(matching)
        if number and not confirmed(f"Delete {counted(number, what)} of {name}?", yes):
            raise click.Abort
        if number:
            number = collection.delete(ids) if matching is None else collection.delete_where(matching)
    click.echo(f"{name}: {counted(number, what)} deleted")


collections.add_command(load)
collections.add_command(release)
collections.add_command(import_)
collections.add_command(export)
collections.add_command(fit_projection)
