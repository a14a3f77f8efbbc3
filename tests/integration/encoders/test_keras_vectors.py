"""TensorFlow's VGG16: imgvec gives the vectors that TensorFlow gives, on TensorFlow and on torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).with_name("keras_vectors.py")
PACKAGES = ("keras", "tensorflow")

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, PACKAGES)), reason="keras and tensorflow are not installed; .ci/nightly encoders does"
)


def run(backend: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, TensorFlow's weights and TensorFlow's vectors of them."""
    folder = tmp_path_factory.mktemp("keras")
    chance = np.random.default_rng(0)
    for number, size in enumerate([(320, 240), (224, 224), (180, 300), (640, 200)]):
        small = Image.fromarray(chance.integers(0, 256, (9, 12, 3), np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    run("tensorflow", "keras", str(folder))
    return folder


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_vgg16_gives_the_vectors_that_tensorflow_gives(made: Path, backend: str) -> None:
    said = run(backend, "imgvec", str(made), f"keras:VGG16?weights={made}/vgg16.weights.h5")
    binding: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert (binding["backend"], binding["dim"], binding["pooling"]) == (backend, 512, "mean")
    wanted = np.load(made / "keras.npy")
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    # of the same pixels; of the same pictures, Pillow's resize and torch's differ by a level here and there
    np.testing.assert_allclose(np.load(made / f"pixels-{backend}.npy"), wanted, atol=2e-5)
    assert (np.load(made / f"imgvec-{backend}.npy") * wanted).sum(axis=1).min() > 0.9999
    # one collection, whichever backend opens it
    before = made / "binding.json"
    if before.is_file():
        other = json.loads(before.read_text())
        assert {**other, "backend": backend} == binding
    else:
        before.write_text(json.dumps(binding))
