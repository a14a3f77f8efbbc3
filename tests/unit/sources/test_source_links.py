"""Links that are followed: what the walk comes by itself is not taken through them, everything else is."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from records import gone_from, read_source
from test_passing import found, make

from imgvec.errors import SourceError, UsageError
from imgvec.sources import files
from imgvec.sources.records import PassedOver

pytestmark = pytest.mark.timeout(30)


def link(folder: Path, name: str, target: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(folder / target)


@pytest.mark.parametrize(
    ("target", "options", "by_itself"),
    [
        ("a.jpg", {"recursive": False}, True),
        ("sub/a.jpg", {"recursive": False}, False),
        ("sub/a.jpg", {}, True),
        (".hidden.jpg", {}, False),
        (".sub/a.jpg", {}, False),
        ("@eaDir/a.jpg", {}, False),
        ("sub/@eaDir/a.jpg", {}, False),
        ("raw/a.jpg", {"exclude": ["raw/"]}, False),
        ("a.raw.jpg", {"exclude": ["*.raw.jpg"]}, False),
        ("photo.bin", {}, False),
        ("lost+found", {}, True),  # a file: only folders of this name are a system's
    ],
)
def test_a_link_to_a_file_of_the_source(target: str, options: dict[str, Any], by_itself: bool, tmp_path: Path) -> None:
    make(tmp_path, target)
    link(tmp_path, "z.jpg", target)
    taken, passed = found(tmp_path, tmp_path, follow_links=True, **options)
    assert ("z.jpg" in taken) is not by_itself
    assert (passed.get("z.jpg") == "taken already") is by_itself
    assert (target in taken) is by_itself


@pytest.mark.parametrize(
    ("target", "options", "by_itself"),
    [
        ("sub", {}, True),
        ("sub/below", {}, True),
        ("@eaDir", {}, False),
        ("sub/@eaDir", {}, False),
        (".hidden", {}, False),
        ("raw", {"exclude": ["raw/"]}, False),
        ("raw", {"exclude": ["raw/x"]}, True),
    ],
)
def test_a_link_to_a_folder_of_the_source(
    target: str, options: dict[str, Any], by_itself: bool, tmp_path: Path
) -> None:
    make(tmp_path, f"{target}/a.jpg")
    link(tmp_path, "z", target)
    taken, passed = found(tmp_path, tmp_path, follow_links=True, **options)
    assert ("z/a.jpg" in taken) is not by_itself
    assert (passed.get("z") == "taken already") is by_itself
    assert (f"{target}/a.jpg" in taken) is by_itself


@pytest.mark.parametrize(
    ("target", "by_itself"),
    [("a2/p.jpg", True), ("b/p.jpg", False), ("a2/p.png", False), ("a2/x/p.jpg", False), ("p.jpg", False)],
)
def test_a_link_among_what_matches_a_glob(target: str, by_itself: bool, tmp_path: Path) -> None:
    make(tmp_path, target)
    link(tmp_path, "a1/z.jpg", target)
    taken, passed = found(f"{tmp_path}/a*/*.jpg", tmp_path, follow_links=True)
    assert taken == [target if by_itself else "a1/z.jpg"]
    assert passed == ({"a1/z.jpg": "taken already"} if by_itself else {})


def test_two_links_to_what_lies_elsewhere(tmp_path: Path) -> None:
    make(tmp_path, "out/a.jpg", "out/sub/b.jpg")
    for name, target in (
        ("in/1.jpg", "out/a.jpg"),
        ("in/2.jpg", "out/a.jpg"),
        ("in/x", "out/sub"),
        ("in/y", "out/sub"),
    ):
        link(tmp_path, name, target)
    link(tmp_path, "in/round", "in")
    taken, passed = found(tmp_path / "in", tmp_path, follow_links=True)
    assert taken == ["in/1.jpg", "in/x/b.jpg"]
    assert passed == dict.fromkeys(("in/2.jpg", "in/round", "in/y"), "taken already")


def test_a_folder_whose_name_begins_like_the_source_s_is_elsewhere(tmp_path: Path) -> None:
    make(tmp_path, "in2/a.jpg")
    link(tmp_path, "in/z.jpg", "in2/a.jpg")
    assert found(tmp_path / "in", tmp_path, follow_links=True) == (["in/z.jpg"], {})


def test_a_link_that_leads_nowhere_and_what_went_away(tmp_path: Path) -> None:
    link(tmp_path, "a.jpg", "none")
    missing = FileNotFoundError(errno.ENOENT, "said")
    link_said = f"a symbolic link to {tmp_path}/none, which does not exist"
    assert files._dangling(f"{tmp_path}/a.jpg", missing) == ("missing", link_said)
    assert files._dangling(f"{tmp_path}/gone.jpg", missing) == ("missing", "said")
    assert files._dangling(f"{tmp_path}/a.jpg", OSError(errno.EIO, "the disk")) == ("read failed", "the disk")
    link(tmp_path, "b.dat", "none")
    taken, passed = found(tmp_path, tmp_path, follow_links=True)
    assert (taken, passed) == (["a.jpg!missing"], {"b.dat": "dangling link"})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.jpg", "no such file or folder; check the path"),
        ("none/*.jpg", "no image matches the pattern; check the path"),
        ("*.jpg", "no image matches the pattern; check the path"),
    ],
)
def test_nothing_is_there(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_source(tmp_path / name)
    assert str(caught.value) == f"{tmp_path}/{name}: {said}"
    one, *others = read_source([tmp_path / name])
    assert (one.uri, one.reason, others) == (f"{tmp_path}/{name}", "missing", [])  # type: ignore[union-attr]


def test_what_to_do_where_all_is_passed_over() -> None:
    assert files.instead([]) == "check the path"
    excluded = [PassedOver("b", "excluded"), PassedOver("c", "excluded")]
    assert files.instead(excluded) == "passed over: 2 x excluded (the first: b)"
    assert files.instead([PassedOver("a", "symbolic link"), *excluded]) == (
        "passed over: 2 x excluded, 1 x symbolic link (the first: a); "
        "use --follow-links (follow_links=True in Python) to follow links"
    )


def test_the_root_and_the_part(tmp_path: Path) -> None:
    make(tmp_path, "r/a.jpg", "o/a.jpg")
    with pytest.raises(SourceError) as caught:
        list(read_source(tmp_path / "o", root=tmp_path / "r"))
    said = f"{tmp_path}/o: outside the root {tmp_path}/r; choose a root that contains all sources"
    assert str(caught.value) == said
    with pytest.raises(SourceError) as caught:
        read_source(tmp_path / "r", root=tmp_path / "r" / "a.jpg")
    assert str(caught.value) == f"root {tmp_path}/r/a.jpg is not a folder"
    for part in ((1, 1), (-1, 2), (2, 2)):
        with pytest.raises(UsageError) as caught:
            read_source(tmp_path, part=part)
        said = f"part {part[0]} of {part[1]} does not exist: ranks count from 0 and must be below the number of parts"
        assert str(caught.value) == said
    parts = [one.uri for rank in (0, 1) for one in read_source(tmp_path, part=(rank, 2))]  # type: ignore[union-attr]
    assert sorted(parts) == [f"{tmp_path}/o/a.jpg", f"{tmp_path}/r/a.jpg"]
    with pytest.raises(SourceError) as caught:
        read_source("")
    assert str(caught.value) == "the path of the source is empty; use `.` for the working directory"


def test_what_is_gone_is_said_with_true_and_false(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/@x/b.jpg", "out/c.jpg")
    unsure: list[str] = []
    is_gone = gone_from(tmp_path / "in", exclude=["raw/"], on_unsure=unsure.append)
    answers = {
        name: is_gone(name if "://" in name else f"{tmp_path}/{name}")
        for name in ("in/a.jpg", "in/z.jpg", "in/raw/z.jpg", "in/x.zip!y.jpg", "out/z.jpg", "https://x.example/z.jpg")
    }
    assert [one is True for one in answers.values()] == [False, True, False, False, False, False]
    assert [one is False for one in answers.values()] == [True, False, True, True, True, True]
    assert unsure == [f"{tmp_path}/in/x.zip!y.jpg"]
    assert is_gone("in/z.jpg") is False  # relative, and there is no root
    assert gone_from(tmp_path / "in", root=tmp_path)("in/z.jpg") is True
    (tmp_path / "in" / "away").symlink_to(tmp_path / "unmounted")
    assert is_gone(f"{tmp_path}/in/away/z.jpg") is False
    assert is_gone(f"{tmp_path}/in/{'n' * 300}.jpg") is False  # cannot be asked about
