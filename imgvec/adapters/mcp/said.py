"""Rows, hits and the collection, as JSON that an agent reads: short, with dates that people read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imgvec import Answer, Duplicates, Hit, ImageCollection
from imgvec.adapters.mcp.pictures import Pictures
from imgvec.dates import iso
from imgvec.errors import EncoderError
from imgvec.nulls import finite

if TYPE_CHECKING:
    from imgvec.filters import FieldType

_LONGEST = 2000
"""Characters of a value that are shown: a caption may be a book, and JSON a library."""
_ROW = 8000
"""Of all values of a row: of what its metadata brought there may be thousands."""
_COUNTED = 200
"""Of a value that is counted, or that a group has in common."""
_MOST_VALUES = 50
_MOST_OTHERS = 50
_OF_NO_USE = ("content_hash",)


def hit_said(hit: Hit, kinds: Mapping[str, FieldType], pictures: Pictures) -> dict[str, Any]:
    """One hit."""
    left_out = {"fields", "distance", *(("image_id", "view") if hit.image_id == hit.id else ())}
    found = {name: value for name, value in hit.to_dict().items() if value is not None and name not in left_out}
    return {**found, "score": round(hit.score, 4), **_fields(hit.fields, kinds), "picture": pictures.uri(hit.id)}


def row_said(hit: Hit, kinds: Mapping[str, FieldType], pictures: Pictures) -> dict[str, Any]:
    """One stored row."""
    fields = {name: value for name, value in hit.fields.items() if name not in ("id", "uri")}
    return {"id": hit.id, "uri": hit.uri, **_fields(fields, kinds), "picture": pictures.uri(hit.id)}


def answer_said(answer: Answer, kinds: Mapping[str, FieldType], pictures: Pictures) -> dict[str, Any]:
    """An answer. Counts the rows that match, where there are fewer hits than asked for."""
    said: dict[str, Any] = {"hits": [hit_said(hit, kinds, pictures) for hit in answer], "complete": answer.complete}
    if answer.groups:
        said["groups"] = [
            {"value": _value(group.value, None, _COUNTED), "hits": [hit.id for hit in group.hits]}
            for group in answer.groups
        ]
    if answer.facets:
        said["facets"] = facets_said(answer.facets)
    if answer.verdict is not None:
        said["verdict"] = answer.verdict.to_dict()
    if answer.shortfall is not None:
        said["fewer"] = str(answer.shortfall)
    return said


def facets_said(facets: Mapping[str, Any]) -> dict[str, Any]:
    """The most frequent values of each field, and how many there are."""
    return {name: _facet(facet.to_dict()) for name, facet in facets.items()}


def _facet(found: dict[str, Any]) -> dict[str, Any]:
    counts = [{**each, "value": _value(each["value"], None, _COUNTED)} for each in found["counts"][:_MOST_VALUES]]
    return {**found, "counts": counts, "values": len(found["counts"])}


def duplicates_said(found: Duplicates, groups: int) -> tuple[dict[str, Any], list[str]]:
    """The largest `groups` of duplicates, and the ids of all pictures in these."""
    shown = sorted(found.groups, key=lambda each: -len(each.subjects))[:groups]
    said = {
        "groups": [
            {
                "kind": each.kind,
                "best": {"id": each.best.id, "uri": each.best.uri},
                "others": [
                    {"id": other.subject.id, "uri": other.subject.uri, "kind": other.kind, "why": [*other.reasons]}
                    for other in each.others[:_MOST_OTHERS]
                ],
                "pictures": len(each.subjects),
            }
            for each in shown
        ],
        "groups_found": len(found.groups),
        "complete": not found.interrupted,
        "pictures": found.pictures,
        "not_opened": found.unseen,
    }
    return said, [subject.id for each in shown for subject in each.subjects]


def described(collection: ImageCollection) -> dict[str, Any]:
    """What the collection is, and how it is asked."""
    about = collection.describe()
    declared = collection.definition.fields
    kinds = collection.store.fields
    return {
        "name": about["name"],
        "about": about["about"],
        "pictures": about["pictures"],
        "rows": about["rows"],
        "fields": {name: _field(kind, declared.get(name)) for name, kind in kinds.items()},
        "other_fields": collection.store.dynamic,
        "vectors": [*collection.bindings],
        "encoder": about["encoder"]["model"],
        "search_by_text": _has_text(collection),
        "calibrated": about["calibration"] is not None,
        "filters": _filters(kinds),
    }


def _field(kind: FieldType, declared: Any) -> dict[str, str]:
    about = "" if declared is None else declared.about
    return {"type": str(kind), **({"about": about} if about else {})}


def _fields(fields: Mapping[str, Any], kinds: Mapping[str, FieldType]) -> dict[str, Any]:
    """The fields, as many as an agent is to read; and how many more there are."""
    shown: dict[str, Any] = {}
    left, more = _ROW, 0
    for name, value in fields.items():
        if name in _OF_NO_USE:
            continue
        said = _value(value, kinds.get(name))
        left -= len(name) + len(json.dumps(said, ensure_ascii=False))
        if left < 0:
            more += 1
        else:
            shown[name] = said
    return {"fields": shown, **({"more_fields": more} if more else {})}


def _value(value: Any, kind: FieldType | None, longest: int = _LONGEST) -> Any:
    if kind is not None and kind.format:
        return None if value is None or value == kind.unknown else iso(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return value if len(value) <= longest else value[:longest] + "…"
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False)
        return finite(value) if len(text) <= longest else text[:longest] + "…"
    return finite(value)


def _has_text(collection: ImageCollection) -> bool | str:
    """Whether it can be searched by words; loads the encoder, which a search would do anyway.

    A search says why that fails.
    """
    try:
        return collection.encoder.supports_text
    except EncoderError:
        return "unknown, as the encoder cannot be loaded"


def _filters(kinds: Mapping[str, FieldType]) -> list[str]:
    """How filters are written, with this collection's fields."""
    said = ["Comparisons: == != < <= > >= in, joined by and, or, not. Text stands in double quotes."]
    texts = [name for name, kind in kinds.items() if kind.type == "VARCHAR" and name not in ("id", "content_hash")]
    dates = [name for name, kind in kinds.items() if kind.is_date]
    lists = [name for name, kind in kinds.items() if kind.type == "ARRAY"]
    if texts:
        said.append(f'{texts[-1]} == "some text"')
        said.append(f'{texts[-1]} in ["one", "another"]')
    if "width" in kinds:
        said.append("width >= 800 and width > height")
    if dates:
        said.append(f'{dates[0]} >= "2024-06-01" and {dates[0]} < "2025"')
    if lists:
        said.append(f'array_contains({lists[0]}, "some text")')
    return said
