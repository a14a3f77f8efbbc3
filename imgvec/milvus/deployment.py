"""Where a collection is loaded: how many replicas it is to have, in which resource groups, and what there is of them.

A replica is the whole collection in the memory of one query node or several, which answer searches in turn with those
of the other replicas. A collection keeps what is wanted of it as a property: what its definition says when it is made,
and later what `imgvec.milvus.replicas.change` was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from imgvec.definition import Definition
from imgvec.errors import BackendError
from imgvec.milvus.errors import translated
from imgvec.plurals import counted

if TYPE_CHECKING:
    from imgvec.milvus.link import Link

DEPLOYMENT = "deployment"
"""Under which name a collection remembers how it is to be loaded."""
DEFAULT_GROUP = "__default_resource_group"


@dataclass(frozen=True, slots=True)
class Deployment:
    """How a collection is to be loaded."""

    replicas: int | None = None
    """None where nobody has said: then Milvus goes by the database's own setting, which is 1."""
    resource_groups: tuple[str, ...] = ()
    """None for the default group, one for all replicas, or one for each."""

    @classmethod
    def of(cls, definition: Definition) -> Self:
        return cls(definition.replicas if definition.replicas > 1 else None, definition.resource_groups)

    @classmethod
    def of_json(cls, told: Mapping[str, Any] | None) -> Self:
        return cls() if told is None else cls(int(told["replicas"]), tuple(map(str, told["resource_groups"])))

    @property
    def number(self) -> int:
        return self.replicas or 1

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, the default one among them."""
        return self.resource_groups or (DEFAULT_GROUP,)

    @property
    def json(self) -> dict[str, Any]:
        return {"replicas": self.number, "resource_groups": list(self.resource_groups)}

    @property
    def options(self) -> dict[str, Any]:
        """For pymilvus's `load_collection`."""
        if self == Deployment():
            return {}
        return {"replica_number": self.number, "resource_groups": list(self.resource_groups)}

    def is_met_by(self, replicas: list[Replica]) -> bool:
        """Whether those are as many as wanted, and where."""
        return len(replicas) == self.number and {each.resource_group for each in replicas} == set(self.groups)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a replica: its rows' writes go through one channel, and its leader answers for them."""

    channel: str
    leader: int
    """The number of a query node; below 1 where there is none at the moment."""
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a collection in memory; query nodes are numbered by Milvus."""

    resource_group: str
    nodes: tuple[int, ...]
    shards: tuple[Shard, ...]

    @property
    def has_leaders(self) -> bool:
        return bool(self.shards) and all(each.leader > 0 for each in self.shards)

    @property
    def json(self) -> dict[str, Any]:
        return {
            "resource_group": self.resource_group,
            "nodes": list(self.nodes),
            "shards": [
                {"channel": each.channel, "leader": each.leader, "nodes": list(each.nodes)} for each in self.shards
            ],
        }


def lacking_nodes(link: Link, wanted: Deployment) -> str | None:
    """Why there are too few query nodes for what is wanted, for a person; None where there are enough.

    One replica in the default group asks nothing. A login may not be allowed to look: then Milvus's own answer has to
    do, which 2.3 gives at once; from 2.4.13 it accepts, and loads as soon as there are nodes.
    """
    if wanted.number == 1 and not wanted.resource_groups:
        return None
    client, timeout, milvus = link.client, link.timeout, link.capabilities.name
    try:
        with translated("read the resource groups"):
            known = client.list_resource_groups(timeout=timeout)
            if unknown := [each for each in wanted.groups if each not in known]:
                there = ", ".join(each for each in known if each != DEFAULT_GROUP) or "none"
                return f"{milvus} has no resource group {', '.join(unknown)} (besides its default one it has: {there})"
            free = {
                each: int(client.describe_resource_group(each, timeout=timeout).num_available_node)
                for each in wanted.groups
            }
    except BackendError as exc:
        if exc.retryable:
            raise
        return None
    each_wants = wanted.number if len(wanted.groups) == 1 else 1
    short = {name: number for name, number in free.items() if number < each_wants}
    if not short:
        return None
    where = {name: "" if name == DEFAULT_GROUP else f" in the resource group {name}" for name in short}
    had = " and ".join(
        f"{counted(nodes, 'query node') if nodes else 'no query node'}{where[name]}" for name, nodes in short.items()
    )
    need = "a replica needs one" if wanted.number == 1 else f"{wanted.number} replicas need one each"
    return f"{milvus} has {had}, and {need}: start query nodes, or ask for fewer replicas"
