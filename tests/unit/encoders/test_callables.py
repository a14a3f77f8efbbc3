"""A function as an encoder: its identity, its pixels, and what it may not answer."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import picture

from imgvec import CallableEncoder
from imgvec.encoders.protocol import Encoder
from imgvec.errors import EncoderError, QueryError

IMAGES = [picture(seed, (40 + seed, 50)) for seed in range(7)]


def means(pixels: Any) -> Any:
    assert (pixels.dtype, pixels.flags.c_contiguous) == (np.uint8, True)
    return pixels.reshape(len(pixels), -1, 3).mean(axis=1)


def lengths(texts: Sequence[str]) -> list[list[float]]:
    return [[len(text), 1, 0] for text in texts]


def made(function: Any = means, **options: Any) -> CallableEncoder:
    return CallableEncoder(function, **{"name": "means", "version": "1", "image_size": 16, **options})


def test_keeps_the_promises_of_the_protocol() -> None:
    encoder = made(batch_size=3)
    assert isinstance(encoder, Encoder)
    vectors = encoder.encode_images(IMAGES)
    assert (vectors.shape, vectors.dtype, vectors.flags.c_contiguous) == ((7, 3), np.float32, True)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(np.stack([encoder.prepare(image) for image in IMAGES])), vectors)
    assert encoder.encode_images([]).shape == encoder.encode(np.empty((0, 3, 16, 16), np.uint8)).shape == (0, 3)
    assert pickle.loads(pickle.dumps(encoder.prepare))(IMAGES[0]).shape == (3, 16, 16)


def test_the_function_gets_batches_of_squares_in_rgb() -> None:
    seen: list[Any] = []
    encoder = made(lambda pixels: seen.append(pixels) or means(pixels), batch_size=2)
    seen.clear()
    image = Image.new("RGB", (60, 20), (200, 10, 30))
    encoder.encode_images([image] * 5)
    assert [pixels.shape for pixels in seen] == [(2, 16, 16, 3), (2, 16, 16, 3), (1, 16, 16, 3)]
    assert seen[0][0, 8, 8].tolist() == [200, 10, 30]


def test_a_picture_is_cropped_or_squashed() -> None:
    image = Image.new("RGB", (48, 16), (255, 0, 0))
    image.paste((0, 0, 255), (16, 0, 32, 16))  # the middle square is blue
    cropped, squashed = made(), made(fit="squash")
    assert cropped.encode_images([image])[0].round(2).tolist() == [0, 0, 1]
    assert squashed.encode_images([image])[0][0] > 0.8
    assert cropped.binding.fingerprint != squashed.binding.fingerprint


def test_the_identity_is_what_the_user_gives() -> None:
    binding = made().binding
    assert (binding.model, binding.revision, binding.dim, binding.image_size) == ("callable:means", "1", 3, 16)
    assert len(binding.fingerprint) == 32
    assert made(lambda pixels: means(pixels)).binding == binding, "the function itself cannot be compared"
    for other in ({"name": "medians"}, {"version": "2"}, {"image_size": 32}, {"normalize": False}):
        assert made(**other).binding.fingerprint != binding.fingerprint
    assert made(name="mine:means").binding.model == "mine:means"
    with pytest.raises(EncoderError, match="name and a version"):
        made(version=" ")


def test_vectors_stay_as_they_are_without_normalize() -> None:
    encoder = made(normalize=False)
    assert encoder.encode_images([Image.new("RGB", (9, 9), (3, 4, 0))]).tolist() == [[3, 4, 0]]
    assert encoder.encode_images([Image.new("RGB", (9, 9))]).tolist() == [[0, 0, 0]]
    assert encoder.binding.normalize is False


@pytest.mark.parametrize(
    "answer",
    [
        lambda pixels: means(pixels)[:, :2],
        lambda pixels: means(pixels)[1:],
        lambda pixels: means(pixels)[0],
        lambda pixels: [["a", "b", "c"]] * len(pixels),
        lambda pixels: [[1, 2, 3], [1, 2]][: len(pixels)],
        lambda pixels: None,
    ],
    ids=["another dim", "one too few", "flat", "texts", "ragged", "nothing"],
)
def test_answers_that_are_not_vectors_are_refused(answer: Any) -> None:
    functions = iter([means, answer])  # the first is asked for its dim
    encoder = made(lambda pixels: next(functions)(pixels))
    with pytest.raises(EncoderError, match="callable:means: the function"):
        encoder.encode_images(IMAGES[:2])


def test_a_dim_that_is_not_the_functions_is_refused() -> None:
    assert made(dim=3).binding.dim == 3
    with pytest.raises(EncoderError, match=r"shape \(1, 4\)"):
        made(dim=4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_a_vector_without_a_direction_is_named(bad: float) -> None:
    def function(pixels: Any) -> Any:
        answer = means(pixels)
        answer[1:2] = bad
        return answer

    with pytest.raises(EncoderError, match=r"vectors at \[1\] are zero or not finite"):
        made(function).encode(np.stack([made().prepare(image) for image in IMAGES]))


def test_what_the_function_raises_is_an_encoder_error() -> None:
    calls: list[int] = []

    def function(pixels: Any) -> Any:
        calls.append(len(pixels))
        if len(calls) > 1:
            raise IndexError("shelf 9\nlong")
        return means(pixels)

    with pytest.raises(EncoderError, match=r"the function failed: IndexError: shelf 9$"):
        made(function).encode_images(IMAGES)


def test_texts_are_optional() -> None:
    with pytest.raises(QueryError, match="no text side"):
        made().encode_texts(["a"])
    encoder = made(texts=lengths)
    assert encoder.supports_text
    np.testing.assert_allclose(encoder.encode_texts(["abc", "a"])[0], np.array([3, 1, 0]) / 10**0.5, rtol=1e-6)
    assert encoder.encode_texts([]).shape == (0, 3)
    with pytest.raises(QueryError, match="text 1 is empty"):
        encoder.encode_texts(["a", " "])


@pytest.mark.parametrize("pixels", [np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 3, 16, 16), np.float32)])
def test_other_pixels_are_refused(pixels: Any) -> None:
    with pytest.raises(EncoderError, match="uint8"):
        made().encode(pixels)
