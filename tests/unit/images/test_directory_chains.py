"""The chain of a TIFF's directories, at the ends of the file and of what is looked at."""

from __future__ import annotations

import struct

import pytest

from imgvec.images import directories
from imgvec.images.directories import MAX_DIRECTORIES, Tiff


class Writer:
    """Directories of numbers of 32 bits, put one by one, in any order of bytes and size."""

    def __init__(self, order: str = "<", *, big: bool = False) -> None:
        self.order, self.big = order, big
        self.word, self.count = ("Q", "Q") if big else ("I", "H")
        start = b"II" if order == "<" else b"MM"
        self.data = start + struct.pack(order + "HHHQ" if big else order + "HI", *((43, 8, 0, 0) if big else (42, 0)))
        self.data = self.data.ljust(16, b"\0")

    def put(self, tags: dict[int, list[int]], following: int = 0) -> int:
        at = len(self.data)
        inline = 8 if self.big else 4
        tail_at = at + (8 if self.big else 2) + len(tags) * (4 + 2 * inline) + inline
        entries = tail = b""
        for tag, values in tags.items():
            raw = struct.pack(f"{self.order}{len(values)}I", *values)
            entries += struct.pack(self.order + "HH" + self.word, tag, 4, len(values))
            if len(raw) <= inline:
                entries += raw.ljust(inline, b"\0")
            else:
                entries += struct.pack(self.order + self.word, tail_at + len(tail))
                tail += raw
        head = struct.pack(self.order + self.count, len(tags))
        self.data += head + entries + struct.pack(self.order + self.word, following) + tail
        return at

    def tiff(self, first: int) -> Tiff:
        at = 8 if self.big else 4
        place = struct.pack(self.order + self.word, first)
        found = Tiff.of(self.data[:at] + place + self.data[at + len(place) :])
        assert found is not None
        return found


