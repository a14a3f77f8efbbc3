from __future__ import annotations

import pytest

from imgvec.errors import SettingsError
from imgvec.formats import FORMATS
from imgvec.settings import Settings


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_URI", "http://there:19530")
    assert Settings.load().uri == "http://there:19530"
    assert Settings.load(uri="./here.db").uri == "./here.db"
    assert Settings.load(uri=None).uri == "http://there:19530"


def test_a_bad_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_MAX_PIXELS", "many")
    with pytest.raises(SettingsError, match=r"IMGVEC_MAX_PIXELS: .*integer"):
        Settings.load()


def test_the_token_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGVEC_TOKEN", "root:hunter2")
    settings = Settings.load()
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.token is not None
    assert settings.token.get_secret_value() == "root:hunter2"


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= Settings.load().threads <= 16
    assert Settings.load(decode_threads=3).threads == 3


def test_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().formats == FORMATS
    monkeypatch.setenv("IMGVEC_FORMATS", "+tga,-gif")
    assert set(Settings.load().formats) == {*FORMATS, "TGA"} - {"GIF"}
    assert Settings.load(formats=("JPEG",)).formats == ("JPEG",)
    monkeypatch.setenv("IMGVEC_FORMATS", "jpg,eps")
    with pytest.raises(SettingsError, match=r"IMGVEC_FORMATS: .*EPS.*another program"):
        Settings.load()
