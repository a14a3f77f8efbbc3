"""The same pictures in a new collection, of another encoder: what differs, how it is brought over, and what came of it.

    difference.py   two collections held against each other, picture by picture, in the order of their ids
    renewing.py     rows with what they were stored with, and new vectors of their pictures, opened again
    viewed.py       the same of pictures that have several rows
    bringing.py     rounds of both, until nothing differs
    bridge.py       a linear map from the vectors of one encoder to those of another
    worth.py        how good the answers of bridged rows are
    outcome.py      what became of it;  options.py  what it can be told

`imgvec/verbs/reembedding.py` makes the new collection, and swaps the two.
"""

from imgvec.migration.bridge import Bridge
from imgvec.migration.bringing import Bringing
from imgvec.migration.difference import LIVE, Since, marks
from imgvec.migration.outcome import Bridged, Lost, Reembedding
from imgvec.migration.renewing import Renewed, no_fields
from imgvec.migration.viewed import RenewedViews
from imgvec.migration.worth import Worth, worth_of

__all__ = [
    "LIVE",
    "Bridge",
    "Bridged",
    "Bringing",
    "Lost",
    "Reembedding",
    "Renewed",
    "RenewedViews",
    "Since",
    "Worth",
    "marks",
    "no_fields",
    "worth_of",
]
