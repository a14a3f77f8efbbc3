"""`encoders fit-projection` of files that say less than an .npy does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

import imgvec
from imgvec.cli import main
from imgvec.encoders.projection import Projection
from imgvec.errors import UsageError

DIM = 8
VECTORS = np.random.default_rng(7).standard_normal((200, DIM)).astype(np.float32)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["encoders", "fit-projection", *map(str, words), "--dim", "5"])


def same(found: Projection, vectors: np.ndarray) -> bool:
    expected = imgvec.fit_projection(vectors, dim=5)
    return np.allclose(found.mean, expected.mean, atol=1e-5) and np.allclose(found.matrix, expected.matrix, atol=1e-3)


def test_a_column_of_parquet(tmp_path: Path) -> None:
    columns = {"first": list(VECTORS[::-1] * 2), "second": list(VECTORS)}
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    done = run(tmp_path / "v.parquet", tmp_path / "map.npz", "--vector-column", "second")
    assert done.exit_code == 0, done.output
    assert same(Projection.load(tmp_path / "map.npz"), VECTORS)
    assert "name the column" in run(tmp_path / "v.parquet", tmp_path / "no.npz").stderr


def test_vectors_of_no_length_are_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.concatenate([VECTORS, np.zeros((90, DIM), np.float32)]))
    assert run(tmp_path / "v.npy", tmp_path / "map.npz").exit_code == 0
    assert same(Projection.load(tmp_path / "map.npz"), VECTORS)


def test_those_of_an_array_too_and_what_is_none_is_said() -> None:
    made = np.ma.masked_array(np.concatenate([VECTORS, np.zeros((90, DIM))]), mask=False)  # and not float32
    assert same(imgvec.fit_projection(made, dim=5), VECTORS)
    with pytest.raises(UsageError, match="not all finite"):
        imgvec.fit_projection(VECTORS.astype(np.float64) * 1e300)


def test_the_map_is_in_the_file_that_was_named_or_it_is_said_before_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("map.npz", "map.safetensors", "map", "map.NPZ", "~/at_home.npz"):
        done = run(tmp_path / "v.npy", name if name[0] == "~" else tmp_path / name)
        assert done.exit_code == 0, done.output
        assert same(Projection.load(tmp_path / name.removeprefix("~/")), VECTORS)
    names = ["at_home.npz", "map", "map.NPZ", "map.npz", "map.safetensors", "v.npy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in (str(tmp_path), str(tmp_path / "nowhere" / "map.npz"), ""):
        done = run(tmp_path / "missing.npy", name)
        assert (done.exit_code, "OUT is not the name of a file" in done.stderr) == (2, True)


def test_an_annoy_file(tmp_path: Path) -> None:
    """Numbers that were never added are zeros there."""
    annoy = pytest.importorskip("annoy", reason="the extra `annoy` is not installed")
    index = annoy.AnnoyIndex(DIM, "euclidean")
    for number, vector in enumerate(VECTORS):
        index.add_item(2 * number, vector)
    index.build(3)
    index.save(str(tmp_path / "v.ann"))
    done = run(tmp_path / "v.ann", tmp_path / "map.npz", "--source-dim", str(DIM), "--metric", "euclidean")
    assert done.exit_code == 0, done.output
    assert same(Projection.load(tmp_path / "map.npz"), VECTORS)


def test_an_annoy_file_has_to_be_described(tmp_path: Path) -> None:
    (tmp_path / "v.ann").write_bytes(b"\1\0\0\0" * 100)
    done = run(tmp_path / "v.ann", tmp_path / "map.npz")
    assert (done.exit_code, "--source-dim to `encoders" in done.stderr) == (1, True)
    done = run(tmp_path / "v.ann", tmp_path / "map.npz", "--model", "m", "--metric", "dot")
    assert (done.exit_code, "not for pictures" in done.stderr) == (2, True)
