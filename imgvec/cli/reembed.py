"""`imgvec reembed`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.engines import engine_of, engine_options
from imgvec.cli.interrupts import interruptible
from imgvec.cli.options import check_writable, collection_option, confirmed, notice, opened, output_option, yes_option
from imgvec.cli.output import print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.errors import SwapRefused
from imgvec.migration.options import BringOptions, ReembedOptions, SucceedOptions
from imgvec.options import taken
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.migration import Bridged, Reembedding


@click.command()
@collection_option
@click.option("--model", metavar="MODEL", help="The new model, named as in a definition.")
@options_of(ReembedOptions)
@engine_options
@click.option(
    "--bridge",
    metavar="NAME",
    help="Encode --sample pictures alone, and make the collection NAME in which all rows answer the new model.",
)
@click.option("--no-swap", is_flag=True, help="Fill and compare the new collection, and leave the name where it is.")
@click.option("--rollback", is_flag=True, help="Go back to the collection from before, with what was written since.")
@click.option("--finish", is_flag=True, help="Drop the collection from before, after asking.")
@yes_option
@output_option("text", "json")
@click.pass_context
def reembed(
    ctx: click.Context,
    name: str,
    model: str | None,
    engine_name: str,
    workers: int | None,
    gpus_per_worker: float | None,
    bridge: str | None,
    no_swap: bool,
    rollback: bool,
    finish: bool,
    yes: bool,
    output: str,
    **options: Unpack[ReembedOptions],
) -> None:
    """Change a collection's model while it goes on serving.

    The pictures are opened again and encoded with MODEL into a new collection beside the old one, with the same ids and
    fields; what is written and deleted meanwhile comes too. Then the name leads to the new one, and clients follow. The
    old one stays for --rollback, until --finish. Run the same command again to resume.

    With --bridge, before or while that runs, the old rows answer MODEL by a linear map, and it is said how well.

    Nothing is swapped if pictures of some rows cannot be read again (--allow-missing), or if the new collection is
    certainly worse by --label (--allow-worse).
    """
    import imgvec

    if (model is not None) + rollback + finish != 1:
        raise click.UsageError("Give one of --model, --rollback and --finish.")
    if bridge is not None and (model is None or no_swap):
        raise click.UsageError("--bridge goes with --model, and does not swap.")
    engine = engine_of(engine_name, workers, gpus_per_worker)
    check_writable(options["errors"])
    if finish:
        with opened(ctx, name) as collection:
            if not confirmed(f"Drop the collection that {name} stood for before?", yes):
                raise click.Abort
            click.echo(f"{imgvec.finish_reembedding(collection)}: dropped")
        return
    # what Ray has to say of its cluster goes to sys.stdout, which belongs to results
    quiet = redirect_stdout(sys.stderr) if engine else nullcontext()
    options["swap"], options["engine"] = not no_swap, engine
    told: list[str] = []
    options["on_notice"] = told.append
    found: Reembedding | Bridged | None
    with opened(ctx, name) as collection:
        try:
            with quiet, interruptible() as stop, bar() as options["on_progress"]:
                options["stop"] = stop
                if model is not None and bridge is not None:
                    found = imgvec.bridge_reembedding(collection, model, bridge, **taken(SucceedOptions, options))
                elif model is not None:
                    found = imgvec.reembed(collection, model, **options)
                else:
                    found = imgvec.rollback_reembedding(collection, **taken(BringOptions, options))
        except SwapRefused as exc:
            _tell(told)
            _print(exc.outcome, output, listed=options["errors"])
            raise
        _tell(told)
        if found is None or isinstance(found, imgvec.Bridged):
            _print_bridged(found, name, output)
        else:
            _print(found, output, listed=options["errors"])
    if found is None or (not isinstance(found, imgvec.Bridged) and found.interrupted):
        notice("stopped early; run the same command again to resume")
        ctx.exit(stop.status)


def _tell(notices: list[str]) -> None:
    """Called once the progress bar is gone."""
    for each in notices:
        notice(each)


def _print_bridged(found: Bridged | None, name: str, output: str) -> None:
    if found is None:
        return
    if output == "json":
        print_json(found.to_dict())
        return
    click.echo(
        f"{found.name}: {counted(found.rows, 'row')} of {found.model}; {found.encoded:,} pictures encoded, the other "
        f"rows by a linear map fitted to {found.bridge.pairs:,} ({found.seconds:.1f} s)"
    )
    if (worth := found.worth) is None:
        click.echo("  what it is worth cannot be said: too few pictures are encoded, or none shares a label")
    else:
        click.echo(
            f"  about {100 * worth.share:.0f} % of the final quality: {worth.measure} {worth.bridged:.3f} instead of "
            f"{worth.new:.3f}, and {worth.old:.3f} by the old model ({worth.queries:,} queries of {worth.pictures:,} "
            "pictures, each bridged by a map fitted to others)"
        )
    click.echo(f"  a snapshot: drop it once {name} is re-embedded (imgvec collections drop {found.name})")


_SHOWN = 20


def _print(found: Reembedding, output: str, *, listed: object) -> None:
    if output == "json":
        print_json(found.to_dict())
        return
    counts = {
        "encoded": found.encoded,
        "copied": found.copied,
        "deleted": found.deleted,
        "late": found.late,
        "missing": len(found.lost),
    }
    said = ", ".join(f"{number:,} {what}" for what, number in counts.items() if number or what == "encoded")
    click.echo(f"{found.target}: {counted(found.rows, 'row')} of {found.model}; {said} ({found.seconds:.1f} s)")
    for each in found.lost[: 0 if listed else _SHOWN]:
        click.echo(f"  missing: {each.uri}: {each.reason}{f' ({each.detail})' if each.detail else ''}")
    if len(found.lost) > _SHOWN and not listed:
        click.echo(f"  … and {len(found.lost) - _SHOWN:,} more: --errors FILE lists all")
    if found.comparison is not None:
        columns = ["measure", "first", "second", "difference", "low", "high"]
        print_table(columns, (each.to_dict() for each in found.comparison.micro))
    if found.swapped:
        click.echo(f"{found.name}: leads to {found.target} now; {found.source} is kept for --rollback, until --finish")
