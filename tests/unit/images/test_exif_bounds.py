"""EXIF's times and orientations at the bounds of what is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from imgvec.images.exif import read_exif, taken_at

ORIGINAL, OFFSET, SUBSEC = 0x9003, 0x9011, 0x9291


@pytest.mark.parametrize(("year", "believed"), [(1825, False), (1826, True), (2099, True), (2100, False)])
def test_years(year: int, believed: bool) -> None:
    expected = int(datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp() * 1000) if believed else None
    assert taken_at({ORIGINAL: f"{year}:02:03 04:05:06"}) == expected


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024:05:01 10:11:12", True), ("2024/05/01 10:11:12", True), ("2024-05-01T10:11:12", True),
        ("2024:05:01 10:11:12Z", True), ("  2024:05:01 10:11:12  ", True), ("\0 2024:05:01 10:11:12 \0", True),
        ("2024.05.01 10:11:12", False), ("2024:05:01_10:11:12", False), ("2024:05:01 10.11:12", False),
        ("2024:05:01 10:11", False), ("24:05:01 10:11:12", False), ("x2024:05:01 10:11:12", False),
    ],
)  # fmt: skip
def test_spellings(text: str, read: bool) -> None:
    for given in (text, text.encode()):
        assert taken_at({ORIGINAL: given}) == (1_714_558_272_000 if read else None)


def test_bytes_that_are_not_ascii() -> None:
    assert taken_at({ORIGINAL: b"\xff2024:05:01 10:11:12"}) is None
    assert taken_at({ORIGINAL: b"2024:05:01 10:11:12\xff"}) == 1_714_558_272_000


@pytest.mark.parametrize(
    ("offset", "minutes"), [("+00:00", 0), ("-00:30", -30), ("+05:45", 345), ("-11:00", -660), ("05:00", 0), ("Z", 0)]
)
def test_offsets(offset: str, minutes: int) -> None:
    assert taken_at({ORIGINAL: "2024:05:01 10:11:12", OFFSET: offset}) == 1_714_558_272_000 - minutes * 60_000


@pytest.mark.parametrize(
    ("fraction", "milliseconds"),
    [("7", 700), ("07", 70), ("007", 7), ("0079", 7), ("999", 999), ("", 0), ("x7", 0), ("7x", 700), (b"25", 250)],
)
def test_fractions(fraction: str | bytes, milliseconds: int) -> None:
    assert taken_at({ORIGINAL: "2024:05:01 10:11:12", SUBSEC: fraction}) == 1_714_558_272_000 + milliseconds


class Odd:
    """An image whose EXIF is what is said, or raises it."""

    def __init__(self, exif: Any) -> None:
        self.exif = exif

    def getexif(self) -> Any:
        if isinstance(self.exif, Exception):
            raise self.exif
        return self.exif


@pytest.mark.parametrize("error", [SyntaxError(), TypeError(), KeyError()])
def test_exif_that_cannot_be_read(error: Exception) -> None:
    assert read_exif(Odd(error)) == (1, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", ["6", 6.5, None, (6,), -1, 0, 9])
def test_orientations_of_no_meaning(orientation: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[ORIGINAL] = "2024:05:01 10:11:12"
    assert read_exif(Odd(exif)) == (1, 1_714_558_272_000)  # type: ignore[arg-type]


def test_without_an_orientation() -> None:
    assert read_exif(Image.new("L", (1, 1))) == (1, None)
