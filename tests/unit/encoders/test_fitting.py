"""Moments in batches and the maps made from them, against plain NumPy."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from imgvec.encoders.fitting import fit, least_rows
from imgvec.encoders.moments import Moments
from imgvec.encoders.projected import ProjectedEncoder
from imgvec.encoders.projection import Projection
from imgvec.errors import EncoderError, EncoderUnavailable, OptionError, UsageError

Floats = np.ndarray[Any, np.dtype[np.float32]]


def cloud(n: int = 900, width: int = 24, far: float = 3.0) -> Floats:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return (rng.normal(size=(n, width)) * np.arange(width, 0, -1) @ axes.T + far).astype(np.float32)


def moments_of(vectors: Floats, batch: int = 128) -> Moments:
    found = Moments(vectors.shape[1])
    for start in range(0, len(vectors), batch):
        found.add(vectors[start : start + batch])
    return found


def by_numpy(vectors: Floats, dim: int, power: float, shrinkage: float) -> tuple[Floats, Floats]:
    """Mean and matrix, up to the signs of the matrix's columns."""
    wide = vectors.astype(np.float64)
    values, directions = np.linalg.eigh(np.cov(wide.T))
    values, directions = values[::-1][:dim], directions[:, ::-1][:, :dim]
    return wide.mean(axis=0), directions / (values + shrinkage * values.mean()) ** power


@pytest.mark.parametrize("batch", [1, 7, 128, 5000])
@pytest.mark.parametrize("far", [0.0, 3.0, 1e4])
def test_moments_are_numpys_whatever_the_batches(batch: int, far: float) -> None:
    vectors = cloud(300, far=far)
    found = moments_of(vectors, batch)
    assert found.rows == 300
    np.testing.assert_allclose(found.mean, vectors.mean(axis=0, dtype=np.float64), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.covariance, np.cov(vectors.T.astype(np.float64)), rtol=1e-7, atol=1e-7)


def test_moments_of_none_and_of_one() -> None:
    found = Moments(3)
    found.add(np.empty((0, 3), np.float32))
    assert (found.rows, found.covariance.tolist()) == (0, np.zeros((3, 3)).tolist())
    found.add(np.array([[1, 2, 3]], np.float32))
    assert (found.rows, found.mean.tolist(), found.covariance.any()) == (1, [1, 2, 3], False)


def test_memory_does_not_grow_with_the_rows() -> None:
    found, batch = Moments(64), cloud(1000, 64)
    found.add(batch)
    tracemalloc.start()
    for _ in range(50):  # 12.8 MB of float32, twice that in float64
        found.add(batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.rows == 51_000
    assert peak < 3e6


@pytest.mark.parametrize("power", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dim", [1, 16, 24])
def test_pca_is_numpys(power: float, shrinkage: float, dim: int) -> None:
    vectors = cloud()
    found = fit(moments_of(vectors), dim=dim, power=power, shrinkage=shrinkage)
    mean, matrix = by_numpy(vectors, dim, power, shrinkage)
    matrix *= np.sign((matrix * found.matrix).sum(axis=0))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found(vectors), (vectors - mean) @ matrix, rtol=1e-3, atol=1e-3)


def test_what_is_left_out() -> None:
    found, vectors = fit(moments_of(cloud())), cloud()
    assert (found.width, found.dim) == (24, 16)  # two thirds
    _, matrix = by_numpy(vectors, 16, 0.25, 0.1)
    matrix *= np.sign((matrix * found.matrix).sum(axis=0))
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-3, atol=1e-5)
    assert fit(moments_of(vectors, 900)).dim == 16


def test_the_same_fit_twice_is_the_same_projection() -> None:
    assert fit(moments_of(cloud())).digest() == fit(moments_of(cloud())).digest()


