"""Encoders: images and texts in, unit vectors out.

`protocol` says what an encoder promises, `known` which models are worth knowing; both are light. `load_encoder`,
`load_with_fallback` and `describe` need transformers and torch, which are imported when one of them is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgvec.encoders.protocol import Binding, Encoder, EncoderSpec

if TYPE_CHECKING:
    from imgvec.encoders.facts import describe
    from imgvec.encoders.huggingface import HuggingFaceEncoder, load_encoder, load_with_fallback

__all__ = [
    "Binding",
    "Encoder",
    "EncoderSpec",
    "HuggingFaceEncoder",
    "describe",
    "load_encoder",
    "load_with_fallback",
]

_MODULES = {
    "HuggingFaceEncoder": "huggingface",
    "describe": "facts",
    "load_encoder": "huggingface",
    "load_with_fallback": "huggingface",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
