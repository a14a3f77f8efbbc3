"""`imgvec demo`."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path
from types import ModuleType

import click

from imgvec.cli.options import notice, settings
from imgvec.cli.serve import tell_address
from imgvec.errors import MissingExtra
from imgvec.plurals import counted

_PORT = 8000


@click.command()
@click.argument("folder", required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="imgvec-demo",
    show_default=True,
    help="Folder for the database and the page.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Then serve the images, with an edited copy of each, on a page to search and tidy them, until Ctrl-C.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Port of the page, with --serve.  [8000, or a free one if that is taken]",
)
@click.pass_context
def demo(ctx: click.Context, folder: str | None, out: Path, serve: bool, port: int | None) -> None:
    """Try everything at once on Milvus Lite, and write the results to an HTML page.

    Ingests the images in FOLDER (by default the photos shipped with scikit-image), searches with edited copies of each,
    and reports how many find their original first.
    """
    from imgvec.demo import run

    if port is not None and not serve:
        raise click.UsageError("--port is of --serve.")
    serving = _serving() if serve else None
    result = run(folder, out, settings(ctx), with_copies=serve, on_notice=notice)
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
    if serving is not None:
        from imgvec.collection import ImageCollection
        from imgvec.demo import COLLECTION

        with ImageCollection.open(COLLECTION, settings=result.settings) as photos:
            uploads = result.page.parent.resolve() / "uploads"
            uploads.mkdir(exist_ok=True)
            serving.run(
                {COLLECTION: photos},
                log_level="WARNING",
                on_listening=partial(tell_address, "127.0.0.1"),
                port=_free_port(port),
                upload_dir=str(uploads),
            )


def _serving() -> ModuleType:
    """What serves, before anything is ingested for it."""
    try:
        from imgvec.serving import running
    except ImportError as exc:
        raise MissingExtra("serve", "--serve needs FastAPI, uvicorn and prometheus-client") from exc
    return running


def _free_port(asked: int | None) -> int:
    """The port that was asked for; else the usual one, or any where somebody has that."""
    if asked is not None:
        return asked
    with socket.socket() as usual:
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            usual.bind(("127.0.0.1", _PORT))
        except OSError:
            return 0
    return _PORT
