"""The `imgvec` command: parses, calls, prints.

A command's module is imported only when that command runs, and nothing here imports torch, transformers or pymilvus
before a command needs them. So `imgvec search` starts without what the others need, and `imgvec --help` is fast.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import click

from imgvec import __version__
from imgvec.cli.interrupts import INTERRUPTED, ends_in_a_container
from imgvec.cli.lazy import LazyGroup
from imgvec.cli.options import ERROR_STATUS
from imgvec.cli.streams import Streams
from imgvec.errors import ImgvecError

streams: Streams | None = None
"""Where the command is the whole program."""

COMMANDS = {
    "calibrate": "Measure from which score on a hit is a match.",
    "collections": "List, create, inspect, fill and delete collections.",
    "demo": "Try everything at once on Milvus Lite, and write the results to an HTML page.",
    "doctor": "Check what is reachable, what it supports and what is wrong; exits with 1 if anything is.",
    "duplicates": "Find copies of one picture, choose the best, and delete the others.",
    "encoders": "List the models that make vectors, show how each is used, and fit projections.",
    "evaluate": "Measure search quality against labels.",
    "explain": "Show which parts of a hit are like QUERY.",
    "faces": "Say whose faces they are, in a collection of faces.",
    "index": "Choose, build, verify, tune and watch the vector index.",
    "ingest": "Add the images of SOURCE: folders, files, globs, archives, manifests, lists or URLs.",
    "mcp": "Serve a collection to an agent, by the Model Context Protocol over stdin and stdout.",
    "pages": "List everything like QUERY page by page, each row once.",
    "recommend": "Find images like some examples and unlike others.",
    "reembed": "Change a collection's model while it goes on serving.",
    "search": "Find the images most similar to QUERY.",
    "serve": "Serve collections over HTTP.",
}
"""Command names and their lines in `imgvec --help`; each is an object in the module of the same name."""


class _Group(LazyGroup):
    """Turns an `ImgvecError`, and a file that cannot be read or written, into one line on stderr and exit status 1.

    Of the whole program it looks after the streams and SIGTERM too; called by another one, as by a test, it leaves
    them alone.
    """

    package, names = "imgvec.cli", frozenset(COMMANDS)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        global streams
        if not standalone_mode or sys.stdout is not sys.__stdout__:
            return super().main(*args, standalone_mode=standalone_mode, **extra)  # type: ignore[call-overload]
        streams = Streams()
        ends_in_a_container()
        try:
            super().main(*args, **extra)
            status = 0
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        except OSError:
            if not streams.failed:  # else `finish` says it
                raise
            status = 1
        sys.exit(streams.finish(status))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - likewise
        """Without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            ctx.exit(INTERRUPTED)
        except (ImgvecError, OSError) as exc:
            if streams and streams.failed:
                ctx.exit(ctx.meta.get(ERROR_STATUS, 1))
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo("Error: " + " ".join(str(exc).split()), err=True)
            ctx.exit(ctx.meta.get(ERROR_STATUS, 1))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="imgvec")
@click.option(
    "--uri", metavar="URI", help="Where Milvus is: a file for Milvus Lite, or http(s)://host:port. [IMGVEC_URI]"
)
@click.option("--token", metavar="TOKEN", help="user:password or an API key; safer in the environment. [IMGVEC_TOKEN]")
@click.option("--db-name", metavar="NAME", help="Database on the server. [IMGVEC_DB_NAME]")
@click.option("-v", "--verbose", count=True, help="Log more to stderr; repeat for even more.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def main(
    ctx: click.Context, uri: str | None, token: str | None, db_name: str | None, verbose: int, debug: bool
) -> None:
    """Image search on Milvus: images in, similar images out."""
    if verbose or debug:
        level = logging.DEBUG if verbose > 1 or debug else logging.INFO
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("imgvec").setLevel(level)
    ctx.obj = {"uri": uri, "token": token, "db_name": db_name}
