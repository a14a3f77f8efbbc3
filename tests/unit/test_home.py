"""Paths that begin with `~`."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEncoder

from imgvec import ImageCollection
from imgvec.home import at_home


def test_a_tilde_is_a_home_folder_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home("~/photos/a.jpg") == at_home(Path("~/photos/a.jpg")) == tmp_path / "photos" / "a.jpg"
    for name in ("~$draft.jpg", "~nobody-of-that-name/a.jpg", "photos/~/a.jpg", "a.jpg"):
        assert at_home(name) == Path(name)


def test_a_picture_whose_name_begins_with_a_tilde_is_asked_with(
    pictures: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = pictures / "drafts"
    drafts.mkdir()
    sorted(pictures.rglob("*.jpg"))[3].rename(drafts / "~$draft.jpg")
    monkeypatch.chdir(drafts)
    with ImageCollection.create("photos", uri=str(pictures / "images.db"), encoder=encoder) as photos:
        assert photos.ingest(".").written == 1
        assert photos.search("~$draft.jpg")[0].uri == str(drafts / "~$draft.jpg")
