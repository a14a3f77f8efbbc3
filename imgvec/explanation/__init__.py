"""Why two pictures are alike: the parts of one that the other has as well, and what each adds to the score."""

from imgvec.explanation.explaining import explained
from imgvec.explanation.explanation import Explanation, Side

__all__ = ["Explanation", "Side", "explained"]
