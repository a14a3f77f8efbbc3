"""Links that are followed: what the walk comes by itself is not taken a second time, and all else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import read_source

from imgvec.sources import PassedOver, Record

pytestmark = pytest.mark.timeout(20)


def make(folder: Path, *names: str, **links: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    for name, target in links.items():
        (folder / name).symlink_to(folder / target)


def taken(source: Path, folder: Path, **options: Any) -> dict[str, str]:
    """By path below `folder`: `taken`, or why it is passed over."""
    found = {}
    for one in read_source(source, follow_links=True, **options):
        assert isinstance(one, Record | PassedOver)
        found[one.uri.removeprefix(f"{folder}/")] = "taken" if isinstance(one, Record) else one.why
    return found


def test_in_one_folder_alone(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "sub/b.jpg", to_a="a.jpg", to_b="sub/b.jpg")
    assert taken(tmp_path, tmp_path, recursive=False) == {"a.jpg": "taken", "to_a": "taken already", "to_b": "taken"}
    assert taken(tmp_path, tmp_path) == {
        "a.jpg": "taken", "sub/b.jpg": "taken", "to_a": "taken already", "to_b": "taken already"
    }  # fmt: skip


@pytest.mark.parametrize("folder", ["@eaDir", ".hidden", "raw"])
def test_folders_that_the_walk_passes_over(tmp_path: Path, folder: str) -> None:
    make(tmp_path, f"{folder}/a.jpg", "plain/b.jpg", pics=folder, same="plain")
    found = taken(tmp_path, tmp_path, exclude=["/raw/"])
    found.pop(folder, None)
    assert found == {"pics/a.jpg": "taken", "plain/b.jpg": "taken", "same": "taken already"}


@pytest.mark.parametrize("file", ["@eaDir/a.jpg", ".hidden/a.jpg", ".a.jpg", "raw/a.jpg", "a.txt", "sub/deep.png"])
def test_files_that_the_walk_passes_over(tmp_path: Path, file: str) -> None:
    make(tmp_path, file, to_it=file)
    assert taken(tmp_path, tmp_path, exclude=["/raw/", "*.png"])["to_it"] == "taken"


@pytest.mark.parametrize("name", ["lost+found", "@tmp"])
def test_a_file_that_is_called_like_a_folder_of_the_system(tmp_path: Path, name: str) -> None:
    make(tmp_path, name, to_it=name)
    assert taken(tmp_path, tmp_path) == {name: "taken", "to_it": "taken already"}


def test_what_a_glob_matches(tmp_path: Path) -> None:
    make(tmp_path, "xa/a.jpg", "y/b.jpg", "y/c.png", xl="y", xm="xa")
    (tmp_path / "xa/z.jpg").symlink_to(tmp_path / "y/b.jpg")
    assert taken(tmp_path / "x*" / "*.jpg", tmp_path) == {
        "xa/a.jpg": "taken", "xa/z.jpg": "taken", "xl/b.jpg": "taken already", "xm": "taken already"
    }  # fmt: skip


def test_what_a_glob_enters_further_down(tmp_path: Path) -> None:
    make(tmp_path, "x/p/a.jpg", "q/p/b.jpg")
    (tmp_path / "x/r").symlink_to(tmp_path / "q/p")
    (tmp_path / "x/s").symlink_to(tmp_path / "x/p")
    assert taken(tmp_path / "x*" / "*" / "*.jpg", tmp_path) == {
        "x/p/a.jpg": "taken", "x/r/b.jpg": "taken", "x/s": "taken already"
    }  # fmt: skip
