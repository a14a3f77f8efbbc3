"""A TIFF's directories as they lie in the file, in every type, byte order and size."""

from __future__ import annotations

import struct

import pytest

from imgvec.images.directories import MAX_DIRECTORIES, Directory, Tiff

SIZES = {"B": 1, "H": 2, "I": 4, "i": 4, "Q": 8}


def tiff(
    entries: list[tuple[int, int, list[int] | bytes, str]], order: str = "<", *, big: bool = False, following: int = 0
) -> bytes:
    """One directory at 16; of each entry the tag, the type, the values and how `struct` packs them."""
    word, head = ("Q", "Q") if big else ("I", "H")
    place_size = 8 if big else 4
    start = struct.pack(order + "HHH", 43, 8, 0) + struct.pack(order + "Q", 16) if big else None
    data = (b"II" if order == "<" else b"MM") + (start or struct.pack(order + "HI", 42, 16))
    data = data.ljust(16, b"\0") + struct.pack(order + head, len(entries))
    after = len(data) + len(entries) * (4 + 2 * place_size) + place_size
    tail = b""
    for tag, kind, values, code in entries:
        raw = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{code}", *values)
        data += struct.pack(order + "HH", tag, kind) + struct.pack(order + word, len(values))
        if len(raw) <= place_size:
            data += raw.ljust(place_size, b"\0")
        else:
            data += struct.pack(order + word, after + len(tail))
            tail += raw
    return data + struct.pack(order + word, following) + tail


def first(data: bytes) -> Directory:
    found = Tiff.of(data)
    assert found is not None
    directory = found.first
    assert directory is not None
    return directory


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("values", [[1], [1, 2], [3, 5, 250]])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I"), (9, "i"), (13, "I"), (16, "Q"), (18, "Q")])
def test_numbers_of_every_type(kind: int, code: str, values: list[int], big: bool, order: str) -> None:
    directory = first(tiff([(256, kind, values, code), (257, 3, [9], "H")], order, big=big))
    assert directory.numbers(256) == tuple(values)
    assert (directory.number(256), directory.number(257), directory.number(258, 7)) == (values[0], 9, 7)


def test_negative_numbers_and_what_is_no_number() -> None:
    directory = first(tiff([(1, 9, [-5, 6], "i"), (2, 2, b"NIKON\0 ", "B"), (3, 5, [1, 2], "I"), (4, 12, [0], "Q")]))
    assert directory.numbers(1) == (-5, 6)
    assert [directory.numbers(tag) for tag in (2, 3, 4, 99)] == [(), (), (), ()]
    assert (directory.text(2), directory.text(99)) == ("NIKON", "")


def test_values_that_are_not_in_the_file() -> None:
    data = tiff([(273, 4, [1, 2, 3], "I")])
    assert first(data).numbers(273) == (1, 2, 3)
    assert first(data[:-1]).numbers(273) == ()
    assert first(tiff([(273, 4, [], "I")])).numbers(273) == ()


def test_long_text_is_cut() -> None:
    assert first(tiff([(271, 2, b"x" * 1000, "B")])).text(271) == "x" * 256
    assert first(tiff([(271, 2, b"\xff\0\0", "B")])).text(271) == "�"


@pytest.mark.parametrize(
    ("entries", "beyond"),
    [
        ([(273, 4, [8], "I"), (279, 4, [20], "I")], False),
        ([(273, 4, [8, 30], "I"), (279, 4, [20, 10_000], "I")], True),
        ([(324, 4, [8], "I"), (325, 4, [20], "I")], False),
        ([(324, 4, [50_000], "I"), (325, 4, [1], "I")], True),
        ([], False),
    ],
)
def test_pictures_that_are_not_in_the_file(entries: list, beyond: bool) -> None:
    assert first(tiff(entries)).lies_beyond_the_end() is beyond


def test_a_picture_may_end_with_the_file() -> None:
    data = tiff([(273, 4, [16], "I"), (279, 4, [0], "I")])
    for count, beyond in ((len(data) - 16, False), (len(data) - 15, True)):
        assert first(tiff([(273, 4, [16], "I"), (279, 4, [count], "I")])).lies_beyond_the_end() is beyond


