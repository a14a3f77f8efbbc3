"""A connection to each backend, and collections on it that are dropped after the test or the module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from imgvec.definition import Definition
from imgvec.milvus import Connection, Store, connect

_numbers = count()


@pytest.fixture(scope="module", params=["lite", pytest.param("server", marks=pytest.mark.server)])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "lite":
        return str(tmp_path_factory.mktemp("lite") / "lite.db")
    return str(request.getfixturevalue("server_uri"))


@pytest.fixture(scope="module")
def backend(uri: str) -> Iterator[Connection]:
    with connect(uri) as connection:
        yield connection


Make = Callable[..., Store]


@pytest.fixture(scope="module")
def make(backend: Connection) -> Iterator[Make]:
    """Makes a collection from a definition: (definition, dim=8, description="{}")."""
    with ExitStack() as made:

        def create(definition: Definition, *, dim: int = 8, description: str = "{}", **options: Any) -> Store:
            store = backend.create(f"test_{next(_numbers)}", definition, dim=dim, description=description, **options)
            made.callback(backend.drop_opened, store)
            return store

        yield create
