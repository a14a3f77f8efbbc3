"""`imgvec index tune`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import click
from typing_extensions import Unpack

from imgvec.cli.matching import Chosen, choice_options, combined
from imgvec.cli.options import collection_option, confirmed, notice, opened, output_option, yes_option
from imgvec.cli.output import named, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.indexes.options import TuneOptions
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.filters import Filter
    from imgvec.indexes.tuned import Tuned

SAMPLE = "sample"


@click.command()
@collection_option
@options_of(TuneOptions)
@click.option(
    "--queries",
    "given",
    default=SAMPLE,
    show_default=True,
    metavar="FOLDER|FILE.npy|sample",
    help="Images, or an (n, dim) array of vectors, to tune with; these give the best results. Otherwise a sample "
    "of the stored rows is used, left out of a copy of the collection.",
)
@click.option("--types", metavar="A,B", help="Compare these index types, each built on a copy of the collection.")
@click.option(
    "--apply", is_flag=True, help="Make the result the default for every client; with --types, build the best index."
)
@click.option("--plot", metavar="FILE", help="Plot recall against latency to a .png or .html file.")
@choice_options
@yes_option
@output_option("table", "json")
@click.pass_context
def tune(
    ctx: click.Context,
    name: str,
    given: str,
    types: str | None,
    apply: bool,
    plot: str | None,
    chosen: Chosen,
    yes: bool,
    output: str,
    **options: Unpack[TuneOptions],
) -> None:
    """Find the cheapest search parameters that reach a given recall.

    The best queries are images of your own. Without them, stored rows are used. Because an index finds the neighbours
    of its own rows more easily than those of new images, a copy of the collection without these rows is made and
    indexed first. In a collection with views, recall is that of pictures as a search finds them, and all views of a
    picture are left out together.

    The parameters are chosen on half of the queries and confirmed on the other half: recall must be at least --recall
    with 95 % confidence, without a filter, under each --where, and under --eq, --in and --range together. If nothing
    reaches it, the best result is shown, nothing is applied, and the exit status is 1.
    """
    import imgvec
    from imgvec.indexes.plot import check, save

    if plot:
        check(plot)
    if apply and types and not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "--apply may rebuild the index and needs confirmation, but there is no terminal: add --yes."
        )
    names = [each.strip() for each in (types or "").split(",") if each.strip()]
    with opened(ctx, name) as collection:
        results: list[Tuned] = []
        failed: dict[str, str] = {}
        options["queries"] = options["sample"] if given == SAMPLE else given
        options["on_notice"] = notice
        if (together := combined(collection, None, chosen)) is not None:
            options["where"] = (*cast("Sequence[Filter | str]", options["where"]), together)
        with bar() as options["on_progress"]:
            if names:
                compared = imgvec.compare_indexes(collection, names, **options)
                results, failed = list(compared.ranking), dict(compared.failed)
            else:
                results = [imgvec.tune(collection, **options)]
        reached = [each for each in results if each.reached]
        if output == "json":
            data = [each.to_dict() for each in results]
            print_json({"ranking": data, "failed": failed} if types else data[0])
        else:
            _print(results)
        if plot and results:
            save(plot, results)
            click.echo(f"{plot}: written", err=True)
        for type_, why in failed.items():
            notice(f"{type_} left out: {why}")
        for each in results:
            click.echo(f"{name}: {each.summary()}", err=True)
            if each.least:
                notice(
                    f"this is the smallest possible {each.names[0]}; if rows were written or indexed just now, "
                    f"Milvus may have searched without the index, so tune again in a minute"
                )
        if not reached:
            ctx.exit(1)
        if apply:
            _apply(collection, reached[0], yes)


def _print(results: Sequence[Tuned]) -> None:
    from imgvec.indexes.ladder import text
    from imgvec.indexes.plan import size

    compared = len(results) > 1
    rows = []
    for tuned in results:
        for choice in tuned.choices:
            point = choice.applied or choice.best
            rows.append(
                {
                    "type": tuned.type,
                    "built with": text(tuned.build),
                    "where": choice.filter or "(all rows)",
                    "rows": choice.rows,
                    "setting": text(point.params) or "(nothing to tune)",
                    "reached": "yes" if tuned.reached else "no",
                    "recall": point.recall.mean,
                    "at least": point.recall.low,
                    "alone": "" if choice.chosen is None else text(choice.chosen.params),
                    "p50 ms": point.p50_ms,
                    "p99 ms": point.p99_ms,
                    "searches/s": f"{point.qps:.0f}",
                    "memory": size(tuned.memory_bytes),
                    "build s": tuned.build_seconds,
                }
            )
    filtered = any(len(tuned.choices) > 1 for tuned in results)
    hidden = [] if compared else ["built with", "memory", "build s"]
    hidden += [] if filtered else ["where", "rows", "alone"]
    print_table([column for column in rows[0] if column not in hidden] if rows else [], rows)
    searches, grid = sum(each.searches for each in results), sum(each.grid for each in results)
    click.echo(f"{counted(searches, 'recall measurement')} instead of {grid:,} for the whole grid")


def _apply(collection: ImageCollection, best: Tuned, yes: bool) -> None:
    """Make the choice every client's default, on an index of that type."""
    import imgvec
    from imgvec.indexes.ladder import text

    index, of = collection.store.vector(best.vector).index, named(collection.name, best.vector)
    question = f"Replace the {index.type} index of {of} by {best.type}?"
    if not best.is_of(index) and not confirmed(question, yes):
        raise click.Abort
    with bar() as tell:
        imgvec.apply_tuning(collection, best, on_progress=tell, on_notice=notice)
    said = text(best.chosen()) or "no parameters"
    click.echo(f"{of}: the default is now {best.type} with {said}", err=True)
