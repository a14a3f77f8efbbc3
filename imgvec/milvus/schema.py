"""A definition as a Milvus schema and indexes, checked against the backend first; and a described collection, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from imgvec.definition import Definition, IndexSection
from imgvec.errors import BackendError, DefinitionError
from imgvec.fields import FieldSection
from imgvec.filters import FieldType
from imgvec.indexes import catalog
from imgvec.indexes.index_type import IndexType, Parameter
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.incarnation import Incarnation
from imgvec.rows import FROM_IMAGE, ID, KEY, NOTE, OWN_FIELDS, VECTOR

PROPERTY = "imgvec."
"""How the names of imgvec's own collection properties begin."""
_DESCRIPTION = PROPERTY + "description"
"""The property that holds the description on Milvus Lite, which drops a schema's own."""


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """One index to build."""

    field: str
    type: str
    params: Mapping[str, Any]
    metric_type: str | None = None
    nested: bool = False
    """Milvus Lite reads build parameters only under a second `params`, and a server names them as they are."""

    def prepared(self) -> IndexParams:
        """As `create_index` takes it; the index is named like its field."""
        given = {"metric_type": self.metric_type} if self.metric_type else {}
        params = {"params": dict(self.params)} if self.nested else dict(self.params)
        return MilvusClient.prepare_index_params(
            self.field, index_type=self.type, index_name=self.field, params=params if self.params else {}, **given
        )

    def kept(self) -> Mapping[str, Any]:
        """As a collection remembers it."""
        return {"type": self.type, "params": dict(self.params), "metric_type": self.metric_type}


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `Connection.create` sends."""

    schema: CollectionSchema
    options: Mapping[str, Any]
    indexes: tuple[IndexPlan, ...]
    description: str

    @property
    def vector_index(self) -> IndexPlan:
        return self.indexes[0]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A vector index as it is."""

    type: str
    params: Mapping[str, Any]


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
    """What imgvec keeps with the collection besides; see `Collection.remember`."""


def check(
    definition: Definition, backend: Capabilities, *, device: Literal["cpu", "gpu"] = "cpu", dim: int | None = None
) -> None:
    """Refuse what the backend would refuse, or silently drop; raises `UnsupportedByBackend` or `DefinitionError`."""
    vector = definition.vector.type
    if vector not in backend.vector_types:
        floats = {name for name in backend.vector_types if name != "BINARY_VECTOR"}
        raise backend.refusal(f"no {vector}", frozenset(floats))
    index = _chosen(definition, device)
    if dim is not None and not 1 <= dim <= backend.max_dim:
        raise DefinitionError(f"dim = {dim} is refused: give an integer from 1 to {backend.max_dim}")
    plan_index(
        index.type, index.params, backend, vector_type=vector, metric_type=definition.vector.metric_type, dim=dim
    )
    for name, declared in definition.fields.items():
        if declared.nullable and not backend.nullable:
            raise backend.refusal(f"no nullable fields: give {name} a default instead of nullable")
        if declared.index:
            backend.scalar_index(declared.index, name, declared.type)


def plan(
    definition: Definition,
    backend: Capabilities,
    *,
    dim: int,
    description: str,
    device: Literal["cpu", "gpu"] = "cpu",
) -> Plan:
    """What to create for a definition; calls nothing. Raises like `check`."""
    check(definition, backend, device=device, dim=dim)
    index = _chosen(definition, device)
    vector = definition.vector
    indexes = [
        plan_index(index.type, index.params, backend, vector_type=vector.type, metric_type=vector.metric_type, dim=dim)
    ]
    for name, declared in definition.fields.items():
        found = backend.scalar_index(declared.index, name, declared.type) if declared.index else None
        if found:
            indexes.append(IndexPlan(name, found, declared.index_params))
    options: dict[str, Any] = {
        "consistency_level": definition.consistency_level,
        "num_shards": definition.num_shards,
    }
    if backend.kind == "lite":
        options["properties"] = {_DESCRIPTION: description}
    # a partition key makes filters on it faster and changes no result: where it does not work it is an ordinary field
    partition_key = definition.partition_key if backend.partition_key else None
    if partition_key and definition.num_partitions:
        options["num_partitions"] = definition.num_partitions
    return Plan(_schema(definition, dim, description, partition_key), options, tuple(indexes), description)


