"""`imgvec search`."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.answers import print_answer, print_answers
from imgvec.cli.matching import Chosen, combined, filter_options
from imgvec.cli.options import collection_option, opened, output_option
from imgvec.cli.questions import Asked, hybrid, hybrid_options, question_options
from imgvec.cli.stated import options_of
from imgvec.search.fusion import Fusion
from imgvec.search.request import SearchOptions


@click.command()
@question_options
@hybrid_options
@click.option(
    "--relevant", multiple=True, metavar="ID", help="Closer to this hit of an earlier answer (Rocchio); repeatable."
)
@click.option("--irrelevant", multiple=True, metavar="ID", help="Further from this hit, which is left out; repeatable.")
@click.option(
    "--queries", metavar="SOURCE", help="Search by each picture of a folder, list, archive or another source instead."
)
@collection_option
@options_of(SearchOptions)
@filter_options
@output_option("table", "json", "csv", "paths", "html")
@click.option("--profile", is_flag=True, help="Say on stderr what Milvus did, what imgvec did, and the seconds.")
@click.pass_context
def search(
    ctx: click.Context,
    asked: Asked,
    by: tuple[str, ...],
    words: tuple[str, ...],
    fusion: Fusion | None,
    relevant: tuple[str, ...],
    irrelevant: tuple[str, ...],
    queries: str | None,
    name: str,
    chosen: Chosen,
    output: str,
    profile: bool,
    **options: Unpack[SearchOptions],
) -> None:
    """Find the images most similar to QUERY.

    QUERY is the path of an image, id:HEX for a stored row, or text if the collection's encoder supports it. In scripts
    use --image, --text or --id, so that nothing is guessed. Several of these are mixed, with --like and --unlike by
    weight: --like B.jpg:0.5 counts half as much as QUERY. With --by, the question is asked by several vectors of the
    collection, with --words also by words in a text field, and the rankings are fused. With --queries, pictures that
    cannot be read are named, and the others get their answers.
    """
    if queries is not None and (asked or relevant or irrelevant):
        raise click.UsageError("--queries takes the place of the other queries.")
    if queries is not None and (by or words or fusion):
        raise click.UsageError("--by and --words are of one query.")
    if queries is not None and output == "html":
        raise click.UsageError("-o html is of one query.")
    if queries is not None and profile:
        raise click.UsageError("--profile is of one query.")
    form = None
    if queries is None and (asked or relevant or irrelevant or not words or by):
        form = asked.form()
    if form is not None and (relevant or irrelevant):
        from imgvec.search.feedback import rocchio

        form = rocchio(form, relevant, irrelevant)
    question = None if queries is not None else hybrid(form, by, words, fusion, options["vector"])
    with opened(ctx, name) as collection:
        options["where"] = combined(collection, options["where"], chosen)
        if irrelevant:
            from imgvec.search.examples import others_than

            options["where"] = others_than(irrelevant, options["where"], collection.store)
        if question is not None:
            answer = collection.search(question, **options)
            print_answer(collection, answer, output)
            if profile:
                click.echo(str(answer.profile), err=True)
            return
        from imgvec.sources import Source

        print_answers(collection, collection.search_each(Source(str(queries)), **options), output)
