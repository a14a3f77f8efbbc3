"""Pixels step by step, at the bounds: sizes, blank frames, transparent colours, what is said of errors."""

from __future__ import annotations

import io
from typing import Any

import pytest
from pictures import picture
from PIL import Image, TiffImagePlugin
from tiffs import TiffWriter

from imgvec.errors import UnreadableImage
from imgvec.images import decode, pages
from imgvec.images.pages import Told, full_page, shown
from imgvec.images.pixels import Decoded, as_it_lies, check_image, check_size, detail_of, reason_of, turned

BIG, SMALL = picture(1, (64, 48)), picture(2, (16, 12))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


class TestReason:
    @pytest.mark.parametrize("error", [Image.DecompressionBombError(), Image.DecompressionBombWarning()])
    def test_pillow_s_own_cap(self, error: Exception) -> None:
        assert reason_of(error) == "too many pixels"

    @pytest.mark.parametrize(
        "said",
        [
            "Truncated File Read", "not enough image data", "reached EOF", "unexpected end of file",
            "insufficient input", "Input/output error",
        ],
    )  # fmt: skip
    def test_bytes_that_end_too_early(self, said: str) -> None:
        assert reason_of(OSError(f"x {said} x")) == reason_of(ValueError(said.upper())) == "truncated"

    def test_others(self) -> None:
        assert reason_of(ValueError("no such thing")) == reason_of(ValueError()) == "broken"
        assert (detail_of(ValueError("why")), detail_of(ValueError())) == ("ValueError: why", "ValueError")


class TestSize:
    def test_so_many_pixels_and_no_more(self) -> None:
        check_size((4, 3), "u", 12)
        with pytest.raises(UnreadableImage) as caught:
            check_size((1000, 13), "u", 12_999)
        said = "1000 x 13 = 13,000 pixels, the limit is 12,999; raise IMGVEC_MAX_PIXELS"
        assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("u", "too many pixels", said)

    def test_tiles_of_a_tiff(self) -> None:
        image = Image.open(io.BytesIO(saved(SMALL, "TIFF")))
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        check_image(image, "u", 16 * 12)
        image.tag_v2[322] = 100
        check_image(image, "u", 16 * 12)  # as wide, but no tile is so long
        image.tag_v2[323] = 5
        with pytest.raises(UnreadableImage, match="tiles of 100 x 5 = 500 pixels, the limit is 499"):
            check_image(image, "u", 499)
        check_image(image, "u", 500)
        with pytest.raises(UnreadableImage, match=r"^[^:]*: too many pixels.*16 x 12 = 192"):
            check_image(image, "u", 191)
        del image.tag_v2[322]
        check_image(image, "u", 16 * 12)

    def test_other_formats_have_no_tiles(self) -> None:
        check_image(SMALL, "u", 16 * 12)


class TestTurned:
    @pytest.mark.parametrize("orientation", range(10))
    def test_sides_go_with_the_picture(self, orientation: int) -> None:
        seen = Decoded(SMALL, 160, 120, "image/x", 5)
        found = turned(seen, orientation)
        sideways = 5 <= orientation <= 8
        assert (found.width, found.height) == ((120, 160) if sideways else (160, 120))
        assert found.image.size == ((12, 16) if sideways else (16, 12))
        assert (found.media_type, found.taken_at) == ("image/x", 5)
        assert (found is seen) is (orientation in (0, 1, 9))


class TestAsItLies:
    @pytest.mark.parametrize("format", ["PNG", "JPEG", "MPO", "WEBP"])
    def test_size_media_type_and_orientation(self, format: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"save_all": True, "append_images": [SMALL]} if format == "MPO" else {}
        image = Image.open(io.BytesIO(saved(SMALL, format, exif=exif, **options)))
        seen, orientation = as_it_lies(image, None, 10_000)
        media_type = "image/jpeg" if format == "MPO" else f"image/{format.lower()}"
        assert (seen.width, seen.height, seen.media_type, orientation) == (16, 12, media_type, 6)
        assert seen.image.size == (16, 12)

    def test_the_size_in_the_file_where_another_was_decoded(self) -> None:
        seen, orientation = as_it_lies(SMALL, (160, 120), 10_000)
        assert (seen.width, seen.height, seen.media_type, seen.taken_at, orientation) == (160, 120, "", None, 1)

    def test_a_jpeg_is_decoded_no_smaller_than_twice_what_is_asked_for(self) -> None:
        data = saved(picture(1, (640, 480)), "JPEG")
        for min_side, side in ((None, 480), (30, 60), (31, 120), (60, 120), (61, 240), (121, 480)):
            decoded = decode(data, uri="x", min_side=min_side)
            assert (min(decoded.image.size), decoded.width, decoded.height) == (side, 640, 480)