def test_random_orthogonal_directions() -> None:
    one, same, other = (fit(Moments(24), method="orthogonal", dim=10, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_allclose(one.matrix.T @ one.matrix, np.eye(10), atol=1e-6)
    assert not one.mean.any()
    assert one.digest() == same.digest() != other.digest()
    # drawn evenly: no sign is preferred, which a QR alone does
    firsts = [Projection.orthogonal(3, 3, seed=seed).matrix[0, 0] for seed in range(200)]
    assert 70 < sum(first > 0 for first in firsts) < 130


def test_truncation_takes_the_first_elements() -> None:
    vectors = cloud()
    np.testing.assert_array_equal(fit(Moments(24), method="truncate", dim=7)(vectors), vectors[:, :7])


@pytest.mark.parametrize(("power", "least"), [(0.0, 17), (0.25, 46), (0.5, 131)])
def test_too_few_rows_are_refused_with_the_number_needed(power: float, least: int) -> None:
    assert least_rows(24, 16, power) == least
    assert fit(moments_of(cloud(least)), dim=16, power=power).dim == 16
    with pytest.raises(UsageError, match=rf"{least - 1} vectors of 24 dimensions are too few .* needs {least}"):
        fit(moments_of(cloud(least - 1)), dim=16, power=power)


@pytest.mark.parametrize("power", [0.25, 0.5])
def test_the_least_rows_keep_noise_as_even_as_they_say(power: float) -> None:
    """Vectors without structure: at the least number of rows the scales differ by the bound, and not by much less."""
    n = least_rows(200, 200, power)
    noise = np.random.default_rng(0).standard_normal((n, 200)).astype(np.float32)
    scales = np.linalg.norm(fit(moments_of(noise), dim=200, power=power, shrinkage=0.0).matrix, axis=0)
    assert 2.0 < scales.max() / scales.min() < 2.6


def test_what_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match="24 dimensions cannot be projected to 25"):
        fit(moments_of(cloud()), dim=25)
    for wrong in ({"power": 0.6}, {"power": -0.1}, {"shrinkage": -1.0}, {"method": "ica"}, {"dim": 0}):
        with pytest.raises(OptionError):
            fit(moments_of(cloud()), **wrong)  # type: ignore[arg-type]


class Plain:
    """An encoder that gives the vectors that it was made with."""

    supports_text = False
    batch_size = 4

    def __init__(self, vectors: Floats, normalize: bool = True) -> None:
        from imgvec.encoders.protocol import Binding

        self.vectors = vectors
        self.binding = Binding("plain", None, "0" * 32, None, "cls", 8, vectors.shape[1], normalize=normalize)

    prepare = None

    def encode(self, pixels: Any) -> Floats:
        return self.vectors

    encode_images = encode_texts = encode


@pytest.mark.parametrize("normalize", [True, False])
def test_any_encoder_with_a_projection_behind_it(normalize: bool) -> None:
    vectors = cloud()
    projection = fit(moments_of(vectors))
    encoder = ProjectedEncoder(Plain(vectors, normalize), projection, projection.learned_name)  # type: ignore[arg-type]
    expected = (vectors - projection.mean) @ projection.matrix
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for encoded in (encoder.encode(None), encoder.encode_images([]), encoder.encode_texts([])):  # type: ignore[arg-type]
        np.testing.assert_allclose(encoded, expected, atol=1e-4)
        assert (encoded.dtype, encoded.flags.c_contiguous) == (np.float32, True)
    assert (encoder.binding.dim, encoder.batch_size, encoder.prepare_for(9)) == (16, 4, None)
    assert encoder.binding.projection_digest == projection.digest()
    with pytest.raises(EncoderUnavailable, match="has a projection already"):
        ProjectedEncoder(encoder, projection, "again")
    with pytest.raises(EncoderUnavailable, match="projects 24 dimensions, the model has 5"):
        ProjectedEncoder(Plain(vectors[:, :5]), projection, "short")  # type: ignore[arg-type]


def test_a_vector_of_which_nothing_is_left() -> None:
    projection = Projection.truncation(3, 2)
    encoder = ProjectedEncoder(Plain(np.eye(3, dtype=np.float32)), projection, "first two")  # type: ignore[arg-type]
    with pytest.raises(EncoderError, match=r"vectors at \[2\] are zero"):
        encoder.encode(None)  # type: ignore[arg-type]
