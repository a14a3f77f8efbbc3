"""Members of archives at their bounds: names, sizes, sidecars that say the same, and what breaks while it is read."""

from __future__ import annotations

import io
import json
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records import read_source
from test_archives import tar, zipped

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources import Notice, PassedOver, Record, tars, zips
from imgvec.sources.guards import Guards
from imgvec.sources.places import Place
from imgvec.sources.reading import Reading
from imgvec.sources.registry import by_ending, split_member
from imgvec.sources.samples import Choice, Member, plain_name, read_samples, sample_key
from imgvec.sources.spellings import _unicode_path, every_spelling, zip_spellings

pytestmark = pytest.mark.timeout(60)
PLACE = Place("/f/s.tar", "s.tar")
FILE = stat.S_IFREG | 0o644


def info(name: str = "a.jpg", size: int = 1, packed: int = 1, **attributes: Any) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.file_size, made.compress_size = size, packed
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


@pytest.mark.parametrize(
    ("size", "packed", "is_bomb"),
    [
        (20_000_000, 100_000, False),
        (20_000_001, 100_000, True),
        (16 * 2**20, 1, False),
        (16 * 2**20, 0, False),
        (16 * 2**20 + 1, 1, True),
        (16 * 2**20 + 1, 0, True),
        (16 * 2**20 + 1, 16 * 2**20, False),
    ],
)
def test_a_member_that_expands(size: int, packed: int, is_bomb: bool) -> None:
    said = ("too large", "it expands more than 200-fold, like a decompression bomb")
    assert zips._trouble(info(size=size, packed=packed)) == (said if is_bomb else None)


@pytest.mark.parametrize(
    ("attributes", "trouble"),
    [
        ({"flag_bits": 0x1}, ("permission denied", "it is encrypted")),
        ({"flag_bits": 0x9}, ("permission denied", "it is encrypted")),
        ({"flag_bits": 0x8}, None),
        ({"compress_type": zipfile.ZIP_STORED}, None),
        ({"compress_type": zipfile.ZIP_DEFLATED}, None),
        (
            {"compress_type": zipfile.ZIP_LZMA},
            ("read failed", "compression method 14 is not supported; only stored and deflated are"),
        ),
    ],
)
def test_a_member_that_is_not_read(attributes: dict[str, int], trouble: object) -> None:
    assert zips._trouble(info(**attributes)) == trouble


@pytest.mark.parametrize(
    ("attributes", "mode"),
    [
        ({"filename": "d/"}, stat.S_IFDIR),
        ({"external_attr": 0}, stat.S_IFREG),
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, stat.S_IFLNK),
        ({"external_attr": 0o644 << 16 | 0x20}, stat.S_IFREG),
    ],
)
def test_the_kind_of_a_member(attributes: dict[str, Any], mode: int) -> None:
    assert zips._mode(info(**attributes)) == mode


ERRORS = [zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("said", ["what broke", ""])
def test_a_member_that_breaks_costs_itself_alone(
    kind: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "z.zip", {"a.jpg": b"one", "b.jpg": b"two"})
    given = zipfile.ZipFile.open

    def opened(self: zipfile.ZipFile, member: zipfile.ZipInfo, *rest: Any) -> Any:
        if member.filename == "a.jpg":
            raise kind(said) if said else kind()
        return given(self, member, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "open", opened)
    broken, whole = read_source(path)
    assert isinstance(broken, UnreadableImage)
    assert (broken.uri, broken.reason) == (f"{path}!a.jpg", "read failed")
    assert broken.detail == (said or "the member ends too early")
    assert isinstance(whole, Record)


def test_a_member_with_other_bytes_than_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"pixels")
    path.write_bytes(path.read_bytes().replace(b"pixels", b"pixelx"))
    (broken,) = read_source(path)
    assert isinstance(broken, UnreadableImage)
    assert (broken.reason, broken.detail) == ("read failed", "Bad CRC-32 for file 'a.jpg'")


@pytest.mark.parametrize("kind", [zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError])
def test_a_zip_that_cannot_be_opened(kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "z.zip", {"a.jpg": b"one"})

    def refusing(_: object) -> None:
        raise kind("why")

    monkeypatch.setattr(zipfile, "ZipFile", refusing)
    with pytest.raises(SourceError) as caught:
        list(read_source(path))
    assert str(caught.value) == f"{path}: not a zip file, or truncated before its directory: why; nothing was read"


