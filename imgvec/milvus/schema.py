"""A definition as a Milvus schema and indexes, checked against the backend first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pymilvus import CollectionSchema, DataType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from imgvec import catalog
from imgvec.catalog import IndexType
from imgvec.definition import Definition, FieldSection, IndexSection
from imgvec.errors import DefinitionError
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.described import DESCRIPTION
from imgvec.rows import FROM_IMAGE, ID, KEY, NOTE, OWN_FIELDS, VECTOR


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
        raise DefinitionError(f"dim must be an integer from 1 to {backend.max_dim}, not {dim}")
    plan_index(
        index.type, index.params, backend, vector_type=vector, metric_type=definition.vector.metric_type, dim=dim
    )
    for name, declared in definition.fields.items():
        if declared.nullable and not backend.nullable:
            raise backend.refusal(f"no nullable fields: give {name} a default instead")
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
        options["properties"] = {DESCRIPTION: description}
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
        raise backend.refusal(f"no GPU, required by {type}", frozenset(fitting))
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
    """Build parameters that this backend would accept and ignore: quantizers came with 2.5, and never to Lite."""
    if backend.kind == "server" and backend.version >= (2, 5):
        return {}
    as_built = {"sq_type": "SQ8", "refine": False}
    names = ("sq_type", "refine", "refine_type")
    return {name: params[name] for name in names if name in params and as_built.get(name) != params[name]}


def _chosen(definition: Definition, device: Literal["cpu", "gpu"]) -> IndexSection:
    if device == "cpu":
        return definition.index.cpu
    if definition.index.gpu is None:
        raise DefinitionError("the definition has no GPU index: add one, or build the CPU index", where="index.gpu")
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
