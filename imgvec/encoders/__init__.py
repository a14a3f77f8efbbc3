"""Encoders: images and texts in, unit vectors out.

`protocol` says what an encoder promises, `registry` which kinds there are and how a name is loaded, `known` which
models are worth knowing; all are light. transformers and torch are imported when a kind that needs them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgvec.encoders.protocol import Binding, Encoder, EncoderSpec

if TYPE_CHECKING:
    from imgvec.encoders.callables import CallableEncoder
    from imgvec.encoders.huggingface import HuggingFaceEncoder
    from imgvec.encoders.registry import EncoderKind, EncoderRequest, describe, load_encoder, load_with_fallback

__all__ = [
    "Binding",
    "CallableEncoder",
    "Encoder",
    "EncoderKind",
    "EncoderRequest",
    "EncoderSpec",
    "HuggingFaceEncoder",
    "describe",
    "load_encoder",
    "load_with_fallback",
]

_MODULES = {
    "CallableEncoder": "callables",
    "EncoderKind": "registry",
    "EncoderRequest": "registry",
    "HuggingFaceEncoder": "huggingface",
    "describe": "registry",
    "load_encoder": "registry",
    "load_with_fallback": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
