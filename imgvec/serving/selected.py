"""Bodies that name stored rows: what is taken along, what is deleted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MOST_ROWS, MOST_PICTURES = 10_000, 1_000
"""Of one request: rows that are only read from Milvus, and those whose files are opened or that are deleted."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class ExportBody(BaseModel):
    """Which rows, and as what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: list[Id] = Field(
        min_length=1,
        max_length=MOST_ROWS,
        description="Of stored rows, in the order that they come in.",
        examples=[["0b1f…"]],
    )
    form: Literal["csv", "json", "paths", "originals", "thumbnails"] = Field(
        description="The rows as CSV, as JSON, or by their uris, a line each; or a zip file of their pictures.",
        examples=["csv"],
    )
    size: int = Field(256, ge=1, le=1024, description="Pixels of the longer side of thumbnails; rounded up.")


def _meant(value: bool) -> bool:
    if not value:
        raise ValueError("has to be true")
    return value


class DeleteBody(BaseModel):
    """Which pictures, and that it is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ids: list[Id] = Field(
        min_length=1,
        max_length=MOST_PICTURES,
        description="Of the pictures, or of rows that are views of them.",
        examples=[["0b1f…"]],
    )
    confirm: Annotated[bool, AfterValidator(_meant)] = Field(
        description="That all of them are to be deleted; nothing brings rows back.", json_schema_extra={"const": True}
    )
    unchanged: dict[Id, Annotated[str, StringConstraints(max_length=128)]] = Field(
        default_factory=dict,
        max_length=MOST_PICTURES,
        description="By id, the content_hash that the picture had when it was looked at: with another by now it stays.",
        examples=[{"0b1f…": "5d41…"}],
    )
