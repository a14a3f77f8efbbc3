from __future__ import annotations

from collections.abc import Iterator

import filter_rows
import pytest
from pymilvus import MilvusClient


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[filter_rows.Backend]:
    if request.param == "lite":
        uri = str(tmp_path_factory.mktemp("filters") / "lite.db")
        scalar_indexes = {"text": "INVERTED", "n": "INVERTED"}
    else:
        uri = request.getfixturevalue("server_uri")
        scalar_indexes = {"text": "Trie", "n": "STL_SORT"}
    client = MilvusClient(uri)
    stored = filter_rows.rows()
    filter_rows.create(client, stored, scalar_indexes)
    counted = client.query(filter_rows.COLLECTION, output_fields=["count(*)"], consistency_level="Strong")
    assert counted[0]["count(*)"] == filter_rows.COUNT
    yield filter_rows.Backend(client, stored)
    client.drop_collection(filter_rows.COLLECTION)
    client.close()
