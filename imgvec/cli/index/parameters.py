"""`-p NAME=VALUE`: an index's parameters, typed as the catalogue says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from imgvec.catalog import Parameter, ParameterValue


def typed(pairs: Sequence[str], known: Sequence[Parameter]) -> dict[str, ParameterValue]:
    """Parse `NAME=VALUE` strings; a value that fits no type stays text, for the catalogue to refuse by name."""
    kinds = {parameter.name: parameter.kind for parameter in known}
    values: dict[str, ParameterValue] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="-p")
        values[name] = _value(text, kinds.get(name, "choice"))
    return values


def _value(text: str, kind: str) -> ParameterValue:
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        return text
