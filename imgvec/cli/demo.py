"""`imgvec demo`."""

from __future__ import annotations

from pathlib import Path

import click

from imgvec.cli.options import notice, settings
from imgvec.plurals import counted


@click.command()
@click.argument("folder", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="imgvec-demo",
    show_default=True,
    help="Folder for the database and the page.",
)
@click.pass_context
def demo(ctx: click.Context, folder: str | None, out: Path) -> None:
    """Try everything at once on Milvus Lite, and write the results to an HTML page.

    Ingests the images in FOLDER (by default the photos shipped with scikit-image), searches with edited copies of each,
    and reports how many find their original first.
    """
    from imgvec.demo import run

    result = run(folder, out, settings(ctx), on_notice=notice)
    report = result.report
    click.echo(
        f"{counted(report.written, 'image')} written, {report.unchanged:,} unchanged, {report.refused.total():,} "
        f"refused; "
        f"vectors of {result.model}"
    )
    for edit, (found, of) in result.by_edit().items():
        click.echo(f"  {edit:<16} {found:,} of {of:,} found their original at rank 1")
    found, of = sum(query.found for query in result.queries), len(result.queries)
    click.echo(f"  {'all':<16} {found:,} of {of:,}")
    click.echo(f"Page with all the pictures: {result.page.resolve()}")
