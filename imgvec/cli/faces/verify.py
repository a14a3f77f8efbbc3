"""`imgvec faces verify`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.options import ERROR_STATUS, collection_option, notice, opened, output_option
from imgvec.cli.output import print_json
from imgvec.cli.stated import options_of
from imgvec.faces.options import VerifyFacesOptions


@click.command()
@click.argument("first")
@click.argument("second", required=False)
@collection_option
@options_of(VerifyFacesOptions)
@output_option("text", "json")
@click.pass_context
def verify(
    ctx: click.Context,
    first: str,
    second: str | None,
    name: str,
    output: str,
    **options: Unpack[VerifyFacesOptions],
) -> None:
    """Say whether the faces in FIRST and SECOND are one person's, or that in FIRST is the enrolled --person's.

    Exits with 1 if they are not, and with 2 if that cannot be said.
    """
    import imgvec

    ctx.meta[ERROR_STATUS] = 2

    if (second is None) == (options["person"] is None):
        raise click.UsageError("Give either a SECOND picture or --person.")
    with opened(ctx, name) as collection:
        found = imgvec.verify_faces(collection, first, second, **options)
    if output == "json":
        print_json(found.to_dict())
    else:
        notice(str(found.limit))
        click.echo(f"{'the same person' if found.same else 'not the same person'}: distance {found.distance:.3f}")
    if not found.same:
        ctx.exit(1)
