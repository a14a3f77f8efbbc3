"""`imgvec faces cluster`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, notice, opened, output_option
from imgvec.cli.output import print_csv, print_json, print_table
from imgvec.cli.stated import options_of
from imgvec.faces.options import ClusterOptions
from imgvec.plurals import counted


@click.command()
@collection_option
@options_of(ClusterOptions)
@filter_options
@output_option("table", "json", "csv")
@click.pass_context
def cluster(ctx: click.Context, name: str, chosen: Chosen, output: str, **options: Unpack[ClusterOptions]) -> None:
    """Group the stored faces that have no name by likeness.

    To name a group, enrol its faces by --id, and run `imgvec faces identify --stored`.
    """
    import imgvec

    with opened(ctx, name) as collection:
        options["where"] = combined(collection, options["where"], chosen)
        found = imgvec.cluster_faces(collection, **options)
    notice(str(found.limit))
    if output == "json":
        print_json(found.to_dict())
        return
    rows = [
        {"group": number, "id": face.id, "uri": face.uri, "box": ",".join(str(int(side)) for side in face.box)}
        for number, each in enumerate(found.groups, 1)
        for face in each
    ]
    if output == "csv":
        print_csv(["group", "id", "uri", "box"], rows)
        return
    print_table(["group", "id", "uri", "box"], rows)
    click.echo(f"{counted(len(found.groups), 'group')}; {counted(found.alone, 'face')} in smaller ones")
