"""`imgvec search`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import Unpack

from imgvec.cli.options import collection_option, combined, filter_options, notice, opened, output_option
from imgvec.cli.output import print_csv, print_json, print_paths, print_table, with_dates
from imgvec.cli.questions import box, mix_options, question
from imgvec.cli.stated import options_of
from imgvec.search.request import SearchOptions

if TYPE_CHECKING:
    from imgvec.filters import FieldType
    from imgvec.search.answer import Answer


@click.command()
@click.argument("query", required=False)
@click.option("--image", "images", multiple=True, metavar="FILE", help="Search by this image file; repeatable.")
@click.option(
    "--text", "texts", multiple=True, metavar="WORDS", help="Search by these words, even if a file has that name."
)
@click.option("--id", "ids", multiple=True, metavar="ID", help="Search by this stored row; repeatable.")
@mix_options
@click.option(
    "--crop", callback=box, metavar="X,Y,W,H", help="Search by this part of the picture: pixels from its top left."
)
@collection_option
@options_of(SearchOptions)
@filter_options
@output_option("table", "json", "csv", "paths")
@click.pass_context
def search(
    ctx: click.Context,
    query: str | None,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    ids: tuple[str, ...],
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    crop: tuple[int, int, int, int] | None,
    name: str,
    eq: tuple[str, ...],
    ranges: tuple[str, ...],
    output: str,
    **options: Unpack[SearchOptions],
) -> None:
    """Find the images most similar to QUERY.

    QUERY is the path of an image, id:HEX for a stored row, or text if the collection's encoder supports it. In scripts
    use --image, --text or --id, so that nothing is guessed. Several of these are mixed, with --like and --unlike by
    weight: --like B.jpg:0.5 counts half as much as QUERY.
    """
    form = question(query, images, texts, ids, like, unlike, crop)
    with opened(ctx, name) as collection:
        options["where"] = combined(collection, options["where"], eq, ranges)
        answer = collection.search(form, **options)
        kinds = collection.store.fields
        short = answer.shortfall if output == "table" else None
    _print(answer, kinds, output)
    if not answer.complete:
        notice("the answer may lack rows: the server's query nodes changed a moment ago; ask again in 30 s")
    if short is None:
        return
    if short.reason == "index":
        notice(str(short))
    elif short.reason == "rows" and not answer:
        notice("no more rows match" if options["offset"] else "no rows match")


def _print(answer: Answer, kinds: Mapping[str, FieldType], output: str) -> None:
    if output == "paths":
        print_paths(hit.uri for hit in answer)
        return
    fields = [with_dates(hit.fields, kinds) for hit in answer]
    rows: list[dict[str, Any]] = [{**hit.to_dict(), "fields": shown} for hit, shown in zip(answer, fields, strict=True)]
    if output == "json":
        print_json(rows)
    elif output == "csv":
        place = ["image_id", "view", "box", "at_ms"] if any(hit.box for hit in answer) else []
        own = ["id", "score", "distance", "uri", *place]
        # a dynamic field may be called like one of these
        columns = {name: f"fields.{name}" if name in own else name for shown in fields for name in shown}
        named = [{columns[name]: value for name, value in shown.items()} for shown in fields]
        print_csv([*own, *columns.values()], ({**row, **shown} for row, shown in zip(rows, named, strict=True)))
    else:
        dated = [name for name, kind in kinds.items() if kind.is_date and name != "ingested_at"]
        shorter = (
            {**{name: shown.get(name) for name in dated}, **row} for row, shown in zip(rows, fields, strict=True)
        )
        box = ["box"] if any(hit.box for hit in answer) else []
        print_table(["score", *dated, "uri", *box, "id"], shorter)
