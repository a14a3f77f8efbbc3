"""Faiss indexes of many kinds: their vectors and ids come back, or a clear refusal does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imgvec.errors import SourceError
from imgvec.exchange import open_source

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    faiss = pytest.importorskip("faiss", reason="the extra `faiss` is not installed")

faiss.omp_set_num_threads(1)  # small work, which many threads only wait for
ROWS, DIM = 300, 16
VECTORS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
IDS = np.random.default_rng(1).permutation(10_000)[:ROWS].astype(np.int64) + 2**40


def written(index: Any, path: Path, *, ids: bool = False) -> Path:
    index.train(VECTORS)
    index.add_with_ids(VECTORS, IDS) if ids else index.add(VECTORS)
    faiss.serialize_index(index).tofile(path)
    return path


def content(path: Path) -> dict[int, np.ndarray[Any, Any]]:
    return {
        row["id"]: vector
        for chunk in open_source(path).read(77)
        for row, vector in zip(chunk.rows, chunk.vectors, strict=True)
    }


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat", "HNSW8", "NSG8", "IVF8_HNSW8,Flat", "SQ4,RFlat",
                                  "IVF8,PQ4x4fs,RFlat"])  # fmt: skip
def test_positions_are_the_ids_of_an_index_without_its_own(kind: str, tmp_path: Path) -> None:
    path = written(faiss.index_factory(DIM, kind), tmp_path / "an.index")
    assert open_source(path).notes == ()
    found = content(path)
    assert list(found) == list(range(ROWS))
    np.testing.assert_array_equal(np.array(list(found.values())), VECTORS)


@pytest.mark.parametrize("kind", ["IDMap,Flat", "IDMap2,Flat", "IDMap,HNSW8", "IDMap,IVF8,Flat", "IVF8,Flat"])
def test_ids_of_its_own_stay_with_their_vectors(kind: str, tmp_path: Path) -> None:
    found = content(written(faiss.index_factory(DIM, kind), tmp_path / "an.faiss", ids=True))
    assert sorted(found) == sorted(IDS.tolist())
    for id_, vector in zip(IDS.tolist(), VECTORS, strict=True):
        np.testing.assert_array_equal(found[id_], vector)


@pytest.mark.parametrize(
    ("kind", "most"),
    [("SQ8", 0.05), ("IVF8,SQ8", 0.05), ("IVF8,PQ8x4", 5), ("PQ8x4", 5), ("PCA8,Flat", 5), ("PCA8,IVF8,PQ4x4", 5),
     ("PQ8x4fs", 5), ("IVF8,RaBitQ", 5), ("SQfp16", 0.01), ("HNSW8_PQ4x4", 5)],
)  # fmt: skip
@pytest.mark.slow
def test_approximations_are_said_to_be(kind: str, most: float, tmp_path: Path) -> None:
    path = written(faiss.index_factory(DIM, kind), tmp_path / "an.faiss")
    assert "approximate: " in open_source(path).notes[0]
    found = content(path)
    assert list(found) == list(range(ROWS))
    error = np.abs(np.array(list(found.values())) - VECTORS).max()
    assert 0 < error < most


def test_the_metric_is_the_indexs(tmp_path: Path) -> None:
    of = {
        metric: open_source(written(faiss.index_factory(DIM, "Flat", metric), tmp_path / f"{metric}")).metric_type
        for metric in (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2, faiss.METRIC_L1)
    }
    assert list(of.values()) == ["IP", "L2", "Faiss metric 2"]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    whole = written(faiss.index_factory(DIM, "Flat"), tmp_path / "an.faiss").read_bytes()
    (tmp_path / "cut.faiss").write_bytes(whole[: len(whole) // 2])
    binary = faiss.IndexBinaryFlat(64)
    binary.add(np.zeros((3, 8), np.uint8))
    faiss.serialize_index_binary(binary).tofile(tmp_path / "binary.faiss")
    (tmp_path / "name.faiss").write_bytes(b"IxF2")
    for name in ("cut", "binary", "name"):
        with pytest.raises(SourceError, match=f"{name}.faiss cannot be read as a Faiss index"):
            open_source(tmp_path / f"{name}.faiss")
    for kind in ("ITQ,LSH", "IVF8,PQ8x4fs"):
        path = written(faiss.index_factory(DIM, kind), tmp_path / f"{kind}.faiss")
        with pytest.raises(SourceError, match="cannot return its vectors"):
            open_source(path)
    twice = faiss.index_factory(DIM, "IVF8,Flat")
    twice.train(VECTORS)
    twice.add_with_ids(VECTORS, np.repeat(IDS[: ROWS // 2], 2))
    faiss.serialize_index(twice).tofile(tmp_path / "twice.faiss")
    with pytest.raises(SourceError, match="added twice"):
        open_source(tmp_path / "twice.faiss")


def test_an_empty_index_has_no_rows(tmp_path: Path) -> None:
    faiss.serialize_index(faiss.IndexFlatL2(DIM)).tofile(tmp_path / "empty.faiss")
    assert content(tmp_path / "empty.faiss") == {}
