"""Relevance feedback: what somebody says of the hits of one answer moves the question of the next."""

from __future__ import annotations

from collections.abc import Sequence

from imgvec.errors import QueryError
from imgvec.search.forms import Form, Like, StoredId

ALPHA, BETA, GAMMA = 1.0, 0.75, 0.15
"""Of the query, the relevant hits and the irrelevant ones, as Manning, Raghavan and Schütze suggest (Introduction to
Information Retrieval, 2008, section 9.1.1: positive feedback is worth more than negative)."""


def rocchio(form: Form, relevant: Sequence[str], irrelevant: Sequence[str] = ()) -> Like:
    """The question after feedback on hits, which are given by the ids of their rows.

    q' = alpha q + beta / |relevant| · sum of relevant - gamma / |irrelevant| · sum of irrelevant (Rocchio, Relevance
    feedback in information retrieval, 1971; `ALPHA`, `BETA` and `GAMMA`), of unit vectors, scaled to unit length. The
    form may itself be such a question. Raises `QueryError` without any hits.
    """
    if not relevant and not irrelevant:
        raise QueryError("feedback takes at least one relevant or irrelevant hit")
    good = [(StoredId(id_), BETA / len(relevant)) for id_ in relevant]
    bad = [(StoredId(id_), -GAMMA / len(irrelevant)) for id_ in irrelevant]
    return Like([(form, ALPHA), *good, *bad])
