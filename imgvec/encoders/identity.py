"""What every kind of model makes of a spec: its preprocessing, and the fingerprint that a collection remembers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import EncoderSpec
from imgvec.encoders.registry import EncoderRequest
from imgvec.errors import EncoderUnavailable
from imgvec.home import at_home

RESIZE = "resize"
IF_KNOWN = "resize if known"
"""Of a spec's fit: `RESIZE` where the processor is a plain one, else as it is."""


def applied(preprocessing: Preprocessing, spec: EncoderSpec) -> tuple[Preprocessing, str | None]:
    """The model's own preprocessing with the spec's size and fit, and the binding's `fit`; `EncoderUnavailable`."""
    if spec.image_size is not None:
        preprocessing = preprocessing.with_size(spec.image_size)
    if spec.fit is None or (spec.fit == IF_KNOWN and preprocessing.processor is not None):
        return preprocessing, None
    whole = preprocessing.whole()
    return whole, None if whole is preprocessing else RESIZE


def fingerprint(weights: str, identity: dict[str, Any]) -> str:
    """32 hex digits over the weights' digest and everything else that a vector depends on."""
    text = json.dumps({"weights": weights, **identity}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def weights_file(request: EncoderRequest, suffix: str, instead: str) -> Path | None:
    """The file that the option `weights` names, absolute; None where that is not given.

    Only one of that suffix is read: `instead` says in a refusal how such a file is made, `{stem}` and `{name}` being
    those of the one that was named. Raises `EncoderUnavailable`.
    """
    given = request.options.get("weights")
    if given is None:
        return None
    file = at_home(given).resolve()
    if file.suffix != suffix:
        raise EncoderUnavailable(f"{request.spec.model}: {instead.format(stem=file.stem, name=file.name)}")
    if not file.is_file():
        raise EncoderUnavailable(f"{request.spec.model}: no such file: {file}")
    return file


def digest_of_files(*files: Path) -> str:
    """32 hex digits over the files' bytes, in their order."""
    whole = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            whole.update(hashlib.file_digest(handle, hashlib.blake2b).digest())
    return whole.hexdigest()
