"""The one kind of unavailable model that callers need to tell apart."""

from __future__ import annotations

from imgvec.errors import EncoderUnavailable


class ModelUnreachable(EncoderUnavailable):
    """The hub or the package index does not answer and there is no local copy: another model may be used instead.

    Weights that were reached and are broken, refused or incomplete are plain `EncoderUnavailable`.
    """
