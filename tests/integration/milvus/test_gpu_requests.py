"""What a GPU server is sent: Milvus Lite in its place, which calls itself one and writes the requests down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from milvus_lite.db import MilvusLite
from milvus_rows import unit_vectors
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import milvus_pb2_grpc
from rows import row

from imgvec import build_index
from imgvec.definition import Definition
from imgvec.errors import DefinitionError, UnsupportedByBackend
from imgvec.milvus import Connection, Store, connect
from imgvec.milvus.capabilities import capabilities
from imgvec.milvus.faults import found
from imgvec.stored import IndexInfo

BUILDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # the type, what is asked for, and what is sent besides: sizes left out are the catalogue's
    (
        "GPU_CAGRA",
        {"graph_degree": 32, "build_algo": "NN_DESCENT", "cache_dataset_on_device": True, "adapt_for_cpu": True},
        {"intermediate_graph_degree": 128},
    ),
    ("GPU_CAGRA", {}, {"intermediate_graph_degree": 128, "graph_degree": 64}),
    ("GPU_IVF_FLAT", {"nlist": 512}, {}),
    ("GPU_IVF_PQ", {"nlist": 512, "m": 4, "nbits": 6}, {}),
    ("GPU_IVF_PQ", {}, {"nlist": 128, "nbits": 8}),
    ("GPU_BRUTE_FORCE", {}, {}),
]
SEARCHES: list[tuple[str, dict[str, Any], int, dict[str, Any]]] = [
    # the type, what is asked for, for how many hits, and what is sent
    ("GPU_CAGRA", {"itopk_size": 64, "search_width": 2, "team_size": "8"}, 100, {"itopk_size": 128}),
    ("GPU_CAGRA", {"ef": 50}, 80, {"ef": 80}),
    ("GPU_IVF_FLAT", {}, 10, {"nprobe": 8}),
    ("GPU_IVF_PQ", {"nprobe": 20}, 10, {}),
    ("GPU_BRUTE_FORCE", {}, 10, {}),
]


class GpuServer(MilvusServicer):  # type: ignore[misc]
    """Builds FLAT whatever it is asked for, and describes what it was asked for as a server does."""

    def __init__(self, db: MilvusLite) -> None:
        super().__init__(db)
        self.version = "v2.6.1-gpu"
        self.builds: list[Any] = []
        self.searches: list[dict[str, Any]] = []

    def GetVersion(self, request: Any, context: Any) -> Any:
        answer = super().GetVersion(request, context)
        answer.version = self.version
        return answer

    def CreateIndex(self, request: Any, context: Any) -> Any:
        if request.field_name == "vector":
            kept = type(request)()
            kept.CopyFrom(request)
            self.builds.append(kept)
            for pair in request.extra_params:
                if pair.key == "index_type":
                    pair.value = "FLAT"
        return super().CreateIndex(request, context)

    def DescribeIndex(self, request: Any, context: Any) -> Any:
        answer = super().DescribeIndex(request, context)
        for described in answer.index_descriptions:
            if described.field_name == "vector" and self.builds:
                del described.params[:]
                described.params.extend(self.builds[-1].extra_params)
        return answer

    def DropIndex(self, request: Any, context: Any) -> Any:
        assert request.index_name == "vector"
        request.field_name = "vector"
        return super().DropIndex(request, context)

    def Search(self, request: Any, context: Any) -> Any:
        sent = {pair.key: pair.value for pair in request.search_params}
        self.searches.append(json.loads(sent["params"]))
        assert self.searches[-1].pop("metric_type") == "IP"
        return super().Search(request, context)


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GpuServer, str]]:
    with futures.ThreadPoolExecutor(4) as pool:
        database = MilvusLite(str(Path(tmp_path_factory.mktemp("gpu")) / "gpu.db"))
        servicer = GpuServer(database)
        server = grpc.server(pool)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield servicer, f"http://127.0.0.1:{port}"
        server.stop(grace=1).wait()
        database.close()


@pytest.fixture(scope="module")
def backend(gpu: tuple[GpuServer, str]) -> Iterator[Connection]:
    with connect(gpu[1]) as connection:
        yield connection


def definition(index: dict[str, Any]) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, "vector": {"metric_type": "IP"}, "index": {"gpu": index}})


@pytest.fixture(scope="module")
def store(make: Callable[..., Store]) -> Store:
    made = make(definition({"type": "GPU_BRUTE_FORCE"}), description="", device="gpu")
    made.upsert([row(str(i)) for i in range(200)], unit_vectors(200, 8))
    return made


def as_sent(type: str, params: dict[str, Any]) -> Any:
    """The request that pymilvus makes of the parameters as Milvus's documentation writes them."""
    return {
        pair.key: pair.value
        for pair in Prepare.create_index_request(
            "c", "vector", {"index_type": type, "metric_type": "IP", **params}
        ).extra_params
    }


