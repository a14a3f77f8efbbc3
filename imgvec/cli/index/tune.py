"""`imgvec index tune`."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imgvec.cli.options import collection_option, confirmed, notice, opened, output_option, yes_option
from imgvec.cli.output import print_json, print_table
from imgvec.cli.progress import bar
from imgvec.progress import Telling

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.indexes.tune import Tuned
    from imgvec.progress import OnProgress
    from imgvec.sources import Record
    from imgvec.vectors import Vectors

T = TypeVar("T")

SAMPLE = "sample"
_ENCODED_AT_ONCE = 256
_INDEX_SECONDS = 3600.0


@click.command()
@collection_option
@click.option(
    "--recall",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    help="The share of the exact nearest to find.",
)
@click.option("-k", "limit", type=click.IntRange(min=1), default=10, show_default=True, help="Hits of a search.")
@click.option(
    "--queries",
    default=SAMPLE,
    show_default=True,
    metavar="FOLDER|FILE.npy|sample",
    help="Images, or (n, dim) vectors, to search for: the best there is. Or a sample of the stored rows, left out of a "
    "copy.",
)
@click.option(
    "--sample", type=click.IntRange(min=2), default=2000, show_default=True, help="How many queries to take at most."
)
@click.option("--where", multiple=True, metavar="EXPR", help="A filter to reach the recall under too; repeatable.")
@click.option("--types", metavar="A,B", help="Compare these index types, each built over a copy of the collection.")
@click.option("--apply", is_flag=True, help="Make the choice the default of every client; with --types, build it.")
@click.option("--plot", metavar="FILE", help="Draw recall against latency: a .png or .html file.")
@yes_option
@output_option("table", "json")
@click.pass_context
def tune(
    ctx: click.Context,
    name: str,
    recall: float,
    limit: int,
    queries: str,
    sample: int,
    where: tuple[str, ...],
    types: str | None,
    apply: bool,
    plot: str | None,
    yes: bool,
    output: str,
) -> None:
    """Find the cheapest search parameters that reach a recall.

    Pictures of your own are the best queries. Without them stored rows stand for such: a copy of the collection that
    lacks them is made and indexed first, since an index finds the neighbours of a row that it holds too easily.

    Half of the queries chooses; the choice stands if, on the other half, recall is at least --recall with 95 %
    confidence. It reaches it without a filter and under every --where. Exit status 1 where no setting does: then the
    best that was seen is said, and nothing is applied.
    """
    from imgvec.indexes.plot import check, save

    if plot:
        check(plot)
    if apply and types and not yes and not sys.stdin.isatty():
        raise click.UsageError("--apply may build another index, and there is no terminal to ask on: add --yes.")
    with opened(ctx, name) as collection:
        if not collection.store.index_state().covers(collection.count()):
            notice("not all rows are indexed, and those are found without the index: waiting until they are")
            collection.store.wait_until_indexed(_INDEX_SECONDS)
        results, failed = _measured(collection, recall, limit, queries, sample, where, types)
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
            notice(f"{type_} was left out: {why}")
        for each in results:
            click.echo(f"{name}: {each.summary()}", err=True)
            if each.least:
                notice(
                    f"that is the least {each.names[0]} there is: if rows were written or indexed just now, Milvus may "
                    "have searched without the index; tune again in a minute"
                )
        if not reached:
            ctx.exit(1)
        if apply:
            _apply(collection, reached[0], yes)


def _measured(
    collection: ImageCollection,
    recall: float,
    limit: int,
    queries: str,
    sample: int,
    where: Sequence[str],
    types: str | None,
) -> tuple[list[Tuned], dict[str, str]]:
    """The outcome for the collection's index, or for each of the types, the best first; and why a type has none."""
    from imgvec.filters import render
    from imgvec.indexes.compare import compare, suggested
    from imgvec.indexes.tune import tune as run

    store = collection.store
    names = [each.strip() for each in (types or "").split(",") if each.strip()]
    builds = suggested(store, names)
    for each in names:
        if lacks := store.capabilities.why_not(each):
            raise store.capabilities.refusal(f"no {each} index ({lacks})", store.capabilities.index_types)
    with bar() as on_progress:
        options: dict[str, Any] = {
            "recall": recall,
            "limit": limit,
            "queries": sample if queries == SAMPLE else _vectors(collection, queries, sample, on_progress),
            "filters": ["", *(render(each, store.fields, dynamic=store.dynamic) for each in where)],
            # exact search wants float64, which MPS has not
            "device": "cpu" if collection.settings.device == "mps" else collection.settings.device,
            "on_progress": on_progress,
        }
        if not names:
            return [run(store, collection.scratch, on_notice=notice, **options)], {}
        comparison = compare(store, collection.scratch, builds, **options)
        return list(comparison.ranking), dict(comparison.failed)


