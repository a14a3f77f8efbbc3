"""The text side of CLIP and SigLIP models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from imgvec.encoders.families import Family
from imgvec.encoders.readout import pooled
from imgvec.errors import QueryError


class TextReadout:
    """Tokenises as the model was trained and gives its projected text features.

    SigLIP was trained on lower-case text padded to the full length, without an attention mask; the tokenizers of some
    of its checkpoints do not lower the case themselves.
    """

    def __init__(self, model: Any, tokenizer: Any, family: Family) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._length = int(model.config.text_config.max_position_embeddings)
        self._padding: bool | str = "max_length" if family.siglip_text else True
        self._lower = family.siglip_text
        self._names = ("input_ids",) if family.siglip_text else ("input_ids", "attention_mask")

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, dim) float32, not normalised; what is longer than the model reads is cut off."""
        for position, text in enumerate(texts):
            if not text.strip():
                raise QueryError(f"text {position} is empty")
        tokens = self._tokenizer(
            [text.lower() for text in texts] if self._lower else list(texts),
            padding=self._padding,
            truncation=True,
            max_length=self._length,
            return_tensors="pt",
        )
        device = next(self._model.parameters()).device
        return pooled(self._model.get_text_features(**{name: tokens[name].to(device) for name in self._names}))
