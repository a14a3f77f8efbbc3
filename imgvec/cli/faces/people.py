"""`imgvec faces people`."""

from __future__ import annotations

import click

from imgvec.cli.options import collection_option, opened, output_option
from imgvec.cli.output import print_csv, print_json, print_table


@click.command()
@collection_option
@output_option("table", "json", "csv")
@click.pass_context
def people(ctx: click.Context, name: str, output: str) -> None:
    """List who is enrolled, and by how many faces."""
    import imgvec

    with opened(ctx, name) as collection:
        found = imgvec.enrolled_people(collection)
    rows = [{"person": person, "faces": faces} for person, faces in found.items()]
    if output == "json":
        print_json(rows)
    elif output == "csv":
        print_csv(["person", "faces"], rows)
    else:
        print_table(["person", "faces"], rows)
