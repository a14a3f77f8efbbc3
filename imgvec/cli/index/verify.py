"""`imgvec index verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.index.parameters import typed
from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, opened, output_option
from imgvec.cli.output import named, print_json
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.indexes.options import VerifyOptions
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.indexes.findings import Verification


@click.command()
@collection_option
@options_of(VerifyOptions)
@click.option(
    "-p",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Search parameter such as ef=64, instead of the collection's default; repeatable.",
)
@filter_options
@output_option("text", "json")
@click.pass_context
def verify(
    ctx: click.Context,
    name: str,
    pairs: tuple[str, ...],
    chosen: Chosen,
    output: str,
    **options: Unpack[VerifyOptions],
) -> None:
    """Compare Milvus's answers with exact search.

    Checks every stored vector, the row count and the ids, searches for stored rows by their own vectors, and compares
    hits and scores with the exact ones. Names whatever is wrong, and exits with 1 if anything is. In a collection with
    views, recall is that of pictures, and everything else is about rows.
    """
    import imgvec
    from imgvec.catalog import index_type

    with opened(ctx, name) as collection, bar() as options["on_progress"]:
        options["params"] = typed(pairs, index_type(collection.store.vector(options["vector"]).index.type).search)
        options["where"] = combined(collection, options["where"], chosen)
        found = imgvec.verify(collection, **options)
    if output == "json":
        print_json(found.to_dict())
    else:
        print_verification(found)
    if not found.ok:
        ctx.exit(1)


def print_verification(found: Verification) -> None:
    """The result as text."""
    from imgvec.catalog import INDEX_TYPES

    kind = INDEX_TYPES.get(found.index.split()[0])
    exact = kind is not None and kind.family == "exact"
    click.echo(f"{named(found.name, found.vector)}: {counted(found.rows, 'row')}, {found.index}")
    if found.recall is not None:
        easier = "" if exact else " (new images are harder: `imgvec index tune` measures those)"
        what = "picture recall" if found.ranked == "pictures" else "recall"
        click.echo(f"  {what}@{found.limit} of stored rows: {found.recall}{easier}")
    checked = ", ".join(f"{number:,} {what}" for what, number in found.checked.items())
    click.echo(f"  checked: {checked}, in {found.seconds:.1f} s")
    for finding in found.findings:
        click.echo(f"  {finding.severity}: {finding}")
    if not found.findings:
        click.echo("  no problems found")
