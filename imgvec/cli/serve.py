"""`imgvec serve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.options import settings
from imgvec.cli.stated import options_of
from imgvec.errors import CollectionNotFound, MissingExtra
from imgvec.home import at_home
from imgvec.serving.options import ServeOptions

if TYPE_CHECKING:
    from imgvec.settings import Settings


@click.command()
@click.option(
    "-c", "--collection", "names", multiple=True, metavar="NAME", help="Serve this collection; repeatable. [all]"
)
@options_of(ServeOptions)
@click.option(
    "--new-token",
    metavar="NAME",
    help="Add a token of this name to the token file, print it, and serve nothing: it is shown this once.",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["read", "write", "admin"]),
    help="What the new token may do; repeatable. [read]",
)
@click.pass_context
def serve(
    ctx: click.Context,
    names: tuple[str, ...],
    new_token: str | None,
    scopes: tuple[str, ...],
    **options: Unpack[ServeOptions],
) -> None:
    """Serve collections over HTTP.

    Other programs search by REST, under /v1; /openapi.json says how. Only this machine can ask, unless --host is
    another address, which takes --token-file: `imgvec serve --new-token NAME --token-file FILE` makes a token and adds
    its hash to the file. Stored pictures are shown where they lie below a --root. Ctrl-C and SIGTERM let requests that
    are under way end; jobs, such as ingests, go on at the next start.
    """
    if scopes and new_token is None:
        raise click.UsageError("--scope is of a --new-token.")
    try:
        from imgvec.serving import running, tokens
    except ImportError as exc:
        raise MissingExtra("serve", "imgvec serve needs FastAPI, uvicorn and prometheus-client") from exc
    if new_token is not None:
        if options["token_file"] is None:
            raise click.UsageError("--new-token adds to a --token-file.")
        click.echo(tokens.new_token(options["token_file"], new_token, scopes or ("read",)))
        return
    from imgvec.collection import ImageCollection
    from imgvec.database import list_collections

    ours = _below(settings(ctx), options["root"], options["upload_dir"])
    served = names or [each.name for each in list_collections(ours)]
    if not served:
        raise CollectionNotFound("there is no collection to serve: make one by imgvec ingest")
    with ExitStack() as opened:
        collections = {name: opened.enter_context(ImageCollection.open(name, settings=ours)) for name in served}
        # nobody reads it elsewhere, as in a container, whose log is lines of JSON
        told = partial(tell_address, options["host"]) if sys.stdout.isatty() else None
        running.run(collections, on_listening=told, **options)


def tell_address(host: str, port: int) -> None:
    """The address that a browser takes."""
    address = f"[{host}]" if ":" in host else host
    click.echo(f"Now open http://{address}:{port}/ in your browser. Ctrl-C ends it.")


def _below(known: Settings, given: Sequence[str] | None, uploads: str | None) -> Settings:
    """The settings with the folders from which stored pictures are shown: never all that this process may read."""
    roots = tuple(map(at_home, given or ()))
    for root in roots:
        if not root.is_dir():
            raise click.UsageError(f"--root {root} is not a folder.")
    kept = () if uploads is None else (at_home(uploads).absolute(),)
    if kept and not kept[0].is_dir():
        raise click.UsageError(f"--upload-dir {uploads} is not a folder.")
    return known.model_copy(update={"roots": (*(roots or known.roots or ()), *kept)})
