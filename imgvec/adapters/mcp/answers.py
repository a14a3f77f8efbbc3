"""What the tools answer: the schemas of structured content, which every answer is held against before it is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from mcp_types import CallToolResult
from pydantic import Field
from typing_extensions import TypedDict

Fields = Annotated[
    dict[str, Any], Field(description="By name, as others wrote them; long ones are cut off, and end with …")
]
More = Annotated[int, Field(description="How many more fields there are: ask for some with output_fields.")]
Picture = Annotated[str, Field(description="The uri of a resource: the picture as a JPEG file.")]
Shown = Annotated[list[str], Field(description="The ids of the pictures that come as images, in the same order.")]
Box: TypeAlias = list[int]


class HitSaid(TypedDict):
    """A stored picture that was found, or a part of one."""

    id: str
    uri: str
    score: Annotated[float, Field(description="Similarity, higher is better.")]
    fields: Fields
    more_fields: NotRequired[More]
    picture: Picture
    image_id: NotRequired[str]
    view: NotRequired[str]
    box: NotRequired[Annotated[Box, Field(description="x0, y0, x1, y1 in pixels of the upright picture.")]]
    at_ms: NotRequired[int]
    probability: NotRequired[Annotated[float, Field(description="The chance that it is a true match.")]]
    p_value: NotRequired[float]


class ValueSaid(TypedDict):
    """A value of a field, and how often it occurs."""

    value: Any
    count: int


class FacetSaid(TypedDict):
    """The most frequent values of a field."""

    counts: list[ValueSaid]
    values: Annotated[int, Field(description="How many different values there are.")]
    over: Annotated[Literal["rows", "hits"], Field(description="Of all rows that match, or of the hits alone.")]
    total: Annotated[int, Field(description="How many of these were counted.")]


class GroupSaid(TypedDict):
    """The hits that have a value in common."""

    value: Any
    hits: Annotated[list[str], Field(description="Their ids.")]


class VerdictSaid(TypedDict):
    """Whether the best hit is a real match."""

    verdict: str
    match: bool
    false_match_rate: float
    p_value: float | None
    note: str


class Found(TypedDict):
    """Hits, best first."""

    hits: list[HitSaid]
    complete: Annotated[bool, Field(description="False if rows may be missing for the moment: ask again later.")]
    groups: NotRequired[list[GroupSaid]]
    facets: NotRequired[dict[str, FacetSaid]]
    verdict: NotRequired[VerdictSaid]
    fewer: NotRequired[Annotated[str, Field(description="Why there are fewer hits than asked for.")]]
    thumbnails_of: Shown


class RowSaid(TypedDict):
    """A stored picture."""

    id: str
    uri: str
    fields: Fields
    more_fields: NotRequired[More]
    picture: Picture


class Rows(TypedDict):
    """Stored pictures by id."""

    pictures: list[RowSaid]
    unknown_ids: list[str]
    thumbnails_of: Shown


class FieldSaid(TypedDict):
    """A field to filter by."""

    type: str
    about: NotRequired[str]


class Described(TypedDict):
    """What is stored, and how it is asked for."""

    name: str
    about: str
    pictures: int
    rows: Annotated[int, Field(description="More than pictures where parts of pictures are stored, too.")]
    fields: dict[str, FieldSaid]
    other_fields: Annotated[bool, Field(description="Whether rows may have fields besides.")]
    vectors: list[str]
    encoder: str
    search_by_text: Annotated[bool | str, Field(description="Whether search_by_text works; or why nobody knows.")]
    calibrated: bool
    filters: Annotated[list[str], Field(description="How filters are written, by examples.")]


class Counted(TypedDict):
    """How many match."""

    pictures: int
    rows: int


class Facets(TypedDict):
    """By field, its values."""

    facets: dict[str, FacetSaid]


class SubjectSaid(TypedDict):
    """A picture."""

    id: str
    uri: str


class CopySaid(SubjectSaid):
    """A picture that another is the better copy of."""

    kind: str
    why: list[str]


class CopiesSaid(TypedDict):
    """Pictures that are one."""

    kind: str
    best: SubjectSaid
    others: list[CopySaid]
    pictures: Annotated[int, Field(description="How many there are, of which 50 are shown at most.")]


class Copies(TypedDict):
    """Groups of pictures that are one, the largest first."""

    groups: list[CopiesSaid]
    groups_found: int
    complete: Annotated[bool, Field(description="False if the time was over before all were looked at.")]
    pictures: int
    not_opened: int
    thumbnails_of: Shown


class PairSaid(TypedDict):
    """A part of the query, and the part of the hit that is like it."""

    query_box: Box
    hit_box: Box
    similarity: float


class Explained(TypedDict):
    """What two pictures have in common."""

    score: float
    mirrored: bool
    method: str
    pairs: list[PairSaid]


class Deleted(TypedDict):
    """How many pictures were deleted."""

    deleted: int


FoundResult = Annotated[CallToolResult, Found]
RowsResult = Annotated[CallToolResult, Rows]
DescribedResult = Annotated[CallToolResult, Described]
CountedResult = Annotated[CallToolResult, Counted]
FacetsResult = Annotated[CallToolResult, Facets]
CopiesResult = Annotated[CallToolResult, Copies]
ExplainedResult = Annotated[CallToolResult, Explained]
DeletedResult = Annotated[CallToolResult, Deleted]
