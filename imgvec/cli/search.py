"""`imgvec search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from imgvec.cli.options import collection_option, combined, filter_options, opened, output_option
from imgvec.cli.output import print_csv, print_json, print_paths, print_table, with_dates

if TYPE_CHECKING:
    from imgvec.filters import FieldType
    from imgvec.search import Hit


@click.command()
@click.argument("query")
@collection_option
@click.option("-k", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="How many hits.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Skip that many hits.")
@filter_options
@click.option("--min-score", type=float, metavar="S", help="Leave out what is less similar; 1 is the same picture.")
@click.option("-p", "--param", multiple=True, metavar="KEY=VALUE", help="A search parameter of the index, as ef=128.")
@output_option("table", "json", "csv", "paths")
@click.pass_context
def search(
    ctx: click.Context,
    query: str,
    name: str,
    limit: int,
    offset: int,
    where: str | None,
    eq: tuple[str, ...],
    ranges: tuple[str, ...],
    min_score: float | None,
    param: tuple[str, ...],
    output: str,
) -> None:
    """Find the images most similar to QUERY.

    QUERY is an image's path, id:HEX for a stored row, or a text where the collection's encoder has a text side.
    """
    with opened(ctx, name) as collection:
        hits = collection.search(
            query,
            limit=limit,
            offset=offset,
            where=combined(collection, where, eq, ranges),
            min_score=min_score,
            params=_params(param),
        )
        kinds = collection.store.fields
    _print(hits, kinds, output)


def _params(given: Sequence[str]) -> dict[str, Any]:
    import yaml

    params = {}
    for pair in given:
        key, sign, value = pair.partition("=")
        if not sign:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-p")
        try:
            params[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise click.BadParameter(f"{value!r} is neither a number nor a word", param_hint="-p") from None
    return params


def _print(hits: Sequence[Hit], kinds: Mapping[str, FieldType], output: str) -> None:
    if output == "paths":
        print_paths(hit.uri for hit in hits)
        return
    fields = [with_dates(hit.fields, kinds) for hit in hits]
    rows = [
        {"id": hit.id, "score": hit.score, "distance": hit.distance, "uri": hit.uri, "fields": shown}
        for hit, shown in zip(hits, fields, strict=True)
    ]
    if output == "json":
        print_json(rows)
    elif output == "csv":
        own = ["id", "score", "distance", "uri"]
        # a dynamic field may be called like one of these
        columns = {name: f"fields.{name}" if name in own else name for shown in fields for name in shown}
        named = [{columns[name]: value for name, value in shown.items()} for shown in fields]
        print_csv([*own, *columns.values()], ({**row, **shown} for row, shown in zip(rows, named, strict=True)))
    else:
        dated = [name for name, kind in kinds.items() if kind.is_date and name != "ingested_at"]
        shorter = (
            {**{name: shown.get(name) for name in dated}, **row} for row, shown in zip(rows, fields, strict=True)
        )
        print_table(["score", *dated, "uri", "id"], shorter)
