"""The file that `?weights=` names: of the one kind that runs no code."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgvec.encoders.identity import weights_file
from imgvec.encoders.protocol import EncoderSpec
from imgvec.encoders.registry import EncoderRequest
from imgvec.encoders.torchnet import weights_of
from imgvec.errors import EncoderUnavailable


def asked(**options: str) -> EncoderRequest:
    return EncoderRequest(EncoderSpec("timm:vgg16"), "vgg16", options)


def test_another_kind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    assert weights_of(asked()) is None
    with pytest.raises(EncoderUnavailable, match=r"timm:vgg16: .* alone.*convert net\.bin with safetensors"):
        weights_of(asked(weights=str(tmp_path / "net.bin")))
    with pytest.raises(EncoderUnavailable, match=r"timm:vgg16: write net\.h5 of net\.bin"):
        weights_file(asked(weights=str(tmp_path / "net.bin")), ".h5", "write {stem}.h5 of {name}")
    file = tmp_path / "net.safetensors"
    with pytest.raises(EncoderUnavailable, match="no such file"):
        weights_of(asked(weights=str(file)))
    file.touch()
    assert weights_of(asked(weights=str(file))) == file.resolve()
