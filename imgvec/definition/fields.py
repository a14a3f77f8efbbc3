"""What a definition says of a declared scalar field."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from imgvec import catalog
from imgvec.definition.sections import Section
from imgvec.rows import MAX_ARRAY_ITEMS, MAX_VARCHAR_BYTES

FieldTypeName = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR", "JSON", "ARRAY", "TIMESTAMPTZ", "GEOMETRY"
]
ElementTypeName = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "FLOAT", "DOUBLE", "VARCHAR"]

IMAGE_PARTS = {"taken_at": "INT64", "caption": "VARCHAR", "file_name": "VARCHAR"}
"""What fields can be filled with from an image, and the type of such a field."""


class FieldSection(Section):
    """One declared scalar field. A record that lacks it gets `default`, or null, or is refused where `required`."""

    type: FieldTypeName
    about: str = ""
    max_length: int | None = Field(default=None, ge=1, le=MAX_VARCHAR_BYTES)
    """Maximum length of a VARCHAR, or of the strings in an ARRAY, in UTF-8 bytes (as the server counts)."""
    element_type: ElementTypeName | None = None
    max_capacity: int | None = Field(default=None, ge=1, le=MAX_ARRAY_ITEMS)
    required: bool = False
    nullable: bool = False
    default: Any = None
    index: Annotated[str | None, BeforeValidator(lambda v: "AUTO" if v is True else None if v is False else v)] = None
    """A scalar index type, or AUTO for the best that the backend has."""
    index_params: dict[str, Any] = Field(default_factory=dict)
    format: Literal["unix_ms"] | None = None
    """An INT64 that holds Unix milliseconds; it accepts and is filtered by dates in every form."""
    bm25: bool = False
    """A VARCHAR whose words are searched for, ranked by BM25: `imgvec.Words`."""
    match: bool = False
    """A VARCHAR whose words filters look for: `field("caption").has_any_word("dog beach")`."""
    from_image: str | tuple[str, ...] | None = None
    """Filled from the image if the metadata has no value, by the first of these that has one: `taken_at` is EXIF
    DateTimeOriginal in Unix ms; of a VARCHAR, `caption` is what the file says of its picture in EXIF, IPTC, XMP or PNG
    (title, description, comment, keywords), and `file_name` its name as words. A text that is too long is cut."""

    @field_validator("from_image", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is None:
            return None
        given = (value,) if isinstance(value, str) else value
        if not isinstance(given, list | tuple) or not given:
            raise ValueError(f"must be one or several of {', '.join(IMAGE_PARTS)}, not {value!r}")
        for each in given:
            if not isinstance(each, str) or each not in IMAGE_PARTS:
                raise ValueError(f"{each!r} is not one of {', '.join(IMAGE_PARTS)}")
        return value if isinstance(value, str) else tuple(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        text = self.type == "VARCHAR" or self.element_type == "VARCHAR"
        if (self.type == "ARRAY") != (self.element_type is not None):
            raise ValueError("element_type is required for an ARRAY, and only for an ARRAY")
        if self.max_capacity is not None and self.type != "ARRAY":
            raise ValueError("max_capacity is only for an ARRAY")
        if self.max_length is not None and not text:
            raise ValueError("max_length is only for a VARCHAR, or an ARRAY of VARCHAR")
        if self.required and (self.nullable or self.default is not None):
            raise ValueError("a required field cannot have a default or be nullable")
        if not self.required and not self.nullable and self.default is None:
            raise ValueError("say what happens if the field is missing: required: true, nullable: true or a default")
        if self.format and self.type != "INT64":
            raise ValueError("format is only for an INT64")
        for each in self.image_parts:
            if self.type != IMAGE_PARTS[each]:
                raise ValueError(f"from_image: {each} is only for a field of type {IMAGE_PARTS[each]}")
        if self.bm25 and (self.type != "VARCHAR" or self.nullable):
            raise ValueError('bm25 is only for a VARCHAR that is not nullable: give it a default, such as ""')
        if self.match and self.type != "VARCHAR":
            raise ValueError("match is only for a VARCHAR")
        self._check_index()
        return self

    def _check_index(self) -> None:
        if self.index is None or self.index == "AUTO":
            if self.index_params:
                raise ValueError("index_params need an index type")
            return
        known = catalog.SCALAR_INDEXES.get(self.index)
        if known is None:
            raise ValueError(f"index {self.index!r} is not one of AUTO, {', '.join(catalog.SCALAR_INDEXES)}")
        if self.type not in known.field_types:
            raise ValueError(f"index {self.index} takes {', '.join(known.field_types)}, not {self.type}")
        by_name = {p.name: p for p in known.params}
        for name, value in self.index_params.items():
            problem = by_name[name].problem(value) if name in by_name else f"{self.index} has no parameter {name}"
            if problem:
                raise ValueError(problem)
        grams = self.index_params
        if self.index == "NGRAM" and grams.get("min_gram", 2) > grams.get("max_gram", 3):
            raise ValueError("min_gram must be at most max_gram")

    @property
    def image_parts(self) -> tuple[str, ...]:
        """What of the image fills it: the first of these that there is."""
        given = self.from_image
        return () if given is None else (given,) if isinstance(given, str) else given

    @property
    def text_bytes(self) -> int:
        """The longest string, in UTF-8 bytes."""
        return self.max_length or 1024

    @property
    def capacity(self) -> int:
        return self.max_capacity or 256
