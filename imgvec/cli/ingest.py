"""`imgvec ingest`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import Unpack

from imgvec.cli.engines import engine_of, engine_options
from imgvec.cli.interrupts import interruptible
from imgvec.cli.options import (
    LISTING,
    check_writable,
    collection_option,
    confirmed,
    definition_option,
    gpu_option,
    no_projection_option,
    notice,
    output_option,
    settings,
    yes_option,
)
from imgvec.cli.output import print_json
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.home import at_home
from imgvec.ingest.options import IngestOptions
from imgvec.options import taken
from imgvec.plurals import counted
from imgvec.sources.source import SourceOptions

if TYPE_CHECKING:
    from imgvec.report import IngestReport


class _Stated(SourceOptions, IngestOptions, total=False):
    """The options of the source and of the ingest."""


@click.command()
@click.argument("source", nargs=-1, required=True)
@collection_option
@definition_option
@gpu_option
@no_projection_option
@options_of(IngestOptions)
@options_of(SourceOptions)
@click.option(
    "--rank", type=click.IntRange(min=0), metavar="I", help="Ingest only part I of --of parts, counted from 0."
)
@click.option(
    "--of", "parts", type=click.IntRange(min=1), metavar="N", help="Number of parts to split the source into."
)
@engine_options
@click.option(
    "--via",
    "bulk",
    type=(click.Choice(["parquet"]), str),
    metavar="parquet DIR",
    help="Write Milvus bulk-import files to DIR, for `collections import` to load.",
)
@click.option("--stats", metavar="FILE", help="Write the report to this file as JSON.")
@yes_option
@output_option("text", "json")
@click.pass_context
def ingest(
    ctx: click.Context,
    /,
    source: tuple[str, ...],
    name: str,
    definition: str | None,
    gpu: bool,
    no_projection: bool,
    rank: int | None,
    parts: int | None,
    engine_name: str,
    workers: int | None,
    gpus_per_worker: float | None,
    bulk: tuple[str, str] | None,
    stats: str | None,
    yes: bool,
    output: str,
    **options: Unpack[_Stated],
) -> None:
    """Add the images of SOURCE: folders, files, globs, archives, manifests, lists or URLs.

    Archives are .tar (compressed or not), WebDataset shards ('shard-{000..127}.tar') and .zip. Manifests are .csv,
    .jsonl and .parquet. A list is a .txt with one path or URL per line. URLs are http(s) or anything fsspec reads
    (s3://, gs://, hf://).

    Counts are of images, also in a collection with views, where each image has several rows.

    Unchanged images are skipped, so run the same command again to resume. A missing collection is created, from the
    bundled definition of the same name or else from `photos`.
    """
    from imgvec.collection import ImageCollection
    from imgvec.definition import field_problem
    from imgvec.errors import SourceError
    from imgvec.pruning import way_out
    from imgvec.sources import Record, Source

    of_source, run = taken(SourceOptions, options), taken(IngestOptions, options)
    prune, metadata, errors = run.pop("prune", False), run.get("metadata"), run.get("errors")

    def confirm(gone: int, of: int) -> bool:
        return confirmed(f"Delete {gone:,} of the collection's {counted(of, 'picture')}, whose files are gone?", yes)

    if prune and not yes and not sys.stdin.isatty():
        raise click.UsageError("--prune deletes rows and needs confirmation, but there is no terminal: add --yes.")
    if (rank is None) != (parts is None) or (rank is not None and parts is not None and rank >= parts):
        raise click.UsageError("--rank I and --of N must be used together, with I below N.")
    part = (rank, parts) if rank is not None and parts is not None else None
    if prune and part is not None:
        raise click.UsageError("--prune needs the whole source: run it once without --rank and --of.")
    ray = engine_of(engine_name, workers, gpus_per_worker)
    if prune and bulk:
        raise click.UsageError("--prune and --via cannot be combined: --via does not touch the collection.")
    images = Source(source[0] if len(source) == 1 else source, **of_source)
    # fail early: everything named on the command line must exist or be writable before weights are loaded
    try:
        images.read(field_problem=field_problem)
    except SourceError as exc:
        if not prune or len(source) > 1:
            raise
        raise SourceError(f"{exc}; {way_out(name, source[0], images.options['root'])}") from exc
    check_writable(errors, stats)
    if isinstance(metadata, str):
        try:
            at_home(metadata).open("rb").close()
        except OSError as exc:
            raise SourceError(f"{metadata}: cannot read the metadata: {exc.strerror}") from exc
    with ImageCollection.create(
        name,
        definition=definition,
        gpu=gpu,
        projection=not no_projection,
        exist_ok=True,
        settings=settings(ctx),
        on_notice=notice,
    ) as collection:
        countable = part is None and images.is_listed_fast

        def listed() -> Iterator[Record]:
            return (item for item in images if isinstance(item, Record))

        # what Ray has to say of its cluster goes to sys.stdout, which belongs to results
        quiet = redirect_stdout(sys.stderr) if ray else nullcontext()
        with quiet, interruptible() as stop, bar(listed if countable else None) as on_progress:
            run["part"], run["engine"], run["via"] = part, ray, bulk[1] if bulk else None
            run["on_progress"], run["on_notice"], run["stop"] = on_progress, notice, stop
            report = collection.ingest(images, **run)
        if prune and not report.interrupted:
            report.pruned = collection.prune(images, confirm=confirm, on_notice=notice)
    if stats is not None:
        Path(stats).write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    _print(report, name, output, listed=errors is not None)
    if report.interrupted:
        notice("stopped early; run the same command again to resume")
        ctx.exit(stop.status)


def _print(report: IngestReport, name: str, output: str, *, listed: bool) -> None:
    if output == "json":
        print_json(report.to_dict())
        return
    counts = {
        "written": report.written,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "duplicates": report.duplicates,
        "skipped": report.skipped,
        "refused": report.refused.total(),
        "pruned": report.pruned,
    }
    said = ", ".join(f"{number:,} {what}" for what, number in counts.items() if number or what == "written")
    rate = f", {report.written / report.seconds:.1f} images/s" if report.written and report.seconds else ""
    click.echo(f"{name}: {said} ({report.seconds:.1f} s{rate})")
    if report.written and report.bottleneck:
        idle = "" if report.encoder_idle is None else f"; the encoder was idle {report.encoder_idle:.0%} of its time"
        repeated = f"; {counted(report.retries, 'call')} repeated" if report.retries else ""
        click.echo(f"  slowest stage: {report.bottleneck}{idle}{repeated}")
    if report.repeated:
        uri, first = next(iter(report.repeats.items()))
        same = f" (the first: {uri}, like {first or 'an earlier one'})"
        click.echo(f"  the same bytes as another image: {report.repeated:,}{same}")
    if report.recall is not None:
        click.echo(f"  {_watched(report.recall, name)}")
    for reason, number in report.refused.most_common():
        click.echo(f"  refused, {reason}: {number:,}")
    if report.refused and not listed:
        click.echo(f"  {LISTING}")
    for reason, number in report.passed_over.most_common():
        click.echo(f"  passed over, {reason}: {number:,}")


def _watched(recall: dict[str, Any], name: str) -> str:
    """What the standing probes said, or why they said nothing."""
    watch = f"`imgvec index watch -c {name}`"
    if "mean" not in recall:
        return f"recall was not measured: a hundredth of the time was too short, or the probes are open; {watch} does"
    fell = f"; it fell by {recall['fell_by']:.4f}: {watch} says what to do" if recall["fell_by"] else ""
    return (
        f"recall@{recall['limit']}: {recall['mean']:.4f} ({recall['low']:.4f} to {recall['high']:.4f}, "
        f"{counted(recall['probes'], 'standing probe')}){fell}"
    )
