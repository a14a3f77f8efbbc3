"""`imgvec index build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from imgvec.cli.index.parameters import typed
from imgvec.cli.index.verify import print_verification
from imgvec.cli.options import collection_option, notice, opened
from imgvec.cli.progress import bar

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.definition import IndexSection


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
    """Build the vector index of a collection anew.

    It is --type with its -p, or that of the definition in --from, or else of the collection's own definition. What the
    backend cannot build is refused before anything is dropped; when a build fails the former index comes back. The
    collection cannot be searched meanwhile. Afterwards searches are held against exact ones, as `index verify` does:
    exit status 1 where something is wrong.
    """
    if type_ and (source or gpu):
        raise click.UsageError("Say --type, or --from and --gpu, not both.")
    if pairs and not type_:
        raise click.UsageError("-p belongs to --type.")
    from imgvec.definition import IndexSection
    from imgvec.indexes.catalog import index_type

    with opened(ctx, name) as collection:
        if type_:
            index = IndexSection(type=type_, params=dict(typed(pairs, index_type(type_).build)))
        else:
            index = _described(collection, source, gpu)
        if danger := collection.store.capabilities.danger(index.type):
            notice(danger)
        with bar() as on_progress:
            seconds = collection.store.build_index(index.type, index.params, timeout=timeout, on_progress=on_progress)
        if source and index.search:
            collection.set_search_defaults(index.search, about={"definition": source})
        built = collection.store.index
        said = " ".join([built.type, *(f"{key}={value}" for key, value in built.params.items())])
        click.echo(f"{name}: {said} built over {collection.count():,} rows in {seconds:.1f} s")
        if ignored := collection.search_defaults.ignored:
            notice(ignored)
        if not no_verify and not _verified(collection):
            ctx.exit(1)


def _described(collection: ImageCollection, source: str | None, gpu: bool) -> IndexSection:
    from imgvec.definition import Definition
    from imgvec.errors import DefinitionError

    choice = (Definition.load(source) if source else collection.definition).index
    section = choice.gpu if gpu else choice.cpu
    if section is None:
        raise DefinitionError("there is no index for a GPU: say --type and -p, or add one", where="index.gpu")
    return section


def _verified(collection: ImageCollection) -> bool:
    """Hold the new index against exact search. How many true neighbours it finds is for `tune`, and only told."""
    from imgvec.indexes.verify import verify

    found = verify(collection.store, queries=100, probes=500, recall=None, params=collection.search_defaults.params)
    print_verification(found)
    return found.ok
