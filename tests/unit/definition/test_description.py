"""What a collection remembers of how its pictures were read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imgvec.definition import Definition, description
from imgvec.encoders.protocol import Binding
from imgvec.errors import CollectionNotFound, DefinitionError

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
    remembered = description.read("c", description.write(definition, BINDING)).definition
    assert remembered == definition
    assert remembered.images.sixteen_bit == sixteen_bit


def test_a_collection_of_0_1_0_is_read_as_it_was_filled() -> None:
    remembered = description.read("c", json.dumps(FORMER))
    assert remembered.definition.images.sixteen_bit == "full"
    assert remembered.binding == BINDING
    assert remembered.bindings == {"vector": BINDING}
    assert not description.companions(json.dumps(FORMER))
    # and stays so wherever it is written again
    written = description.write(remembered.definition, remembered.binding)
    assert description.read("c", written).definition == remembered.definition


def test_the_definition_that_made_it_is_known_again() -> None:
    former = description.read("c", json.dumps(FORMER)).definition
    new = description.read("c", description.write(PHOTOS, BINDING)).definition
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


def test_all_that_a_description_holds_is_read_again() -> None:
    encoders = {"texture": replace(BINDING, layer=6, dim=4), "colour": replace(BINDING, fingerprint="a" * 32)}
    companions = {"pictures": "c__pictures", "learned": "c__learned2"}
    further = {name: {"encoder": {"model": "m"}} for name in encoders}
    definition = Definition.load({**PHOTOS.model_dump(), "vectors": further})
    text = description.write(definition, BINDING, companions, encoders=encoders)
    assert json.loads(text)["imgvec"] == 2
    assert description.read("c", text) == description.Remembered(definition, BINDING, encoders)
    assert description.companions(text) == companions
    assert list(description.read("c", text).bindings.items()) == [("vector", BINDING), *encoders.items()]
    assert description.incarnation(text) == json.loads(text)["incarnation"]


def test_a_collection_of_format_1_with_an_incarnation() -> None:
    """As it was written after 0.1.0 and before there were several vectors."""
    definition = PHOTOS.model_dump(exclude_defaults=True)
    remembered = description.read("c", json.dumps({**FORMER, "incarnation": "ab", "definition": definition}))
    assert remembered.bindings == {"vector": BINDING}


@pytest.mark.parametrize("version", [0, 3, "2", None, [2]])
def test_a_later_format_is_refused(version: object) -> None:
    text = json.dumps({**json.loads(description.write(PHOTOS, BINDING)), "imgvec": version})
    with pytest.raises(CollectionNotFound, match="was made by a newer imgvec"):
        description.read("c", text)


@pytest.mark.parametrize(
    "changes", [{"encoder": None}, {"encoders": [1]}, {"encoders": {"a": BINDING.to_dict()}}, {"definition": 1}]
)
def test_what_imgvec_did_not_write(changes: dict[str, object]) -> None:
    with pytest.raises(CollectionNotFound, match="was not made by imgvec"):
        description.read("c", json.dumps({**json.loads(description.write(PHOTOS, BINDING)), **changes}))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "5", "[" * 100_000, '{"imgvec":2,"definition":' + '{"a":' * 5000]
)
def test_whatever_a_description_is_it_is_read_without_harm(text: str) -> None:
    with pytest.raises(CollectionNotFound, match="was not made by imgvec"):
        description.read("c", text)
    assert (description.incarnation(text), description.companions(text)) == ("", {})
    assert (description.further_vectors(text), description.definition(text)) == ([], None)
