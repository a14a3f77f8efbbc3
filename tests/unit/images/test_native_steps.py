"""HEIF, JPEG XL and camera RAW as the process that decodes them does it, here without that process."""

from __future__ import annotations

import io
import sys
from datetime import datetime
from types import ModuleType
from typing import Any

import pytest
from pictures import picture
from PIL import Image

from imgvec.errors import UnreadableImage
from imgvec.images import native
from imgvec.images.pixels import Decoded


class Picture(Image.Image):
    """What a library has opened: a picture that tells whether its pixels were asked for."""

    loaded = closed = 0

    @classmethod
    def of(cls, image: Image.Image, orientation: int = 1) -> Picture:
        new = cls()
        new._mode, new._size, new.im = image.mode, image.size, image.im
        new.getexif()[0x0112] = orientation
        return new

    def load(self) -> Any:
        self.loaded += 1
        return super().load()

    def __exit__(self, *_: object) -> None:
        self.closed += 1


def decoded(name: str, data: bytes = b"data", max_pixels: int = 10_000, min_side: int | None = None) -> Any:
    return native.decode_native(data, name=name, max_pixels=max_pixels, min_side=min_side)


def refused(name: str, **options: Any) -> tuple[str, str, str]:
    with pytest.raises(UnreadableImage) as caught:
        decoded(name, **options)
    return caught.value.uri, caught.value.reason, caught.value.detail


@pytest.fixture
def heif(monkeypatch: pytest.MonkeyPatch) -> Picture:
    opened = Picture.of(picture(1, (64, 48)), orientation=6)
    plugin = ModuleType("pi_heif.as_plugin")

    def factory(stream: io.BytesIO, name: str) -> Picture:
        assert (stream.read(), name) == (b"data", "")
        return opened

    plugin.HeifImageFile = factory  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pi_heif", ModuleType("pi_heif"))
    monkeypatch.setitem(sys.modules, "pi_heif.as_plugin", plugin)
    return opened


class TestHeif:
    def test_exif_does_not_turn_what_libheif_has_turned(self, heif: Picture) -> None:
        image, known = decoded("HEIF")
        assert image.tobytes() == picture(1, (64, 48)).tobytes()
        assert known == {"width": 64, "height": 48, "media_type": "", "taken_at": None, "caption": "", "size": (64, 48)}
        assert heif.closed == 1

    def test_it_is_made_smaller(self, heif: Picture) -> None:
        image, known = decoded("HEIF", min_side=12)
        assert image.tobytes() == picture(1, (64, 48)).reduce(2).tobytes()
        assert (known["width"], known["height"], known["size"]) == (64, 48, (32, 24))

    def test_too_many_pixels_are_not_decoded(self, heif: Picture) -> None:
        assert decoded("HEIF", max_pixels=64 * 48)[1]["width"] == 64
        before = heif.loaded
        said = "64 x 48 = 3,072 pixels, the limit is 3,071; raise IMGVEC_MAX_PIXELS"
        assert refused("HEIF", max_pixels=3071) == ("", "too many pixels", said)
        assert heif.loaded == before


@pytest.fixture
def jxl(monkeypatch: pytest.MonkeyPatch) -> Picture:
    opened = Picture.of(picture(1, (64, 48)), orientation=6)
    module = ModuleType("imgvec.images.jxl")
    module.header = lambda data: (64, 48, 1)  # type: ignore[attr-defined]
    module.opened = lambda data: opened if data == b"data" else None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imgvec.images.jxl", module)
    monkeypatch.setattr("imgvec.images.jxl", module, raising=False)
    return opened