@pytest.mark.parametrize(("type", "params", "besides"), BUILDS)
def test_an_index_is_asked_for_as_pymilvus_does(
    type: str, params: dict[str, Any], besides: dict[str, Any], store: Store, gpu: tuple[GpuServer, str]
) -> None:
    store.build_index(type, params)
    request = gpu[0].builds[-1]
    assert (request.collection_name, request.field_name, request.index_name) == (store.name, "vector", "vector")
    assert {pair.key: pair.value for pair in request.extra_params} == as_sent(type, besides | params)
    assert store.index == IndexInfo(type, besides | params)


@pytest.mark.parametrize(("type", "params", "limit", "raised"), SEARCHES)
def test_a_search_sends_the_indexs_own_parameters(
    type: str, params: dict[str, Any], limit: int, raised: dict[str, Any], store: Store, gpu: tuple[GpuServer, str]
) -> None:
    store.build_index(type, {})
    assert len(store.search(unit_vectors(1, 8), limit=limit, params=params)[0]) == limit
    assert gpu[0].searches[-1] == params | raised


@pytest.mark.parametrize(
    ("version", "built", "sent"),
    [
        ("v2.6.19-gpu", {}, {}),
        ("v2.6.20-gpu", {}, {"num_random_samplings": 8}),
        ("v2.6.20-gpu", {"adapt_for_cpu": True}, {"ef": 64}),
    ],
)
def test_cagra_draws_its_entry_points_from_2_6_20_on(
    version: str,
    built: dict[str, Any],
    sent: dict[str, Any],
    store: Store,
    gpu: tuple[GpuServer, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.build_index("GPU_CAGRA", built)
    monkeypatch.setattr(gpu[0], "version", version)
    with connect(gpu[1]) as connection:
        connection.open(store.name).search(unit_vectors(1, 8), limit=10)
    assert gpu[0].searches[-1] == sent


def test_search_parameters_that_it_would_ignore_are_refused_before_the_index_is_dropped(
    store: Store, gpu: tuple[GpuServer, str]
) -> None:
    wanted = definition({"type": "GPU_CAGRA", "search": {"num_random_samplings": 8}})
    photos: Any = SimpleNamespace(pinned=lambda: SimpleNamespace(store=store))
    asked = len(gpu[0].builds)
    with pytest.raises(UnsupportedByBackend, match=r"^Milvus 2\.6\.1 has no num_random_samplings for searches"):
        build_index(photos, definition=wanted, gpu=True)
    assert len(gpu[0].builds) == asked


def test_known_faults_are_found_by_the_index_that_the_server_has(store: Store, backend: Connection) -> None:
    told = []
    for built in ({}, {"adapt_for_cpu": True}):
        store.build_index("GPU_CAGRA", built)
        facts = backend.facts(store.name)
        told.append({each.fault.name for each in found(capabilities("v2.6.18-gpu"), [replace(facts, rows=10**6)])})
    on_gpu, on_cpu = told
    assert on_gpu - on_cpu == {"milvus#49864", "milvus#38101", "milvus#38986"}
    assert on_cpu - on_gpu == {"milvus#49836", "knowhere#1510"}
    assert facts.rows in (0, 200)  # what is not sealed is not counted


def test_a_collection_is_made_with_its_gpu_index(backend: Connection, gpu: tuple[GpuServer, str]) -> None:
    wanted = definition({"type": "GPU_CAGRA", "params": {"graph_degree": 16, "intermediate_graph_degree": 32}})
    made = backend.create("made", wanted, dim=8, description="", device="gpu")
    sent = {pair.key: pair.value for pair in gpu[0].builds[-1].extra_params}
    assert sent == as_sent("GPU_CAGRA", {"graph_degree": 16, "intermediate_graph_degree": 32})
    backend.drop_opened(made)


@pytest.mark.parametrize(
    ("type", "params", "said"),
    [
        ("GPU_CAGRA", {"graph_degree": 256}, "graph_degree must be at most intermediate_graph_degree, 128, not 256"),
        ("GPU_CAGRA", {"build_algo": "HNSW"}, "build_algo must be IVF_PQ, NN_DESCENT, ITERATIVE"),
        ("GPU_IVF_PQ", {"m": 3}, "m must divide the vectors' 8 dimensions, so it cannot be 3"),
        ("IVF_PQ", {"nlist": 16}, "IVF_PQ needs m: give an integer from 1 to 32768"),
        ("HNSW_PQ", {}, "m must divide the vectors' 8 dimensions, so it cannot be 32"),
        ("GPU_BRUTE_FORCE", {"nlist": 16}, "nlist is not a build parameter of GPU_BRUTE_FORCE"),
    ],
)
def test_what_a_server_would_refuse_is_refused_before(
    type: str, params: dict[str, Any], said: str, store: Store, gpu: tuple[GpuServer, str]
) -> None:
    asked = len(gpu[0].builds)
    with pytest.raises(DefinitionError, match=said):
        store.build_index(type, params)
    assert len(gpu[0].builds) == asked
