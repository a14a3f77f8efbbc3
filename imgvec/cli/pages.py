"""`imgvec pages`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.answers import print_pages
from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, opened, output_option
from imgvec.cli.questions import Asked, question_options
from imgvec.cli.stated import options_of
from imgvec.search.request import PageOptions


@click.command()
@question_options
@collection_option
@options_of(PageOptions)
@click.option("--pages", "number", type=click.IntRange(1), metavar="N", help="Print this many pages; by default all.")
@filter_options
@output_option("table", "jsonl", "paths")
@click.pass_context
def pages(
    ctx: click.Context,
    asked: Asked,
    name: str,
    number: int | None,
    chosen: Chosen,
    output: str,
    **options: Unpack[PageOptions],
) -> None:
    """List everything like QUERY page by page, each row once.

    QUERY and the options beside it are those of imgvec search. The rows are ranked once, and read as they are printed:
    whatever is written and deleted meanwhile, each row that still exists comes exactly once. Goes past the 16,384 rows
    of a search, as far as --most says.
    """
    form = asked.form()
    with opened(ctx, name) as collection:
        options["where"] = combined(collection, options["where"], chosen)
        only = options["only_matches"]
        print_pages(collection, collection.pages(form, **options), number, output, only_matches=only)
