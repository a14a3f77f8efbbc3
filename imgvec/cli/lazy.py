"""A group whose commands are loaded when they are used."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """A command's file is loaded when the command is used: its options may need what others do without."""

    package: ClassVar[str]
    names: ClassVar[frozenset[str]]
    """Each is the object of its name in the package's module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        return sorted({*self.names, *self.commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.names and cmd_name not in self.commands:
            self.add_command(getattr(importlib.import_module(f"{self.package}.{cmd_name}"), cmd_name))
        return super().get_command(ctx, cmd_name)