@pytest.mark.parametrize(
    "kind",
    [tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, RecursionError, ValueError, OverflowError],
)
@pytest.mark.parametrize("said", ["what broke", ""])
def test_a_tar_that_breaks_off(kind: type[Exception], said: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "s.tar", {"a.jpg": b"one"})
    with (  # noqa: PT012 - the block is what breaks
        pytest.raises(SourceError) as caught,
        tars._listed(Place(str(path), str(path))) as (_, progress),
    ):
        progress.images = 1234
        raise kind(said) if said else kind()
    assert str(caught.value) == (
        f"{path}: damaged or truncated after 1,234 images ({said or kind.__name__}), which were read; "
        "repair the archive and run the same command to continue"
    )


def test_images_are_counted_in_what_is_said_and_sidecars_are_not(tmp_path: Path) -> None:
    path = tar(tmp_path / "s.tar", {"a.jpg": b"one", "a.json": b"{}", "b.jpg": b"two", "c.jpg": bytes(5000)})
    path.write_bytes(path.read_bytes()[: 512 * 8])
    stream = read_source(path)
    assert [next(stream).uri for _ in range(2)] == [f"{path}!a.jpg", f"{path}!b.jpg"]  # type: ignore[union-attr]
    with pytest.raises(SourceError, match="damaged or truncated after 2 images"):
        list(stream)


class _Packed(io.BytesIO):
    """As much of a packed file as was read: `at` bytes."""

    at = 0

    def tell(self) -> int:
        return self.at


class _Zeros(io.RawIOBase):
    def readinto1(self, buffer: Any) -> int:
        return len(buffer)


@pytest.mark.parametrize("at", [0, 7])
def test_a_tar_that_expands(at: int) -> None:
    packed = _Packed()
    packed.at = at
    bounded = tars._Bounded(_Zeros(), packed)  # type: ignore[arg-type]
    bounded._given = 256 * 2**20 + 200 * at - 100
    assert bounded.readable()
    assert bounded.readinto(bytearray(100)) == 100
    with pytest.raises(tarfile.ReadError) as caught:
        bounded.readinto(bytearray(1))
    assert str(caught.value) == "it expands more than 200-fold, like a decompression bomb"


@pytest.mark.parametrize(
    ("kind", "size", "refused"),
    [
        (tarfile.XHDTYPE, 2**20, False),
        (tarfile.XHDTYPE, 2**20 + 1, True),
        (tarfile.XGLTYPE, 2**20 + 1, True),
        (tarfile.SOLARIS_XHDTYPE, 2**20 + 1, True),
        (tarfile.GNUTYPE_LONGNAME, 2**20 + 1, True),
        (tarfile.GNUTYPE_LONGLINK, 2**20 + 1, True),
        (tarfile.REGTYPE, 2**20 + 1, False),
        (tarfile.REGTYPE, 0, False),
    ],
)
def test_headers_that_are_too_long(kind: bytes, size: int, refused: bool) -> None:
    header = tarfile.TarInfo("a")
    header.type, header.size = kind, size
    block = header.tobuf()[-512:]
    if not refused:
        assert tars._Header.frombuf(block, "utf-8", "surrogateescape").size == size
        return
    with pytest.raises(tarfile.HeaderError) as caught:
        tars._Header.frombuf(block, "utf-8", "surrogateescape")
    assert str(caught.value) == f"a header of {size:,} bytes"


