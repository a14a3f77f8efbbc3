"""`imgvec evaluate`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from imgvec.cli.options import collection_option, combined, filter_options, notice, opened, output_option, settings
from imgvec.cli.output import print_csv, print_json, print_table
from imgvec.cli.progress import bar
from imgvec.errors import UnreadableImage

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.evaluate import Comparison, Evaluation


@click.command()
@collection_option
@click.option("--label", required=True, metavar="FIELD", help="The field of the labels; of an array, any shared one.")
@click.option("--queries", metavar="DIR", help="Images to ask with, in place of the stored rows.")
@click.option("--query-labels", metavar="FILE", help="Their labels: CSV, TSV or JSON lines with path and label.")
@click.option("-k", "ks", default="1,5,10", show_default=True, metavar="K,…", help="How many hits to look at.")
@filter_options
@click.option("--exact", is_flag=True, help="Rank every row by its true score, without the index; adds mAP.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Only N of the queries, by chance.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which chance.")
@click.option("--compare", "other", metavar="NAME", help="A second collection, on the same queries.")
@click.option("--compare-uri", metavar="URI", help="Where that one is, if elsewhere.")
@output_option("table", "json", "csv")
@click.pass_context
def evaluate(
    ctx: click.Context,
    name: str,
    label: str,
    queries: str | None,
    query_labels: str | None,
    ks: str,
    where: str | None,
    eq: tuple[str, ...],
    ranges: tuple[str, ...],
    exact: bool,
    sample: int | None,
    seed: int,
    other: str | None,
    compare_uri: str | None,
    output: str,
) -> None:
    """Measure how good the hits are, by labels.

    A hit is relevant when it has the query's label. Each stored row is a query against the others, or each image of
    --queries. Printed are precision@k (P), recall@k (R), mAP@k over the first k hits, nDCG@k and, with --exact, mAP
    over all rows; for all queries, as the mean of the classes, and for each class. With --compare: both collections,
    their difference, and its 95 % interval (paired bootstrap over the queries).
    """
    from imgvec import evaluate as room

    if bool(queries) != bool(query_labels):
        raise click.UsageError("Give --queries and --query-labels together.")
    if compare_uri and not other:
        raise click.UsageError("--compare-uri says where the collection of --compare is: name one.")
    with ExitStack() as stack:
        collection = stack.enter_context(opened(ctx, name))
        images, refused = _labelled_images(queries, query_labels, label)
        options: dict[str, Any] = {
            "label": label,
            "k": _integers(ks),
            "where": combined(collection, where, eq, ranges),
            "exact": exact,
            "queries": images,
            "sample": sample,
            "seed": seed,
            "on_progress": stack.enter_context(bar()),
        }
        found: Evaluation | Comparison
        if other is None:
            found = room.evaluate(collection, **options)
        else:
            found = room.compare(collection, stack.enter_context(_opened_at(ctx, other, compare_uri)), **options)
    # after the progress bar is gone
    if isinstance(found, room.Comparison):
        _print_comparison(replace(found, first=_with(refused, found.first)), output)
    else:
        _print_evaluation(_with(refused, found), output)


def _with(refused: list[UnreadableImage], found: Evaluation) -> Evaluation:
    return replace(found, unreadable=(*refused, *found.unreadable))


def _integers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r} is no list of integers like 1,5,10", param_hint="-k")
    return found


def _labelled_images(
    folder: str | None, file: str | None, label: str
) -> tuple[dict[str, Any] | None, list[UnreadableImage]]:
    """The labels of the folder's images by path, and what is refused before it is read; None without a folder."""
    from imgvec.errors import SourceError
    from imgvec.sources import Record, Source, load_metadata

    if folder is None or file is None:
        return None, []
    known = load_metadata(file)
    images: dict[str, Any] = {}
    refused: list[UnreadableImage] = []
    bare = 0
    for item in Source(folder).read(metadata=known):
        if isinstance(item, UnreadableImage):
            refused.append(item)
        elif not isinstance(item, Record):
            continue
        elif (value := item.metadata.get(label, item.metadata.get("label"))) is None:
            bare += 1
        else:
            images[item.uri] = value
    if not images:
        raise SourceError(f"{file} gives no image of {folder} a label: it needs the columns path, and {label} or label")
    if bare:
        notice(f"{bare:,} images of {folder} have no label in {file}")
    if known.unused:
        notice(f"{len(known.unused):,} rows of {file} belong to no image (the first: {known.unused[0]})")
    return images, refused


def _opened_at(ctx: click.Context, name: str, uri: str | None) -> ImageCollection:
    from imgvec.collection import ImageCollection

    return opened(ctx, name) if uri is None else ImageCollection.open(name, uri=uri, settings=settings(ctx))


def _notices(found: Evaluation) -> None:
    if found.unlabelled:
        notice(f"{found.unlabelled:,} of {found.rows:,} rows of {found.collection} have no {found.label}")
    if found.without_relevant:
        classes = ", ".join(list(found.without_relevant)[:10]) + (", …" if len(found.without_relevant) > 10 else "")
        notice(
            f"{found.left_out:,} queries are left out of every mean, since no other row is relevant to them: {classes}"
        )
    for each in found.unreadable:
        notice(f"left out: {each}")


def _short(measure: str) -> str:
    """As a heading: P@5, R@5, mAP@5, nDCG@5, mAP."""
    name, at, k = measure.partition("@")
    return {"precision": "P", "recall": "R", "map": "mAP", "ndcg": "nDCG"}[name] + at + k


def _ranked(found: Evaluation) -> str:
    how = "all rows ranked by their true scores" if found.ranking == "exact" else "ranked by the collection's search"
    return f"{len(found.names):,} queries, {found.rows:,} rows, {how}"


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
    click.echo(f"{found.collection}: {_ranked(found)}")
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
        notice(f"{found.dropped:,} queries that only one of the two could measure are left out")
    if found.relabelled:
        notice(f"{found.relabelled:,} queries have other labels in the second; classes go by the first's")
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
    click.echo(f"first: {found.first.collection}: {_ranked(found.first)}")
    click.echo(f"second: {found.second.collection}: {_ranked(found.second)}")
    # of the classes the last measure alone, the deepest: -o csv has them all
    last = found.first.measures[-1]
    shown = [row for row in rows if row["over"] != "class" or row["measure"] == last]
    print_table(columns, ({**row, "measure": _short(row["measure"])} for row in shown))
