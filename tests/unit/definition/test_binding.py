"""When another encoder is taken for the one that made a collection's vectors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imgvec.definition import Definition
from imgvec.definition.description import check_binding, check_bindings, incarnation, write
from imgvec.encoders.protocol import Binding
from imgvec.errors import EncoderMismatch

BOUND = Binding("facebook/dinov2-small", "main", "0" * 32, None, "cls", 224, 384)


@pytest.mark.parametrize(
    "given",
    [
        BOUND,
        replace(BOUND, model="/models/dinov2"),
        replace(BOUND, revision="abc"),
        replace(BOUND, model="m", revision=None),
    ],
)
def test_the_same_weights_from_elsewhere(given: Binding) -> None:
    check_binding("photos", BOUND, given)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fingerprint": "f" * 32}, f"fingerprint '{'f' * 32}' instead of '{'0' * 32}'"),
        ({"layer": 9}, "layer 9 instead of None"),
        ({"pooling": "mean"}, "pooling 'mean' instead of 'cls'"),
        ({"image_size": 518}, "image_size 518 instead of 224"),
        ({"dim": 64}, "dim 64 instead of 384"),
        ({"model": "m", "dim": 64}, "model 'm' instead of 'facebook/dinov2-small', dim 64 instead of 384"),
    ],
)
def test_what_makes_other_vectors(changes: dict[str, str], says: str) -> None:
    with pytest.raises(EncoderMismatch) as raised:
        check_binding("photos", BOUND, replace(BOUND, **changes))  # type: ignore[arg-type]
    model = changes.get("model", BOUND.model)
    assert str(raised.value) == (
        f"the collection 'photos' holds vectors of {BOUND.model}, but {model} is a different encoder: {says}"
    )


def test_a_description_holds_what_differs_from_the_defaults_alone() -> None:
    """It is sent with each answer about the collection, and a server keeps some kilobytes of it."""
    plain = json.loads(write(Definition.load({"encoder": {"model": "m"}}), BOUND))
    assert plain["definition"] == {"encoder": {"model": "m"}, "images": {"sixteen_bit": "auto"}}
    assert plain["encoder"] == BOUND.to_dict()
    assert plain["imgvec"] == 2
    assert not plain.keys() & {"encoders", "companions"}
    assert write(Definition.load("photos"), BOUND) != write(Definition.load("photos"), BOUND)  # the incarnation


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ('{"incarnation": "abc"}', "abc"),
        ('{"incarnation": 3}', ""),
        ("{}", ""),
        ("[1]", ""),
        ("not JSON", ""),
        ("", ""),
    ],
)
def test_the_incarnation_of_a_description(text: str, bits: str) -> None:
    assert incarnation(text) == bits


def test_every_vector_has_its_encoder() -> None:
    both = {"vector": BOUND, "texture": replace(BOUND, layer=6)}
    check_bindings("photos", both, dict(both))
    with pytest.raises(EncoderMismatch, match=r"holds vectors of .* in 'texture', but .*: layer 9 instead of 6"):
        check_bindings("photos", both, {**both, "texture": replace(BOUND, layer=9)})
    with pytest.raises(EncoderMismatch, match=r"holds the vectors vector, texture, but these are vector$"):
        check_bindings("photos", both, {"vector": BOUND})
    with pytest.raises(EncoderMismatch, match=r"holds the vectors vector, but these are vector, texture$"):
        check_bindings("photos", {"vector": BOUND}, both)
