"""A definition as a Milvus schema and indexes, checked against the backend first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from imgvec import catalog
from imgvec.catalog import IndexType
from imgvec.catalog.vector_types import BM25
from imgvec.definition import Definition, FieldSection, IndexSection, VectorFieldSection
from imgvec.errors import DefinitionError
from imgvec.milvus.capabilities import Capabilities
from imgvec.milvus.deployment import DEPLOYMENT, Deployment
from imgvec.milvus.described import DESCRIPTION, PROPERTY
from imgvec.rows import FACE_FIELDS, FROM_IMAGE, ID, KEY, NOTE, OWN_FIELDS, VECTOR, VIEW_FIELDS, RowField


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
    def vector_indexes(self) -> tuple[IndexPlan, ...]:
        """That of `vector` first."""
        return tuple(index for index in self.indexes if index.metric_type not in (None, BM25))

    @property
    def word_indexes(self) -> tuple[IndexPlan, ...]:
        """Of the fields in which Milvus keeps words."""
        return tuple(index for index in self.indexes if index.metric_type == BM25)


def check(
    definition: Definition,
    backend: Capabilities,
    *,
    device: Literal["cpu", "gpu"] = "cpu",
    dim: int | None = None,
    dims: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Refuse what the backend would refuse, or silently drop; raises `UnsupportedByBackend` or `DefinitionError`."""
    if definition.words and not backend.bm25:
        raise backend.refusal(f"no BM25, which Milvus has from 2.5: leave bm25 out of {', '.join(definition.words)}")
    if len(every := [*definition.vector_fields, *definition.words.values()]) > backend.max_vectors:
        had = f"{backend.max_vectors} vector field{'' if backend.max_vectors == 1 else 's'} in a collection"
        raise backend.refusal(f"{had}, and the definition has {', '.join(every)}")
    backend.check_deployment(
        replicas=definition.replicas,
        num_shards=definition.num_shards,
        resource_groups=definition.resource_groups,
        isolation=definition.partition_key_isolation,
    )
    for name, each in definition.vector_fields.items():
        _plan_vector(name, each, backend, device, dim if name == VECTOR else dims.get(name))
    matched = [name for name, declared in definition.fields.items() if declared.match]
    if matched and "text_match" not in backend.dialect.functions:
        had = "no search for words in text, which Milvus has from 2.5"
        raise backend.refusal(f"{had}: leave match out of {', '.join(matched)}")
    for name, declared in definition.fields.items():
        if declared.type in catalog.LATER_TYPES and declared.type not in backend.field_types:
            since = ".".join(map(str, catalog.LATER_TYPES[declared.type]))
            raise backend.refusal(f"no fields of type {declared.type}, which Milvus has from {since}: leave out {name}")
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
    dims: Mapping[str, int] = MappingProxyType({}),
) -> Plan:
    """What to create for a definition, of further vectors of `dims`; calls nothing. Raises like `check`."""
    check(definition, backend, device=device, dim=dim, dims=dims)
    lengths = {VECTOR: dim, **dims}
    indexes = [
        _plan_vector(name, each, backend, device, lengths[name]) for name, each in definition.vector_fields.items()
    ]
    for name, declared in definition.fields.items():
        found = backend.scalar_index(declared.index, name, declared.type) if declared.index else None
        if found:
            indexes.append(IndexPlan(name, found, declared.index_params))
    indexes += [IndexPlan(own, "SPARSE_INVERTED_INDEX", {}, BM25) for own in definition.words.values()]
    options: dict[str, Any] = {
        "consistency_level": definition.consistency_level,
        "num_shards": definition.num_shards,
    }
    properties: dict[str, str] = {DESCRIPTION: description} if backend.kind == "lite" else {}
    if (wanted := Deployment.of(definition)) != Deployment():
        properties[PROPERTY + DEPLOYMENT] = json.dumps(wanted.json)
    if definition.partition_key_isolation:
        properties["partitionkey.isolation"] = "true"
    if properties:
        options["properties"] = properties
    # a partition key makes filters on it faster and changes no result: where it does not work it is an ordinary field
    partition_key = definition.partition_key if backend.partition_key else None
    if partition_key and definition.num_partitions:
        options["num_partitions"] = definition.num_partitions
    return Plan(_schema(definition, lengths, description, partition_key), options, tuple(indexes), description)


