"""What a collection remembers of how its pictures were read."""

from __future__ import annotations

import json

import pytest

from imgvec.definition import Definition, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import DefinitionError

BINDING = Binding("m", None, "f" * 32, None, "cls", 224, 8)
PHOTOS = Definition.load("photos")
# as 0.1.0 wrote it
FORMER = {
    "imgvec": 1,
    "encoder": BINDING.to_dict(),
    "definition": {k: v for k, v in PHOTOS.model_dump(exclude_defaults=True).items() if k != "images"},
    "about": PHOTOS.about,
}


def with_bits(sixteen_bit: object) -> Definition:
    return Definition.load({"encoder": {"model": "m"}, "images": {"sixteen_bit": sixteen_bit}})


@pytest.mark.parametrize("sixteen_bit", ["auto", "full", 8, 12, 16])
def test_how_16_bits_are_read_is_remembered(sixteen_bit: object) -> None:
    definition = with_bits(sixteen_bit)
    remembered, _ = description.read("c", description.write(definition, BINDING))
    assert remembered == definition
    assert remembered.images.sixteen_bit == sixteen_bit


def test_a_collection_of_0_1_0_is_read_as_it_was_filled() -> None:
    remembered, binding = description.read("c", json.dumps(FORMER))
    assert remembered.images.sixteen_bit == "full"
    assert binding == BINDING
    # and stays so wherever it is written again
    assert description.read("c", description.write(remembered, binding))[0] == remembered


def test_the_definition_that_made_it_is_known_again() -> None:
    former, _ = description.read("c", json.dumps(FORMER))
    new, _ = description.read("c", description.write(PHOTOS, BINDING))
    assert description.is_made_from(former, PHOTOS)
    assert description.is_made_from(new, PHOTOS)
    said = Definition.load({**PHOTOS.model_dump(), "images": {"sixteen_bit": "full"}})
    assert description.is_made_from(former, said)
    assert not description.is_made_from(new, said)
    assert not description.is_made_from(new, Definition.load("faces"))


@pytest.mark.parametrize("sixteen_bit", ["some", 7, 17, 12.0, True, None])
def test_other_depths_are_refused_with_their_place(sixteen_bit: object) -> None:
    with pytest.raises(DefinitionError, match=r"images\.sixteen_bit: .* is not auto, full, or a number of bits"):
        with_bits(sixteen_bit)