def plan_index(
    type: str, params: Mapping[str, Any], backend: Capabilities, *, vector_type: str, metric_type: str, dim: int | None
) -> IndexPlan:
    """The vector index to build; calls nothing. Raises `UnsupportedByBackend` or `DefinitionError`.

    Numbers that are left out are sent with the catalogue's default: Milvus Lite has others, and a server before 2.4
    none for HNSW.
    """
    kind = catalog.index_type(type)
    fitting = {name for name in backend.index_types if {vector_type, metric_type} <= _takes(catalog.INDEX_TYPES[name])}
    if kind.device == "gpu" and backend.gpu is False:
        raise backend.refusal(f"no GPU, which {type} needs", frozenset(fitting))
    if type not in backend.index_types:
        raise backend.refusal(f"no index type {type}", frozenset(fitting))
    if lacks := {vector_type, metric_type} - _takes(kind):
        takes = ", ".join((*kind.vector_types, *kind.metrics))
        raise DefinitionError(f"{type} takes {takes}, not {', '.join(sorted(lacks))}", where="type")
    sizes = {p.name: p.default for p in kind.build if p.kind == "int" and p.low and p.default is not None}
    kind.check_build({**sizes, **params}, dim=dim)
    if unseen := _unseen(params, backend):
        raise backend.refusal(f"no {', '.join(f'{name} = {value}' for name, value in unseen.items())} for {type}")
    return IndexPlan(VECTOR, type, {**sizes, **params}, metric_type, nested=backend.kind == "lite")


def _takes(kind: IndexType) -> frozenset[str]:
    return frozenset((*kind.vector_types, *kind.metrics))


def _unseen(params: Mapping[str, Any], backend: Capabilities) -> dict[str, Any]:
    """Build parameters that this backend would take and not look at: quantizers came with 2.5, and not to Lite."""
    if backend.kind == "server" and backend.version >= (2, 5):
        return {}
    as_built = {"sq_type": "SQ8", "refine": False}
    names = ("sq_type", "refine", "refine_type")
    return {name: params[name] for name in names if name in params and as_built.get(name) != params[name]}


def _chosen(definition: Definition, device: Literal["cpu", "gpu"]) -> IndexSection:
    if device == "cpu":
        return definition.index.cpu
    if definition.index.gpu is None:
        raise DefinitionError("there is no index for a GPU: add one, or build the one for the CPU", where="index.gpu")
    return definition.index.gpu


def _schema(definition: Definition, dim: int, description: str, partition_key: str | None) -> CollectionSchema:
    made = MilvusClient.create_schema(enable_dynamic_field=definition.dynamic, description=description)
    made.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=KEY.max_bytes)
    made.add_field(VECTOR, DataType[definition.vector.type], dim=dim)
    for name, own in OWN_FIELDS.items():
        made.add_field(name, DataType[own.type], **({"max_length": own.max_bytes} if own.max_bytes else {}))
    for name, declared in definition.fields.items():
        made.add_field(name, DataType[declared.type], **_field_options(name, declared, partition_key))
    if not definition.dynamic and any(declared.from_image for declared in definition.fields.values()):
        made.add_field(FROM_IMAGE, DataType[NOTE.type], max_length=NOTE.max_bytes)
    return made


def _field_options(name: str, declared: FieldSection, partition_key: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if declared.about:
        options["description"] = declared.about
    if declared.type == "VARCHAR" or declared.element_type == "VARCHAR":
        options["max_length"] = declared.text_bytes
    if declared.element_type:
        options |= {"element_type": DataType[declared.element_type], "max_capacity": declared.capacity}
    if declared.nullable:
        options["nullable"] = True
    if name == partition_key:
        options["is_partition_key"] = True
    return options


def read_schema(described: Mapping[str, Any], index: Mapping[str, Any] | None) -> Schema:
    """A collection as `describe_collection` and `describe_index` of its vector field tell of it."""
    name = described["collection_name"]
    by_name = {each["name"]: each for each in described["fields"]}
    key, vector = by_name.get(ID), by_name.get(VECTOR)
    if not (key and key.get("is_primary") and key["type"] == DataType.VARCHAR and vector):
        raise BackendError(f"the collection {name!r} was not made by imgvec: it has no text key `id` and no `vector`")
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
    """Which collection `describe_collection` tells of."""
    return Incarnation.of(described, description_of(described))


def index_info(described: Mapping[str, Any]) -> IndexInfo:
    """A vector index as `describe_index` tells of it."""
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
        if name.startswith(PROPERTY) and name != _DESCRIPTION and text
    }


def description_of(described: Mapping[str, Any]) -> str:
    """What `describe_collection` tells of the collection's description, wherever the backend keeps it."""
    return str(described.get("description") or described.get("properties", {}).get(_DESCRIPTION, ""))


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
