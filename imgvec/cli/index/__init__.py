"""`imgvec index`: types, plan, build, status, verify, tune; a file a command."""

from __future__ import annotations

import click

from imgvec.cli.index.build import build
from imgvec.cli.index.plan import plan
from imgvec.cli.index.status import status
from imgvec.cli.index.tune import tune
from imgvec.cli.index.types import types
from imgvec.cli.index.verify import verify


@click.group()
def index() -> None:
    """Choose, build, verify and tune the vector index."""


index.add_command(build)
index.add_command(plan)
index.add_command(status)
index.add_command(tune)
index.add_command(types)
index.add_command(verify)
