"""`imgvec index`: types, plan, build, status, verify, tune, watch; a file a command."""

from __future__ import annotations

import click

from imgvec.cli.lazy import LazyGroup


class _Index(LazyGroup):
    package, names = "imgvec.cli.index", frozenset({"build", "plan", "status", "tune", "types", "verify", "watch"})


@click.group(cls=_Index)
def index() -> None:
    """Choose, build, verify, tune and watch the vector index."""