def _plan_vector(
    name: str, section: VectorFieldSection, backend: Capabilities, device: Literal["cpu", "gpu"], dim: int | None
) -> IndexPlan:
    """The index of one vector of a definition; raises like `check`."""
    vector = section.vector
    if vector.type not in backend.vector_types:
        floats = {each for each in backend.vector_types if each != "BINARY_VECTOR"}
        raise backend.refusal(f"no {vector.type}", frozenset(floats))
    index = _chosen(name, section, device)
    backend.check_search(index.type, index.search)
    if dim is not None and not 1 <= dim <= backend.max_dim:
        raise DefinitionError(f"dim = {dim} is refused: give an integer from 1 to {backend.max_dim}")
    return plan_index(
        index.type, index.params, backend, vector_type=vector.type, metric_type=vector.metric_type, dim=dim, field=name
    )


def plan_index(
    type: str,
    params: Mapping[str, Any],
    backend: Capabilities,
    *,
    vector_type: str,
    metric_type: str,
    dim: int | None,
    field: str = VECTOR,
) -> IndexPlan:
    """The index of a vector field to build; calls nothing. Raises `UnsupportedByBackend` or `DefinitionError`.

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
    return IndexPlan(field, type, {**sizes, **params}, metric_type, nested=backend.kind == "lite")


def _takes(kind: IndexType) -> frozenset[str]:
    return frozenset((*kind.vector_types, *kind.metrics))


def _unseen(params: Mapping[str, Any], backend: Capabilities) -> dict[str, Any]:
    """Build parameters that this backend would accept and ignore: quantizers came with 2.5, and never to Lite."""
    if backend.kind == "server" and backend.version >= (2, 5):
        return {}
    as_built = {"sq_type": "SQ8", "refine": False}
    names = ("sq_type", "refine", "refine_type")
    return {name: params[name] for name in names if name in params and as_built.get(name) != params[name]}


def _chosen(name: str, section: VectorFieldSection, device: Literal["cpu", "gpu"]) -> IndexSection:
    if device == "cpu":
        return section.index.cpu
    if section.index.gpu is not None:
        return section.index.gpu
    if name != VECTOR:  # a GPU for one vector is not one for all
        return section.index.cpu
    raise DefinitionError("the definition has no GPU index: add one, or build the CPU index", where="index.gpu")


def _schema(
    definition: Definition, dims: Mapping[str, int], description: str, partition_key: str | None
) -> CollectionSchema:
    made = MilvusClient.create_schema(enable_dynamic_field=definition.dynamic, description=description)
    made.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=KEY.max_bytes)
    for name, each in definition.vector_fields.items():
        made.add_field(name, DataType[each.vector.type], dim=dims[name])
    views, faces = VIEW_FIELDS if definition.views else {}, FACE_FIELDS if definition.has_faces else {}
    for name, own in {**OWN_FIELDS, **views, **faces}.items():
        made.add_field(name, DataType[own.type], **own_options(own))
    for name, declared in definition.fields.items():
        made.add_field(name, DataType[declared.type], **_field_options(name, declared, partition_key))
    for name, kept in definition.words.items():
        made.add_field(kept, DataType.SPARSE_FLOAT_VECTOR)
        made.add_function(Function(kept, FunctionType.BM25, name, kept))
    if not definition.dynamic and any(declared.from_image for declared in definition.fields.values()):
        made.add_field(FROM_IMAGE, DataType[NOTE.type], max_length=NOTE.max_bytes)
    return made


def own_options(own: RowField) -> dict[str, Any]:
    """What a field of imgvec's own is declared with."""
    options: dict[str, Any] = {"max_length": own.max_bytes} if own.max_bytes else {}
    if own.items:
        options |= {"element_type": DataType.INT32, "max_capacity": own.items}
    return options


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
    if declared.bm25 or declared.match:
        options["enable_analyzer"] = True
    if declared.match:
        options["enable_match"] = True
    if name == partition_key:
        options["is_partition_key"] = True
    return options