class TestChoice:
    def test_a_sidecar_and_an_image_at_their_limits(self) -> None:
        choice = Choice(PLACE, Reading(guards=Guards(max_bytes=1000)))
        assert choice.trouble("a.json", FILE, 16 * 2**20) is None
        assert choice.trouble("b.txt", FILE, 16 * 2**20) is None
        said = ("too large", "16,777,217 bytes, the limit is 16,777,216")
        assert choice.trouble("c.json", FILE, 16 * 2**20 + 1) == said
        assert choice.trouble("d.jpg", FILE, 1000) is None
        assert choice.trouble("e.jpg", FILE, 1001) == ("too large", "1,001 bytes, the limit is 1,000")

    @pytest.mark.parametrize("name", ["/a.jpg", "../a.jpg", "x/../a.jpg", "a\0.jpg", ""])
    def test_names_that_lead_out(self, name: str) -> None:
        said = ("unusable name", "it points outside the archive")
        assert Choice(PLACE, Reading()).trouble(name, FILE, 1) == said

    def test_a_name_twice_and_what_is_no_file(self) -> None:
        choice = Choice(PLACE, Reading())
        assert choice.trouble("a..jpg", FILE, 1) is None
        said = ("unusable name", "it is in the archive twice; the first one is used")
        assert choice.trouble("a..jpg", FILE, 1) == said
        said = ("not a regular file", "a link or device in the archive")
        assert choice.trouble("b.jpg", stat.S_IFLNK, 1) == said

    @pytest.mark.parametrize(
        ("name", "mode", "why"),
        [
            ("a.jpg", FILE, None),
            ("d/", stat.S_IFDIR, ""),
            ("a.pdf", FILE, ""),
            ("a.json", FILE, None),
            ("@eaDir/a.jpg", FILE, "system folder"),
            ("@eaDir/a.json", FILE, ""),
            ("lost+found", FILE, None),
            (".a.jpg", FILE, ""),
            (".x/a.jpg", FILE, ""),
            ("./a.jpg", FILE, None),
            ("../a.jpg", FILE, None),
            ("a.jpg", stat.S_IFLNK, None),
            ("a", stat.S_IFLNK, ""),
        ],
    )
    def test_what_is_passed_over(self, name: str, mode: int, why: str | None) -> None:
        assert Choice(PLACE, Reading()).skips(name, mode) == why


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_member_is_excluded_however_many_slashes_it_begins_with(make: Any, tmp_path: Path) -> None:
    path = make(tmp_path / ("s.tar" if make is tar else "s.zip"), {"//x.jpg": b"one", "x.json": b"{}"})
    assert list(read_source(path, exclude=["x.*"])) == [PassedOver(f"{path}!//x.jpg", "excluded")]


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({"1.json": {"caption": "J", "k": 1}, "1.txt": "T"}, {"caption": "J", "k": 1}),
        ({"1.txt": "T", "1.json": {"caption": "J", "k": 1}}, {"caption": "J", "k": 1}),
        ({"1.a.json": {"k": 1, "l": 1}, "1.b.json": {"k": 2}}, {"k": 2, "l": 1}),
        ({"1.a.txt": "first", "1.b.txt": "second"}, {"caption": "first"}),
        ({"1.txt": " T\n"}, {"caption": "T"}),
    ],
)
def test_sidecars_that_say_the_same(members: dict[str, Any], fields: dict[str, Any], tmp_path: Path) -> None:
    given = {name: (json.dumps(said) if isinstance(said, dict) else said).encode() for name, said in members.items()}
    (record,) = read_source(tar(tmp_path / "s.tar", {"1.jpg": b"one", **given}))
    assert isinstance(record, Record)
    assert record.metadata == fields


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("1.json", b"\xff", "1.json is not UTF-8"),
        ("1.txt", b"\xff", "1.txt is not UTF-8"),
        ("1.json", b"{", "1.json is not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        ("1.json", b"[" * 100_000, "1.json is not JSON: maximum recursion depth exceeded"),
        ("1.json", b"[1]", "1.json is not a JSON object"),
    ],
)  # fmt: skip
def test_sidecars_that_are_refused(name: str, data: bytes, said: str) -> None:
    (error,) = read_samples(iter([Member("1.jpg", b"one"), Member(name, data)]), PLACE, Reading())
    assert isinstance(error, UnreadableImage)
    assert (error.uri, error.reason) == ("s.tar!1.jpg", "metadata refused")
    assert error.detail.startswith(said)


def test_a_sidecar_that_could_not_be_read_is_said_of_its_images() -> None:
    members = [Member("1.jpg", b"one"), Member("1.json", trouble=("too large", "so large"))]
    (error,) = read_samples(iter(members), PLACE, Reading())
    assert isinstance(error, UnreadableImage)
    assert (error.reason, error.detail) == ("metadata refused", "1.json: too large: so large")


@pytest.mark.parametrize(
    ("number", "size", "given_early"),
    [(255, 1, 0), (256, 1, 256), (257, 1, 256), (64, 2**20, 64), (63, 2**20, 0)],
)
def test_a_sample_is_given_in_pieces_rather_than_held(number: int, size: int, given_early: int) -> None:
    data = bytes(size)
    members = [Member(f"1.{n}.jpg", data) for n in range(number)] + [Member("1.txt", b"T")]
    found = list(read_samples(iter(members), PLACE, Reading()))
    assert len(found) == number
    assert sum(not one.metadata for one in found if isinstance(one, Record)) == given_early


def test_what_came_before_the_break_is_given_first() -> None:
    def members() -> Iterator[Any]:
        yield Member("1.jpg", b"one")
        yield Notice("said")
        yield PassedOver("s.tar!x", "excluded")
        yield Member("1.txt", b"T")
        raise SourceError("broken")

    stream = read_samples(members(), PLACE, Reading())
    assert [next(stream) for _ in range(2)] == [Notice("said"), PassedOver("s.tar!x", "excluded")]
    record = next(stream)
    assert isinstance(record, Record)
    assert record.metadata == {"caption": "T"}
    with pytest.raises(SourceError, match=r"^broken$"):
        next(stream)


