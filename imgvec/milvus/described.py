"""A collection as Milvus describes it: its schema, its index, and what imgvec stores with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pymilvus import DataType

from imgvec import catalog
from imgvec.catalog import Parameter
from imgvec.definition import Definition
from imgvec.errors import BackendError, DefinitionError
from imgvec.filters import FieldType
from imgvec.milvus.incarnation import Incarnation
from imgvec.rows import FROM_IMAGE, ID, OWN_FIELDS, VECTOR
from imgvec.store import IndexInfo

PROPERTY = "imgvec."
"""How the names of imgvec's own collection properties begin."""
DESCRIPTION = PROPERTY + "description"
"""The property that holds the description on Milvus Lite, which drops a schema's own."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A collection as Milvus describes it."""

    name: str
    description: str
    dim: int
    vector_type: str
    metric_type: str
    index: IndexInfo
    fields: Mapping[str, FieldType]
    dynamic: bool
    consistency_level: str
    partition_key: str | None = field(default=None)
    noted: bool = False
    """It has a column for `FROM_IMAGE`; one with a dynamic field keeps that note there, and has none of its own."""
    incarnation: Incarnation = field(default=Incarnation("", 0, ""))
    remembered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What imgvec keeps with the collection besides; see `CollectionLink.remember`."""


def read_schema(described: Mapping[str, Any], index: Mapping[str, Any] | None) -> Schema:
    """A collection, from `describe_collection` and the `describe_index` of its vector field."""
    name = described["collection_name"]
    by_name = {each["name"]: each for each in described["fields"]}
    key, vector = by_name.get(ID), by_name.get(VECTOR)
    if not (key and key.get("is_primary") and key["type"] == DataType.VARCHAR and vector):
        raise BackendError(
            f"the collection {name!r} was not made by imgvec: it lacks a VARCHAR key `id` or a field `vector`"
        )
    if not index:
        raise BackendError(f"the collection {name!r} has no vector index: build one")
    description = description_of(described)
    formats = _date_fields(description) | {n: (own.format, None) for n, own in OWN_FIELDS.items() if own.format}
    fields = {n: _field_type(each, *formats.get(n, ())) for n, each in by_name.items() if n not in (VECTOR, FROM_IMAGE)}
    return Schema(
        name=name,
        description=description,
        dim=int(vector["params"]["dim"]),
        vector_type=vector["type"].name,
        metric_type=index["metric_type"],
        index=index_info(index),
        fields=MappingProxyType(fields),
        dynamic=bool(described.get("enable_dynamic_field")),
        consistency_level=described.get("consistency_level_name", "Strong"),
        partition_key=next((n for n, each in by_name.items() if each.get("is_partition_key")), None),
        incarnation=incarnation(described),
        remembered=remembered(described),
        noted=FROM_IMAGE in by_name,
    )


def incarnation(described: Mapping[str, Any]) -> Incarnation:
    """The collection that `describe_collection` describes."""
    return Incarnation.of(described, description_of(described))


def index_info(described: Mapping[str, Any]) -> IndexInfo:
    """A vector index, from `describe_index`."""
    params = {**described, **_mapping(described.get("params"))}
    known = catalog.INDEX_TYPES.get(described["index_type"])
    build = known.build if known else ()
    return IndexInfo(
        described["index_type"],
        MappingProxyType({p.name: _typed(p, params[p.name]) for p in build if p.name in params}),
    )


def remembered(described: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The JSON objects in imgvec's properties of a collection, by name; what is empty was forgotten."""
    properties: Mapping[str, str] = described.get("properties") or {}
    return {
        name.removeprefix(PROPERTY): json.loads(text)
        for name, text in properties.items()
        if name.startswith(PROPERTY) and name != DESCRIPTION and text
    }


def description_of(described: Mapping[str, Any]) -> str:
    """The collection's description, from `describe_collection`, wherever the backend keeps it."""
    return str(described.get("description") or described.get("properties", {}).get(DESCRIPTION, ""))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _typed(parameter: Parameter, value: Any) -> Any:
    """An index parameter in its own type; a server gives each back as text."""
    if not isinstance(value, str):
        return value
    if parameter.kind == "bool":
        return value.lower() == "true"
    return {"int": int, "float": float}.get(parameter.kind, str)(value)


def _date_fields(description: str) -> dict[str, tuple[str | None, int | None]]:
    """Format, and the number that stands for none, of the fields of dates; Milvus knows them for integers only."""
    try:
        declared = Definition.load(json.loads(description)["definition"]).fields
    except (ValueError, TypeError, KeyError, DefinitionError):  # not imgvec's, or a later one's
        return {}
    return {
        name: (each.format, each.default if isinstance(each.default, int) else None)
        for name, each in declared.items()
        if each.format
    }


def _field_type(described: Mapping[str, Any], format: str | None = None, unknown: int | None = None) -> FieldType:
    element = described.get("element_type")
    length = described["params"].get("max_length")
    return FieldType(
        type=described["type"].name,
        element=DataType(element).name if element else None,
        nullable=bool(described.get("nullable")),
        max_length=int(length) if length is not None else None,
        format=format,
        unknown=unknown,
    )
