"""`imgvec demo`."""

from __future__ import annotations

from pathlib import Path

import click

from imgvec.cli.options import notice, settings


@click.command()
@click.argument("folder", required=False)
@click.option(
    "--out", type=click.Path(path_type=Path), default="imgvec-demo", show_default=True, help="Where to put it all."
)
@click.pass_context
def demo(ctx: click.Context, folder: str | None, out: Path) -> None:
    """The whole job on Milvus Lite, and an HTML page of the results.

    Ingests the images of FOLDER (without one, the photos that scikit-image carries), searches with edited copies of
    each, and says how many found their original first.
    """
    from imgvec.demo import run

    result = run(folder, out, settings(ctx), on_notice=notice)
    report = result.report
    click.echo(
        f"{report.written:,} images written, {report.unchanged:,} unchanged, {report.refused.total():,} refused; "
        f"vectors of {result.model}"
    )
    for edit, (found, of) in result.by_edit().items():
        click.echo(f"  {edit:<16} {found:,} of {of:,} found their original at rank 1")
    found, of = sum(query.found for query in result.queries), len(result.queries)
    click.echo(f"  {'all':<16} {found:,} of {of:,}")
    click.echo(f"The page with all pictures: {result.page.resolve()}")
