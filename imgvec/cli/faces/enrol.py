"""`imgvec faces enrol`."""

from __future__ import annotations

import click

from imgvec.cli.options import collection_option, notice, opened
from imgvec.plurals import counted


@click.command()
@click.argument("person")
@click.argument("pictures", nargs=-1)
@collection_option
@click.option("--id", "ids", multiple=True, metavar="ID", help="A stored face, by the id of its row; repeatable.")
@click.pass_context
def enrol(ctx: click.Context, person: str, pictures: tuple[str, ...], name: str, ids: tuple[str, ...]) -> None:
    """Keep faces by which PERSON is known, of PICTURES that show them and nobody else.

    Refused are pictures with no face or with several, and faces turned to the side or less than 40 pixels wide.
    """
    import imgvec
    from imgvec.search.forms import StoredId

    if not pictures and not ids:
        raise click.UsageError("Give PICTURES of the person, or --id.")
    with opened(ctx, name) as collection:
        found = imgvec.enrol_person(collection, person, [*pictures, *map(StoredId, ids)], on_notice=notice)
    for why in found.refused.values():
        notice(f"refused: {why}")
    known = f", {found.known:,} were known already" if found.known else ""
    click.echo(f"{found.person}: {counted(found.enrolled, 'face')} enrolled{known}")
