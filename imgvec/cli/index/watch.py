"""`imgvec index watch`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.options import collection_option, notice, opened, output_option
from imgvec.cli.output import json_text, named, print_json
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.indexes.options import WatchOptions
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.indexes.watched import Watched

_BASIS = {
    "given": "queries that were given",
    "edited": "edited copies of stored pictures",
    "between": "vectors halfway between stored rows",
}


@click.command()
@collection_option
@options_of(WatchOptions)
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look again after so many seconds, until Ctrl-C; with JSON one line each time.",
)
@output_option("text", "json")
@click.pass_context
def watch(ctx: click.Context, name: str, every: float | None, output: str, **options: Unpack[WatchOptions]) -> None:
    """Watch recall by standing probes, without reading the collection.

    The first call makes 200 probes, edited copies of stored pictures, and reads all rows once. From then on each write
    notes what comes near them. Says recall, what fell, rows that are missing, whether new rows are unlike the old, and
    what to do; exits with 1 if a row is missing or recall fell.
    """
    import imgvec
    from imgvec.errors import BackendError

    options["on_notice"] = notice
    ok = True
    with opened(ctx, name) as collection:
        while True:
            try:
                with bar() as options["on_progress"]:
                    found = imgvec.watch_index(collection, **options)
                if found is None:
                    click.echo(f"{name}: nothing is watched any more")
                    return
                ok = found.ok
                if output == "text":
                    _print(found)
                elif every is None:
                    print_json(found.to_dict())
                else:
                    click.echo(json_text(found.to_dict()))
            except BackendError as exc:
                if every is None or not exc.retryable:
                    raise
                notice(str(exc))
            if every is None:
                break
            options["again"], options["queries"] = False, None
            time.sleep(every)
    if not ok:
        ctx.exit(1)


def _print(found: Watched) -> None:
    click.echo(
        f"{named(found.name, found.vector)}: {counted(found.now.rows, 'row')}, {found.now.index}; "
        f"{counted(found.probes, 'probe')} ({_BASIS[found.basis]}), {found.open} open"
    )
    for limit, estimate in found.recall.items():
        began = found.began_recall.get(limit)
        click.echo(f"  recall@{limit}: {estimate}" + ("" if began is None else f"; at first {began:.4f}"))
    for fall in found.falls:
        click.echo(f"  recall@{fall.limit} fell by {fall.by:.4f}, certainly by {fall.least:.4f}")
    if found.lost:
        click.echo(f"  missing: {counted(len(found.lost), 'row')}")
    if found.unnoted:
        click.echo(f"  written past imgvec: {counted(found.unnoted, 'row')}")
    if found.drift is not None:
        drift = found.drift
        said = "unlike" if drift.found else "like"
        click.echo(
            f"  {counted(drift.rows, 'row')} written since: {said} those before (distance {drift.distance:.3f}, "
            f"{drift.critical:.3f} by chance)"
        )
    for line in found.advice:
        click.echo(f"  advice: {line}")
