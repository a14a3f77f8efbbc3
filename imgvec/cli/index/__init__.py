"""`imgvec index`: types, plan, build, status, verify, tune; a file a command."""

from __future__ import annotations

import click


@click.group()
def index() -> None:
    """Choose, build, verify and tune the vector index."""
