"""`imgvec faces identify`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.options import collection_option, notice, opened, output_option
from imgvec.cli.output import print_csv, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.faces.options import IdentifyOptions
from imgvec.plurals import counted


@click.command()
@click.argument("pictures", nargs=-1)
@collection_option
@options_of(IdentifyOptions)
@click.option("--stored", is_flag=True, help="Write into the field person of every stored face whose it is.")
@output_option("table", "json", "csv")
@click.pass_context
def identify(
    ctx: click.Context,
    pictures: tuple[str, ...],
    name: str,
    stored: bool,
    output: str,
    **options: Unpack[IdentifyOptions],
) -> None:
    """Say whose the faces in PICTURES are, of the people who are enrolled, or that they are nobody's known.

    With --stored instead of PICTURES every face of the collection is given its person's name, for filters like
    --eq person=Ann; run it again after more people were enrolled.
    """
    import imgvec

    if stored == bool(pictures):
        raise click.UsageError("Give either PICTURES or --stored.")
    with opened(ctx, name) as collection:
        if stored:
            if output == "csv":
                raise click.UsageError("--stored prints a table or JSON.")
            with bar() as on_progress:
                naming = imgvec.name_faces(
                    collection,
                    distance=options["distance"],
                    label=options["label"],
                    rate=options["rate"],
                    on_progress=on_progress,
                )
            notice(str(naming.limit))
            if output == "json":
                print_json(naming.to_dict())
                return
            print_table(["person", "faces"], [{"person": who, "faces": n} for who, n in naming.named.items()])
            nobody = naming.faces - sum(naming.named.values())
            click.echo(f"{counted(naming.faces, 'face')}, {nobody:,} of nobody known; {naming.changed:,} changed")
            return
        found = imgvec.identify_faces(collection, pictures, **options)
    notice(str(found.limit))
    for why in found.refused.values():
        notice(f"left out: {why}")
    for picture in found.without:
        notice(f"no face was found in {picture}")
    if output == "json":
        print_json(found.to_dict())
        return
    columns = ["picture", "box", "person", "distance", "candidates"]
    rows = [
        {
            "picture": face.picture,
            "box": ",".join(map(str, face.box)),
            "person": face.person or ("nobody known" if output == "table" else ""),
            "distance": face.distance,
            "candidates": ", ".join(f"{each.person} {each.distance:.3f}" for each in face.candidates),
        }
        for face in found.faces
    ]
    if output == "csv":
        print_csv(columns, rows)
    else:
        print_table(columns, rows)
