"""`imgvec mcp`."""

from __future__ import annotations

import click

from imgvec.cli.options import collection_option, opened
from imgvec.errors import MissingExtra


@click.command()
@collection_option
@click.option("--write", is_flag=True, help="Also let the agent delete pictures, and keep which are duplicates.")
@click.pass_context
def mcp(ctx: click.Context, name: str, write: bool) -> None:
    """Serve a collection to an agent, by the Model Context Protocol over stdin and stdout.

    An agent's program starts it: {"command": "imgvec", "args": ["mcp", "-c", "photos"]}. Without --write its tools only
    read.
    """
    try:
        import anyio

        from imgvec.adapters.mcp.server import serve_stdio
    except ImportError as exc:
        raise MissingExtra("mcp", "imgvec mcp needs the MCP SDK") from exc
    collection = opened(ctx, name)
    collection.handle.connection.link.share()  # an agent may run all day, and is not to have a file to itself
    anyio.run(lambda: serve_stdio(collection, write=write))