class TestFullPage:
    def test_a_first_page_that_is_full_is_left_whatever_follows(self) -> None:
        out = TiffWriter()
        follows = out.page(BIG)
        for tags in ({}, {274: (3, 6)}, {256: (4, 0)}):
            data = out.file(out.page(SMALL, tags, following=follows))
            assert full_page(data, "u") == (data, Told())
            assert full_page(data, "u")[0] is data

    def test_what_is_no_tiff(self) -> None:
        for data in (b"nothing", b"II\x2a\0\xff\xff\0\0" + bytes(20)):
            assert full_page(data, "u") == (data, Told(None, None))

    @pytest.mark.parametrize(
        ("first", "own", "told"), [(6, {}, 6), (6, {274: (3, 1)}, None), (1, {}, None), (0, {}, None), (9, {}, None)]
    )
    def test_what_the_reduced_copy_says(self, first: int, own: dict, told: int | None) -> None:
        out = TiffWriter()
        exif = out.directory({36867: (2, b"2024:05:01 10:11:12\0")})
        page = out.page(BIG, own)
        reduced = {254: (4, 1), 274: (3, first), 34665: (4, exif)}
        data, found = full_page(out.file(out.page(SMALL, reduced, following=page)), "u")
        assert found == Told(told, 1_714_558_272_000)
        assert decode(data, uri="x").width == 64

    def test_nothing_but_reduced_copies(self) -> None:
        out = TiffWriter()
        with pytest.raises(UnreadableImage) as caught:
            full_page(out.file(out.page(SMALL, {254: (4, 1)})), "u")
        said = "a TIFF with only reduced copies and no page with the picture itself"
        assert (caught.value.uri, caught.value.reason, caught.value.detail) == ("u", "format not allowed", said)

    def test_a_time_of_its_own_goes_before_the_copy_s(self) -> None:
        out = TiffWriter()
        times = [out.directory({36867: (2, b"20%d:05:01 10:11:12\0" % year)}) for year in (20, 24)]
        page = out.page(BIG, {34665: (4, times[1])})
        data = out.file(out.page(SMALL, {254: (4, 1), 34665: (4, times[0])}, following=page))
        assert decode(data, uri="x").taken_at == 1_714_558_272_000


class Frames:
    """An animation of one colour a frame; an exception where a frame is broken."""

    width, height = 4, 3

    def __init__(self, *colours: Any, format: str = "GIF") -> None:
        self.colours, self.format, self.at, self.loaded = colours, format, 0, []

    def tell(self) -> int:
        return self.at

    def seek(self, frame: int) -> None:
        if frame >= len(self.colours):
            raise EOFError
        self.at = frame

    def load(self) -> None:
        self.loaded.append(self.at)
        if isinstance(self.colours[self.at], Exception):
            raise self.colours[self.at]


def frame(frames: Any) -> Image.Image:
    colour = frames.colours[frames.at]
    image = Image.new("RGB", (4, 3), "white" if colour == "two" else colour)
    if colour == "two":
        image.putpixel((0, 0), (255, 255, 0))
    return image


def colour_shown(frames: Frames, max_pixels: int = 10_000) -> Any:
    return shown(frames, frame, max_pixels).getpixel((1, 0)), frames.at  # type: ignore[arg-type]


WHITE, RED = (255, 255, 255), (255, 0, 0)


class TestShown:
    def test_the_first_that_shows_something(self) -> None:
        frames = Frames("red", "white", "two", "two")
        assert colour_shown(frames) == (WHITE, 0)
        assert frames.loaded == [1, 2]

    def test_one_pixel_is_enough(self) -> None:
        frames = Frames("two", "red")
        assert colour_shown(frames) == (WHITE, 0)
        assert frames.loaded == []

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
    def test_animations(self, format: str) -> None:
        assert colour_shown(Frames("red", "two", format=format)) == (WHITE, 0)

    @pytest.mark.parametrize("format", ["TIFF", "MPO", None])
    def test_others_are_their_first_page(self, format: Any) -> None:
        frames = Frames("red", "two", format=format)
        assert colour_shown(frames) == (RED, 0)
        assert frames.loaded == []

    @pytest.mark.parametrize("later", [(), ("white", "black"), (OSError(), "two"), ("white", ValueError(), "two")])
    def test_else_the_first(self, later: tuple[Any, ...]) -> None:
        assert colour_shown(Frames("red", *later)) == (RED, 0)

    def test_a_hundred_frames_are_looked_at(self) -> None:
        assert colour_shown(Frames(*["red"] * 99, "two")) == (WHITE, 0)
        frames = Frames(*["red"] * 100, "two")
        assert colour_shown(frames) == (RED, 0)
        assert frames.loaded == list(range(1, 100))

    @pytest.mark.parametrize(("max_pixels", "colour"), [(3 * 12, WHITE), (3 * 12 - 1, RED), (11, RED)])
    def test_no_more_pixels_than_allowed(self, max_pixels: int, colour: Any) -> None:
        assert colour_shown(Frames("red", "white", "two"), max_pixels) == (colour, 0)

    def test_it_begins_and_ends_where_it_was(self) -> None:
        frames = Frames("two", "red", "two", "red")
        frames.at = 1
        assert colour_shown(frames) == (WHITE, 1)
        assert frames.loaded == [2]
        frames.at = 1
        frames.colours = ("two", "red", "white", "two")
        assert colour_shown(frames, 2 * 12) == (RED, 1)

    def test_one_that_cannot_go_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frames = Frames("red", "two")

        def seek(frame: int) -> None:
            if frame == 0:
                raise OSError
            frames.at = frame

        monkeypatch.setattr(frames, "seek", seek)
        assert colour_shown(frames) == (WHITE, 1)

    def test_blank_is_one_colour_in_every_channel(self) -> None:
        assert pages._is_blank(Image.new("RGB", (4, 3), (1, 2, 3)))
        for channel in range(3):
            image = Image.new("RGB", (4, 3))
            image.putpixel((0, 0), tuple(int(n == channel) for n in range(3)))  # type: ignore[arg-type]
            assert not pages._is_blank(image)
