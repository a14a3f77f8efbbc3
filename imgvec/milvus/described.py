"""A collection as Milvus describes it: its schema, its index, and what imgvec stores with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pymilvus import DataType, FunctionType

from imgvec import catalog
from imgvec.catalog import Parameter
from imgvec.catalog.vector_types import FLOATS_AND_INT8
from imgvec.definition import Definition, description
from imgvec.errors import BackendError
from imgvec.filters import FieldType
from imgvec.milvus.deployment import DEPLOYMENT, Deployment
from imgvec.milvus.incarnation import Incarnation
from imgvec.rows import FROM_IMAGE, ID, OWN_FIELDS, VECTOR
from imgvec.stored import MOST_HITS, IndexInfo, VectorField, vector_named

PROPERTY = "imgvec."
"""How the names of imgvec's own collection properties begin."""
DESCRIPTION = PROPERTY + "description"
"""The property that holds the description on Milvus Lite, which drops a schema's own."""


@dataclass(frozen=True)
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
    shards: int = 1
    partition_key: str | None = field(default=None)
    noted: bool = False
    """It has a column for `FROM_IMAGE`; one with a dynamic field keeps that note there, and has none of its own."""
    incarnation: Incarnation = field(default=Incarnation("", 0, ""))
    most_views: int | None = None
    """Rows that a picture has at most, of a collection of views."""
    remembered: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What imgvec keeps with the collection besides; see `CollectionLink.remember`."""
    further: Mapping[str, VectorField] = field(default_factory=dict)
    """The vectors beside `vector`, by name."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The fields whose words are searched for, each with the field in which Milvus keeps these."""

    @property
    def deployment(self) -> Deployment:
        """How it is to be loaded, from when it was made or last changed."""
        return Deployment.of_json(self.remembered.get(DEPLOYMENT))

    @cached_property
    def vectors(self) -> Mapping[str, VectorField]:
        """Every vector by name, `vector` first."""
        most = most_hits(self.index.type)
        return {VECTOR: VectorField(self.dim, self.vector_type, self.metric_type, self.index, most), **self.further}

    def vector(self, name: str = VECTOR) -> VectorField:
        """The vector of that name; raises `QueryError`."""
        return vector_named(name, self.vectors, self.name)

    def with_index(self, vector: str, index: IndexInfo) -> Schema:
        """The same with another index of that vector."""
        if vector == VECTOR:
            return replace(self, index=index)
        changed = replace(self.further[vector], index=index, most_hits=most_hits(index.type))
        return replace(self, further={**self.further, vector: changed})


def vector_names(described: Mapping[str, Any]) -> list[str]:
    """The vector fields that `describe_collection` tells of, `vector` first."""
    further = [each["name"] for each in described["fields"] if each["type"].name in FLOATS_AND_INT8]
    there = VECTOR in (each["name"] for each in described["fields"])
    return [*([VECTOR] if there else []), *(name for name in further if name != VECTOR)]


def read_schema(described: Mapping[str, Any], indexes: Mapping[str, Mapping[str, Any] | None]) -> Schema:
    """A collection, from `describe_collection` and the `describe_index` of each of its vector fields."""
    name = described["collection_name"]
    by_name = {each["name"]: each for each in described["fields"]}
    key, vector = by_name.get(ID), by_name.get(VECTOR)
    if not (key and key.get("is_primary") and key["type"] == DataType.VARCHAR and vector):
        raise BackendError(
            f"the collection {name!r} was not made by imgvec: it lacks a VARCHAR key `id` or a field `vector`"
        )
    for each in vector_names(described):
        if not indexes.get(each):
            raise BackendError(f"the collection {name!r} has no index of {each!r}: build one")
    vectors = {each: _vector_field(by_name[each], indexes[each] or {}) for each in vector_names(described)}
    first = vectors.pop(VECTOR)
    made_from = definition(described)
    formats = _date_fields(made_from) | {n: (own.format, None) for n, own in OWN_FIELDS.items() if own.format}
    words = _words(described)
    others = {VECTOR, FROM_IMAGE, *vectors, *words.values()}
    fields = {n: _field_type(each, *formats.get(n, ())) for n, each in by_name.items() if n not in others}
    return Schema(
        name=name,
        description=description_of(described),
        dim=first.dim,
        vector_type=first.vector_type,
        metric_type=first.metric_type,
        index=first.index,
        fields=MappingProxyType(fields),
        dynamic=bool(described.get("enable_dynamic_field")),
        consistency_level=described.get("consistency_level_name", "Strong"),
        shards=int(described.get("num_shards") or 1),
        partition_key=next((n for n, each in by_name.items() if each.get("is_partition_key")), None),
        incarnation=incarnation(described),
        remembered=remembered(described),
        noted=FROM_IMAGE in by_name,
        further=MappingProxyType(vectors),
        words=MappingProxyType(words),
        most_views=made_from.views.most if made_from and made_from.views else None,
    )


def _words(described: Mapping[str, Any]) -> dict[str, str]:
    functions = (each for each in described.get("functions") or () if each["type"] == FunctionType.BM25)
    return {each["input_field_names"][0]: each["output_field_names"][0] for each in functions}


def _vector_field(described: Mapping[str, Any], index: Mapping[str, Any]) -> VectorField:
    return VectorField(
        int(described["params"]["dim"]),
        described["type"].name,
        index["metric_type"],
        index_info(index),
        most_hits(index["index_type"]),
    )


def most_hits(index_type: str) -> int:
    """That one search by such an index gives."""
    known = catalog.INDEX_TYPES.get(index_type)
    return known.max_limit if known else MOST_HITS


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


def remembered_as(described: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """One of the `remembered`; empty where it is not there."""
    text = (described.get("properties") or {}).get(PROPERTY + name)
    found: Mapping[str, Any] = json.loads(text) if text else {}
    return found


def definition(described: Mapping[str, Any]) -> Definition | None:
    """The definition that a collection was made from; None where it is not imgvec's, or a later one's."""
    return description.definition(description_of(described))


def dims(described: Mapping[str, Any]) -> dict[str, int]:
    """The length of each vector by name, `vector` first."""
    by_name = {each["name"]: each for each in described["fields"]}
    return {name: int(by_name[name]["params"]["dim"]) for name in vector_names(described)}


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


def _date_fields(definition: Definition | None) -> dict[str, tuple[str | None, int | None]]:
    """Format, and the number that stands for none, of the fields of dates; Milvus knows them for integers only."""
    declared = definition.fields if definition else {}
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
        match=str(described["params"].get("enable_match", "")).lower() == "true",
    )
