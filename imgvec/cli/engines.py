"""The options that say where pictures are encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from imgvec.engines import RayEngine

F = TypeVar("F", bound=Callable[..., Any])


def engine_options(command: F) -> F:
    """`--engine`, `--workers` and `--gpus-per-worker`."""
    for decorate in (
        click.option(
            "--gpus-per-worker", type=click.FloatRange(min=0), metavar="X", help="Ray: GPUs per encoder; 0 to use CPUs."
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Ray: number of encoders.  [default: one per GPU or node]",
        ),
        click.option(
            "--engine",
            "engine_name",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="Where to run.",
        ),
    ):
        command = decorate(command)
    return command


def engine_of(engine_name: str, workers: int | None, gpus_per_worker: float | None) -> RayEngine | None:
    """The engine that these say; None for this process. Raises `UsageError` for what this one does not have."""
    from imgvec.engines import RayEngine

    if engine_name == "local" and (workers is not None or gpus_per_worker is not None):
        raise click.UsageError("--workers and --gpus-per-worker need --engine ray.")
    return RayEngine(workers, gpus_per_worker or 0.0) if engine_name == "ray" else None
