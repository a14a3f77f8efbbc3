"""`--where`, `--eq`, `--in` and `--range`: which rows a command is about, stated once for all commands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from imgvec.cli.options import notice

if TYPE_CHECKING:
    from imgvec.collection import ImageCollection
    from imgvec.filters import Filter

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a person gave for each option, as typed."""

    eq: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.eq or self.within or self.ranges)


def filter_options(command: F) -> F:
    """`--where`, as `where`, and `choice_options`; see `combined`."""
    where = click.option("--where", metavar="EXPR", help="Only rows that match this Milvus boolean expression.")
    return where(choice_options(command))


def choice_options(command: F) -> F:
    """`--eq`, `--in` and `--range`, which the command gets together as `chosen`."""

    @functools.wraps(command)
    def with_chosen(
        *args: Any, eq: tuple[str, ...], within: tuple[str, ...], ranges: tuple[str, ...], **options: Any
    ) -> Any:
        return command(*args, chosen=Chosen(eq, within, ranges), **options)

    found: Any = with_chosen
    for option in (
        click.option(
            "--range",
            "ranges",
            multiple=True,
            metavar="FIELD=A..B",
            help="Only rows whose field lies between A and B, inclusive. Numbers or dates: 2024-01..2024-03, 2024.. or "
            "..1999; repeatable.",
        ),
        click.option(
            "--in",
            "within",
            multiple=True,
            metavar="FIELD=A,B,...",
            help="Only rows whose field equals one of the values, or contains one if an array. A value with a comma "
            'goes in double quotes: album=cats,"dogs, big"; repeatable.',
        ),
        click.option(
            "--eq",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Only rows whose field equals VALUE, or contains it if an array; repeatable.",
        ),
    ):
        found = option(found)
    chosen: F = found
    return chosen


def combined(collection: ImageCollection, where: Filter | str | None, chosen: Chosen) -> Filter | None:
    """`--where` and what was chosen, combined with AND; None if nothing was given."""
    from imgvec.filters import All, Raw, equals_text, in_text, range_text

    fields = collection.store.fields
    parts: list[Filter] = [Raw(where) if isinstance(where, str) else where] if where is not None else []
    for option, form, pairs, of_text in (
        ("--eq", "FIELD=VALUE", chosen.eq, equals_text),
        ("--in", "FIELD=A,B", chosen.within, in_text),
        ("--range", "FIELD=A..B", chosen.ranges, range_text),
    ):
        for pair in pairs:
            name, sign, value = pair.partition("=")
            if not sign:
                raise click.BadParameter(f"{pair!r} is not {form}", param_hint=option)
            parts.append(of_text(name, value, fields, dynamic=collection.store.dynamic))
            tell_meant(name, fields)
    if len(parts) > 1:
        return All(tuple(parts))
    return parts[0] if parts else None


def tell_meant(name: str, fields: Iterable[str]) -> None:
    """Names the field that is probably meant, where a name is that of none: it is a key of the dynamic field then."""
    from imgvec.meant import suggestion

    known = list(fields)
    if name not in known and (meant := suggestion(name, known)):
        notice(f"no field {name!r}{meant} It is read as a key of the dynamic field.")
