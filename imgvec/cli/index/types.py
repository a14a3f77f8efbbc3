"""`imgvec index types`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from imgvec import catalog
from imgvec.catalog import IndexType, Parameter, ScalarIndex
from imgvec.cli.options import output_option, settings
from imgvec.cli.output import print_json, print_table


@click.command()
@output_option("table", "json")
@click.pass_context
def types(ctx: click.Context, output: str) -> None:
    """List every index type, with its vectors and parameters.

    If this backend lacks a type, says why.
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
    click.echo(f"Indexes on vectors, {can.name}")
    columns = ["type", "on", "since", "vectors", "metrics", "limit", "cannot", "available"]
    print_table(columns, (_row(kind, each) for kind, each in zip(catalog.INDEX_TYPES.values(), vector, strict=True)))
    click.echo("Their parameters")
    print_table(["parameter", "for", "values", "default", "meaning", "of"], _parameter_rows())
    click.echo(f"Indexes on other fields, {can.name}")
    print_table(
        ["type", "since", "for", "fields", "parameters", "available"],
        (
            {
                "type": index.name,
                "since": _version(index.since),
                "for": index.about,
                "fields": " ".join(index.field_types),
                "parameters": ", ".join(f"{each.name} {_values(each)} ({each.default})" for each in index.params),
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
    since = _version(parameter.since) if parameter.since else None
    return {**asdict(parameter), "since": since, "accepts": parameter.accepts()}


def _row(kind: IndexType, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": kind.name,
        "on": kind.device,
        "since": _version(kind.since),
        "vectors": " ".join(name.removesuffix("_VECTOR") for name in kind.vector_types),
        "metrics": " ".join(kind.metrics),
        "limit": kind.max_limit,
        "cannot": ", ".join(kind.cannot),
        "available": _available(row),
    }


def _available(row: dict[str, Any]) -> str:
    if row["why_not"]:
        return f"no: {row['why_not']}"
    return "yes" if row["available"] else "if the server has a GPU"


def _parameter_rows() -> Iterator[dict[str, Any]]:
    """One row per parameter, with the index types that share it."""
    types_of: dict[tuple[str, Parameter], list[str]] = {}
    for kind in catalog.INDEX_TYPES.values():
        for when, parameters in (("build", kind.build), ("search", kind.search)):
            for parameter in parameters:
                types_of.setdefault((when, parameter), []).append(kind.name)
    for (when, parameter), names in types_of.items():
        yield {
            "parameter": parameter.name,
            "for": when,
            "values": _values(parameter),
            "default": parameter.default,
            "meaning": parameter.meaning + (f" (from {_version(parameter.since)})" if parameter.since else ""),
            "of": " ".join(names),
        }


def _values(parameter: Parameter) -> str:
    """The accepted values: `1–65536`, `≥ limit`, `SQ6 SQ8`."""
    if parameter.kind == "bool" or parameter.choices:
        return " ".join(parameter.choices) or "true false"
    unbounded = parameter.high is None or parameter.high >= 2**31 - 1
    values = f"≥ {parameter.low:.0f}" if unbounded else f"{parameter.low:.0f}–{parameter.high:.0f}"
    if parameter.multiple_of:
        values += f" by {parameter.multiple_of}"
    if parameter.at_least_limit:
        values = "≥ limit" if parameter.low == 1 and unbounded else f"{values}, ≥ limit"
    return values


def _version(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
