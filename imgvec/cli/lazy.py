"""Groups of commands: what was meant by a mistyped one is said, and commands can be loaded when they are used."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click

from imgvec.meant import closest


class Group(click.Group):
    """A mistyped command is answered with the one that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            close = closest(args[0], self.list_commands(ctx))
            if close is not None:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {close!r}?")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
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
