"""`imgvec encoders`: list, show, fit-projection."""

from __future__ import annotations

from typing import Literal

import click
from typing_extensions import Unpack

from imgvec.catalog.vector_types import MAX_DIM
from imgvec.cli.lazy import Group
from imgvec.cli.options import output_option, settings
from imgvec.cli.output import print_json, print_table
from imgvec.cli.progress import bar
from imgvec.cli.stated import options_of
from imgvec.encoders.options import FitOptions
from imgvec.home import at_home


@click.group(cls=Group)
def encoders() -> None:
    """List the models that make vectors, show how each is used, and fit projections."""


@encoders.command("list")
@output_option("table", "json")
def list_(output: str) -> None:
    """List recommended models.

    Any other vision model in transformers works too, and those of timm, open_clip, keras.applications and ONNX files.
    The column `tried` says which were run with real weights by imgvec's own tests.
    """
    from imgvec.encoders.known import KNOWN_MODELS

    rows = [model.to_dict() for model in KNOWN_MODELS]
    if output == "json":
        print_json(rows)
    else:
        print_table(["model", "dim", "image_size", "text", "licence", "tried", "good_for"], rows)


@encoders.command()
@click.argument("model")
@output_option("text", "json")
def show(model: str, output: str) -> None:
    """Show how a model is used.

    MODEL is a Hugging Face repo id, a local folder, or pypi:, timm:, open_clip:, keras: or onnx:NAME. Loads no weights.
    Other packages can add prefixes through entry points in the group imgvec.encoders.
    """
    from imgvec.encoders import describe

    data = describe(model)
    if output == "json":
        print_json(data)
        return
    for key, value in data.items():
        click.echo(f"{key}: {value}")


@encoders.command("fit-projection")
@click.argument("source")
@click.argument("out")
@click.option("--model", metavar="MODEL", help="Fit to the vectors that MODEL makes of the pictures in SOURCE.")
@click.option("--vector-column", metavar="COLUMN", help="Parquet: the column of vectors.  [default: vector]")
@click.option("--source-dim", type=click.IntRange(1, MAX_DIM), metavar="D", help="Annoy: dimension of the vectors.")
@click.option("--metric", type=click.Choice(("angular", "dot", "euclidean")), help="Annoy: metric of the file.")
@options_of(FitOptions)
@click.pass_context
def fit_projection(
    ctx: click.Context,
    source: str,
    out: str,
    model: str | None,
    vector_column: str | None,
    source_dim: int | None,
    metric: Literal["angular", "dot", "euclidean"] | None,
    **options: Unpack[FitOptions],
) -> None:
    """Fit a linear map to vectors, and write it to OUT (.safetensors or .npz).

    SOURCE is a file of vectors (.npy, Parquet, a Faiss index, an Annoy file) or, with --model, a source of pictures. A
    definition names OUT as its encoder's projection; the collection then keeps it, and does not need the file again. To
    project what a collection stores, use `collections fit-projection`.
    """
    import imgvec
    from imgvec.exchange import VectorSource, open_source

    told = vector_column is not None or source_dim is not None or metric is not None
    if told and model is not None:
        raise click.UsageError("--vector-column, --source-dim and --metric are for files of vectors, not for pictures.")
    target = at_home(out)
    if not out or target.is_dir() or not target.parent.is_dir():  # before the fit, which may take hours
        raise click.UsageError(f"OUT is not the name of a file in a folder that is there: {out!r}.")
    opened: str | VectorSource = source
    if told:
        opened = open_source(source, vector_column=vector_column, dim=source_dim, metric=metric)
    with bar() as on_progress:
        projection = imgvec.fit_projection(
            opened, model=model, settings=settings(ctx), on_progress=on_progress, **options
        )
    projection.save(out)
    click.echo(f"{out}: projects {projection.width} to {projection.dim} dimensions")
