"""What the names of files say, as words."""

from __future__ import annotations

import unicodedata

import pytest

from imgvec.sources import name_words


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/photos/red-dress_01.jpg", "red dress 01"),
        ("photos/redDress.JPEG", "red Dress"),
        ("USPresidentAtNASA.png", "US President At NASA"),
        ("beach2.jpg", "beach2"),
        ("a.b.c/v1.2 (final).webp", "v1 2 final"),
        ("no ending", "no ending"),
        (".jpg", ""),
        ("Anna's  été.heic", "Anna's été"),
        (unicodedata.normalize("NFD", "Été à Łódź.jpg"), "Été à Łódź"),
        ("東京タワー.jpg", "東京タワー"),
        ("हिन्दी लाल पोशाक.jpg", "हिन्दी लाल पोशाक"),
        ("ภาพที่สวย.jpg", "ภาพที่สวย"),
        ("தமிழ்-படம்.jpg", "தமிழ் படம்"),
        ("می\u200cخواهم.jpg", "می\u200cخواهم"),
        ("❤\ufe0f red 👩\u200d👩.jpg", "red"),
        ("photos.tar!trip/boatAtSea.jpg", "boat At Sea"),
        ("photos.zip!boat%20.jpg", "boat 20"),
        ("/a/wow!/big-wave.jpg", "big wave"),
        ("rows.parquet!red_shoe", "red shoe"),
        ("rows.parquet!17", ""),
        ("photos.tar!17.jpg", "17"),
        ("https://example.org/a/red%20dress.jpg?size=large#top", "red dress"),
        ("s3://bucket/red%20dress.jpg", "red 20dress"),
        ("given://red%20dress", "red dress"),
        ("given://3f2b8c1d9e0a4b5c6d7e8f9012345678", ""),
        ("kept/3f/3f2b8c1d9e0a4b5c6d7e8f9012345678.png", ""),
        ("123e4567-e89b-12d3-a456-426614174000.jpg", ""),
        ("bad\udcff.jpg", "bad"),
    ],
)
def test_words(uri: str, words: str) -> None:
    assert name_words(uri) == words
