"""What every kind of model makes of a spec: its preprocessing, and the fingerprint that a collection remembers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from imgvec.encoders.preprocess import Preprocessing
from imgvec.encoders.protocol import EncoderSpec


def applied(preprocessing: Preprocessing, spec: EncoderSpec) -> tuple[Preprocessing, str | None]:
    """The model's own preprocessing with the spec's size and fit, and the binding's `fit`; `EncoderUnavailable`."""
    if spec.image_size is not None:
        preprocessing = preprocessing.with_size(spec.image_size)
    if spec.fit != "resize":
        return preprocessing, None
    whole = preprocessing.whole()
    return whole, None if whole is preprocessing else spec.fit


def fingerprint(weights: str, identity: dict[str, Any]) -> str:
    """32 hex digits over the weights' digest and everything else that a vector depends on."""
    text = json.dumps({"weights": weights, **identity}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_of_files(*files: Path) -> str:
    """32 hex digits over the files' bytes, in their order."""
    whole = hashlib.blake2b(digest_size=16)
    for file in files:
        with file.open("rb") as handle:
            whole.update(hashlib.file_digest(handle, hashlib.blake2b).digest())
    return whole.hexdigest()