class TestJpegXl:
    def test_it_is_turned_as_it_says(self, jxl: Picture) -> None:
        image, known = decoded("JXL")
        assert image.tobytes() == picture(1, (64, 48)).transpose(Image.Transpose.ROTATE_270).tobytes()
        assert known == {"width": 48, "height": 64, "media_type": "", "taken_at": None, "caption": "", "size": (48, 64)}

    def test_it_is_made_smaller(self, jxl: Picture) -> None:
        _, known = decoded("JXL", min_side=12)
        assert (known["width"], known["height"], known["size"]) == (48, 64, (24, 32))

    def test_too_many_pixels_are_not_decoded(self, jxl: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
        assert decoded("JXL", max_pixels=64 * 48)[1]["width"] == 48
        monkeypatch.setattr(sys.modules["imgvec.images.jxl"], "opened", None)
        said = "64 x 48 = 3,072 pixels, the limit is 3,071; raise IMGVEC_MAX_PIXELS"
        assert refused("JXL", max_pixels=3071) == ("", "too many pixels", said)


class TestRaw:
    @pytest.fixture
    def developed(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What `raw.developed` is called with, after what it is to answer."""
        found: list[Any] = [(picture(1, (64, 48)), (640, 480), 1, "image/x-raw", 7)]

        def develop(*given: Any) -> Any:
            found.append(given)
            return found[0]

        module = ModuleType("imgvec.images.raw")
        module.developed = develop  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "imgvec.images.raw", module)
        monkeypatch.setattr("imgvec.images.raw", module, raising=False)
        return found

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_sides_are_those_of_the_upright_picture(self, developed: list[Any], orientation: int) -> None:
        developed[0] = (*developed[0][:2], orientation, *developed[0][3:])
        image, known = decoded("RAW")
        assert known == {
            "width": 640, "height": 480, "media_type": "image/x-raw", "taken_at": 7, "caption": "", "size": image.size,
        }  # fmt: skip
        assert image.size == ((48, 64) if orientation >= 5 else (64, 48))

    def test_it_is_made_smaller(self, developed: list[Any]) -> None:
        image, known = decoded("RAW", min_side=12)
        assert (known["width"], known["size"], image.size) == (640, (32, 24), (32, 24))
        data, uri, _, _, min_side = developed[1]
        assert (data, uri, min_side) == (b"data", "", 12)

    def test_the_size_is_checked_by_the_limit(self, developed: list[Any]) -> None:
        decoded("RAW", max_pixels=12)
        check_size = developed[1][3]
        check_size(4, 3)
        with pytest.raises(UnreadableImage, match="13 x 1 = 13 pixels, the limit is 12") as caught:
            check_size(13, 1)
        assert (caught.value.uri, caught.value.reason) == ("", "too many pixels")

    def test_a_preview_is_decoded_as_a_jpeg_is(self, developed: list[Any]) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        exif.get_ifd(0x8769)[0x9003] = "2024:05:01 10:11:12"
        buffer = io.BytesIO()
        picture(1, (640, 480)).save(buffer, "JPEG", exif=exif)
        decoded("RAW", min_side=24, max_pixels=640 * 480)
        image, size, orientation, time = developed[1][2](buffer.getvalue())
        assert (size, orientation) == ((640, 480), 6)
        assert time == datetime.fromisoformat("2024-05-01T10:11:12+00:00").timestamp() * 1000
        assert image.size == (80, 60)
        decoded("RAW", max_pixels=640 * 480 - 1)
        with pytest.raises(UnreadableImage) as caught:
            developed[2][2](buffer.getvalue())
        assert (caught.value.uri, caught.value.reason) == ("", "too many pixels")


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (UnreadableImage("", "format not allowed", "why"), "format not allowed", "why"),
        (ValueError("no good. Please build libjxl"), "broken", "ValueError: no good"),
        (ValueError("first\nsecond"), "broken", "ValueError: first"),
        (OSError("truncated " + "x" * 300), "truncated", "OSError: truncated " + "x" * 181),
        (KeyError(), "broken", "KeyError"),
    ],
)
def test_what_is_said_of_a_decoder_s_error(
    error: Exception, reason: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setitem(native._FORMATS, "HEIF", fail)  # type: ignore[arg-type]
    assert refused("HEIF") == ("", reason, detail)


def test_what_is_known_goes_with_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Decoded(picture(1, (8, 6)), 80, 60, "image/x", 9, "a red dress")
    asked: list[Any] = []
    monkeypatch.setitem(native._FORMATS, "JXL", lambda *given: asked.append(given) or (seen, 1))  # type: ignore[func-returns-value]
    image, known = decoded("JXL", max_pixels=5, min_side=3)
    assert asked == [(b"data", 5, 3)]
    assert image is seen.image
    assert known == {
        "width": 80, "height": 60, "media_type": "image/x", "taken_at": 9, "caption": "a red dress", "size": (8, 6),
    }  # fmt: skip
