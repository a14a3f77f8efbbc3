"""`imgvec index types`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from imgvec.cli.options import output_option, settings
from imgvec.cli.output import print_json, print_table
from imgvec.indexes import catalog

if TYPE_CHECKING:
    from imgvec.indexes.catalog import IndexType, Parameter, ScalarIndex


@click.command()
@output_option("table", "json")
@click.pass_context
def types(ctx: click.Context, output: str) -> None:
    """List every index type: its parameters, what it takes, and why this backend lacks it where it does.

    A parameter is followed by its range and, in brackets, its default.
    """
    from imgvec.database import backend

    can = backend(settings(ctx))
    vector, scalar = [], []
    for kind in catalog.INDEX_TYPES.values():
        why = can.why_not(kind.name)
        # a server that does not tell whether it has a GPU may have one
        there = None if why is None and kind.device == "gpu" and can.gpu is None else why is None
        vector.append({**_vector(kind), "available": there, "why_not": why})
    for index in catalog.SCALAR_INDEXES.values():
        why = can.why_not(index.name)
        scalar.append({**_scalar(index), "available": why is None, "why_not": why})
    if output == "json":
        print_json({"backend": can.name, "vector": vector, "scalar": scalar})
        return
    click.echo(f"{can.name}: indexes on vectors")
    columns = ["type", "since", "build parameters", "search parameters", "takes", "available"]
    print_table(columns, (_row(catalog.INDEX_TYPES[each["name"]], _available(each)) for each in vector))
    click.echo(f"{can.name}: indexes on other fields")
    print_table(
        ["type", "since", "for", "parameters", "fields", "available"],
        (
            {
                "type": index.name,
                "since": _version(index.since),
                "for": index.about,
                "parameters": _parameters(index.params),
                "fields": _lines(index.field_types, 2),
                "available": _available(each),
            }
            for index, each in zip(catalog.SCALAR_INDEXES.values(), scalar, strict=True)
        ),
    )


def _vector(kind: IndexType) -> dict[str, Any]:
    return {
        "name": kind.name,
        "about": kind.about,
        "device": kind.device,
        "family": kind.family,
        "since": _version(kind.since),
        "vector_types": kind.vector_types,
        "metrics": kind.metrics,
        "max_limit": kind.max_limit,
        "cannot": kind.cannot,
        "needs": kind.needs,
        "memory": kind.memory_source,
        "build": [_parameter(each) for each in kind.build],
        "search": [_parameter(each) for each in kind.search],
    }


def _scalar(index: ScalarIndex) -> dict[str, Any]:
    return {
        "name": index.name,
        "about": index.about,
        "since": _version(index.since),
        "field_types": index.field_types,
        "params": [_parameter(each) for each in index.params],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {**asdict(parameter), "accepts": parameter.accepts()}


def _row(kind: IndexType, available: str) -> dict[str, str]:
    takes = [_lines([name.removesuffix("_VECTOR") for name in kind.vector_types], 2), _lines(kind.metrics, 3)]
    if kind.max_limit < catalog.MAX_LIMIT:
        takes.append(f"limit ≤ {kind.max_limit:,}")
    takes += [f"no {what}" for what in kind.cannot]
    return {
        "type": f"{kind.name}\n({kind.device})",
        "since": _version(kind.since),
        "build parameters": _parameters(kind.build),
        "search parameters": _parameters(kind.search),
        "takes": "\n".join(takes),
        "available": available,
    }


def _available(row: dict[str, Any]) -> str:
    if row["why_not"]:
        return f"no: {row['why_not']}"
    return "yes" if row["available"] else "if the server has a GPU"


def _parameters(parameters: Sequence[Parameter]) -> str:
    return "\n".join(_spelled(parameter) for parameter in parameters)


def _spelled(parameter: Parameter) -> str:
    """`nlist 1–65536 (128)`"""
    if parameter.kind == "bool":
        values = "true|false"
    elif parameter.choices:
        values = "|".join(parameter.choices)
    elif parameter.high is None or parameter.high >= 2**31 - 1:
        values = f"≥ {parameter.low:.0f}"
    else:
        values = f"{parameter.low:.0f}–{parameter.high:.0f}"
    if parameter.multiple_of:
        values += f" by {parameter.multiple_of}"
    if parameter.at_least_limit:
        values = "≥ limit" if parameter.low == 1 else f"{values}, ≥ limit"
    default = "" if parameter.default is None else f" ({str(parameter.default).lower()})"
    if isinstance(parameter.default, str):
        default = f" ({parameter.default})"
    return f"{parameter.name} {values}{default}"


def _version(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _lines(words: Sequence[str], a_line: int) -> str:
    return "\n".join(" ".join(words[start : start + a_line]) for start in range(0, len(words), a_line))
