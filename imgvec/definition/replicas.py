"""What a definition says of replicas: how many, and in which resource groups of a Milvus cluster."""

from __future__ import annotations

from collections.abc import Sequence

MOST_REPLICAS = 64
"""More query nodes than anybody gives one collection: a larger number is a slip."""


def groups_problem(replicas: int, resource_groups: Sequence[str]) -> str | None:
    """Why so many replicas cannot be in those resource groups; None if they can."""
    if not all(resource_groups):
        return "names a group without a name"
    if len(set(resource_groups)) < len(resource_groups):
        return f"names a group twice: {', '.join(resource_groups)}"
    if len(resource_groups) in (0, 1, replicas):
        return None
    count = len(resource_groups)
    if replicas == 1:
        return f"{count} groups are too many for one replica"
    return f"{replicas} replicas take one group for all of them, or {replicas} groups, not {count}"
