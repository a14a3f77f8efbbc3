"""The definition as a whole: read from a file or a mapping, checked, and the row that it makes of metadata."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from imgvec.definition.conversion import check_size, convert, is_missing
from imgvec.definition.field_names import IDENTIFIER, MILVUS_WORDS
from imgvec.definition.fields import FieldSection
from imgvec.definition.problems import MisplacedError, describe
from imgvec.definition.sections import EncoderSection, ImagesSection, IndexChoice, IndexSection, Section, VectorSection
from imgvec.definition.shipped import bundled
from imgvec.definition.values import is_absent, plain
from imgvec.definition.yaml_lines import read_yaml
from imgvec.errors import DefinitionError
from imgvec.rows import RESERVED_NAMES

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
    index: IndexChoice = IndexChoice()
    partition_key: str | None = None
    num_partitions: int | None = Field(default=None, ge=1, le=1024)
    num_shards: int = Field(default=1, ge=1, le=16)
    consistency_level: ConsistencyLevel = "Bounded"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.fields:
            if not IDENTIFIER.match(name):
                raise MisplacedError("a field name is a letter or _, then letters, digits and _", "fields", name)
            if name.lower() in RESERVED_NAMES:
                raise MisplacedError(f"is reserved: every collection has {', '.join(RESERVED_NAMES)}", "fields", name)
            if name.lower() in MILVUS_WORDS:
                raise MisplacedError("is a reserved word in Milvus", "fields", name)
        if self.partition_key is not None:
            key = self.fields.get(self.partition_key)
            if key is None or key.type not in ("VARCHAR", "INT64") or key.nullable:
                raise MisplacedError("must be a declared VARCHAR or INT64 field that is not nullable", "partition_key")
        elif self.num_partitions is not None:
            raise MisplacedError("needs a partition_key", "num_partitions")
        for device, section in (("cpu", self.index.cpu), ("gpu", self.index.gpu)):
            if section is not None:
                self._check_vector_index(device, section)
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

    def _check_vector_index(self, device: str, section: IndexSection) -> None:
        kind = section.kind
        if (kind.device == "gpu") != (device == "gpu"):
            raise MisplacedError(f"{kind.name} is a {kind.device.upper()} index", "index", device, "type")
        if self.vector.type not in kind.vector_types:
            takes = ", ".join(kind.vector_types)
            raise MisplacedError(f"{kind.name} takes {takes}, not {self.vector.type}", "index", device, "type")
        if self.vector.metric_type not in kind.metrics:
            takes = ", ".join(kind.metrics)
            raise MisplacedError(f"{kind.name} takes {takes}, not {self.vector.metric_type}", "index", device, "type")
        try:
            kind.check_build(section.params)
            kind.check_search(section.search)
        except DefinitionError as exc:
            raise MisplacedError(exc.problem, "index", device, *exc.where.split(".")) from exc

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Definition) -> Definition:
        """Load a definition from a YAML file, the name of a bundled one, or a mapping; raises `DefinitionError`."""
        if isinstance(source, Definition):
            return source
        if isinstance(source, Mapping):
            return cls._parse(dict(source), "", {})
        path = Path(source).expanduser()
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
            problems = [describe(error) for error in exc.errors()]
        place, problem = problems[0]
        if len(problems) > 1:
            problem += "; also " + "; ".join(f"{'.'.join(p)}: {q}" for p, q in problems[1:])
        line = next((lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in lines), None)
        where = ".".join(part or "''" for part in place)
        raise DefinitionError(problem, where=where, source=source, line=line)

    def row_fields(
        self, metadata: Mapping[str, Any], *, taken_at: int | None = None, only_given: bool = False
    ) -> dict[str, Any]:
        """Metadata as a row's declared and dynamic fields, converted to their types.

        Text is accepted for every type, since CSV has nothing else; an empty text is an absent value except for a
        VARCHAR, and so is what a data frame calls missing. `taken_at` is the picture's own, for what the metadata does
        not give; `only_given` leaves out what only a default or the picture would fill. Raises `ValueError`, in words
        for the person who wrote the metadata.
        """
        row: dict[str, Any] = {}
        for name, declared in self.fields.items():
            value = metadata.get(name)
            if not is_missing(declared, value):
                row[name] = convert(name, declared, value)
            elif only_given:
                continue
            elif declared.from_image == "taken_at" and taken_at is not None:
                row[name] = taken_at
            elif declared.required:
                raise ValueError(f"{name} is missing, but the definition requires it")
            else:
                row[name] = self._defaults[name]
        dynamic: dict[str, Any] = {}
        for name, value in metadata.items():
            if name in self.fields or is_absent(value) or (isinstance(value, str) and not value):
                continue
            if name in RESERVED_NAMES:
                raise ValueError(f"{name} is filled in by imgvec")
            if not self.dynamic:
                raise ValueError(f"{name} is not declared, and the definition says dynamic: false")
            if not IDENTIFIER.match(name) or name.lower() in MILVUS_WORDS:
                raise ValueError(f"{name!r} is not a valid field name: use a letter or _, then letters, digits and _")
            dynamic[name] = plain(name, value)
        if dynamic:
            check_size("what no field declares", dynamic)
        return row | dynamic

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
