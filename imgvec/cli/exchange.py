"""`imgvec collections import` and `export`: vectors in and out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import (
    LISTING,
    collection_option,
    definition_option,
    notice,
    opened,
    output_option,
    settings,
)
from imgvec.cli.output import print_json
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.exchange.options import ImportOptions, MakeOptions
from imgvec.options import taken
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection


@click.command("import")
@collection_option
@click.argument("source")
@options_of(ImportOptions)
@click.option("--create", is_flag=True, help="Create the collection if it does not exist.")
@definition_option
@output_option("text", "json")
@click.pass_context
def import_(
    ctx: click.Context,
    name: str,
    source: str,
    create: bool,
    definition: str | None,
    output: str,
    **options: Unpack[ImportOptions],
) -> None:
    """Import existing vectors.

    SOURCE is an .npy array, Parquet with a vector column (a file or a folder), a Faiss index, an Annoy file, an export
    by `collections export`, or the folder written by `ingest --via parquet`.

    The vectors must come from the collection's encoder. Only files written by imgvec can be checked for that; for all
    others it is up to you. Rows are upserted by id on every backend, so the command can be repeated safely. Ids come
    from the file; integers become text. With --create, a missing collection is created: from an export as it was, from
    anything else without an encoder, to be searched by vector or by stored id.
    """
    import imgvec

    if definition is not None and not create:
        raise click.UsageError("--definition needs --create.")

    def made() -> ImageCollection:
        return imgvec.create_for_vectors(
            name, source, definition=definition, settings=settings(ctx), **taken(MakeOptions, options)
        )

    options["on_notice"] = notice
    with _opened_or(made if create else None, ctx, name) as collection, bar() as options["on_progress"]:
        report = imgvec.import_vectors(collection, source, **options)
    if output == "json":
        print_json(report.to_dict())
    else:
        refused = f", {report.refused.total():,} refused" if report.refused else ""
        built = f", then indexed ({report.build_seconds:.1f} s)" if report.build_seconds else ""
        click.echo(f"{name}: {counted(report.written, 'row')} imported{refused} ({report.seconds:.1f} s){built}")
        for reason, number in report.refused.most_common():
            click.echo(f"  refused, {reason}: {number:,}")
        if report.refused and options["errors"] is None:
            click.echo(f"  {LISTING}")
    if report.refused and not report.written:
        ctx.exit(1)


@click.command()
@collection_option
@click.argument("target")
@filter_options
@output_option("text", "json")
@click.pass_context
def export(
    ctx: click.Context,
    name: str,
    target: str,
    where: str | None,
    chosen: Chosen,
    output: str,
) -> None:
    """Export rows to a file or folder.

    TARGET is FILE.parquet, FILE.npy (with FILE.ids.csv), or a folder for Parquet files. Parquet keeps every field, the
    encoder and the definition. Run the same command again to resume an interrupted export. Rows written during the
    export may or may not be included. In a collection with views, each view is a row.
    """
    import imgvec

    with opened(ctx, name) as collection:
        matching = combined(collection, where, chosen)
        with bar() as on_progress:
            report = imgvec.export_vectors(collection, target, where=matching, on_progress=on_progress)
    if output == "json":
        files = [str(file) for file in report.files]
        print_json({"rows": report.rows, "resumed": report.resumed, "files": files})
        return
    resumed = f", {report.resumed:,} of them in an earlier run" if report.resumed else ""
    click.echo(f"{name}: {counted(report.rows, 'row')} exported{resumed}, to {', '.join(map(str, report.files))}")


def _opened_or(made: Callable[[], ImageCollection] | None, ctx: click.Context, name: str) -> ImageCollection:
    from imgvec.errors import CollectionNotFound

    try:
        return opened(ctx, name)
    except CollectionNotFound:
        if made is None:
            raise
    return made()
