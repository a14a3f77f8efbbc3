"""Two pictures and their encoder to an explanation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from imgvec.encoders.protocol import Encoder, HasTokens, Pixels, Tokens
from imgvec.explanation.explanation import Explanation, Side
from imgvec.explanation.matching import Array, Matches, matched
from imgvec.explanation.shares import added, lost
from imgvec.images.squares import seen


def explained(pictures: Sequence[Image.Image], names: Sequence[str], encoder: Encoder) -> Explanation:
    """Why the encoder finds two upright RGB pictures alike; `names` are what they are called.

    An encoder with a token for each patch says which patches show the same; of any other it is seen which regions the
    score cannot do without. Raises `EncoderError`, `QueryError`.
    """
    prepare = encoder.prepare
    places = [seen(picture.size, prepare) for picture in pictures]
    pixels: Pixels = np.stack([prepare(picture) for picture in pictures])
    vectors = encoder.encode(pixels)
    score = float(vectors[0] @ vectors[1])
    tokens = encoder.tokens(pixels) if isinstance(encoder, HasTokens) else None
    additive = tokens is not None and all(each.parts is not None for each in tokens)
    shares = [_shares(encoder, number, tokens, pixels, vectors, score, additive=additive) for number in (0, 1)]
    if tokens is not None:
        found = matched(tokens[0], tokens[1])
    else:
        first, second = (_of_losses(each) for each in shares)
        found = Matches(first, second, np.empty((0, 2), np.int64), np.empty(0, np.float32), mirrored=False)
    query, hit = (
        Side(name, picture, place, heat, share)
        for name, picture, place, heat, share in zip(
            names, pictures, places, (found.first, found.second), shares, strict=True
        )
    )
    return Explanation(
        query=query,
        hit=hit,
        score=score,
        method="tokens" if tokens is not None else "occlusion",
        additive=additive,
        mirrored=found.mirrored,
        pairs=found.pairs,
        similarities=found.similarities,
    )


def _shares(
    encoder: Encoder,
    number: int,
    tokens: Sequence[Tokens] | None,
    pixels: Pixels,
    vectors: Array,
    score: float,
    *,
    additive: bool,
) -> Array:
    other = vectors[1 - number]
    if additive and tokens is not None:
        parts = tokens[number].parts
        assert parts is not None
        return added(parts, tokens[number].grid, other, unit=encoder.binding.normalize)
    return lost(encoder, pixels[number], other, score)


def _of_losses(losses: Array) -> Array:
    """Losses as heat: what the score does not lose has none, and the rest adds up to 1."""
    positive = np.clip(losses, 0, None)
    total = float(positive.sum())
    return np.asarray(positive / total if total > 0 else np.full(losses.shape, 1 / losses.size), np.float32)
