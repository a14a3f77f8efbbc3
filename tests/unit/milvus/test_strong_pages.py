"""The request of a page that is to be strong, as Milvus gets it."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus.client.prepare import Prepare
from pymilvus.client.types import ConsistencyLevel

from imgvec.milvus.strong_pages import STRONG, StrongPages


def sent(**options: Any) -> Any:
    request = Prepare.query_request("photos", 'id > "a"', ["id"], [], **options)
    found: list[Any] = []
    StrongPages(lambda request, **_: found.append(request))(request, timeout=1.0)
    assert found == [request]
    return request


def test_a_page_is_strong_where_that_is_asked_for() -> None:
    request = sent(limit=3, iterator="True", **STRONG)
    assert not request.use_default_consistency
    assert request.consistency_level == ConsistencyLevel.Strong
    assert request.guarantee_timestamp == 0


@pytest.mark.parametrize("options", [{"iterator": "True"}, STRONG, {}])
def test_any_other_query_is_as_it_was(options: dict[str, Any]) -> None:
    before = Prepare.query_request("photos", 'id > "a"', ["id"], [], limit=3, **options)
    assert sent(limit=3, **options) == before
