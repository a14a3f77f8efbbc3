"""What a collection is: its fields, encoder, vector and index, read from a YAML file and checked.

    about: Family photos.
    encoder: {model: facebook/dinov2-small, fallback: "pypi:dinov2-small-11"}
    fields:
      album: {type: VARCHAR, max_length: 256, default: "", index: AUTO}
    index:
      cpu: {type: HNSW, params: {M: 16, efConstruction: 200}, search: {ef: 64}}

A definition is frozen; unknown keys are refused, with the place in the file. Those shipped with imgvec are named
without a path: `Definition.load("photos")`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from imgvec import catalog
from imgvec.catalog import IndexType
from imgvec.errors import DefinitionError
from imgvec.fields import FieldSection, Section, check_size, convert, is_missing
from imgvec.filters.fields import FUNCTIONS, KEYWORDS
from imgvec.rows import RESERVED_NAMES
from imgvec.values import is_absent, plain

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
# Words of Milvus's expression grammar, without which a field could not be filtered, and names that its storage takes.
_MILVUS_WORDS = KEYWORDS | FUNCTIONS | {"rowid", "timestamp"}

_MAX_NODES = 100_000
"""Values in a definition: those shipped have below 100."""

ConsistencyLevel = Literal["Strong", "Session", "Bounded", "Eventually"]


class EncoderSection(Section):
    """Which encoder makes the vectors; what is left out follows the model family's convention."""

    model: str = Field(min_length=1)
    revision: str | None = None
    fallback: str | None = None
    """Taken when a collection is created and `model` cannot be reached."""
    layer: int | None = None
    pooling: Literal["cls", "mean", "pooler", "features"] | None = None
    image_size: int | None = Field(default=None, ge=16, le=4096)
    projection: str | None = None


class ImagesSection(Section):
    """How pictures are read, rows' and queries' alike."""

    sixteen_bit: Literal["auto", "full"] | Annotated[int, Field(ge=8, le=16)] = "auto"
    """Channels of 16 bits to 8: `auto` by the bits that each picture's values use (the least of 8, 10, 12, 14 and 16
    that holds the largest), `full` by the high byte, a number by so many bits."""

    @field_validator("sixteen_bit", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value in ("auto", "full") or (type(value) is int and 8 <= value <= 16):
            return value
        raise ValueError(f"{value!r} is not auto, full, or a number of bits from 8 to 16")


class VectorSection(Section):
    type: Literal["FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR", "INT8_VECTOR"] = "FLOAT_VECTOR"
    metric_type: Literal["COSINE", "IP", "L2"] = "COSINE"


class IndexSection(Section):
    """One vector index: its type, how it is built, and how it is searched unless a search says otherwise."""

    type: str
    params: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return catalog.index_type(value).name
        except DefinitionError as exc:
            raise ValueError(exc.problem) from exc

    @property
    def kind(self) -> IndexType:
        return catalog.INDEX_TYPES[self.type]


class IndexChoice(Section):
    """The index for a backend without a GPU, and the one for a backend with."""

    cpu: IndexSection = IndexSection(type="HNSW", params={"M": 16, "efConstruction": 200}, search={"ef": 64})
    gpu: IndexSection | None = None


class Definition(Section):
    """What a Milvus collection of images is."""

    about: str = ""
    encoder: EncoderSection
    fields: dict[str, FieldSection] = Field(default_factory=dict)
    dynamic: bool = True
    """Keep metadata that no field declares in Milvus's dynamic field; where false, it is refused."""
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
            if not _IDENTIFIER.match(name):
                raise _MisplacedError("a field's name is a letter or _ and then letters, digits and _", "fields", name)
            if name.lower() in RESERVED_NAMES:
                raise _MisplacedError(f"is reserved: every collection has {', '.join(RESERVED_NAMES)}", "fields", name)
            if name.lower() in _MILVUS_WORDS:
                raise _MisplacedError("is a word of Milvus's own", "fields", name)
        if self.partition_key is not None:
            key = self.fields.get(self.partition_key)
            if key is None or key.type not in ("VARCHAR", "INT64") or key.nullable:
                raise _MisplacedError("names a declared VARCHAR or INT64 field that is not nullable", "partition_key")
        elif self.num_partitions is not None:
            raise _MisplacedError("belongs to a partition_key", "num_partitions")
        for device, section in (("cpu", self.index.cpu), ("gpu", self.index.gpu)):
            if section is not None:
                self._check_vector_index(device, section)
        for name, declared in self.fields.items():
            if declared.default is not None:
                try:
                    default = convert(name, declared, declared.default)
                except ValueError as exc:
                    raise _MisplacedError(str(exc), "fields", name, "default") from exc
                # as it will be stored: a YAML date has no place in the description, which is JSON
                self.fields[name] = declared.model_copy(update={"default": default})
        _check_texts(self.model_dump())
        return self

    def _check_vector_index(self, device: str, section: IndexSection) -> None:
        kind = section.kind
        if (kind.device == "gpu") != (device == "gpu"):
            raise _MisplacedError(f"{kind.name} is a {kind.device.upper()} index", "index", device, "type")
        if self.vector.type not in kind.vector_types:
            takes = ", ".join(kind.vector_types)
            raise _MisplacedError(f"{kind.name} takes {takes}, not {self.vector.type}", "index", device, "type")
        if self.vector.metric_type not in kind.metrics:
            takes = ", ".join(kind.metrics)
            raise _MisplacedError(f"{kind.name} takes {takes}, not {self.vector.metric_type}", "index", device, "type")
        try:
            kind.check_build(section.params)
            kind.check_search(section.search)
        except DefinitionError as exc:
            raise _MisplacedError(exc.problem, "index", device, *exc.where.split(".")) from exc

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any] | Definition) -> Definition:
        """A definition from a YAML file, the name of a bundled one, or a mapping; raises `DefinitionError`."""
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
                f"no such file, and no bundled definition of that name (bundled: {', '.join(bundled())})", source=name
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise DefinitionError(f"cannot be read: {exc}", source=name) from exc
        data, lines = _read_yaml(text, name)
        return cls._parse(data, name, lines)

    @classmethod
    def _parse(cls, data: Any, source: str, lines: Mapping[tuple[str, ...], int]) -> Definition:
        try:
            return cls.model_validate(data)
        except RecursionError:
            raise DefinitionError("is nested too deeply", source=source) from None
        except ValidationError as exc:
            problems = [_describe(error) for error in exc.errors()]
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
                raise ValueError(f"{name} is missing, and the definition requires it")
            else:
                row[name] = self._defaults[name]
        dynamic: dict[str, Any] = {}
        for name, value in metadata.items():
            if name in self.fields or is_absent(value) or (isinstance(value, str) and not value):
                continue
            if name in RESERVED_NAMES:
                raise ValueError(f"{name} is a field that imgvec fills in")
            if not self.dynamic:
                raise ValueError(f"{name} is not declared, and the definition has dynamic: false")
            if not _IDENTIFIER.match(name) or name.lower() in _MILVUS_WORDS:
                raise ValueError(f"{name!r} cannot be a field's name: a letter or _, then letters, digits and _")
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


