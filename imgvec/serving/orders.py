"""The bodies that ask for jobs, made of the library's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, create_model

from imgvec.curation.judging import Kind
from imgvec.curation.options import DuplicatesOptions
from imgvec.ingest.options import IngestOptions, RunOptions
from imgvec.options import json_model
from imgvec.quality.options import CalibrateOptions
from imgvec.sources import SourceOptions


class _Ingest(SourceOptions, IngestOptions, total=False):
    """The options of the source and of the ingest."""


_CONFIRM = "Needed where anything is to be deleted, with a token of the scope admin."

IngestBody: type[BaseModel] = create_model(
    "IngestBody",
    __base__=json_model(_Ingest),
    __cls_kwargs__={
        "json_schema_extra": {
            "examples": [
                {"source": "2026/summer", "on_duplicate": "skip"},
                {"source": "/pictures/archive.zip", "exclude": ["raw/"]},
            ]
        }
    },
    source=(
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="A folder, a picture, or a .tar or .zip archive below an allowed root, by an absolute path or "
            "one that starts there.",
        ),
    ),
    confirm=(bool, Field(False, description=_CONFIRM)),
)
UploadedIngest: type[BaseModel] = json_model(RunOptions)
"""The options of an ingest of uploaded pictures."""
DuplicatesBody: type[BaseModel] = create_model(
    "DuplicatesBody",
    __base__=json_model(DuplicatesOptions),
    __cls_kwargs__={"json_schema_extra": {"examples": [{"exact": True}, {"delete": True, "confirm": True}]}},
    kinds=(
        Annotated[list[Kind] | None, AfterValidator(lambda kinds: kinds or None)],
        Field(
            None,
            description="Show only groups with pictures of these kinds, and delete only these; by default all are "
            "shown, and file, pixels and copy deleted.",
        ),
    ),
    delete=(bool, Field(False, description="Delete all but the best of each group from the collection; no file.")),
    confirm=(bool, Field(False, description=_CONFIRM)),
)
CalibrateBody: type[BaseModel] = create_model(
    "CalibrateBody",
    __base__=json_model(CalibrateOptions),
    __cls_kwargs__={"json_schema_extra": {"examples": [{}, {"label": "album", "rates": [0.01]}]}},
)
BODIES = (IngestBody, UploadedIngest, DuplicatesBody, CalibrateBody)

Fields = TypeAdapter[Any](dict[str, Any] | list[dict[str, Any] | None])
"""The metadata of uploads: of all of them, or of each."""
TEXTS: Mapping[str, Any] = {
    "metadata": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": "Fields as JSON: an object for all pictures, or an array with one, or null, for each.",
        "example": '{"album": "summer"}',
    }
}
"""Of the form that uploads pictures, beside its options."""


def given(body: BaseModel) -> dict[str, Any]:
    """What a request gives, for JSON."""
    return body.model_dump(mode="json", exclude_unset=True)
