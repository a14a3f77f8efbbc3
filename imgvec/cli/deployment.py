"""`imgvec collections load` and `release`, and what is loaded where, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from typing_extensions import Unpack

from imgvec.cli.options import opened
from imgvec.cli.stated import options_of
from imgvec.deployment import LoadOptions
from imgvec.plurals import counted


@click.command()
@click.argument("name")
@options_of(LoadOptions)
@click.pass_context
def load(ctx: click.Context, name: str, **options: Unpack[LoadOptions]) -> None:
    """Load NAME into memory, and say what is loaded where.

    With --replicas or --resource-group it is loaded so from now on, by every client. Before Milvus 2.4.13 a loaded
    collection is released for that and loaded again, and cannot be searched meanwhile.
    """
    import imgvec

    with opened(ctx, name, load=False) as collection:
        seconds = imgvec.load(collection, **options)
        click.echo(f"{name}: loaded" + (f"; it could not be searched for {seconds:.1f} s" if seconds else ""))
        for line in said(collection.store.loaded()):
            click.echo(f"  {line}")


@click.command()
@click.argument("name")
@click.pass_context
def release(ctx: click.Context, name: str) -> None:
    """Free the memory that NAME takes; whatever reads it next loads it again, in as many replicas."""
    import imgvec

    with opened(ctx, name, load=False) as collection:
        imgvec.release(collection)
    click.echo(f"{name}: released")


def said(deployment: Mapping[str, Any]) -> Iterator[str]:
    """Lines that say what is wanted and what is loaded where; one where nothing can differ."""
    wanted, groups = deployment["replicas"], deployment["resource_groups"]
    where = f" in {', '.join(groups)}" if groups else ""
    shards = counted(deployment["shards"], "shard")
    state = "loaded" if deployment["loaded"] else "not loaded"
    yield f"replicas: {wanted}{where}, of {shards}; {state}"
    on = deployment["on"]
    if on is None:
        yield "  where they are cannot be read with this login"
        return
    for number, replica in enumerate(on, 1):
        nodes = ", ".join(map(str, replica["nodes"])) or "none"
        leaders = ", ".join(str(shard["leader"]) if shard["leader"] > 0 else "none" for shard in replica["shards"])
        yield f"  replica {number}: {replica['resource_group']}, nodes {nodes}; leaders of the shards: {leaders}"
    if deployment["loaded"] and on and len(on) != wanted:
        yield f"  {len(on)} of {wanted} are loaded: another client loaded them"