def test_names_of_members() -> None:
    assert [plain_name(name) for name in ("./a", ".//a", "././a", ".a", "../a", "a")] == [
        "a",
        "a",
        "a",
        ".a",
        "../a",
        "a",
    ]
    keys = [sample_key(name) for name in ("a.b.jpg", "x.y/a.b.jpg", "x.y/a", "a")]
    assert keys == ["a", "x.y/a", "x.y/a", "a"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((f"S{ending}", "tar") for ending in (".tar", ".TAR.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")),
        *((f"S{ending}", "manifest") for ending in (".csv", ".tsv", ".jsonl", ".NDJSON")),
        *(
            ("s.zip", "zip"),
            ("s.parquet", "parquet"),
            ("s.txt", "list"),
            ("s.jpg", None),
            ("s.gz", None),
            ("zip", None),
        ),
    ],
)
def test_the_kind_of_a_source(name: str, kind: str | None) -> None:
    found = by_ending(name)
    assert (None if found is None else found.name) == kind
    assert split_member(f"/x/{name}!a!b.jpg") == (None if kind is None else (f"/x/{name}", "a!b.jpg"))
    assert split_member(f"/x/{name}") is None
    assert split_member(f"/x/{name}!") is None


def test_what_stands_beside_a_place_and_below_its_folder() -> None:
    disk, remote = Place("/f/g/l.txt", "l.txt"), Place("memory://b/g/l.txt", "l.txt")
    assert [disk.beside(name) for name in ("a.jpg", "../a.jpg", "/a.jpg", "s3://a")] == [
        *("/f/g/a.jpg", "/f/a.jpg", "/a.jpg", "s3://a"),
    ]
    assert [remote.beside(name) for name in ("a.jpg", "memory://a")] == ["memory://b/g/a.jpg", "memory://a"]
    assert [disk.below(path) for path in ("/f/g/x/a.jpg", "/f/a.jpg", "s3://b/a")] == ["x/a.jpg", "f/a.jpg", "b/a"]
    assert remote.below("memory://b/g/x/a.jpg") == "x/a.jpg"


def field(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def path_field(name: bytes, raw: bytes, version: int = 1) -> bytes:
    return field(0x7075, bytes([version]) + struct.pack("<L", zlib.crc32(raw)) + name)


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (path_field("é".encode(), b"raw"), "é"),
        (field(0x5455, b"123456789") + path_field("é".encode(), b"raw"), "é"),
        (field(0x5455, b"") + path_field("é".encode(), b"raw"), "é"),
        (field(0x7075, b"\x01123456") + path_field("é".encode(), b"raw"), None),
        (path_field(b"", b"raw") + path_field("é".encode(), b"raw"), "é"),
        (path_field(b"x", b"raw", version=2) + path_field("é".encode(), b"raw"), "é"),
        (path_field(b"x", b"other"), None),
        (path_field(b"\xff", b"raw"), None),
        (field(0x5455, b"\x01234567"), None),
        (path_field(b"x", b"raw", version=2), None),
        (path_field(b"x", b"raw")[:3], None),
        (b"", None),
    ],
)
def test_the_field_of_info_zip(extra: bytes, name: str | None) -> None:
    assert _unicode_path(extra, b"raw") == name


def test_names_that_say_their_encoding_are_not_guessed() -> None:
    said = info("é.jpg", flag_bits=0x800)  # in cp437 as well
    assert zip_spellings([said, info("plain.jpg"), info("plain2.jpg", flag_bits=0x800)], None) == ({}, None)
    guessed = info("é.jpg".encode().decode("cp437"))
    assert zip_spellings([said, guessed], None) == ({1: "é.jpg"}, None)
    other = info(b"\x82.jpg".decode("cp437"))
    names, notice = zip_spellings([guessed, other], None)
    assert names == {}
    assert notice is not None
    assert notice.startswith("2 names without a declared encoding, read as cp437; the first is ")
    assert notice.endswith(": choose with --name-encoding (name_encoding= in Python)")
    names, notice = zip_spellings([other], "utf-8")
    assert notice is not None
    assert notice.startswith("1 name without a declared encoding, not valid utf-8; the first is 'é.jpg' in cp437, ")
    assert zip_spellings([other], "cp437") == ({0: "é.jpg"}, None)
    with_field = info(other.filename, extra=path_field("ß.jpg".encode(), b"\x82.jpg"))
    assert zip_spellings([with_field], None) == ({0: "ß.jpg"}, None)
    assert zip_spellings([info("写.jpg")], None) == ({}, None)  # read from the field by Python itself


def test_every_spelling_of_a_name() -> None:
    assert every_spelling("a.jpg") == {"a.jpg"}
    assert {"é.jpg", b"\x82.jpg".decode("cp1252")} <= every_spelling("é.jpg")
    assert "é.jpg" in every_spelling("é.jpg".encode().decode("cp437"))
    assert "写.jpg" in every_spelling("写.jpg")
