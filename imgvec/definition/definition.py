"""The definition as a whole: read from a file or a mapping, checked, and the row that it makes of metadata."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from imgvec.definition.conversion import check_size, convert, is_missing, shortened
from imgvec.definition.field_names import IDENTIFIER, MILVUS_WORDS, field_problem
from imgvec.definition.fields import FieldSection
from imgvec.definition.problems import MisplacedError, describe
from imgvec.definition.replicas import MOST_REPLICAS, groups_problem
from imgvec.definition.sections import EncoderSection, ImagesSection, IndexChoice, Section, VectorSection, ViewsSection
from imgvec.definition.shipped import bundled
from imgvec.definition.values import is_absent, plain
from imgvec.definition.vector_fields import VectorFieldSection, check_names
from imgvec.definition.yaml_lines import read_yaml
from imgvec.errors import DefinitionError
from imgvec.home import at_home
from imgvec.rows import VECTOR, reserved_names

ConsistencyLevel = Literal["Strong", "Session", "Bounded", "Eventually"]


class Definition(Section):
    """The definition of a Milvus collection of images."""

    about: str = ""
    encoder: EncoderSection
    fields: dict[str, FieldSection] = Field(default_factory=dict)
    dynamic: bool = True
    """Keep metadata without a declared field in Milvus's dynamic field; if false, it is refused."""
    images: ImagesSection = ImagesSection()
    vector: VectorSection = VectorSection()
    views: ViewsSection | None = None
    """None for a row a picture: the whole of it."""
    index: IndexChoice = IndexChoice()
    vectors: dict[str, VectorFieldSection] = Field(default_factory=dict)
    """Further vectors of every row, by name; `encoder`, `vector` and `index` are those of the one named `vector`."""
    partition_key: str | None = None
    num_partitions: int | None = Field(default=None, ge=1, le=1024)
    partition_key_isolation: bool = False
    """An index for each value of the partition key: every search then names one value (`category == "shoes"`)."""
    num_shards: int = Field(default=1, ge=1, le=16)
    """Streams that writes are spread over, by the hash of the id; never changed."""
    replicas: int = Field(default=1, ge=1, le=MOST_REPLICAS)
    """Copies in the memory of that many query nodes or groups of them: more searches, and one node may fail."""
    resource_groups: tuple[str, ...] = ()
    """Where the replicas are: none for Milvus's default group, one for all of them, or one for each."""
    consistency_level: ConsistencyLevel = "Bounded"

    @field_validator("resource_groups", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each.strip() for each in value):
            raise ValueError("must be a list of names")
        return tuple(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.fields:
            if not IDENTIFIER.match(name):
                raise MisplacedError("a field name is a letter or _, then letters, digits and _", "fields", name)
            if name.lower() in self.reserved:
                kind = "every collection" if self.views is None else "every collection with views"
                raise MisplacedError(f"is reserved: {kind} has {', '.join(self.reserved)}", "fields", name)
            if name.lower() in MILVUS_WORDS:
                raise MisplacedError("is a reserved word in Milvus", "fields", name)
        if self.partition_key is not None:
            key = self.fields.get(self.partition_key)
            if key is None or key.type not in ("VARCHAR", "INT64") or key.nullable:
                raise MisplacedError("must be a declared VARCHAR or INT64 field that is not nullable", "partition_key")
        elif self.num_partitions is not None:
            raise MisplacedError("needs a partition_key", "num_partitions")
        if self.partition_key_isolation:
            if self.partition_key is None:
                raise MisplacedError("needs a partition_key", "partition_key_isolation")
            if unfit := {each.index.cpu.type for each in self.vector_fields.values()} - {"HNSW"}:
                said = f"needs an HNSW index, not {', '.join(sorted(unfit))}"
                raise MisplacedError(said, "partition_key_isolation")
            if self.words:
                said = f"needs HNSW indexes alone: leave bm25 out of {', '.join(self.words)}"
                raise MisplacedError(said, "partition_key_isolation")
        if wrong := groups_problem(self.replicas, self.resource_groups):
            raise MisplacedError(wrong, "resource_groups")
        check_names(self.vectors, self.fields, self.reserved)
        for name, own in self.words.items():
            if own in self.fields or own in self.vectors or not IDENTIFIER.match(own):
                raise MisplacedError(f"its words are kept in a field {own}: call it otherwise", "fields", name, "bm25")
        for name, vector in self.vector_fields.items():
            vector.check(*(() if name == VECTOR else ("vectors", name)))
        for name, declared in self.fields.items():
            if declared.default is not None:
                try:
                    default = convert(name, declared, declared.default)
                except ValueError as exc:
                    raise MisplacedError(str(exc), "fields", name, "default") from exc
                # as it will be stored: a YAML date has no place in the description, which is JSON
                self.fields[name] = declared.model_copy(update={"default": default})
        _check_texts(self.model_dump())
        return self

    @property
    def vector_fields(self) -> dict[str, VectorFieldSection]:
        """Every vector by name: `vector` first, then the further ones in their order."""
        first = VectorFieldSection.model_construct(encoder=self.encoder, vector=self.vector, index=self.index)
        return {VECTOR: first, **self.vectors}

    @cached_property
    def words(self) -> dict[str, str]:
        """The fields whose words are searched for, each with the field in which Milvus keeps these."""
        return {name: f"{name}_bm25" for name, declared in self.fields.items() if declared.bm25}

    def without_projections(self) -> Self:
        """The same with the vectors as the encoders make them."""
        without = {"projection": "none"}
        further = {
            name: each.model_copy(update={"encoder": each.encoder.model_copy(update=without)})
            for name, each in self.vectors.items()
        }
        return self.model_copy(update={"encoder": self.encoder.model_copy(update=without), "vectors": further})

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Definition) -> Definition:
        """Load a definition from a YAML file, the name of a bundled one, or a mapping; raises `DefinitionError`."""
        if isinstance(source, Definition):
            return source
        if isinstance(source, Mapping):
            return cls._parse(dict(source), "", {})
        path = at_home(source)
        name = str(source)
        if name in bundled():
            path = bundled()[name]
        elif not path.is_file():
            raise DefinitionError(
                f"neither a file nor a bundled definition (bundled: {', '.join(bundled())})", source=name
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise DefinitionError(f"cannot be read: {exc}", source=name) from exc
        data, lines = read_yaml(text, name)
        return cls._parse(data, name, lines)

    @classmethod
    def _parse(cls, data: Any, source: str, lines: Mapping[tuple[str, ...], int]) -> Definition:
        try:
            return cls.model_validate(data)
        except RecursionError:
            raise DefinitionError("is nested too deeply", source=source) from None
        except ValidationError as exc:
            problems = [describe(error, cls) for error in exc.errors()]
        found = []
        for place, problem in problems:
            line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
            found.append((line, ".".join(part or "''" for part in place), problem))
        # a mistyped key before the key that is missing for it
        found.sort(key=lambda each: (each[0] or 0, not each[2].startswith("unknown key")))
        line, where, problem = found[0]
        if further := found[1:]:
            problem += "; also " + "; ".join(
                f"{'' if number is None else f'line {number}: '}{at}: {said}" for number, at, said in further
            )
        raise DefinitionError(problem, where=where, source=source, line=line)

    def row_fields(
        self,
        metadata: Mapping[str, Any],
        *,
        taken_at: int | None = None,
        caption: str = "",
        file_name: str = "",
        only_given: bool = False,
    ) -> dict[str, Any]:
        """Metadata as a row's declared and dynamic fields, converted to their types.

        Text is accepted for every type, since CSV has nothing else; an empty text is an absent value except for a
        VARCHAR, and so is what a data frame calls missing. `taken_at`, `caption` and `file_name` are the picture's own,
        for what the metadata does not give; `only_given` leaves out what only a default or the picture would fill.
        Raises `ValueError`, in words for the person who wrote the metadata.
        """
        own = {"taken_at": taken_at, "caption": caption or None, "file_name": file_name or None}
        row: dict[str, Any] = {}
        for name, declared in self.fields.items():
            value = metadata.get(name)
            if not is_missing(declared, value):
                row[name] = convert(name, declared, value)
            elif only_given:
                continue
            elif found := [own[part] for part in declared.image_parts if own[part] is not None]:
                row[name] = shortened(found[0], declared.text_bytes) if isinstance(found[0], str) else found[0]
            elif declared.required:
                raise ValueError(f"{name} is missing, but the definition requires it")
            else:
                row[name] = self._defaults[name]
        dynamic: dict[str, Any] = {}
        for name, value in metadata.items():
            if name in self.fields or is_absent(value) or (isinstance(value, str) and not value):
                continue
            if name in self.reserved or name in self.vectors or name in self.words.values():
                raise ValueError(f"{name} is filled in by imgvec")
            if not self.dynamic:
                raise ValueError(f"{name} is not declared, and the definition says dynamic: false")
            if not IDENTIFIER.match(name) or name.lower() in MILVUS_WORDS:
                raise ValueError(f"{name!r} is not a valid field name: use a letter or _, then letters, digits and _")
            dynamic[name] = plain(name, value)
        if dynamic:
            check_size("what no field declares", dynamic)
        return row | dynamic

    @property
    def reserved(self) -> tuple[str, ...]:
        """The names of fields that imgvec fills in, its vectors' aside."""
        return reserved_names(views=self.views is not None, faces=self.has_faces)

    @property
    def of_parts(self) -> bool:
        """Whether rows are parts of pictures."""
        return self.views is not None and not self.has_faces

    @property
    def has_faces(self) -> bool:
        """Whether its rows are the faces in pictures."""
        return self.views is not None and self.views.faces is not None

    def field_problem(self, name: str) -> str | None:
        """Why metadata cannot be stored in a field of this name; None where it can."""
        own = name in self.vectors or name in self.words.values()
        return "filled in by imgvec" if own else field_problem(name, self.reserved)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """What a row has where nothing is given, by field."""
        return {
            name: None if declared.default is None else convert(name, declared, declared.default)
            for name, declared in self.fields.items()
        }


def _check_texts(value: Any, *place: str) -> None:
    """Raise where a text is not Unicode: "\\ud800" is good YAML, and neither JSON nor Milvus takes it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_texts(inner, *place, str(key))
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MisplacedError("is not Unicode text", *place) from None
