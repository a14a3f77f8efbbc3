"""Camera RAW by LibRaw, step by step: which picture of a file is taken, and how it lies."""

from __future__ import annotations

import os
from datetime import datetime
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pictures import picture
from PIL import Image
from tiffs import TiffWriter, dng

from imgvec.errors import UnreadableImage

if find_spec("rawpy") is None:
    if os.environ.get("IMGVEC_REQUIRE_ALL") == "1":
        pytest.fail("rawpy (extra `raw`) is missing (IMGVEC_REQUIRE_ALL=1)", pytrace=False)
    pytest.skip("rawpy (extra `raw`) is missing", allow_module_level=True)

from imgvec.images import raw

RAF = b"FUJIFILMCCD-RAW 0201" + bytes(80)
TAKEN_AT = 1_714_551_072_000


class Opened:
    """What rawpy opens, all of it settled beforehand; an exception where a preview would be."""

    def __init__(
        self, size: tuple[int, int] = (400, 300), flip: int = 0, preview: Any = None, year: int = 1970
    ) -> None:
        width, height = size
        self.sizes = SimpleNamespace(raw_width=width + 8, raw_height=height + 6, width=width, height=height, flip=flip)
        self.preview = preview if preview is not None else raw.rawpy.LibRawNoThumbnailError()
        self.other = SimpleNamespace(timestamp=datetime(year, 5, 1, 10, 11, 12))  # noqa: DTZ001 - as rawpy gives it
        self.developed: list[dict[str, Any]] = []
        self.closed = False

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def extract_thumb(self) -> Any:
        if isinstance(self.preview, Exception):
            raise self.preview
        return self.preview

    def postprocess(self, **options: Any) -> np.ndarray:
        self.developed.append(options)
        return np.full((2, 3, 3), 7, np.uint8)


def bitmap(width: int, height: int) -> Any:
    return SimpleNamespace(format=raw.rawpy.ThumbFormat.BITMAP, data=np.zeros((height, width, 3), np.uint8))


def jpeg(size: tuple[int, int], own: int = 1, time: int | None = None) -> Any:
    """A JPEG of this size that was decoded smaller."""
    return SimpleNamespace(format=raw.rawpy.ThumbFormat.JPEG, data=(Image.new("RGB", (5, 4), "red"), size, own, time))


def developed(opened: Opened, monkeypatch: pytest.MonkeyPatch, data: bytes = RAF, min_side: int | None = None) -> Any:
    monkeypatch.setattr(raw.rawpy, "imread", lambda stream: opened if stream.read() == data else None)
    checked: list[tuple[int, int]] = []
    found = raw.developed(data, "u", lambda thumb: thumb, lambda *sides: checked.append(sides), min_side)  # type: ignore[arg-type,return-value]
    assert checked == [(opened.sizes.raw_width, opened.sizes.raw_height)]
    assert opened.closed
    return found


