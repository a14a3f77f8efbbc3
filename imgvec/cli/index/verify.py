"""`imgvec index verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imgvec.cli.index.parameters import typed
from imgvec.cli.options import collection_option, combined, filter_options, opened, output_option
from imgvec.cli.output import print_json
from imgvec.cli.progress import bar

if TYPE_CHECKING:
    from imgvec.indexes.findings import Verification


@click.command()
@collection_option
@click.option(
    "-k", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a search is to find."
)
@click.option(
    "--queries", type=click.IntRange(min=1), default=200, show_default=True, help="Rows to hold against exact search."
)
@click.option(
    "--probes", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows to look for by their vectors."
)
@click.option(
    "--recall",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="What the lower 95 % bound of recall has to reach.",
)
@click.option(
    "-p",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A search parameter, such as ef=64, in place of the collection's default.",
)
@filter_options
@click.option("--seed", type=int, default=0, show_default=True, help="Another one draws other rows.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where exact search runs.",
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
    """Check what Milvus answers against exact search over what it stores.

    Looks at every stored vector, at the number of rows and their ids, searches for stored rows by their own vectors,
    and compares hits and scores with the true ones. Exit status 1, and what is wrong by name, where something is.
    """
    import imgvec
    from imgvec.indexes.catalog import index_type

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
    """For a person."""
    from imgvec.indexes.catalog import INDEX_TYPES

    kind = INDEX_TYPES.get(found.index.split()[0])
    exact = kind is not None and kind.family == "exact"
    click.echo(f"{found.name}: {found.rows:,} rows, {found.index}")
    if found.recall is not None:
        easier = "" if exact else "; other pictures' are harder to find: `imgvec index tune` measures those"
        click.echo(f"  recall@{found.limit} of stored rows: {found.recall}{easier}")
    checked = ", ".join(f"{number:,} {what}" for what, number in found.checked.items())
    click.echo(f"  checked: {checked}, in {found.seconds:.1f} s")
    for finding in found.findings:
        click.echo(f"  {finding.severity}: {finding}")
    if not found.findings:
        click.echo("  nothing is wrong")
