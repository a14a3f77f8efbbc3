"""The same pictures in a new collection, of another encoder: what differs, how it is brought over, and what came of it.

    difference.py   two collections held against each other, picture by picture, in the order of their ids
    renewing.py     rows with what they were stored with, and new vectors of their pictures, opened again
    viewed.py       the same of pictures that have several rows
    bringing.py     rounds of both, until nothing differs
    bridge.py       a linear map from the vectors of one encoder to those of another
    outcome.py      what became of it;  options.py  what it can be told

`imgvec/verbs/reembedding.py` makes the new collection, and swaps the two.
"""

from imgvec.migration.bridge import Bridge
from imgvec.migration.bringing import Bringing
from imgvec.migration.difference import LIVE, Since, marks
from imgvec.migration.outcome import Lost, Reembedding
from imgvec.migration.renewing import Renewed, no_fields
from imgvec.migration.viewed import RenewedViews

__all__ = [
    "LIVE",
    "Bridge",
    "Bringing",
    "Lost",
    "Reembedding",
    "Renewed",
    "RenewedViews",
    "Since",
    "marks",
    "no_fields",
]
