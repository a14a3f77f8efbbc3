from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import picture

from imgvec.encoders import EncoderSpec, load_encoder
from imgvec.encoders.projection import Projection, load_named
from imgvec.errors import EncoderUnavailable, UsageError


def cloud(n: int = 500, width: int = 12) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Points that spread 12, 11, … 1 along hidden axes, off the origin."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(width, width)))[0]
    return (rng.normal(size=(n, width)) * np.arange(width, 0, -1) @ axes.T + 3).astype(np.float32)


def test_pca_keeps_the_directions_of_greatest_variance() -> None:
    vectors = cloud()
    projected = Projection.fit_pca(vectors, 4)(vectors)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)[:4]
    np.testing.assert_allclose(projected.std(axis=0, ddof=1), singular / np.sqrt(len(vectors) - 1), rtol=1e-4)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-4)
    correlation = np.corrcoef(projected.T)
    np.testing.assert_allclose(correlation, np.eye(4), atol=1e-4)


def test_whitening_makes_every_direction_count_the_same() -> None:
    vectors = cloud()
    projected = Projection.fit_pca(vectors, 12, whiten=True)(vectors)
    np.testing.assert_allclose(np.cov(projected.T), np.eye(12), atol=1e-3)


def test_it_says_what_it_does_and_not_its_numbers() -> None:
    assert repr(Projection.fit_pca(cloud(), 4)) == "Projection(12 to 4 dimensions)"


@pytest.mark.parametrize("dim", [0, 13])
def test_more_components_than_there_are(dim: int) -> None:
    with pytest.raises(ValueError, match="at most 12"):
        Projection.fit_pca(cloud(), dim)


@pytest.mark.parametrize("name", ["pca.safetensors", "pca.npz"])
def test_both_file_formats_hold_the_same(name: str, tmp_path: Path) -> None:
    projection = Projection.fit_pca(cloud(), 3)
    projection.save(tmp_path / name)
    assert Projection.load(tmp_path / name).digest() == projection.digest()


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pca.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", matrix=np.eye(3))
    np.savez(tmp_path / "shapes.npz", matrix=np.eye(3), mean=np.zeros(4))
    np.savez(tmp_path / "nan.npz", matrix=np.eye(3) * np.nan, mean=np.zeros(3))
    (tmp_path / "pca.safetensors").write_bytes(b"\x00" * 20)
    for name in ("pca.npz", "other.npz", "shapes.npz", "nan.npz", "pca.safetensors", "missing.npz"):
        with pytest.raises(EncoderUnavailable):
            Projection.load(tmp_path / name)


def test_an_encoder_with_a_projection(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    images = [picture(seed) for seed in range(20)]
    spec = EncoderSpec(str(checkpoints("vit")))
    vectors = load_encoder(spec, device="cpu", dtype="fp32").encode_images(images)
    projection = Projection.fit_pca(vectors, 5)
    projection.save(tmp_path / "pca.safetensors")

    spec = EncoderSpec(str(checkpoints("vit")), projection=str(tmp_path / "pca.safetensors"))
    encoder = load_encoder(spec, device="cpu", dtype="fp32")
    projected = projection(vectors)
    np.testing.assert_allclose(
        encoder.encode_images(images), projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-5
    )
    assert encoder.binding.dim == 5
    assert encoder.binding.projection == f"{(tmp_path / 'pca.safetensors').resolve()}@{projection.digest()}"
    again = EncoderSpec.from_binding(encoder.binding)
    assert load_encoder(again, device="cpu", dtype="fp32").binding == encoder.binding

    Projection.fit_pca(vectors[:15], 5).save(tmp_path / "pca.safetensors")
    with pytest.raises(EncoderUnavailable, match="replaced"):
        load_encoder(again, device="cpu", dtype="fp32")


def test_a_projection_of_another_width(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    Projection.fit_pca(cloud(), 3).save(tmp_path / "pca.npz")
    with pytest.raises(EncoderUnavailable, match="12 dimensions, the model has 32"):
        load_encoder(EncoderSpec(str(checkpoints("vit")), projection=str(tmp_path / "pca.npz")), device="cpu")


def test_an_at_sign_in_a_file_name_is_no_digest(tmp_path: Path) -> None:
    Projection.fit_pca(cloud(), 3).save(tmp_path / "me@home.npz")
    assert load_named(str(tmp_path / "me@home.npz"))[1].startswith(str(tmp_path / "me@home.npz@"))


def test_one_that_is_made_of_anything_has_the_digest_that_it_is_read_back_with() -> None:
    matrix = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 3)))[0]
    for made in (Projection(np.full(6, 0.1), matrix), Projection([0.1] * 6, matrix.tolist())):  # type: ignore[arg-type]  # lists
        assert made.matrix.dtype == made.mean.dtype == np.float32
        assert Projection.unpacked(made.packed(), made.learned_name).digest() == made.digest()
    with pytest.raises(EncoderUnavailable, match="arrays of numbers"):
        Projection(["a"], [["b"]])  # type: ignore[arg-type]  # what it refuses


def test_directions_without_variance_are_not_blown_up() -> None:
    vectors = cloud()
    vectors[:, 9:] = 1
    flat = np.cov(vectors.T), vectors.mean(0)
    with pytest.raises(UsageError, match="vary in fewer than 10 directions"):
        Projection.pca(flat[1], flat[0], 10, power=0.5)
    for dim, how in ((9, {"power": 0.5}), (10, {"power": 0.5, "shrinkage": 0.1}), (10, {})):
        assert Projection.pca(flat[1], flat[0], dim, **how).dim == dim
    with pytest.raises(UsageError, match="other vectors"):
        Projection.pca(np.ones(12), np.zeros((12, 12)), 1, power=0.25, shrinkage=0.1)
