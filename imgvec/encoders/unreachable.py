"""The one distinction among unavailable models that a caller acts on."""

from __future__ import annotations

from imgvec.errors import EncoderUnavailable


class ModelUnreachable(EncoderUnavailable):
    """The hub or the package index does not answer and there is no copy here: another model may be taken instead.

    Weights that were reached and are broken, refused or incomplete are plain `EncoderUnavailable`.
    """
