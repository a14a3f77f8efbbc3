"""Why a hit was found."""

from __future__ import annotations

from imgvec.collection import ImageCollection
from imgvec.errors import QueryError
from imgvec.explanation import Explanation, explained
from imgvec.rows import URI, VECTOR
from imgvec.search.answer import Hit
from imgvec.search.forms import STORED, Crop, Form, ImageBytes, ImageFile, Pixels, StoredId
from imgvec.search.guessing import Query, guessed


def explain(
    collection: ImageCollection, query: Query, hit: Hit | StoredId | str, *, vector: str = VECTOR
) -> Explanation:
    """Why the collection finds `hit` for `query`: which parts of the two pictures show the same thing.

    The query is one picture: a path, bytes, an image, a crop, or a stored row (`"id:…"`). The hit is a `Hit` or a row's
    id; both pictures are read again, so they must still be there. A row that is a view is explained by its own part of
    the picture. With a ViT, patches are compared by what several of its layers say of them; of any other encoder it is
    seen which regions the score cannot do without. `vector` names the one whose encoder is asked.

    Raises `QueryError` for a text, a vector or a mix, and for an id that is not there; `UnreadableImage`,
    `SourceError`, `EncoderError`.
    """
    collection = collection.pinned()
    target = collection.handle.target
    target.searcher.known(vector)
    form = guessed(query)
    if not isinstance(form, ImageFile | ImageBytes | Pixels | Crop | StoredId):
        raise QueryError(
            f"{form!r} is not one picture: explain a picture, a crop of one or a stored row (id:…) against a hit"
        )
    stored = (
        hit if isinstance(hit, StoredId) else StoredId(hit.id if isinstance(hit, Hit) else hit.removeprefix(STORED))
    )
    pictures = [target.searcher.picture(each) for each in (form, stored)]
    row = target.store.get([stored.id], output_fields=[URI])[stored.id]
    return explained(pictures, [_name(form), str(row[URI])], target.encoders.of(vector))


def _name(form: Form) -> str:
    """What the query is called, in a caption."""
    said = form.to_dict()
    return str(said.get("image") or said.get("name") or said.get("id") or "the query")
