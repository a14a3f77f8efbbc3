"""`imgvec index build`."""

from __future__ import annotations

import click

from imgvec.cli.index.parameters import typed
from imgvec.cli.index.verify import print_verification
from imgvec.cli.options import collection_option, notice, opened
from imgvec.cli.progress import bar


@click.command()
@collection_option
@click.option("--type", "type_", metavar="TYPE", help="The index type; `imgvec index types` lists them.")
@click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A build parameter of TYPE, such as M=16.")
@click.option("--from", "source", metavar="FILE|NAME", help="The index that a definition describes.")
@click.option("--gpu", is_flag=True, help="The definition's index for a GPU.")
@click.option("--timeout", type=click.FloatRange(min=1), default=3600, show_default=True, help="Seconds to wait.")
@click.option("--no-verify", is_flag=True, help="Do not compare with exact search afterwards.")
@click.pass_context
def build(
    ctx: click.Context,
    name: str,
    type_: str | None,
    pairs: tuple[str, ...],
    source: str | None,
    gpu: bool,
    timeout: float,
    no_verify: bool,
) -> None:
    """Rebuild the vector index of a collection.

    It is --type with its -p, or that of the definition in --from, or else of the collection's own definition. What the
    backend cannot build is refused before anything is dropped; when a build fails the former index comes back. The
    collection cannot be searched meanwhile. Afterwards searches are held against exact ones, as `index verify` does:
    exit status 1 where something is wrong.
    """
    if type_ and (source or gpu):
        raise click.UsageError("Say --type, or --from and --gpu, not both.")
    if pairs and not type_:
        raise click.UsageError("-p belongs to --type.")
    import imgvec
    from imgvec.indexes.catalog import index_type

    params = typed(pairs, index_type(type_).build) if type_ else None
    with opened(ctx, name) as collection:
        with bar() as on_progress:
            seconds = imgvec.build_index(
                collection,
                type_,
                params,
                definition=source,
                gpu=gpu,
                timeout=timeout,
                on_progress=on_progress,
                on_notice=notice,
            )
        built = collection.store.index
        said = " ".join([built.type, *(f"{key}={value}" for key, value in built.params.items())])
        click.echo(f"{name}: {said} built over {collection.count():,} rows in {seconds:.1f} s")
        if not no_verify:
            # how many true neighbours it finds is for `tune`, and only told
            found = imgvec.verify(collection, queries=100, probes=500, recall=None)
            print_verification(found)
            if not found.ok:
                ctx.exit(1)
