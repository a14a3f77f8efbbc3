"""Texts into the images' space, tokenised as each family was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import picture

from imgvec.encoders import EncoderSpec, HuggingFaceEncoder, load_encoder
from imgvec.encoders.quiet import quiet
from imgvec.errors import QueryError

pytestmark = pytest.mark.slow

Checkpoints = Callable[[str], Path]
TEXTS = ["a photo of a red shoe", "dog", "a green shirt"]


def load(checkpoint: Path, **spec: Any) -> HuggingFaceEncoder:
    return load_encoder(EncoderSpec(str(checkpoint), **spec), device="cpu", dtype="fp32")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_equals_the_plain_pipeline(family: str, checkpoints: Checkpoints) -> None:
    with quiet():
        model = transformers.AutoModel.from_pretrained(checkpoints(family)).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints(family))
    if family == "siglip":
        tokens = {"input_ids": tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]}
    else:
        tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
        tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=1).numpy()
    encoder = load(checkpoints(family))
    assert encoder.supports_text
    vectors = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=2e-5)
    assert vectors.shape[1] == encoder.encode_images([picture(0)]).shape[1] == encoder.binding.dim
    assert encoder.encode_texts([]).shape == (0, encoder.binding.dim)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_text_does_not_depend_on_its_neighbours(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family))
    together = encoder.encode_texts(TEXTS)
    alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, together, rtol=0, atol=2e-5)
    assert abs(float(together[0] @ together[1])) < 0.999


def test_siglip_reads_lower_case(checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("siglip"))
    np.testing.assert_array_equal(encoder.encode_texts(["A RED shoe"]), encoder.encode_texts(["a red shoe"]))


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_a_long_text_is_cut(family: str, checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints(family))
    long = " ".join(["red"] * 40)
    np.testing.assert_array_equal(encoder.encode_texts([long]), encoder.encode_texts([long + " green"]))


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(text: str, checkpoints: Checkpoints) -> None:
    with pytest.raises(QueryError, match="text 1 is empty"):
        load(checkpoints("clip")).encode_texts(["a shoe", text])


@pytest.mark.parametrize("spec", [{"pooling": "cls"}, {"layer": 1}], ids=str)
def test_text_needs_the_shared_space(spec: dict[str, Any], checkpoints: Checkpoints) -> None:
    encoder = load(checkpoints("clip"), **spec)
    assert not encoder.supports_text
    with pytest.raises(QueryError, match="share a space"):
        encoder.encode_texts(["a shoe"])


def test_without_a_tokenizer_images_still_work(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoints("clip"), tmp_path / "clip"))
    for file in folder.glob("tokenizer*"):
        file.unlink()
    encoder = load(folder)
    assert not encoder.supports_text
    assert encoder.encode_images([picture(0)]).shape == (1, 24)
    with pytest.raises(QueryError, match="tokenizer cannot be used"):
        encoder.encode_texts(["a shoe"])