def widths(tiff: Tiff, *, every: bool = False) -> list[int]:
    return [page.number(256) for page in tiff.pages(every=every)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
class TestChain:
    def test_the_last_word_of_the_file_is_read(self, big: bool, order: str) -> None:
        out = Writer(order, big=big)
        last = out.put({256: [7]})
        first = out.put({256: [6]}, following=last)  # its pointer ends the file
        assert widths(out.tiff(first)) == [6, 7]
        for left in range(1, 9 if big else 5):
            out.data = out.data[:-1]
            assert widths(out.tiff(first)) == [6], left

    def test_pages_that_others_name(self, big: bool, order: str) -> None:
        out = Writer(order, big=big)
        children = [out.put({256: [n]}) for n in (1, 2, 3)]
        last = out.put({256: [9], 254: [1], 330: children[1:]})
        full = out.put({256: [8], 330: [children[0]]}, following=last)
        assert widths(out.tiff(full)) == [8, 9, 2, 3]
        assert widths(out.tiff(full), every=True) == [8, 1, 9, 2, 3]

    def test_one_that_is_named_twice_or_nowhere_in_the_file(self, big: bool, order: str) -> None:
        out = Writer(order, big=big)
        child = out.put({256: [1]})
        first = out.put({256: [8], 330: [child, 1 << 30, child, 7, 3]})
        other = out.put({256: [9], 330: [child, first]}, following=first)
        assert widths(out.tiff(first), every=True) == [8, 1]
        assert widths(out.tiff(other), every=True) == [9, 1, 8]

    def test_a_circle_ends(self, big: bool, order: str) -> None:
        out = Writer(order, big=big)
        at = len(out.data)
        assert widths(out.tiff(out.put({256: [5]}, following=at))) == [5]


def test_a_first_directory_nowhere_in_the_file() -> None:
    out = Writer()
    out.put({256: [5]})
    for first in (0, 1, 7, 1 << 30):
        assert widths(out.tiff(first)) == []
        assert out.tiff(first).first is None
        assert out.tiff(first).full_page() is None


def test_no_more_are_looked_at_than_are_allowed_whoever_names_them() -> None:
    assert MAX_DIRECTORIES == 64
    out = Writer()
    children = [out.put({256: [n]}) for n in range(100)]
    last = out.put({256: [1000]})
    first = out.put({256: [2000], 330: children}, following=last)
    assert widths(out.tiff(first), every=True) == [2000, *range(63)]
    few = out.put({256: [2000], 330: children[:62]}, following=last)
    assert widths(out.tiff(few), every=True) == [2000, *range(62), 1000]
    none_left = out.put({256: [2000], 330: children[:63]}, following=last)
    assert widths(out.tiff(none_left), every=True) == [2000, *range(63)]
    # what is passed over costs no page, and what does not lie in the file does
    again = out.put({256: [2000], 330: [children[0]] * 70}, following=last)
    assert widths(out.tiff(again), every=True) == [2000, 0, 1000]


def test_entries() -> None:
    out = Writer()
    many = out.put({n: [n] for n in range(1024)})
    found = out.tiff(many).first
    assert found is not None
    assert [found.number(tag) for tag in (0, 5, 1023)] == [0, 5, 1023]
    too_many = out.put({n: [n] for n in range(1025)})
    assert out.tiff(too_many).first is None


def test_the_first_of_two_entries_of_one_tag_counts() -> None:
    data = bytearray(b"II\x2a\0\x10\0\0\0".ljust(16, b"\0"))
    data += struct.pack("<H", 2) + struct.pack("<HHII", 256, 4, 1, 5) + struct.pack("<HHII", 256, 4, 1, 6) + bytes(4)
    found = Tiff.of(bytes(data))
    assert found is not None
    assert found.first is not None
    assert found.first.number(256) == 5


def test_values_of_an_unknown_type_take_eight_bytes() -> None:
    data = b"II\x2a\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 256, 99, 1, 40) + bytes(4)
    found = Tiff.of(data.ljust(64, b"x"))
    assert found is not None
    assert found.first is not None
    assert found.first.entries == {256: (99, 1, 40)}


@pytest.mark.parametrize(
    ("kind", "size"),
    [(1, 1), (2, 1), (3, 2), (4, 4), (5, 8), (7, 1), (9, 4), (10, 8), (12, 8), (13, 4), (16, 8), (18, 8)],
)
@pytest.mark.parametrize("big", [False, True])
def test_where_values_of_each_type_lie(kind: int, size: int, big: bool) -> None:
    inline = 8 if big else 4
    for count in range(1, 11):
        start = b"II" + (struct.pack("<HHHQQ", 43, 8, 0, 16, 1) if big else struct.pack("<HIH", 42, 8, 1))
        at = len(start)
        entry = struct.pack("<HHQQ" if big else "<HHII", 256, kind, count, 60)
        found = Tiff.of((start + entry).ljust(200, b"\0"))
        assert found is not None
        assert found.first is not None
        place = at + len(entry) - inline if count * size <= inline else 60
        assert found.first.entries == {256: (kind, count, place)}


def test_a_million_numbers_are_read_and_no_more() -> None:
    start = b"II\x2a\0\x08\0\0\0" + struct.pack("<H", 1)
    for count, read in ((1 << 20, True), ((1 << 20) + 1, False)):
        found = Tiff.of(start + struct.pack("<HHII", 330, 1, count, 26) + bytes(4) + b"\7" * (1 << 20) + b"\7\7")
        assert found is not None
        assert found.first is not None
        assert found.first.numbers(330) == ((7,) * count if read else ())


def test_details_are_the_texts_of_exif() -> None:
    texts = b"2024:05:01 10:11:12\0"
    start = b"II\x2a\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 34665, 4, 1, 26, 0)
    exif = struct.pack("<H", 2) + struct.pack("<HHII", 36867, 2, 20, 26 + 30)
    exif += struct.pack("<HHII", 37380, 4, 1, 9) + bytes(4)
    found = Tiff.of(start + exif + texts)
    assert found is not None
    assert found.first is not None
    assert found.first.details() == {36867: "2024:05:01 10:11:12"}
    empty = Tiff.of(b"II\x2a\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 34665, 4, 1, 1 << 20, 0))
    assert empty is not None
    assert empty.first is not None
    assert empty.first.details() == {}


def test_what_begins_like_a_big_tiff() -> None:
    for start, big in ((b"II\x2b\0", True), (b"MM\0\x2b", True), (b"II\x2a\0", False), (b"IIRO", False)):
        found = Tiff.of(start + bytes(12))
        assert found is not None
        assert (found.big, found.order) == (big, "<" if start[:1] == b"I" else ">")
    assert Tiff.of(b"II\x2a\0" + bytes(11)) is None


def test_the_tags() -> None:
    """TIFF 6.0, EXIF 2.32 and DNG 1.7."""
    named = {
        "SUBFILE_TYPE": 254, "OLD_SUBFILE_TYPE": 255, "WIDTH": 256, "HEIGHT": 257, "COMPRESSION": 259,
        "PHOTOMETRIC": 262, "MAKE": 271, "STRIP_OFFSETS": 273, "ORIENTATION": 274, "STRIP_BYTE_COUNTS": 279,
        "TILE_OFFSETS": 324, "TILE_BYTE_COUNTS": 325, "SUB_DIRECTORIES": 330, "EXIF": 34665, "DNG_VERSION": 50706,
    }  # fmt: skip
    assert {name: getattr(directories, name) for name in named} == named
