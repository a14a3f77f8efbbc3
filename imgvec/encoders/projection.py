"""A linear map after the encoder, such as a PCA that shortens vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from imgvec.encoders.moments import Moments
from imgvec.errors import EncoderError, EncoderUnavailable, UsageError
from imgvec.home import at_home
from imgvec.vectors import Vectors, has_direction

_ROUNDING = 1e-12
"""A share of the greatest variance: float32 rounds unit vectors by 1e-14 of it."""

LEARNED = "learned:projection"
"""The name, before `@` and the digest, of one that is kept with a collection in Milvus (`imgvec/kept.py`)."""


@dataclass(frozen=True, eq=False)
class Projection:
    """x becomes (x - mean) · matrix; `mean` is (dim,), `matrix` (dim, out), both made float32."""

    mean: NDArray[np.float32]
    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        # as it is read back, whose digest is to be the same
        for name in ("mean", "matrix"):
            try:
                array = np.ascontiguousarray(getattr(self, name), np.float32)
            except (TypeError, ValueError) as exc:
                raise EncoderUnavailable(f"a projection needs arrays of numbers: {exc}") from exc
            object.__setattr__(self, name, array)
        if self.matrix.ndim != 2 or self.mean.shape != self.matrix.shape[:1] or not self.matrix.size:
            raise EncoderUnavailable(
                f"a projection needs mean (dim,) and matrix (dim, out), not {self.mean.shape} and {self.matrix.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.matrix).all()):
            raise EncoderUnavailable("a projection contains values that are not finite")

    def __repr__(self) -> str:
        dim, out = self.matrix.shape
        return f"Projection({dim} to {out} dimensions)"

    @classmethod
    def load(cls, path: str | Path) -> Projection:
        """Read `mean` and `matrix` from a .safetensors or .npz file; raises `EncoderUnavailable`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = at_home(path)
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
    def pca(
        cls,
        mean: NDArray[np.floating[Any]],
        covariance: NDArray[np.floating[Any]],
        dim: int,
        *,
        power: float = 0.0,
        shrinkage: float = 0.0,
    ) -> Projection:
        """The `dim` directions of greatest variance of a covariance (width, width), each scaled by its variance.

        Direction i, an eigenvector of eigenvalue λᵢ, is divided by (λᵢ + shrinkage · m)^power, where m is the mean of
        the `dim` greatest eigenvalues: power 0 is plain PCA, ½ whitens, and what lies between is the "attenuated"
        whitening of Mukundan, Tolias, Bursuc, Jégou and Chum, "Understanding and Improving Kernel Local Descriptors"
        (arXiv:1811.11147). To add a share of the mean variance is the ridge form of shrinking a covariance to a
        multiple of the identity (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
        matrices", J. Multivariate Analysis 88, 2004) but for a common factor, which unit vectors do not show; their
        optimal share holds for the covariance, not for what a search makes of it, so it is given. In float64. Raises
        `UsageError` where a direction that would be scaled has no variance.
        """
        eigenvalues, eigenvectors = np.linalg.eigh(covariance.astype(np.float64))
        variances, directions = np.maximum(eigenvalues[::-1][:dim], 0), eigenvectors[:, ::-1][:, :dim]
        # An eigenvector's sign is arbitrary: the largest component is made positive, so that a fit can be repeated.
        directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(dim)])
        if power:
            shrunk = variances + shrinkage * variances.mean()
            if not shrunk[-1] > _ROUNDING * variances[0]:
                raise UsageError(
                    f"the vectors vary in fewer than {dim} directions, and what was rounded in the others would be "
                    "blown up: keep fewer dimensions, or take more shrinkage, power 0, or other vectors"
                )
            directions = directions / shrunk**power
        return cls(mean.astype(np.float32), np.ascontiguousarray(directions, dtype=np.float32))

    @classmethod
    def fit_pca(cls, vectors: Vectors, dim: int, *, whiten: bool = False) -> Projection:
        """`pca` of (n, width) vectors; `whiten` scales each direction to variance 1."""
        n, width = vectors.shape
        if not 1 <= dim <= min(width, n - 1):
            raise ValueError(f"{n} vectors of width {width} have at most {min(width, n - 1)} components, not {dim}")
        moments = Moments(width)
        moments.add(vectors)
        return cls.pca(moments.mean, moments.covariance, dim, power=0.5 if whiten else 0.0)

    @classmethod
    def orthogonal(cls, width: int, dim: int, *, seed: int = 0) -> Projection:
        """`dim` orthonormal directions of `width`, drawn evenly from all such (Haar).

        The Q of a Gaussian matrix, with the signs of R's diagonal (Mezzadri, "How to generate random matrices from the
        classical compact groups", Notices of the AMS 54, 2007). Needs no vectors; lengths and angles are kept as by the
        lemma of Johnson and Lindenstrauss (1984).
        """
        q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, dim)))
        directions = q * np.sign(np.diagonal(r))
        return cls(np.zeros(width, np.float32), np.ascontiguousarray(directions, dtype=np.float32))

    @classmethod
    def truncation(cls, width: int, dim: int) -> Projection:
        """The first `dim` of `width` elements, for models trained so that these are vectors of their own (Kusupati et
        al., "Matryoshka Representation Learning", arXiv:2205.13147).
        """
        return cls(np.zeros(width, np.float32), np.eye(width, dim, dtype=np.float32))

    @property
    def width(self) -> int:
        """Of the vectors that it takes."""
        return len(self.mean)

    @property
    def dim(self) -> int:
        """Of the vectors that it makes."""
        return int(self.matrix.shape[1])

    @property
    def learned_name(self) -> str:
        """What it is called where it is kept with a collection."""
        return f"{LEARNED}@{self.digest()}"

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, by the name's ending, or else an .npz; raises `OSError`."""
        path = at_home(path)
        if path.suffix == ".safetensors":
            path.write_bytes(self.packed())
            return
        with path.open("wb") as file:  # by its name NumPy would write to another, that ends in .npz
            np.savez(file, mean=self.mean, matrix=self.matrix)

    def packed(self) -> bytes:
        """What a .safetensors file of it holds."""
        from safetensors.numpy import save

        data: bytes = save({"mean": self.mean, "matrix": self.matrix})
        return data

    @classmethod
    def unpacked(cls, data: bytes, name: str) -> Projection:
        """Of what `packed` gave; raises `EncoderUnavailable` where it is not what `name`, `…@DIGEST`, calls."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            found = cls(*(np.ascontiguousarray(arrays[part], dtype=np.float32) for part in ("mean", "matrix")))
        except (ValueError, KeyError, TypeError, SafetensorError) as exc:
            raise EncoderUnavailable(f"{name}: what lies there is not a projection: {exc}") from exc
        if (digest := found.digest()) != name.rpartition("@")[2]:
            raise EncoderUnavailable(f"{name}: what lies there is another projection, {digest}")
        return found

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
    """A projection by `FILE` or `shipped:NAME`, either perhaps with `@DIGEST`, and its full name.

    Raises `EncoderUnavailable` if the digest differs.
    """
    file, at, wanted = name.rpartition("@")
    if not (at and len(wanted) == 32 and set(wanted) <= set("0123456789abcdef")):
        file, wanted = name, ""
    if file.startswith("shipped:"):
        from imgvec.encoders.purposes import shipped  # which stands on this

        projection = shipped(file.partition(":")[2])
        if wanted not in ("", digest := projection.digest()):
            raise EncoderUnavailable(f"{file}: its digest is {digest} in this release of imgvec, not {wanted}")
        return projection, f"{file}@{digest}"
    if file == LEARNED:
        raise EncoderUnavailable(f"{name} is kept with its collection: open that, or save the projection to a file")
    projection = Projection.load(file)
    digest = projection.digest()
    if wanted not in ("", digest):
        raise EncoderUnavailable(f"{file}: the projection's digest is {digest}, not {wanted}: the file was replaced")
    return projection, f"{at_home(file).resolve()}@{digest}"


def unit(vectors: Vectors, model: str) -> Vectors:
    """(n, dim) vectors of `model` scaled to length 1; raises `EncoderError` for those without a direction."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A NaN or an infinity makes the norm not finite too; float32 squares overflow only from 1e19 on.
    wrong = np.flatnonzero(~has_direction(norms))
    if wrong.size:
        raise EncoderError(f"{model}: vectors at {wrong[:10].tolist()} are zero or not finite")
    scaled: Vectors = vectors / norms
    return scaled
