"""Modes and depths of pixels at the bounds of each rule."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageFile, TiffImagePlugin

from imgvec.images import decode, depth, modes
from imgvec.images.depth import bits_of, deepened, eight_bits, is_wide, reopening, told_bits
from imgvec.images.modes import to_rgb

SMALL = picture(2, (16, 12))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


class TestModes:
    def test_a_million_pixels_are_stretched_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        interp = np.interp

        def spy(values: Any, *given: Any) -> Any:
            sizes.append(values.size)
            return interp(values, *given)

        monkeypatch.setattr(np, "interp", spy)
        values = np.zeros((3, 1 << 19), np.float32)
        values[2, 5] = 2
        grey = modes._stretch(values, 0.0, 2.0)
        assert sizes == [1 << 20, 1 << 19]
        assert (grey[2, 5], grey.sum()) == (255, 255)
        sizes.clear()
        monkeypatch.setattr(modes, "_BLOCK", 3)
        modes._stretch(np.array([[0, 1, 2, 3], [0, 0, 0, 0]], np.float32), 0.0, 3.0)
        assert sizes == [4, 4]  # a row at least

    @pytest.mark.parametrize("format", ["BMP", "DIB", "TGA", "ICO", "CUR"])
    def test_alpha_that_nobody_set(self, format: str) -> None:
        for alpha, seen in (((0, 0), (9, 9, 9)), ((0, 1), (255, 255, 255)), ((255, 255), (9, 9, 9))):
            image = Image.new("RGBA", (2, 1), (9, 9, 9, alpha[0]))
            image.putpixel((1, 0), (9, 9, 9, alpha[1]))
            image.format = format
            assert to_rgb(image).getpixel((0, 0)) == seen
            image.format = "PNG"
            assert to_rgb(image).getpixel((0, 0)) == ((255,) * 3 if alpha[0] == 0 else (9,) * 3)

    def test_grey_with_alpha_of_such_a_format_means_what_it_says(self) -> None:
        image = Image.new("LA", (2, 1), (9, 0))
        image.format = "TGA"
        assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)

    @pytest.mark.parametrize(
        ("values", "seen"),
        [
            ([0, 255], [0, 255]), ([0, 256], [0, 64]), ([0, 65535], [0, 255]), ([0, 65536], [0, 255]),
            ([-1, 65535], [0, 255]), ([-1, 0], [0, 255]), ([65536, 65537], [0, 255]), ([7, 7], [7, 7]),
            ([-7, -7], [0, 0]),
        ],
    )  # fmt: skip
    def test_integers_of_32_bits(self, values: list[int], seen: list[int]) -> None:
        image = Image.fromarray(np.array([values], np.int32))
        assert np.asarray(to_rgb(image))[0, :, 1].tolist() == seen

    @pytest.mark.parametrize(
        ("values", "seen"),
        [([0.0, 1.0], [0, 255]), ([0.5, 0.5], [128, 128]), ([0.0, 1.5], [0, 255]), ([-0.1, 0.0], [0, 255]),
         ([1.0, 1.0], [255, 255]), ([0.0, 0.0], [0, 0]), ([2.0, 2.0], [0, 0])],
    )  # fmt: skip
    def test_floats(self, values: list[float], seen: list[int]) -> None:
        image = Image.fromarray(np.array([values], np.float32))
        assert np.asarray(to_rgb(image))[0, :, 1].tolist() == seen

    def test_the_range_of_what_is_finite(self) -> None:
        inf = np.inf
        assert modes._finite_range(np.array([[-inf, 3, np.nan, 5, inf]], np.float32)) == (3, 5)
        assert modes._finite_range(np.array([[-5, -3]], np.int32)) == (-5, -3)
        largest = np.iinfo(np.int32)
        assert modes._finite_range(np.array([[largest.max, largest.max]], np.int32)) == (largest.max, largest.max)
        with pytest.raises(ValueError, match="no pixel has a finite value"):
            modes._finite_range(np.array([[np.nan, inf]], np.float32))

    def test_the_collection_s_word_holds_for_16_and_32_bits(self) -> None:
        for image in (
            Image.fromarray(np.full((1, 2), 256, np.uint16)),
            Image.fromarray(np.full((1, 2), 256, np.int32)),
        ):
            for said, seen in (("auto", 64), ("full", 1), (9, 128)):
                assert np.asarray(to_rgb(image, said))[0, 0].tolist() == [seen] * 3


class TestDepth:
    def test_bits(self) -> None:
        values = np.array([[0, 255]])
        assert [bits_of(values, said) for said in ("full", 11, "auto")] == [16, 11, 8]
        for largest, bits in ((256, 10), (1023, 10), (1024, 12), (4096, 14), (16384, 16), (65535, 16), (70000, 16)):
            assert bits_of(np.array([largest]), "auto") == bits
        assert bits_of(np.zeros((0,), int), "auto") == 8

    def test_the_highest_eight(self) -> None:
        values = np.array([0, 255, 256, 4095, 4096, 65535])
        assert eight_bits(values, 12).tolist() == [0, 15, 16, 255, 255, 255]
        assert eight_bits(values, 8).tolist() == [0, 255, 255, 255, 255, 255]

    @pytest.mark.parametrize("format", ["HEIF", "JXL", "JPEG2000"])
    def test_formats_whose_decoders_scale(self, format: str) -> None:
        image = Image.new("I;16", (1, 1))
        image.format = format
        assert told_bits(image) == 16

    @pytest.mark.parametrize(("maximum", "bits"), [(65534, 16), (65535, None), (4095, 16)])
    def test_the_maximum_of_a_pgm(self, maximum: int, bits: int | None) -> None:
        image = Image.open(io.BytesIO(b"P5 2 1 %d\n" % maximum + bytes(4)))
        assert told_bits(image) == bits

    @pytest.mark.parametrize(("bits", "told"), [(8, None), (9, 9), (12, 12), (15, 15), (16, None), (32, None)])
    def test_the_bits_of_a_tiff(self, bits: int, told: int | None) -> None:
        image = Image.open(io.BytesIO(saved(SMALL.convert("L"), "TIFF")))
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        image.tag_v2[258] = bits
        assert told_bits(image) == told
        del image.tag_v2[258]
        assert told_bits(image) is None

    def test_others_say_nothing(self) -> None:
        assert told_bits(Image.new("I;16", (1, 1))) is None
        assert told_bits(Image.open(io.BytesIO(saved(Image.new("I;16", (1, 1)), "PNG")))) is None
        loaded = Image.open(io.BytesIO(b"P5 2 1 4095\n" + bytes(4)))
        loaded.load()
        assert told_bits(loaded) is None

    def test_a_file_is_read_once_more_from_its_start(self) -> None:
        data = saved(SMALL, "PNG")
        image = Image.open(io.BytesIO(data))
        assert isinstance(image, ImageFile.ImageFile)
        assert image.fp is not None
        at = image.fp.tell()
        reopen = reopening(image)
        assert reopen is not None
        assert image.fp.tell() == at > 0
        with reopen() as again:
            assert again is not image
            assert again.tobytes() == SMALL.tobytes()
        assert image.tobytes() == SMALL.tobytes()
        assert reopening(image) is None  # loaded
        assert reopening(SMALL) is None

    def test_wide_is_colour_of_16_bits(self) -> None:
        wide = b"P6 2 1 65535\n" + bytes(12)
        for data, expected in (
            (wide, True), (b"P6 2 1 255\n" + bytes(6), False), (b"P6 2 1 4095\n" + bytes(12), False),
            (b"P5 2 1 65535\n" + bytes(4), False), (b"P3 2 1 65535\n1 2 3 4 5 6", False), (saved(SMALL, "PNG"), False),
            (saved(SMALL, "TIFF"), False), (saved(Image.new("I;16", (2, 1)), "PNG"), False),
        ):  # fmt: skip
            assert is_wide(Image.open(io.BytesIO(data))) is expected, data[:14]
        loaded = Image.open(io.BytesIO(wide))
        loaded.load()
        assert not is_wide(loaded)
        assert not is_wide(SMALL)

    @pytest.mark.parametrize("trailer", [b"", b"\n", b"more than a pixel of what lies behind"])
    def test_what_lies_behind_the_pixels_of_a_ppm_is_not_read(self, trailer: bytes) -> None:
        values = np.array([[[1, 2, 3], [255, 254, 253]]], ">u2")
        data = b"P6 2 1 65535\n" + values.tobytes() + trailer
        assert np.asarray(decode(data, uri="x").image).tolist() == values.tolist()

    def test_where_all_bits_are_used_the_file_is_not_read_again(self) -> None:
        def never() -> Any:
            raise AssertionError

        for format, largest in (("PNG", 64), ("PPM", 65)):
            image = Image.new("RGB", (2, 1), (0, largest, 0))
            image.format = format
            assert deepened(image, never, "auto") is image
            assert deepened(image, never, "full") is image
            image = Image.new("RGB", (2, 1), (0, largest - 1, 0))
            image.format = format
            with pytest.raises(AssertionError):
                deepened(image, never, "auto")
            with pytest.raises(AssertionError):
                deepened(image, never, 16)

    def test_low_bytes_are_joined(self) -> None:
        high, low = np.array([[[1, 255]]], np.uint8), np.array([[[2, 254]]], np.uint8)
        assert depth._joined(high, low).tolist() == [[[258, 65534]]]
