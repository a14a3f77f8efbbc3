"""Kinds of sources: found by scheme, ending and folder, and added by an installed distribution."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pictures import picture

from imgvec.errors import SourceError, UnreadableImage
from imgvec.sources import Record, Source, registry, reopen

PLUG_IN = """
import os
from imgvec.errors import UnreadableImage
from imgvec.images import BytesReader
from imgvec.sources import Kind

def read(place, reading):
    folder = os.path.isdir(place.where)
    for name in sorted(os.listdir(place.where)) if folder else ["0"]:
        if name != "album.index":
            uri = f"{place.uri}!{name}" if not folder else reading.uri(f"{place.where}/{name}.blob") + "!0"
            data = b"from the plug-in"
            yield reading.image(uri, BytesReader(data, uri), uri, member=name)

def reopen(place, key, guards, columns):
    if "://" in place.where:
        return b"behind " + place.where.encode()
    return b"again " + key.encode()

KIND = Kind(
    name="blobs", read=read, endings=(".blob",), schemes=("blobs",), reopen=reopen,
    holds=lambda folder: os.path.exists(folder + "/album.index"),
)
"""


MADE = "from imgvec.sources import Kind\nKIND = Kind(name='b', read=lambda place, reading: iter([]), {})"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that Python finds distributions in, with one that adds a kind."""
    site = tmp_path / "site"
    (site / "blobs-1.0.dist-info").mkdir(parents=True)
    (site / "blobs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: blobs\nVersion: 1.0\n")
    (site / "blobs-1.0.dist-info" / "entry_points.txt").write_text("[imgvec.sources]\nblobs = imgvec_blobs:KIND\n")
    (site / "imgvec_blobs.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    forget()
    sys.modules.pop("imgvec_blobs", None)


def forget() -> None:
    registry.plug_ins.cache_clear()
    registry._member_pattern.cache_clear()


def uris(spec: object) -> list[str]:
    return [one.uri for one in Source(spec) if isinstance(one, Record)]  # type: ignore[arg-type]


def test_a_distribution_adds_a_kind_by_an_entry_point(install: Path, tmp_path: Path) -> None:
    file, album = tmp_path / "x.BLOB", tmp_path / "album"
    file.touch()
    album.mkdir()
    for name in ("album.index", "1", "2"):
        (album / name).touch()
    assert uris(file) == [f"{file}!0"]
    assert uris(album) == [f"{album}/1.blob!0", f"{album}/2.blob!0"]
    assert uris([album, "blobs://somewhere"])[2:] == ["blobs://somewhere!0"]
    assert reopen(f"{file}!0", None) == b"again 0"
    assert reopen("blobs://somewhere", ()) == b"behind blobs://somewhere"
    assert not Source(album).is_listed_fast
    assert registry.split_member(f"{file}!a!b") == (str(file), "a!b")


def test_without_the_distribution_they_are_a_file_and_a_folder(tmp_path: Path) -> None:
    forget()
    (tmp_path / "album.index").touch()
    picture(0).save(tmp_path / "1.png")
    assert uris(tmp_path) == [f"{tmp_path}/1.png", f"{tmp_path}/album.index"]
    assert registry.split_member(f"{tmp_path}/x.blob!0") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: No module named"),
        ("raise RuntimeError('no')", "cannot be loaded: no;"),
        ("KIND = 5", "is a int, not an imgvec"),
        (MADE.format("endings='.blob'"), "cannot be loaded: the endings of a kind of source are a tuple of strings"),
        (MADE.format("endings=('blob',)"), "cannot be loaded: an ending is in lower case and begins with a dot"),
        (MADE.format("endings=('.',)"), "cannot be loaded: an ending is in lower case"),
        (MADE.format("endings=('.BLOB',)"), "cannot be loaded: an ending is in lower case"),
        (MADE.format("schemes=('blob://',)"), "cannot be loaded: a scheme is in lower case and without ://"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(install: Path, tmp_path: Path, text: str, says: str) -> None:
    (install / "imgvec_blobs.py").write_text(text)
    with pytest.raises(SourceError, match=f"imgvec_blobs:KIND, which blobs adds as a kind of source, {says}"):
        iter(Source(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("read=lambda place, reading: 1 / 0", "failed: ZeroDivisionError: division by zero; repair or uninstall it"),
        ("read=lambda place, reading: None", "failed: TypeError: 'NoneType' object is not iterable"),
        ("read=lambda place, reading: iter(['a.jpg'])", "gave a str instead of a record"),
    ],
)
def test_one_that_fails_is_named(install: Path, tmp_path: Path, text: str, says: str) -> None:
    made = MADE.replace("read=lambda place, reading: iter([]), {}", f"endings=('.blob',), {text}")
    (install / "imgvec_blobs.py").write_text(made)
    (tmp_path / "x.blob").touch()
    with pytest.raises(SourceError, match=f"x.blob: imgvec_blobs:KIND, which blobs adds as a kind of source, {says}"):
        uris(tmp_path / "x.blob")


@pytest.mark.parametrize("wrong", ["1 / 0", "'text'"])
def test_one_whose_other_calls_fail_is_named_too(install: Path, tmp_path: Path, wrong: str) -> None:
    calls = f"holds=lambda folder: {wrong}, reopen=lambda *_: {wrong}, members=lambda place: {wrong}"
    (install / "imgvec_blobs.py").write_text(MADE.format(f"endings=('.blob',), {calls}"))
    (tmp_path / "x.blob").touch()
    says = "imgvec_blobs:KIND, which blobs adds as a kind of source, (failed: ZeroDivisionError|gave a str instead of)"
    with pytest.raises(SourceError, match=f"{tmp_path}: {says}"):
        uris(tmp_path)
    with pytest.raises(UnreadableImage, match=says):
        reopen(f"{tmp_path}/x.blob!0", None)
    assert not Source(tmp_path / "x.blob").gone()(f"{tmp_path}/x.blob!0"), "nobody knows, so that nothing is deleted"


def test_what_imgvec_reads_itself_asks_no_plug_in(install: Path, tmp_path: Path) -> None:
    (install / "imgvec_blobs.py").write_text("import nowhere_to_be_found")
    (tmp_path / "list.txt").write_text("a.jpg\n")
    assert uris(tmp_path / "list.txt") == [f"{tmp_path}/a.jpg"]


def test_every_ending_has_one_kind() -> None:
    endings = [ending for kind in registry.built_in() for ending in kind.endings]
    schemes = [scheme for kind in registry.built_in() for scheme in kind.schemes]
    assert len(endings) == len(set(endings))
    assert len(schemes) == len(set(schemes))
    assert all(ending.startswith(".") and ending == ending.lower() for ending in endings)
    assert registry.by_ending("PHOTOS.TAR.GZ") is registry.by_ending("x.tar")
    assert registry.by_ending("x.jpg") is None


def test_a_source_is_a_value(tmp_path: Path) -> None:
    import pickle

    source = Source(tmp_path, root=tmp_path, exclude="raw/", mapping={"a": "b"})
    assert source == pickle.loads(pickle.dumps(source))
    assert source.options["exclude"] == ("raw/",)
    assert source.columns.mapping == {"a": "b"}
    with pytest.raises(AttributeError):
        source.spec = "elsewhere"  # type: ignore[misc]
    with pytest.raises(TypeError, match="did you mean 'root'"):
        Source(tmp_path, roots="x")  # type: ignore[call-arg]
