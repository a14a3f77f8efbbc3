"""`imgvec faces forget`."""

from __future__ import annotations

import click

from imgvec.cli.options import collection_option, confirmed, opened, yes_option
from imgvec.plurals import counted


@click.command()
@click.argument("person")
@collection_option
@yes_option
@click.pass_context
def forget(ctx: click.Context, person: str, name: str, yes: bool) -> None:
    """Delete everything that is kept of PERSON: the faces they are enrolled by, and stored faces with their name."""
    import imgvec

    with opened(ctx, name) as collection:
        if not confirmed(f"Forget {person} in {name}?", yes):
            raise click.Abort
        found = imgvec.forget_person(collection, person)
    click.echo(
        f"{found.person}: forgotten; {counted(found.enrolled, 'enrolled face')} and "
        f"{counted(found.faces, 'stored face')} deleted"
    )
