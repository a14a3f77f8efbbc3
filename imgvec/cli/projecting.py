"""`imgvec collections fit-projection`: the same rows in a projected space."""

from __future__ import annotations

import click
from typing_extensions import Unpack

from imgvec.cli.options import notice, opened
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.encoders.options import FitOptions
from imgvec.options.vector import VectorOptions
from imgvec.plurals import counted


@click.command("fit-projection")
@click.argument("name")
@click.argument("new")
@options_of(VectorOptions)
@click.option(
    "--projection", metavar="FILE|NAME", help="Use this map instead of fitting one: a file, or shipped:MODEL/PURPOSE."
)
@options_of(FitOptions)
@click.pass_context
def fit_projection(
    ctx: click.Context, name: str, new: str, vector: str, projection: str | None, **options: Unpack[FitOptions]
) -> None:
    """Copy NAME's rows to a collection NEW, with vectors projected by a map fitted to them.

    No picture is read. The map is kept with NEW in Milvus, and applied to the encoder's vectors by every client that
    opens NEW. Compare the two with `evaluate -c NAME --compare NEW`, then point an alias to the better one.
    """
    import imgvec

    given = {key for key in options if ctx.get_parameter_source(key) is not click.core.ParameterSource.DEFAULT}
    if projection is not None and given:
        raise click.UsageError("--projection cannot be combined with the options of a fit.")
    with opened(ctx, name) as collection, bar() as on_progress:
        fit = FitOptions() if projection is not None else options
        made = imgvec.projected_copy(
            collection, new, projection, vector=vector, on_progress=on_progress, on_notice=notice, **fit
        )
    with made:
        dims = f"{collection.bindings[vector].dim} to {made.bindings[vector].dim} dimensions"
        click.echo(f"{new}: {counted(made.count(), 'row')} of {name}, projected from {dims}")
