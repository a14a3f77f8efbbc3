"""Kinds of encoder by prefix: imgvec's own, those of other packages, and what is said where one cannot be used."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imgvec.encoders import (
    CallableEncoder,
    EncoderKind,
    EncoderRequest,
    EncoderSpec,
    describe,
    load_encoder,
    load_with_fallback,
    registry,
)
from imgvec.encoders.unreachable import ModelUnreachable
from imgvec.errors import EncoderError, EncoderUnavailable, MissingExtra

asked: list[EncoderRequest] = []


def corners(pixels: Any) -> Any:
    return pixels[:, 0, 0, :].astype(float) + 1


def load(request: EncoderRequest) -> CallableEncoder:
    asked.append(request)
    return CallableEncoder(corners, name=request.spec.model, version="1", image_size=8)


CORNERS = EncoderKind(load=load, options=frozenset({"side"}))
STRANGE = EncoderKind(load=lambda request: CallableEncoder(corners, name="other", version="1", image_size=8))
NOTHING = EncoderKind(load=lambda request: "an encoder")  # type: ignore[arg-type,return-value]


def _broken(request: EncoderRequest) -> CallableEncoder:
    raise ZeroDivisionError("by zero\nlong trace")


def _away(request: EncoderRequest) -> CallableEncoder:
    raise ModelUnreachable("the shop is closed")


BROKEN, AWAY = EncoderKind(load=_broken), EncoderKind(load=_away)
VAGUE = EncoderKind(load=load, describe=lambda request: [request])  # type: ignore[arg-type,return-value]


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What packages would register."""
    asked.clear()
    targets = {
        name.lower(): f"{__name__}:{name}" for name in ("CORNERS", "STRANGE", "NOTHING", "BROKEN", "AWAY", "VAGUE")
    }
    targets |= {
        "gone": "no_such_package.encoders:KIND [vision]",
        "typo": f"{__name__}:CORNRES",
        "loose": f"{__name__}:load",
    }
    targets |= {"pypi": f"{__name__}:CORNERS"}
    points = [EntryPoint(name, value, registry.GROUP) for name, value in targets.items()]
    points += [EntryPoint("twice", f"{__name__}:{name}", registry.GROUP) for name in ("CORNERS", "STRANGE")]

    def installed(group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if group == registry.GROUP and name in (None, point.name)]

    monkeypatch.setattr(registry, "entry_points", installed)


def test_an_entry_point_adds_a_kind() -> None:
    encoder = load_encoder(EncoderSpec("corners:top?side=left"), device="cpu")
    assert encoder.binding.model == "corners:top?side=left", "what the collection remembers, options and all"
    assert (asked[0].name, dict(asked[0].options), asked[0].device) == ("top", {"side": "left"}, "cpu")
    again = load_encoder(EncoderSpec.from_binding(encoder.binding))
    assert again.binding == encoder.binding
    vectors = again.encode_images([Image.new("RGB", (20, 10), (2, 1, 1))])
    np.testing.assert_allclose(vectors, [[3 / 17**0.5, 2 / 17**0.5, 2 / 17**0.5]], rtol=1e-6)
    assert describe("corners:top")["dim"] == 3


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("onnxx:model.onnx", "no kind of encoder has the prefix 'onnxx' .*pypi"),
        ("corners:top?size=3", "takes no option 'size' .*side"),
        ("pypi:dinov2-small-11?side=left", "takes no option 'side' .*none"),
        ("corners:top?side", "is not KEY=VALUE"),
        ("strange:one", "made an encoder called 'callable:other'"),
        ("nothing:one", "made a str"),
        ("broken:one", "broken:one: ZeroDivisionError: by zero$"),
        ("gone:one", r"gone:one needs no_such_package: pip install 'imgvec\[vision\]'"),
        ("typo:one", "cannot be loaded"),
        ("loose:one", "is not an EncoderKind"),
        ("twice:one", "both register the prefix 'twice'"),
        ("pypi:nothing", "no such model; available are"),
        ("callable:mine", "encoder=CallableEncoder"),
    ],
)
def test_what_cannot_be_loaded_says_why(model: str, said: str) -> None:
    with pytest.raises(MissingExtra if model == "gone:one" else EncoderUnavailable, match=said):
        load_encoder(EncoderSpec(model))


@pytest.mark.parametrize("text", ["raise RuntimeError('no GPU')", "def (", "import ctypes; ctypes.CDLL('/nowhere.so')"])
def test_a_module_that_cannot_be_imported(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imgvec_sour.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("sour", "imgvec_sour:KIND", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [point])
    for ask in (lambda: load_encoder(EncoderSpec("sour:one")), lambda: describe("sour:one")):
        with pytest.raises(EncoderUnavailable, match="sour:one: the plug-in imgvec_sour:KIND cannot be loaded: "):
            ask()


@pytest.mark.parametrize(
    ("model", "said"),
    [("nothing:one", "the kind 'nothing' made a str instead of an encoder"), ("vague:one", "described it by a list")],
)
def test_what_cannot_be_described_says_why(model: str, said: str) -> None:
    with pytest.raises(EncoderUnavailable, match=said):
        describe(model)


@pytest.mark.parametrize("model", ["C:\\models\\vit", "https://host/model", "org/model", "a:b"])
def test_what_is_no_prefix(model: str) -> None:
    assert registry._split(model)[0] == ""


def test_a_folder_with_a_colon_is_a_folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "corners:top").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderUnavailable, match=r"has no config\.json"):
        load_encoder(EncoderSpec("corners:top"))


def test_a_fallback_may_be_of_any_kind() -> None:
    encoder, fell_back = load_with_fallback(EncoderSpec("away:one"), "corners:top")
    assert (encoder.binding.model, fell_back) == ("corners:top", True)
    with pytest.raises(ModelUnreachable):
        load_with_fallback(EncoderSpec("away:one"), None)
    with pytest.raises(EncoderError):
        load_with_fallback(EncoderSpec("broken:one"), "corners:top")


def test_a_function_is_described_without_it() -> None:
    assert describe("callable:mine", "3")["revision"] == "3"