def _vectors(collection: ImageCollection, queries: str, most: int, on_progress: OnProgress | None) -> Vectors:
    """The vectors of a .npy file, or of a folder's images as the collection's encoder makes them."""
    import numpy as np

    from imgvec.errors import QueryError, UnreadableImage
    from imgvec.search.forms import ImageBytes
    from imgvec.sources import Record, Source

    if Path(queries).suffix == ".npy":
        try:
            vectors = np.load(queries, allow_pickle=False)
        except (ValueError, EOFError) as exc:
            raise QueryError(f"{queries} is no .npy file of vectors: {exc}") from exc
        if vectors.ndim != 2 or vectors.shape[1] != collection.store.dim or vectors.dtype.kind != "f":
            shape = f"{vectors.dtype} {vectors.shape}"
            raise QueryError(f"{queries} holds {shape}, and (n, {collection.store.dim}) floats are wanted")
        # by chance: in a file that is sorted by class the first ones are of one class
        chosen = np.sort(np.random.default_rng(0).permutation(len(vectors))[:most])
        return np.asarray(vectors[chosen], np.float32)
    found = (each for each in Source(queries) if isinstance(each, Record))
    images, limit = iter(_some(found, most)), collection.settings.max_file_bytes
    encoded: list[Vectors] = []
    tell = Telling("tune", on_progress)
    while batch := list(islice(images, _ENCODED_AT_ONCE)):
        tell("encoding queries", sum(map(len, encoded)))
        try:
            encoded.append(collection.vectors([ImageBytes(each.reader.read(limit)) for each in batch]))
        except UnreadableImage:
            encoded += [one for each in batch if (one := _encoded(collection, each)) is not None]
    return np.concatenate(encoded) if encoded else np.empty((0, collection.store.dim), np.float32)


def _some(items: Iterable[T], most: int) -> list[T]:
    """That many of the items, each with the same chance (Vitter, Random Sampling with a Reservoir, 1985)."""
    chance, kept = random.Random(0), list[T]()  # noqa: S311  no secret
    for number, item in enumerate(items):
        if number < most:
            kept.append(item)
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = item
    return kept


def _encoded(collection: ImageCollection, record: Record) -> Vectors | None:
    """One image's vector, (1, dim); None, with a word, where it cannot be read."""
    from imgvec.errors import UnreadableImage
    from imgvec.search.forms import ImageBytes

    try:
        return collection.vectors([ImageBytes(record.reader.read(collection.settings.max_file_bytes))])
    except UnreadableImage as exc:
        notice(f"{record.uri} is no query: {exc.reason}")
        return None


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
    click.echo(f"{searches} recall measurements, where the whole grid has {grid:,} settings")


def _apply(collection: ImageCollection, best: Tuned, yes: bool) -> None:
    """Make the choice every client's default, on an index of that type."""
    from imgvec.indexes.ladder import text

    store = collection.store
    if (best.type, dict(best.build)) != (store.index.type, dict(store.index.params)):
        if danger := store.capabilities.danger(best.type):
            notice(danger)
        if not confirmed(f"Build {best.type} in place of {collection.name}'s {store.index.type} index?", yes):
            raise click.Abort
        store.build_index(best.type, best.build)
    lowest = min(choice.applied.recall.low for choice in best.choices if choice.applied)
    collection.set_search_defaults(
        best.params or {},
        about={
            "recall": best.target,
            "at_least": round(lowest, 4),
            "limit": best.limit,
            "queries": best.queries[1],
            "basis": best.basis,
            "filters": [choice.filter for choice in best.choices],
        },
    )
    click.echo(
        f"{collection.name}: {best.type} with {text(best.params or {}) or 'no parameters'} is the default now", err=True
    )
