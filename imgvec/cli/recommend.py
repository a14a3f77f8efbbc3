"""`imgvec recommend`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.answers import print_answer
from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, notice, opened, output_option
from imgvec.cli.questions import mix_options, weighted
from imgvec.cli.stated import options_of
from imgvec.search.strategies import RecommendOptions


@click.command()
@collection_option
@mix_options
@options_of(RecommendOptions)
@filter_options
@output_option("table", "json", "csv", "paths", "html")
@click.pass_context
def recommend(
    ctx: click.Context,
    name: str,
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    chosen: Chosen,
    output: str,
    **options: Unpack[RecommendOptions],
) -> None:
    """Find images like some examples and unlike others.

    Examples are given by --like and --unlike, or by --user, a table of what somebody likes: it has a column id or
    path, and perhaps weight (a number, below 0 for what is disliked) or like (yes or no). None of the examples is in
    the answer.
    """
    import imgvec

    if not like and not unlike and options["user"] is None:
        raise click.UsageError("Give --like, --unlike or --user.")
    options["on_notice"] = notice
    with opened(ctx, name) as collection:
        options["where"] = combined(collection, options["where"], chosen)
        answer = imgvec.recommend(collection, map(weighted, like), map(weighted, unlike), **options)
        print_answer(collection, answer, output)
    if not answer.certain:
        notice(f"only the {answer.compared:,} rows most like the examples were compared: others may belong here too")