def field_problem(name: str) -> str | None:
    """Why metadata cannot be stored in a field of this name; None where it can."""
    if name in RESERVED_NAMES:
        return "imgvec fills it in"
    if not _IDENTIFIER.match(name):
        return "a field's name is a letter or _, then letters, digits and _"
    return "a word of Milvus's own" if name.lower() in _MILVUS_WORDS else None


def _check_texts(value: Any, *place: str) -> None:
    """Raise where a text is not Unicode: "\\ud800" is good YAML, and neither JSON nor Milvus takes it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_texts(inner, *place, str(key))
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _MisplacedError("is not Unicode text", *place) from None


class _MisplacedError(ValueError):
    """A problem that belongs to a place deeper than the model whose validator found it."""

    def __init__(self, problem: str, *place: str) -> None:
        self.place = place
        super().__init__(problem)


def _describe(error: Any) -> tuple[tuple[str, ...], str]:
    place = tuple(str(part) for part in error["loc"])
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, _MisplacedError):
        place += cause.place
    if error["type"] == "extra_forbidden":
        return place, "unknown key"
    return place, str(cause) if isinstance(cause, ValueError) else error["msg"]


class _Loader(yaml.SafeLoader):
    """Says by a YAMLError, and where, what PyYAML's constructors raise for the thirtieth of February."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as exc:
            problem = f"{str(node.value)[:50]!r} is not what YAML takes it for ({exc}); is it a text? Then quote it"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from exc


def _read_yaml(text: str, source: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """The data, and the line of every key in it; a key given twice is refused, where PyYAML keeps the last."""
    lines: dict[tuple[str, ...], int] = {}
    seen = 0

    def walk(node: yaml.Node, path: tuple[str, ...]) -> None:
        nonlocal seen
        seen += 1
        if seen > _MAX_NODES:  # ten lines of aliases can stand for a billion
            raise DefinitionError(f"holds more than {_MAX_NODES:,} values, aliases written out", source=source)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                place = (*path, str(key.value))
                line = key.start_mark.line + 1
                if place in lines:
                    raise DefinitionError("given twice", where=".".join(place), source=source, line=line)
                lines[place] = line
                walk(value, place)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                walk(value, (*path, str(position)))

    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is None:
            raise DefinitionError("is empty", source=source)
        walk(tree, ())
        return yaml.load(text, Loader=_Loader), lines  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise DefinitionError("is nested too deeply, or refers to itself", source=source) from None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark else None
        raise DefinitionError(f"is not YAML: {getattr(exc, 'problem', exc)}", source=source, line=line) from exc


@cache
def bundled() -> Mapping[str, Path]:
    """The definitions shipped with imgvec, by name."""
    here = Path(__file__).parent
    # in a wheel they lie inside the package; in a checkout (editable install) beside it
    folder = next((f for f in (here / "_collections", here.parent / "collections") if f.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}