@pytest.mark.parametrize(
    ("entries", "reduced"),
    [
        ([], False), ([(254, 4, [0], "I")], False), ([(254, 4, [2], "I")], False),
        ([(254, 4, [1], "I")], True), ([(254, 4, [4], "I")], True), ([(254, 4, [3], "I")], True),
        ([(255, 3, [1], "H")], False), ([(255, 3, [2], "H")], True), ([(255, 3, [3], "H")], False),
    ],
)  # fmt: skip
def test_what_is_a_reduced_copy(entries: list, reduced: bool) -> None:
    assert first(tiff(entries)).is_reduced is reduced


@pytest.mark.parametrize(
    "data", [b"", b"II\x2a\0", b"PK" + bytes(40), b"IM\x2a\0" + bytes(40), tiff([])[:15]]
)  # fmt: skip
def test_what_does_not_begin_like_a_tiff(data: bytes) -> None:
    assert Tiff.of(data) is None


@pytest.mark.parametrize("big", [False, True])
def test_a_directory_that_does_not_lie_in_the_file(big: bool) -> None:
    data = tiff([(256, 3, [5], "H")], big=big)
    found = Tiff.of(data)
    assert found is not None
    assert found.big is big
    assert found.directory(16) is not None
    assert [found.directory(at) for at in (0, 7, len(data) - 1, len(data), 10**9)] == [None] * 5
    # an entry more than there is room for
    more = bytearray(data)
    more[16] = 3
    cut = Tiff.of(bytes(more))
    assert cut is not None
    assert cut.first is None


@pytest.mark.parametrize("big", [False, True])
def test_the_chain_of_pages_ends(big: bool) -> None:
    single, around = tiff([(256, 3, [5], "H")], big=big), tiff([(256, 3, [5], "H")], big=big, following=16)
    for data in (single, around):
        found = Tiff.of(data)
        assert found is not None
        assert [page.offset for page in found.pages()] == [16]
    found = Tiff.of(tiff([(330, 4, [16, 17, 10**6], "I"), (254, 4, [1], "I")]))
    assert found is not None
    assert [page.offset for page in found.pages()] == [16]


def test_no_more_pages_are_looked_at_than_are_allowed() -> None:
    data = bytearray(tiff([]))
    at = []
    for _ in range(MAX_DIRECTORIES + 20):  # empty directories, each followed by the next
        at.append(len(data))
        data += struct.pack("<HI", 0, len(data) + 6)
    struct.pack_into("<I", data, 4, at[0])
    found = Tiff.of(bytes(data))
    assert found is not None
    assert [page.offset for page in found.pages()] == at[:MAX_DIRECTORIES]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_another_page_as_the_first(order: str, big: bool) -> None:
    data = tiff([(256, 3, [5], "H")], order, big=big)
    second = len(data)
    one = tiff([(256, 3, [6], "H")], order, big=big)[16:]
    found = Tiff.of(data + one)
    assert found is not None
    page = found.directory(second)
    assert page is not None
    turned = found.beginning_with(page)
    assert len(turned) == len(data + one)
    assert (first(data + one).number(256), first(turned).number(256)) == (5, 6)
    wide = first(turned).tiff.full_page()
    assert wide is not None
    assert wide.number(256) == 6


def test_an_empty_directory_may_end_the_file() -> None:
    data = tiff([]) + b"\0\0"
    found = Tiff.of(data)
    assert found is not None
    last = found.directory(len(data) - 2)
    assert last is not None
    assert last.entries == {}
    assert found.directory(len(data) - 1) is None


def test_a_page_without_a_width_is_no_picture() -> None:
    empty, page = tiff([(257, 3, [5], "H")]), tiff([(256, 3, [6], "H")])
    for data, width in ((empty, None), (page, 6)):
        found = Tiff.of(data)
        assert found is not None
        full = found.full_page()
        assert (full and full.number(256)) == width
