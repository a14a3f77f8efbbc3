"""`imgvec index build`."""

from __future__ import annotations

import click

from imgvec.cli.index.parameters import typed
from imgvec.cli.index.verify import print_verification
from imgvec.cli.options import collection_option, notice, opened
from imgvec.cli.output import named
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.options.vector import VectorOptions
from imgvec.plurals import counted


@click.command()
@collection_option
@options_of(VectorOptions)
@click.option("--type", "type_", metavar="TYPE", help="Index type; see `imgvec index types`.")
@click.option(
    "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="Build parameter of TYPE, such as M=16; repeatable."
)
@click.option("--from", "source", metavar="FILE|NAME", help="Use the index described in this definition.")
@click.option("--gpu", is_flag=True, help="Use the definition's GPU index.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    default=3600,
    show_default=True,
    help="How long to wait for the build.",
)
@click.option("--no-verify", is_flag=True, help="Skip the check against exact search.")
@click.pass_context
def build(
    ctx: click.Context,
    name: str,
    vector: str,
    type_: str | None,
    pairs: tuple[str, ...],
    source: str | None,
    gpu: bool,
    timeout: float,
    no_verify: bool,
) -> None:
    """Rebuild a vector index of a collection.

    The index is --type with its -p, or comes from the definition in --from, or else from the collection's own
    definition. Anything the backend cannot build is refused before the old index is dropped, and a failed build puts
    the old index back. The collection cannot be searched during the build. Afterwards the index is checked against
    exact search, as `index verify` does; exits with 1 if something is wrong.
    """
    if type_ and (source or gpu):
        raise click.UsageError("Use either --type, or --from and --gpu, not both.")
    if pairs and not type_:
        raise click.UsageError("-p needs --type.")
    import imgvec
    from imgvec.catalog import index_type

    params = typed(pairs, index_type(type_).build) if type_ else None
    with opened(ctx, name) as collection:
        with bar() as on_progress:
            seconds = imgvec.build_index(
                collection,
                type_,
                params,
                vector=vector,
                definition=source,
                gpu=gpu,
                timeout=timeout,
                on_progress=on_progress,
                on_notice=notice,
            )
        built = collection.store.vector(vector).index
        said = " ".join([built.type, *(f"{key}={value}" for key, value in built.params.items())])
        click.echo(f"{named(name, vector)}: {said} built over {counted(collection.count(), 'row')} in {seconds:.1f} s")
        if not no_verify:
            # recall is reported only: whether it is enough is for `tune` to judge
            found = imgvec.verify(collection, vector=vector, queries=100, probes=500, recall=None)
            print_verification(found)
            if not found.ok:
                ctx.exit(1)
