"""`imgvec explain`."""

from __future__ import annotations

import click

from imgvec.cli.options import collection_option, opened
from imgvec.cli.output import print_json
from imgvec.rows import VECTOR


@click.command()
@click.argument("query")
@click.argument("hit")
@collection_option
@click.option("--vector", default=VECTOR, show_default=True, metavar="NAME", help="The vector whose encoder is asked.")
@click.option("-o", "--output", metavar="FILE", help="Where to write it: a picture (.png) or a page (.html).")
@click.option("--json", "as_json", is_flag=True, help="Print the arrays as JSON.")
@click.pass_context
def explain(
    ctx: click.Context, query: str, hit: str, name: str, vector: str, output: str | None, as_json: bool
) -> None:
    """Show which parts of a hit are like QUERY.

    QUERY is the path of an image, or id:HEX for a stored row; HIT is the id of a row, as search prints it. What both
    pictures have in common is warm in both, and the best pairs of patches bear numbers.
    """
    import imgvec

    if output is None and not as_json:
        raise click.UsageError("Give -o FILE.png, -o FILE.html or --json.")
    with opened(ctx, name) as collection:
        found = imgvec.explain(collection, query, hit, vector=vector)
    if as_json:
        print_json(found.to_dict())
    if output is not None:
        file = found.save(output)
        click.echo(f"{file}: score {found.score:.4f}", err=as_json)
