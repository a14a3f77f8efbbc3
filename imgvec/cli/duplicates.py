"""`imgvec duplicates`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import Unpack

from imgvec.cli.interrupts import interruptible
from imgvec.cli.options import check_writable, collection_option, confirmed, notice, opened, output_option, yes_option
from imgvec.cli.output import named, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.curation.options import DuplicatesOptions
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.curation import Duplicates, Group
    from imgvec.curation.judging import Kind

_KINDS = ("file", "pixels", "copy", "burst", "vector")


@click.command()
@collection_option
@options_of(DuplicatesOptions)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(_KINDS),
    help="Show only groups with pictures of this kind, and delete only these; repeat for several.",
)
@click.option("--sheet", metavar="FILE", help="Write a contact sheet, one HTML page with small pictures.")
@click.option("--delete", "delete", is_flag=True, help="Delete all but the best of each group from the collection.")
@click.option("--log", metavar="FILE", help="JSON lines of what is deleted.  [default: NAME-deleted.jsonl]")
@yes_option
@output_option("table", "json")
@click.pass_context
def duplicates(
    ctx: click.Context,
    name: str,
    kinds: tuple[Kind, ...],
    sheet: str | None,
    delete: bool,
    log: str | None,
    yes: bool,
    output: str,
    **options: Unpack[DuplicatesOptions],
) -> None:
    """Find copies of one picture, choose the best, and delete the others.

    Copies are the same file, the same pixels, or edited; bursts are told apart from them. Each picture's nearest are
    reopened and held against it by keypoints, also mirrored; pictures that are merely alike are not duplicates. What
    was found is kept with the collection, so that the next run looks only at new pictures and an interrupted one goes
    on.

    --delete removes rows, never files: copies of the same picture, and bursts only with --kind burst. It writes what it
    deletes to a log first. Take the files out of the source too, or the next ingest brings them back.
    """
    import imgvec
    from imgvec.curation import COPIES

    if delete and not yes and not sys.stdin.isatty():
        raise click.UsageError("--delete deletes rows and needs confirmation, but there is no terminal: add --yes.")
    if log is not None and not delete:
        raise click.UsageError("--log needs --delete.")
    check_writable(sheet, log)
    told: list[str] = []
    with opened(ctx, name) as collection:
        with interruptible() as stop, bar() as options["on_progress"]:
            options["on_notice"], options["stop"] = told.append, stop
            found = imgvec.duplicates(collection, **options)
        for each in told:
            notice(each)
        groups = [*(found.of(*kinds) if kinds else found.groups)]
        if sheet is not None:
            imgvec.contact_sheet(collection, found, sheet, kinds=kinds or None)
            notice(f"contact sheet: {sheet}")
        _print(found, groups, output)
        if found.interrupted:
            notice("stopped early; run the same command again to go on")
            ctx.exit(stop.status)
        if delete:
            doomed = kinds or COPIES
            number = sum(each.kind in doomed for group in groups for each in group.others)
            if number and confirmed(f"Delete {counted(number, 'picture')} from {name}? No file is deleted.", yes):
                done = imgvec.delete_duplicates(
                    collection, found, kinds=doomed, log=log or f"{collection.name}-deleted.jsonl"
                )
                left = (
                    f"; {counted(done.left, 'picture')} left: changed meanwhile, or the best copy cannot be opened"
                    if done.left
                    else ""
                )
                notice(f"deleted {counted(done.pictures, 'picture')}{left}; the log is {done.log}")
            elif not number:
                notice("nothing to delete")


def _print(found: Duplicates, groups: list[Group], output: str) -> None:
    if output == "json":
        print_json({**found.to_dict(), "groups": [each.to_dict() for each in groups]})
        return
    if not groups:
        click.echo(f"{named(found.collection, found.vector)}: no duplicates in {counted(found.pictures, 'picture')}")
        return
    rows = []
    for number, group in enumerate(groups, 1):
        rows.append({"group": number, "kind": "best", "size": _size(group.best), "uri": group.best.uri, "why": ""})
        for each in group.others:
            kind = each.kind + (", mirrored" if each.mirrored else "")
            why = "; ".join(each.reasons)
            rows.append(
                {"group": number, "kind": kind, "size": _size(each.subject), "uri": each.subject.uri, "why": why}
            )
    click.echo(
        f"{named(found.collection, found.vector)}: {counted(len(groups), 'group')} in "
        f"{counted(found.pictures, 'picture')}; {found.looked_at:,} looked at"
    )
    print_table(["group", "kind", "size", "uri", "why"], rows)


def _size(subject: Any) -> str:
    return f"{subject.width}x{subject.height}"
