"""What is left out of a PNG, at the bounds: its texts and profiles counted, each as it is read."""

from __future__ import annotations

import zlib

import pytest

from imgvec.images import chunks
from imgvec.images.chunks import MAX_INFLATED, lean_png

START, REST = b"\x89PNG\r\n\x1a\n", b"\0\0\0\x01IDATx" + zlib.crc32(b"IDATx").to_bytes(4)
XMP, PROFILE, EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif"
MIB = 1 << 20


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def png(*parts: bytes) -> bytes:
    return START + b"".join(parts) + REST


BIG = chunk(b"tEXt", b"k\0" + bytes(2 * MIB))
"""Has the texts looked at."""


def kept(part: bytes) -> bytes:
    """What a PNG that is not left as it is keeps of this chunk."""
    lean = lean_png(png(part, BIG))
    assert lean.startswith(START)
    assert lean.endswith(REST)
    return lean[len(START) : -len(REST)]


def test_what_is_not_a_png_or_holds_little_is_left_as_it_is() -> None:
    for data in (b"x" + png(BIG), png(chunk(b"tEXt", b"k\0text")), png()):
        assert lean_png(data) is data


@pytest.mark.parametrize(("more", "left"), [(0, True), (1, False)])
def test_plain_texts_of_one_mebibyte_in_all(more: int, left: bool) -> None:
    first = chunk(b"tEXt", b"k\0" + bytes(1000))
    data = png(first, chunk(b"tEXt", b"k\0" + bytes(MIB - len(first) - 14 + more)))
    assert (lean_png(data) is data) is left
    assert left or lean_png(data) == png()


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
@pytest.mark.parametrize(("more", "left"), [(0, True), (1, False)])
def test_what_is_deflated_counts_with_what_it_inflates_to(name: bytes, more: int, left: bool) -> None:
    head = b"k\0\1\0\0\0" if name == b"iTXt" else b"k\0\0"

    def packed(size: int) -> bytes:
        return chunk(name, head + zlib.compress(bytes(size)))

    size = MIB
    while len(packed(size)) + size != MIB:
        size = MIB - len(packed(size))
    data = png(packed(size + more))
    assert (lean_png(data) is data) is left
    assert left or lean_png(data) == png()


def test_small_ones_are_judged_without_being_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[bytes] = []
    monkeypatch.setattr(chunks, "_inflated", lambda packed, limit: inflated.append(packed) or 0)
    for size, looked_at in ((MIB // 1032, False), (MIB // 1032 + 1, True)):
        inflated.clear()
        data = png(chunk(b"zTXt", b"k\0\0" + b"z" * (size - 15)))
        assert lean_png(data) is data
        assert bool(inflated) is looked_at, size


def test_counting_ends_at_the_limit_and_at_what_is_broken() -> None:
    packed = zlib.compress(bytes(3 * MIB))
    assert chunks._inflated(packed, 64 * MIB) == 3 * MIB
    assert chunks._inflated(packed, 3 * MIB + 1) == 3 * MIB
    assert chunks._inflated(packed, MIB) == MIB
    assert chunks._inflated(packed, MIB + 1) == 2 * MIB
    assert chunks._inflated(packed, 0) == 0
    assert chunks._inflated(b"", 100) == 0
    assert chunks._inflated(b"nothing that inflates", 100) == 0
    assert chunks._inflated(zlib.compress(b"seven b"), 100) == 7


@pytest.mark.parametrize(("sizes", "refused"), [((32, 32), True), ((32, 31), False), ((64,), True), ((63,), False)])
def test_sixty_four_mebibytes_in_all_are_refused(sizes: tuple[int, ...], refused: bool) -> None:
    assert MAX_INFLATED == 64 * MIB
    data = png(*(chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes(size * MIB), 1)) for n, size in enumerate(sizes)))
    if refused:
        with pytest.raises(
            ValueError, match="its profile and texts inflate to 64 MiB or more, like a decompression bomb"
        ):
            lean_png(data)
    else:
        assert lean_png(data) == png()


@pytest.mark.parametrize("key", [XMP, PROFILE, EXIF])
def test_what_exif_can_stand_in_is_kept_and_no_longer_deflated(key: bytes) -> None:
    text = chunk(b"tEXt", key + b"\0text")
    assert kept(text) == text
    assert kept(chunk(b"zTXt", key + b"\0\0" + zlib.compress(b"text"))) == text
    plain = chunk(b"iTXt", key + b"\0\0\0\0\0text")
    assert kept(plain) == plain
    assert kept(chunk(b"iTXt", key + b"\0\1\0en\0translated\0" + zlib.compress(b"text"))) == plain
    told = chunk(b"iTXt", key + b"\0\0\0en\0translated\0text")
    assert kept(told) == told


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"tEXt", b"exif2\0text"),
        chunk(b"iCCP", b"exif\0\0" + zlib.compress(b"text")),
        chunk(b"zTXt", b"exif\0\0broken"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text")),
    ],
)
def test_what_is_not_kept(part: bytes) -> None:
    assert kept(part) == b""


def test_others_stay_where_they_are() -> None:
    gamma, text = chunk(b"gAMA", bytes(4)), chunk(b"tEXt", b"exif\0text")
    assert lean_png(png(gamma, BIG, text, gamma)) == png(gamma, text, gamma)


def test_of_a_text_sixteen_mebibytes_are_read() -> None:
    limit = 16 * MIB
    for size in (limit - 1, limit, limit + 1):
        lean = kept(chunk(b"zTXt", b"exif\0\0" + zlib.compress(bytes(size), 1)))
        assert len(lean) == 12 + 5 + min(size, limit)
        plain = chunk(b"tEXt", b"exif\0" + bytes(size - 5))
        assert kept(plain) == (plain if size <= limit else b"")


def test_a_chunk_that_is_not_whole_is_left() -> None:
    whole = png(chunk(b"tEXt", b"exif\0"), BIG)[: -len(REST)]
    assert lean_png(whole) == START + chunk(b"tEXt", b"exif\0")  # the last one ends with the file
    assert lean_png(whole[:-1]) == whole[:-1]
    assert lean_png(START + chunk(b"tEXt", b"") + BIG + b"\0\0\0\0tEXt\0\0\0") == START + b"\0\0\0\0tEXt\0\0\0"