class TestDeveloped:
    def test_without_a_preview_it_is_developed_in_the_camera_s_colours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = Opened()
        image, upright, orientation, media_type, time = developed(opened, monkeypatch)
        assert opened.developed == [{"half_size": False, "use_camera_wb": True, "output_bps": 8}]
        assert (image.size, image.getpixel((0, 0))) == ((3, 2), (7, 7, 7))
        assert (upright, orientation, media_type, time) == ((400, 300), 1, "image/x-fuji-raf", None)

    @pytest.mark.parametrize(
        ("size", "min_side", "half"),
        [
            ((2048, 3000), None, True), ((2047, 3000), None, False), ((3000, 2048), None, True),
            ((3000, 2046), None, False), ((400, 300), 75, True), ((400, 300), 76, False), ((400, 301), 75, True),
            ((400, 299), 75, False),
        ],
    )  # fmt: skip
    def test_half_its_size_leaves_twice_what_is_asked_for(
        self, size: tuple[int, int], min_side: int | None, half: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = Opened(size)
        developed(opened, monkeypatch, min_side=min_side)
        assert [options["half_size"] for options in opened.developed] == [half]

    @pytest.mark.parametrize("flip", range(8))
    def test_the_sides_are_those_of_the_upright_picture(self, flip: int, monkeypatch: pytest.MonkeyPatch) -> None:
        assert developed(Opened(flip=flip), monkeypatch)[1] == ((300, 400) if flip >= 4 else (400, 300))

    def test_a_preview_is_taken_with_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = Opened(preview=jpeg((400, 300), time=5), flip=3)
        image, upright, orientation, media_type, time = developed(opened, monkeypatch)
        assert opened.developed == []
        assert (image.size, upright, orientation) == ((5, 4), (400, 300), 3)
        assert (media_type, time) == ("image/x-fuji-raf", 5)

    def test_whose_time_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        camera = 988_711_872_000  # 2001-05-01 10:11:12
        assert developed(Opened(year=2001), monkeypatch)[4] == camera
        assert developed(Opened(year=2001, preview=jpeg((400, 300), time=5)), monkeypatch)[4] == camera
        assert developed(Opened(year=1971), monkeypatch)[4] == 41_940_672_000
        scene = dng(picture(1, (64, 48)))
        assert developed(Opened(year=2001), monkeypatch, scene)[4] == TAKEN_AT
        assert developed(Opened(preview=jpeg((400, 300), time=5)), monkeypatch, scene)[4] == TAKEN_AT
        at_0 = dng(picture(1, (64, 48)), taken=b"1970:01:01 02:00:00\0")
        assert developed(Opened(year=2001), monkeypatch, at_0)[4] == 0
        assert developed(Opened(year=2001, preview=jpeg((400, 300), time=5)), monkeypatch, at_0)[4] == 0

    def test_a_kind_without_a_media_type_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert developed(Opened(), monkeypatch, b"nothing known")[3] == "image/x-dcraw"

    def test_what_libraw_cannot_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def imread(stream: object) -> None:
            raise raw.rawpy.LibRawFileUnsupportedError

        monkeypatch.setattr(raw.rawpy, "imread", imread)
        version = ".".join(str(part) for part in raw.rawpy.libraw_version)
        for data, kind in ((RAF, "RAF"), (b"nothing known", "RAW")):
            with pytest.raises(UnreadableImage) as caught:
                raw.developed(data, "u", None, None, None)  # type: ignore[arg-type]
            said = f"camera RAW ({kind}) that LibRaw {version} cannot read; export it as JPEG"
            assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("u", "format not allowed", said)

    def test_one_that_is_cut_is_not_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(raw.rawpy, "imread", None)
        out = TiffWriter()
        data = out.file(out.page(picture(1, (8, 6)), {262: (3, 32803), 279: (4, 10_000)}))
        with pytest.raises(UnreadableImage) as caught:
            raw.developed(data, "u", None, None, None)  # type: ignore[arg-type]
        said = "the sensor's data lie beyond the end of the file"
        assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("u", "truncated", said)

    def test_pages_below_others_are_looked_at_too(self) -> None:
        out = TiffWriter()
        child = out.page(picture(1, (8, 6)), {279: (4, 10_000)})
        assert raw._is_cut(out.file(out.page(picture(1, (8, 6)), {330: (4, [child])})))
        assert not raw._is_cut(dng(picture(1, (64, 48))))
        assert not raw._is_cut(RAF)


def preview_of(opened: Opened, upright: tuple[int, int] = (400, 300)) -> Any:
    return raw._preview(opened, upright, lambda thumb: thumb)  # type: ignore[arg-type,return-value]


class TestPreview:
    @pytest.mark.parametrize(
        ("size", "taken"),
        [
            ((400, 300), True), ((190, 143), True), ((189, 143), False), ((190, 142), False), ((800, 600), True),
            ((389, 300), True), ((388, 300), False), ((400, 309), True), ((400, 310), False),
            ((400, 291), True), ((400, 290), False), ((300, 300), False), ((400, 225), False),
        ],
    )  # fmt: skip
    def test_half_as_large_and_of_the_same_shape(self, size: tuple[int, int], taken: bool) -> None:
        for preview in (jpeg(size), bitmap(*size)):
            assert (preview_of(Opened(preview=preview)) is not None) is taken

    @pytest.mark.parametrize("flip", [4, 5, 6, 7])
    def test_one_that_lies_on_its_side(self, flip: int) -> None:
        lying = raw._ORIENTATIONS[flip]
        opened = Opened(size=(400, 300), flip=flip, preview=bitmap(400, 300))
        image, orientation, time = preview_of(opened, (300, 400))
        assert (image.size, orientation, time) == ((400, 300), lying, None)
        opened.preview = bitmap(300, 400)  # turned already
        assert preview_of(opened, (300, 400))[1:] == (1, None)
        opened.preview = bitmap(200, 140)
        assert preview_of(opened, (300, 400)) is None
        opened.preview = bitmap(190, 150)
        assert preview_of(opened, (300, 400)) is None

    def test_the_bounds_of_one_on_its_side(self) -> None:
        for size, taken in (((190, 143), True), ((189, 143), False), ((190, 142), False)):
            assert (preview_of(Opened(flip=6, preview=bitmap(*size)), (300, 400)) is not None) is taken

    def test_its_own_picture_orientation_and_time(self) -> None:
        image, orientation, time = preview_of(Opened(preview=jpeg((400, 300), own=2, time=9)))
        assert (image.getpixel((0, 0)), orientation, time) == ((255, 0, 0), 2, 9)

    @pytest.mark.parametrize(
        "error",
        [
            raw.rawpy.LibRawNoThumbnailError(), raw.rawpy.LibRawUnsupportedThumbnailError(), raw.rawpy.LibRawIOError(),
            raw.rawpy.NotSupportedError("x"), UnreadableImage("", "broken"), ValueError(), TypeError(),
        ],
        ids=lambda error: type(error).__name__,
    )  # fmt: skip
    def test_one_that_cannot_be_read_is_none(self, error: Exception) -> None:
        assert preview_of(Opened(preview=error)) is None

    def test_other_errors_are_not_hidden(self) -> None:
        with pytest.raises(MemoryError):
            preview_of(Opened(preview=MemoryError()))  # type: ignore[arg-type]


class TestLies:
    LANDSCAPE, PORTRAIT = (400, 300), (300, 400)

    def test_libraw_s_flip_as_exif_counts(self) -> None:
        """A bit each for mirrored, upside down, and rows for columns: what it does to a picture says its number."""
        from imgvec.images.exif import UPRIGHT

        scene = picture(1, (40, 30))
        for flip in range(8):
            pixels = np.asarray(scene)
            pixels = pixels[:, ::-1] if flip & 1 else pixels
            pixels = pixels[::-1] if flip & 2 else pixels
            turned = Image.fromarray(pixels.transpose(1, 0, 2) if flip & 4 else pixels)
            orientation = raw._lies(flip, (10, 10), 1, (300, 300))
            upright = scene.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else scene
            assert upright.tobytes() == turned.tobytes(), flip
        assert raw._lies(8, (10, 10), 1, (300, 300)) == 1

    @pytest.mark.parametrize(
        ("flip", "size", "own", "upright", "orientation"),
        [
            (0, LANDSCAPE, 1, LANDSCAPE, 1), (0, LANDSCAPE, 8, PORTRAIT, 8), (6, LANDSCAPE, 3, PORTRAIT, 3),
            (6, LANDSCAPE, 6, PORTRAIT, 6), (6, LANDSCAPE, 1, PORTRAIT, 6), (6, PORTRAIT, 1, PORTRAIT, 1),
            (6, PORTRAIT, 6, PORTRAIT, 1), (5, PORTRAIT, 1, PORTRAIT, 1), (5, LANDSCAPE, 1, LANDSCAPE, 1),
            (5, PORTRAIT, 1, LANDSCAPE, 8), (3, LANDSCAPE, 1, LANDSCAPE, 3), (3, LANDSCAPE, 3, LANDSCAPE, 3),
            (6, (300, 300), 1, PORTRAIT, 6), (6, PORTRAIT, 1, (300, 300), 6), (6, LANDSCAPE, 1, (300, 300), 6),
            (6, (300, 300), 1, LANDSCAPE, 6),
        ],
    )  # fmt: skip
    def test_its_own_word_or_the_sensor_s(
        self, flip: int, size: tuple[int, int], own: int, upright: tuple[int, int], orientation: int
    ) -> None:
        assert raw._lies(flip, size, own, upright) == orientation


def test_time_of_the_first_directory() -> None:
    assert raw._time(dng(picture(1, (64, 48)))) == TAKEN_AT
    out = TiffWriter()
    assert raw._time(out.file(out.page(picture(1, (8, 6))))) is None
    assert raw._time(b"II\x2a\0\xff\xff\0\0" + bytes(20)) is None
    assert raw._time(RAF) is None
