"""`imgvec evaluate`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click
from typing_extensions import Unpack

from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, notice, opened, output_option, settings
from imgvec.cli.output import named, print_csv, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.plurals import counted
from imgvec.quality.options import EvaluateOptions

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.quality import Comparison, Evaluation


@click.command()
@collection_option
@options_of(EvaluateOptions)
@filter_options
@click.option("--compare", "other", metavar="NAME", help="Second collection to compare, on the same queries.")
@click.option("--compare-uri", metavar="URI", help="Milvus URI of the second collection, if it is elsewhere.")
@click.option("--compare-vector", metavar="NAME", help="Vector of the second collection, if it is another.")
@output_option("table", "json", "csv")
@click.pass_context
def evaluate(
    ctx: click.Context,
    name: str,
    chosen: Chosen,
    other: str | None,
    compare_uri: str | None,
    compare_vector: str | None,
    output: str,
    **options: Unpack[EvaluateOptions],
) -> None:
    """Measure search quality against labels.

    A hit is relevant if it has the query's label. Each stored row is queried against all the others, or use --queries
    to search with images of your own. Prints precision@k (P), recall@k (R), mAP@k over the first k hits, nDCG@k and,
    with --exact, mAP over all rows: averaged over queries, averaged over classes, and for each class. In a collection
    with views, pictures take the place of rows, each ranked by its best view. --compare prints
    both collections and their difference with a 95 % interval (paired bootstrap over the queries); NAME itself with
    --compare-vector compares two of its vectors.
    """
    import imgvec

    if bool(options["queries"]) != bool(options["query_labels"]):
        raise click.UsageError("--queries and --query-labels must be used together.")
    for flag, value in (("--compare-uri", compare_uri), ("--compare-vector", compare_vector)):
        if value and not other:
            raise click.UsageError(f"{flag} needs --compare.")
    with ExitStack() as stack:
        collection = stack.enter_context(opened(ctx, name))
        options["where"] = combined(collection, options["where"], chosen)
        told: list[str] = []
        options["on_notice"] = told.append
        if other is None:
            with bar() as options["on_progress"]:
                found = imgvec.evaluate(collection, **options)
            _tell(told)
            _print_evaluation(found, output)
            return
        second = stack.enter_context(_opened_at(ctx, other, compare_uri))
        with bar() as options["on_progress"]:
            compared = imgvec.compare(collection, second, second_vector=compare_vector, **options)
        _tell(told)
        _print_comparison(compared, output)


def _tell(notices: list[str]) -> None:
    """Called once the progress bar is gone."""
    for each in notices:
        notice(each)


def _opened_at(ctx: click.Context, name: str, uri: str | None) -> ImageCollection:
    from imgvec.collection import ImageCollection

    return opened(ctx, name) if uri is None else ImageCollection.open(name, uri=uri, settings=settings(ctx))


def _notices(found: Evaluation) -> None:
    if found.unlabelled:
        notice(f"{found.collection}: {found.unlabelled:,} of {_counted(found)} without {found.label}")
    if found.without_relevant:
        classes = ", ".join(list(found.without_relevant)[:10]) + (", …" if len(found.without_relevant) > 10 else "")
        notice(
            f"{counted(found.left_out, 'query', 'queries')} left out of all means, with no other relevant row: "
            f"{classes}"
        )
    for each in found.unreadable:
        notice(f"left out: {each}")


def _short(measure: str) -> str:
    """A column heading: P@5, R@5, mAP@5, nDCG@5, mAP."""
    name, at, k = measure.partition("@")
    return {"precision": "P", "recall": "R", "map": "mAP", "ndcg": "nDCG"}[name] + at + k


def _ranked(found: Evaluation) -> str:
    exact = f"all {found.ranked} ranked by exact score"
    how = exact if found.ranking == "exact" else "ranked by the collection's search"
    return f"{counted(len(found.names), 'query', 'queries')}, {_counted(found)}, {how}"


def _counted(found: Evaluation) -> str:
    return counted(found.rows, found.ranked.removesuffix("s"))


def _print_evaluation(found: Evaluation, output: str) -> None:
    _notices(found)
    if output == "json":
        print_json(found.to_dict())
        return
    rows = [
        {"over": "queries", "label": "", "queries": len(found.names), **found.micro},
        {"over": "classes", "label": "", "queries": len(found.names), **found.macro},
        *({"over": "class", "label": each.label, "queries": each.queries, **each.values} for each in found.classes),
    ]
    if output == "csv":
        print_csv(["over", "label", "queries", *found.measures], rows)
        return
    click.echo(f"{named(found.collection, found.vector)}: {_ranked(found)}")
    columns = ["mean over", "queries", *map(_short, found.measures)]
    print_table(
        columns,
        (
            {
                "mean over": row["label"] if row["over"] == "class" else f"({row['over']})",
                "queries": row["queries"],
                **{_short(measure): row[measure] for measure in found.measures},
            }
            for row in rows
        ),
    )


def _print_comparison(found: Comparison, output: str) -> None:
    for each in (found.first, found.second):
        _notices(each)
    if found.dropped:
        notice(f"left out {counted(found.dropped, 'query', 'queries')} that only one collection could measure")
    if found.relabelled:
        notice(
            f"labels differ for {counted(found.relabelled, 'query', 'queries')}; classes follow the first collection"
        )
    if output == "json":
        print_json(found.to_dict())
        return
    columns = ["over", "label", "measure", "first", "second", "difference", "low", "high"]
    groups = [("queries", "", found.micro), ("classes", "", found.macro)]
    groups += [("class", label, differences) for label, differences in found.classes.items()]
    rows = [
        {"over": over, "label": label, **each.to_dict()} for over, label, differences in groups for each in differences
    ]
    if output == "csv":
        print_csv(columns, rows)
        return
    for which, each in (("first", found.first), ("second", found.second)):
        click.echo(f"{which}: {named(each.collection, each.vector)}: {_ranked(each)}")
    # for each class, only the last (deepest) measure; -o csv has them all
    last = found.first.measures[-1]
    shown = [row for row in rows if row["over"] != "class" or row["measure"] == last]
    print_table(columns, ({**row, "measure": _short(row["measure"])} for row in shown))
