"""When a photo was taken, out of EXIF."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imgvec.images import decode
from imgvec.images.exif import read_exif, taken_at

ORIGINAL, OFFSET, SUBSEC = 0x9003, 0x9011, 0x9291


@pytest.mark.parametrize(
    ("details", "milliseconds"),
    [
        ({ORIGINAL: "2020:02:29 12:34:56"}, 1_582_979_696_000),
        ({ORIGINAL: "2020:02:29 12:34:56\0"}, 1_582_979_696_000),
        ({ORIGINAL: b"2020:02:29 12:34:56"}, 1_582_979_696_000),
        ({ORIGINAL: "2020-02-29T12:34:56"}, 1_582_979_696_000),
        ({ORIGINAL: "2020:02:29 12:34:56", OFFSET: "+02:00"}, 1_582_972_496_000),
        ({ORIGINAL: "2020:02:29 12:34:56", OFFSET: "-03:30"}, 1_582_992_296_000),
        ({ORIGINAL: "2020:02:29 12:34:56", OFFSET: "   :  "}, 1_582_979_696_000),
        ({ORIGINAL: "2020:02:29 12:34:56", SUBSEC: "5"}, 1_582_979_696_500),
        ({ORIGINAL: "2020:02:29 12:34:56", SUBSEC: "0789 "}, 1_582_979_696_078),
        ({ORIGINAL: "1969:12:31 23:59:59", SUBSEC: "25"}, -750),
        ({}, None),
        ({ORIGINAL: ""}, None),
        ({ORIGINAL: "0000:00:00 00:00:00"}, None),
        ({ORIGINAL: "    :  :     :  :  "}, None),
        ({ORIGINAL: "2021:02:29 12:34:56"}, None),
        ({ORIGINAL: "2020:02:29 24:00:00"}, None),
        ({ORIGINAL: "1601:01:01 00:00:00"}, None),
        ({ORIGINAL: "2107:01:01 00:00:00"}, None),
        ({ORIGINAL: "2020:02:29 12:34:56", OFFSET: "+99:00"}, None),
        ({ORIGINAL: (2020, 2, 29)}, None),
    ],
)
def test_taken_at(details: dict, milliseconds: int | None) -> None:
    assert taken_at(details) == milliseconds


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_that_carries_it(format: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"  # Pillow writes no EXIF whose first directory is empty
    details = exif.get_ifd(0x8769)
    details[ORIGINAL] = "2020:02:29 12:34:56"
    exif[0x8769] = details  # without which Pillow leaves the directory out of a TIFF
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format, exif=exif)
    assert decode(buffer.getvalue(), uri="x").taken_at == 1_582_979_696_000


@pytest.mark.parametrize("stored", range(12))
def test_orientations_that_are_none_are_upright(stored: int) -> None:
    image = Image.new("RGB", (2, 1))
    image.getexif()[0x0112] = stored
    assert read_exif(image) == (stored if 1 <= stored <= 8 else 1, None)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    # where the first row and column of the file lie in the picture: EXIF 2.32, table 6
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    image = Image.fromarray(np.ascontiguousarray(turned))
    image.getexif()[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=image.getexif())
    np.testing.assert_array_equal(np.asarray(decode(buffer.getvalue(), uri="x").image)[:, :, 0], upright)
