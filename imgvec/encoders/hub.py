"""The plain kind of name: a Hugging Face repo, or a local folder that holds a checkpoint."""

from __future__ import annotations

from typing import Any

from imgvec.encoders.assembly import assemble
from imgvec.encoders.facts import facts
from imgvec.encoders.protocol import Encoder
from imgvec.encoders.registry import EncoderKind, EncoderRequest
from imgvec.encoders.weights import locate


def _load(request: EncoderRequest) -> Encoder:
    return assemble(locate(request.spec.model, request.spec.revision), request)


def _describe(request: EncoderRequest) -> dict[str, Any]:
    return facts(locate(request.spec.model, request.spec.revision, weights=False))


KIND = EncoderKind(load=_load, describe=_describe)
