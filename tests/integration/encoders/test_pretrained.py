"""The real `pypi:dinov2-small-11`: pinned vectors, bfloat16, the cache. About 90 MB are fetched once.

IMGVEC_CACHE_DIR names the cache; without it the platform's cache folder is used, and what is there is used again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imgvec import ImageCollection
from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder, load_with_fallback, pypi, weights
from imgvec.encoders.lean import APART, LeanReadout
from imgvec.encoders.passes import one_pass
from imgvec.encoders.projection import unit
from imgvec.encoders.protocol import Purpose
from imgvec.encoders.purposes import shipped
from imgvec.encoders.pypi import PYPI_MODELS
from imgvec.encoders.streams import processors
from imgvec.encoders.tuning import Memory, Tuning
from imgvec.errors import EncoderUnavailable
from imgvec.settings import Settings

pytestmark = pytest.mark.weights
NAME = "dinov2-small-11"
MODEL = f"pypi:{NAME}"

#: The first 8 of 384 components, and a weighted sum over all of them, in float32 on a CPU.
GOLDEN = {
    "astronaut": ([-0.0387, -0.0344, 0.0117, -0.0063, 0.0112, -0.0358, 0.0131, 0.0508], 0.2322),
    "chelsea": ([0.0627, 0.0081, -0.0588, 0.0033, -0.0416, 0.0209, -0.0327, 0.0841], 0.4346),
    "coffee": ([-0.0372, -0.0235, -0.0258, 0.0062, 0.0233, -0.0889, -0.0243, 0.0218], 0.4121),
}


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return Path(os.environ.get("IMGVEC_CACHE_DIR") or weights.default_cache_dir())


@pytest.fixture(scope="session")
def exact(cache_dir: Path) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(MODEL), device="cpu", dtype="fp32", cache_dir=cache_dir)


def photo(name: str) -> Image.Image:
    from skimage import data

    return Image.fromarray(getattr(data, name)())


@pytest.mark.parametrize("name", GOLDEN)
def test_vectors_are_the_pinned_ones(name: str, exact: HuggingFaceEncoder) -> None:
    first, checksum = GOLDEN[name]
    vector = exact.encode_images([photo(name)])[0]
    np.testing.assert_allclose(vector[:8], first, rtol=0, atol=1e-3)
    assert float(vector @ np.cos(np.arange(384))) == pytest.approx(checksum, abs=1e-3)


def test_the_binding_is_the_pinned_one(exact: HuggingFaceEncoder) -> None:
    assert exact.binding.to_dict() == {
        "model": MODEL,
        "revision": "0.1.1",
        "fingerprint": "2facced796d173c9ff3955c24637b736",
        "layer": None,
        "pooling": "cls",
        "image_size": 224,
        "dim": 384,
        "normalize": True,
        "projection": None,
        "fit": None,
    }


@pytest.mark.parametrize(("purpose", "fit"), [("copies", "resize"), ("classes", None), (None, None)])
def test_a_purpose_puts_its_map_behind(
    purpose: Purpose | None, fit: str | None, exact: HuggingFaceEncoder, cache_dir: Path, tmp_path: Path
) -> None:
    """By a definition, remembered and loaded again, against NumPy; the shorter vectors find an edited copy."""
    encoder = {"model": MODEL} if purpose is None else {"model": MODEL, "purpose": purpose}
    definition = {"encoder": encoder, "index": {"cpu": {"type": "FLAT"}}}
    named = f"{NAME}/{purpose or 'classes'}"
    settings = Settings.load(uri=str(tmp_path / "a.db"), device="cpu", dtype="fp32", cache_dir=cache_dir)
    names = list(GOLDEN)
    for name in names:
        photo(name).save(tmp_path / f"{name}.png")
    with ImageCollection.create("photos", definition=definition, settings=settings) as photos:
        photos.ingest(tmp_path)
        assert (photos.binding.dim, photos.binding.fit) == (256, fit)
        assert str(photos.binding.projection).startswith(f"shipped:{named}@")
    with ImageCollection.open("photos", settings=settings) as photos:
        vectors = photos.vectors([photo(name) for name in names])
        edited = photos.search(photo("chelsea").transpose(Image.Transpose.FLIP_LEFT_RIGHT), limit=1)
    assert Path(edited[0].uri).stem == "chelsea"
    if fit is None:
        projection = shipped(named)
        expected = (exact.encode_images([photo(name) for name in names]) - projection.mean) @ projection.matrix
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-3)


@pytest.mark.parametrize(("more", "purpose"), [({}, "copies"), ({"purpose": "classes"}, "classes")])
def test_views_are_whitened_unless_the_definition_says_otherwise(
    more: dict[str, str], purpose: str, cache_dir: Path, tmp_path: Path
) -> None:
    definition = {"encoder": {"model": MODEL, **more}, "index": {"cpu": {"type": "FLAT"}}, "views": {"regions": 14}}
    settings = Settings.load(uri=str(tmp_path / "a.db"), device="cpu", dtype="fp32", cache_dir=cache_dir)
    with ImageCollection.create("parts", definition=definition, settings=settings) as parts:
        assert str(parts.binding.projection).startswith(f"shipped:{NAME}/{purpose}@")
        assert parts.binding.fit == "resize"


def test_bfloat16_agrees_on_real_photos(exact: HuggingFaceEncoder, cache_dir: Path, test_data: Path) -> None:
    rough = load_encoder(EncoderSpec(MODEL), device="cpu", dtype="bf16", cache_dir=cache_dir)
    assert rough.binding == exact.binding
    photos = [Image.open(path).convert("RGB") for path in sorted((test_data / "clothing").rglob("*.jpg"))[::30]]
    cosines = (rough.encode_images(photos) * exact.encode_images(photos)).sum(axis=1)
    assert len(cosines) >= 20
    assert cosines.min() >= 0.999


@pytest.mark.parametrize(
    ("attention", "lean"), [("imgvec_products", False), ("sdpa", False), ("sdpa", True), (APART, True)]
)
def test_tuned_passes_agree_on_real_photos_whatever_the_batch(
    attention: str, lean: bool, exact: HuggingFaceEncoder, cache_dir: Path, test_data: Path, tmp_path: Path
) -> None:
    tuned = load_encoder(EncoderSpec(MODEL), device="cpu", dtype="bf16", cache_dir=cache_dir)
    tuned._cache_dir = tmp_path  # another test's measuring, or a user's, decides nothing here
    memory = Memory(tmp_path, tuned.binding.fingerprint, tuned.device, tuned.dtype)
    memory.keep(Tuning(attention, batch_size=3, streams=min(2, processors()), rate=50.0, lean=lean))
    assert tuned.prepare_for(100) is not None
    paths = sorted((test_data / "clothing").rglob("*.jpg"))[::60]
    pixels = np.stack([tuned.prepare(Image.open(path).convert("RGB")) for path in paths])
    expected = exact.encode(pixels)
    vectors = tuned.encode(pixels)
    assert (vectors * expected).sum(axis=1).min() >= 0.999
    backwards = tuned.encode(pixels[::-1])[::-1]
    one_by_one = np.concatenate([tuned.encode(pixels[i : i + 1]) for i in range(len(pixels))])
    assert (backwards * vectors).sum(axis=1).min() >= 0.9995
    assert (one_by_one * vectors).sum(axis=1).min() >= 0.9995


@pytest.mark.parametrize("attention", ["sdpa", APART])
def test_the_lean_pass_gives_the_pinned_vectors(attention: str, exact: HuggingFaceEncoder) -> None:
    lean = LeanReadout(exact._readout, exact.binding.image_size, attention).eval()
    pixels = np.stack([exact.prepare(photo(name)) for name in GOLDEN])
    vectors = unit(one_pass(lean, pixels, exact.device), MODEL)
    np.testing.assert_allclose(vectors, exact.encode(pixels), rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", ["auto", "fp16"])
def test_a_gpu_agrees_on_real_photos(
    dtype: str, exact: HuggingFaceEncoder, cache_dir: Path, test_data: Path, tmp_path: Path
) -> None:
    tuned = load_encoder(EncoderSpec(MODEL), device="cuda", dtype=dtype, cache_dir=cache_dir)
    tuned._cache_dir = tmp_path
    tuned.prepare_for(None)
    photos = [Image.open(path).convert("RGB") for path in sorted((test_data / "clothing").rglob("*.jpg"))[::60]]
    assert (tuned.encode_images(photos) * exact.encode_images(photos)).sum(axis=1).min() >= 0.999


def test_a_photo_is_nearest_to_its_own_crop(exact: HuggingFaceEncoder) -> None:
    names = ["astronaut", "chelsea", "coffee", "rocket"]
    photos = [photo(name) for name in names]
    crops = [image.crop((20, 15, image.width - 25, image.height - 10)) for image in photos]
    scores = exact.encode_images(crops) @ exact.encode_images(photos).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_it_serves_where_the_hub_is_away(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", away)
    encoder, fell_back = load_with_fallback(
        EncoderSpec("nobody/was-ever-here"), MODEL, device="cpu", cache_dir=cache_dir
    )
    assert fell_back
    assert encoder.binding.model == MODEL


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from imgvec.encoders.pypi import locate\n"
        f"print(locate({NAME!r}, cache_dir=pathlib.Path(sys.argv[1])).digest())"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=240)[0].strip() for process in both]
    assert answers == [PYPI_MODELS["dinov2-small-11"].tensors_digest] * 2
    assert [path.name for path in (tmp_path / "pypi").iterdir() if path.is_dir()] == ["dinov2-small-11-0.1.1"]


def test_a_damaged_cache_is_made_anew(exact: HuggingFaceEncoder, cache_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(cache_dir / "pypi", tmp_path / "pypi")
    file = tmp_path / "pypi" / "dinov2-small-11-0.1.1" / "model.safetensors"
    with file.open("r+b") as handle:
        handle.seek(50_000_000)
        handle.write(b"\xff" * 64)
    found = pypi.locate(NAME, cache_dir=tmp_path)
    assert found.digest() == PYPI_MODELS["dinov2-small-11"].tensors_digest


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(PYPI_MODELS["dinov2-small-11"], wheel_sha256="0" * 64)
    monkeypatch.setitem(PYPI_MODELS, "dinov2-small-11", source)
    with pytest.raises(EncoderUnavailable, match="sha256"):
        pypi.locate(NAME, cache_dir=tmp_path)
    assert not (tmp_path / "pypi" / "dinov2-small-11-0.1.1").exists()
