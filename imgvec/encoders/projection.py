"""A linear map after the encoder, such as a PCA that shortens vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from imgvec.errors import EncoderUnavailable
from imgvec.vectors import Vectors


@dataclass(frozen=True, eq=False)
class Projection:
    """x becomes (x - mean) · matrix; `mean` is (dim,), `matrix` (dim, out), both float32."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.mean.shape != self.matrix.shape[:1] or not self.matrix.size:
            raise EncoderUnavailable(
                f"a projection needs mean (dim,) and matrix (dim, out), not {self.mean.shape} and {self.matrix.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.matrix).all()):
            raise EncoderUnavailable("a projection contains values that are not finite")

    @classmethod
    def load(cls, path: str | Path) -> Projection:
        """Read `mean` and `matrix` from a .safetensors or .npz file; raises `EncoderUnavailable`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = Path(path).expanduser()
        try:
            if path.suffix == ".safetensors":
                arrays = load_file(path)
            else:
                with np.load(path, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in ("mean", "matrix")}
            return cls(*(np.ascontiguousarray(arrays[name], dtype=np.float32) for name in ("mean", "matrix")))
        except (OSError, ValueError, KeyError, TypeError, BadZipFile, SafetensorError) as exc:
            raise EncoderUnavailable(f"{path} is not a projection with arrays mean and matrix: {exc}") from exc

    @classmethod
    def fit_pca(cls, vectors: Vectors, dim: int, *, whiten: bool = False) -> Projection:
        """The `dim` directions of greatest variance of (n, width) vectors; `whiten` scales each to variance 1.

        Principal component analysis by the eigenvectors of the covariance matrix, computed in float64.
        """
        n, width = vectors.shape
        if not 1 <= dim <= min(width, n - 1):
            raise ValueError(f"{n} vectors of width {width} have at most {min(width, n - 1)} components, not {dim}")
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float64) - mean
        eigenvalues, eigenvectors = np.linalg.eigh(centred.T @ centred / (n - 1))
        variances, directions = eigenvalues[::-1][:dim], eigenvectors[:, ::-1][:, :dim]
        # An eigenvector's sign is arbitrary: the largest component is made positive, so that a fit can be repeated.
        directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(dim)])
        if whiten:
            directions = directions / np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
        return cls(mean.astype(np.float32), np.ascontiguousarray(directions, dtype=np.float32))

    def save(self, path: str | Path) -> None:
        """Write a .safetensors or .npz file, by the name's ending."""
        from safetensors.numpy import save_file

        arrays = {"mean": self.mean, "matrix": self.matrix}
        if Path(path).suffix == ".safetensors":
            save_file(arrays, path)
        else:
            np.savez(path, **arrays)  # type: ignore[arg-type]  # the stub takes the names for allow_pickle

    def digest(self) -> str:
        """32 hex digits over the values, the same for either file format."""
        digest = hashlib.blake2b(repr(self.matrix.shape).encode(), digest_size=16)
        digest.update(self.mean.tobytes())
        digest.update(self.matrix.tobytes())
        return digest.hexdigest()

    def __call__(self, vectors: Vectors) -> Vectors:
        """(n, dim) to (n, out) float32."""
        projected: Vectors = np.matmul(vectors - self.mean, self.matrix, dtype=np.float32)
        return projected


def load_named(name: str) -> tuple[Projection, str]:
    """A projection by `FILE` or `FILE@DIGEST`, and its full name; raises `EncoderUnavailable` if the digest differs."""
    file, at, wanted = name.rpartition("@")
    if not (at and len(wanted) == 32 and set(wanted) <= set("0123456789abcdef")):
        file, wanted = name, ""
    projection = Projection.load(file)
    digest = projection.digest()
    if wanted not in ("", digest):
        raise EncoderUnavailable(f"{file}: the projection's digest is {digest}, not {wanted}: the file was replaced")
    return projection, f"{Path(file).expanduser().resolve()}@{digest}"
