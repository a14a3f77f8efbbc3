"""`imgvec index status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from imgvec.cli.deployment import said
from imgvec.cli.options import collection_option, opened, output_option
from imgvec.cli.output import named, print_json
from imgvec.plurals import counted

_SOURCES = {
    "chosen": "chosen for this index",
    "definition": "the collection's definition",
    "catalogue": "the index type's defaults",
}


@click.command()
@collection_option
@output_option("text", "json")
@click.pass_context
def status(ctx: click.Context, name: str, output: str) -> None:
    """Show build progress, search parameters, and what is loaded where.

    Counts rows (views), not pictures.
    """
    import imgvec

    with opened(ctx, name) as collection:
        data = imgvec.index_status(collection)
    if output == "json":
        print_json(data)
        return
    views = "" if data["pictures"] == data["rows"] else f", of {counted(data['pictures'], 'picture')}"
    _print(name, data, f"{data['rows']:,}{views}")
    for line in said(data["deployment"]):
        click.echo(f"  {line}")
    for vector, of_vector in data["vectors"].items():
        _print(named(name, vector), of_vector)


def _print(of: str, data: Mapping[str, Any], rows: str = "") -> None:
    """One vector's index; `rows` are said with the first."""
    search = data["search"]
    click.echo(f"{of}: {data['type']} {_said(data['params'])}, {data['metric_type']}")
    click.echo(
        f"  state: {data['state']}, {'loaded' if data['loaded'] else 'not loaded'}; {data['indexed_rows']:,} of "
        f"{counted(data['total_rows'], 'row')} indexed"
    )
    if again := data["rewritten_rows"]:
        click.echo(f"  the server has compacted {counted(again, 'row')} into new segments and is indexing them")
    if waiting := data["waiting"]:
        click.echo(
            f"  {waiting['type']} waits for the end of an import; if none is running, `imgvec index build` builds it"
        )
    if rows:
        click.echo(f"  rows: {rows}")
    click.echo(f"  search: {_said(search['params'])} ({_SOURCES[search['from']]})")
    if search["about"]:
        click.echo(f"  {_chosen(search['about'])}")
    if search["ignored"]:
        click.echo(f"  ignored: {search['ignored']}")


def _chosen(about: Mapping[str, Any]) -> str:
    """What is remembered of why these search parameters are the default."""
    if "at_least" not in about:
        return f"chosen: {_said(about)}"
    filters = [f"under {where}" if where else "without a filter" for where in about["filters"]]
    return (
        f"chosen by `index tune` for recall@{about['limit']} of {about['recall']:g}: at least {about['at_least']:.4f} "
        f"on {counted(about['queries'], 'query', 'queries')} ({about['basis']}), {', '.join(filters)}"
    )


def _said(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "no parameters"
