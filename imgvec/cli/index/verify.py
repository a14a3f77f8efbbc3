"""`imgvec index verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imgvec.cli.index.parameters import typed
from imgvec.cli.options import collection_option, combined, filter_options, opened, output_option
from imgvec.cli.output import print_json
from imgvec.cli.progress import bar
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.indexes.findings import Verification


@click.command()
@collection_option
@click.option("-k", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Hits per search.")
@click.option(
    "--queries", type=click.IntRange(min=1), default=200, show_default=True, help="Rows to compare with exact search."
)
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Rows to search for by their own vectors.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Minimum for the lower 95 % bound of recall.",
)
@click.option(
    "-p",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Search parameter such as ef=64, instead of the collection's default; repeatable.",
)
@filter_options
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for choosing the rows.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Device for the exact search.",
)
@output_option("text", "json")
@click.pass_context
def verify(
    ctx: click.Context,
    name: str,
    limit: int,
    queries: int,
    probes: int,
    recall: float,
    pairs: tuple[str, ...],
    where: str | None,
    eq: tuple[str, ...],
    ranges: tuple[str, ...],
    seed: int,
    device: str,
    output: str,
) -> None:
    """Check Milvus's answers against an exact search over the stored vectors.

    Checks every stored vector, the row count and the ids, searches for stored rows by their own vectors, and compares
    hits and scores with the exact ones. Names whatever is wrong, and exits with 1 if anything is.
    """
    import imgvec
    from imgvec.catalog import index_type

    with opened(ctx, name) as collection, bar() as on_progress:
        found = imgvec.verify(
            collection,
            queries=queries,
            probes=probes,
            limit=limit,
            recall=recall,
            params=typed(pairs, index_type(collection.store.index.type).search),
            where=combined(collection, where, eq, ranges),
            seed=seed,
            device=device,
            on_progress=on_progress,
        )
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
    click.echo(f"{found.name}: {counted(found.rows, 'row')}, {found.index}")
    if found.recall is not None:
        easier = "" if exact else "(new images are harder: `imgvec index tune` measures those)"
        click.echo(f"  recall@{found.limit} of stored rows: {found.recall}{easier}")
    checked = ", ".join(f"{number:,} {what}" for what, number in found.checked.items())
    click.echo(f"  checked: {checked}, in {found.seconds:.1f} s")
    for finding in found.findings:
        click.echo(f"  {finding.severity}: {finding}")
    if not found.findings:
        click.echo("  no problems found")
