from __future__ import annotations

from typing import Any

import pytest

from imgvec.definition import Definition
from imgvec.errors import DefinitionError

KEY = {"fields": {"owner": {"type": "INT64", "default": 0}}, "partition_key": "owner"}


def load(**parts: Any) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, **parts})


def test_replicas_and_their_groups() -> None:
    assert (load().replicas, load().resource_groups) == (1, ())
    for groups in ([], ["search"], ["a", "b"]):
        made = load(replicas=2, resource_groups=groups)
        assert made.resource_groups == tuple(groups)
        assert Definition.load(made.model_dump(mode="json", exclude_defaults=True)) == made


@pytest.mark.parametrize(
    ("parts", "where", "said"),
    [
        ({"replicas": 0}, "replicas", "greater than or equal to 1"),
        ({"replicas": 65}, "replicas", "less than or equal to 64"),
        ({"replicas": "2"}, "replicas", "integer"),
        ({"resource_groups": "search"}, "resource_groups", "a list of names"),
        ({"resource_groups": [""]}, "resource_groups", "a list of names"),
        ({"resource_groups": ["a", "b"]}, "resource_groups", "too many for one replica"),
        ({"replicas": 3, "resource_groups": ["a", "b"]}, "resource_groups", "or 3 groups, not 2"),
        ({"replicas": 2, "resource_groups": ["a", "a"]}, "resource_groups", "twice"),
        ({"partition_key_isolation": True}, "partition_key_isolation", "needs a partition_key"),
        (
            {**KEY, "partition_key_isolation": True, "index": {"cpu": {"type": "FLAT"}}},
            "partition_key_isolation",
            "needs an HNSW index, not FLAT",
        ),
    ],
)
def test_what_cannot_be(parts: dict[str, Any], where: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as raised:
        load(**parts)
    assert raised.value.where == where


def test_isolation_of_a_partition_key() -> None:
    assert load(**KEY, partition_key_isolation=True).partition_key_isolation
