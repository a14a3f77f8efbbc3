"""Definitions: each makes a collection that remembers it and stores its defaults as meant, or is refused by place."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import FakeEncoder
from fields import declared_fields, json_values, texts
from hypothesis import strategies as st
from meaning import ABSENT, meaning, same
from pictures import picture
from tally import Fuzz, Tally

from imgvec import ImageCollection
from imgvec.definition import Definition, bundled
from imgvec.errors import DefinitionError

NAMES = st.sampled_from(
    [
        "album",
        "a",
        "_",
        "Ünï",
        "9a",
        "a b",
        "a-b",
        "in",
        "Not",
        "exists",
        "id",
        "Vector",
        "URI",
        "RowID",
        "timestamp",
        "",
        "x" * 255,
        "x" * 256,
    ]
) | st.text(max_size=5)
GOOD_NAMES = st.from_regex(r"f[a-z0-9_]{0,8}", fullmatch=True)
INDEXES = [
    {"type": "HNSW", "params": {"M": 16, "efConstruction": 100}, "search": {"ef": 32}},
    {"type": "IVF_FLAT", "params": {"nlist": 16}},
    {"type": "FLAT"},
    {"type": "IVF_SQ8", "params": {"nlist": 64}, "search": {"nprobe": 4}},
    {"type": "AUTOINDEX"},
]


@st.composite
def sound(draw: st.DrawFn) -> dict[str, Any]:
    """A definition of which nothing but its fields is doubtful."""
    data: dict[str, Any] = {
        "encoder": {"model": "fake"},
        "fields": draw(st.dictionaries(GOOD_NAMES, declared_fields(), max_size=5)),
    }
    if draw(st.booleans()):
        data["about"] = draw(st.text(max_size=20))
    if draw(st.booleans()):
        data["dynamic"] = draw(st.booleans())
    if draw(st.booleans()):
        data["index"] = {"cpu": draw(st.sampled_from(INDEXES))}
    if draw(st.booleans()):
        data["consistency_level"] = draw(st.sampled_from(["Strong", "Session", "Bounded", "Eventually"]))
    if draw(st.booleans()):
        data["vector"] = {"metric_type": draw(st.sampled_from(["COSINE", "IP", "L2"]))}
    return data


@st.composite
def doubtful(draw: st.DrawFn) -> Any:
    """A sound one with something put in, taken out or replaced, at any depth."""
    data: Any = copy.deepcopy(draw(sound()))  # what is sampled is shared
    for _ in range(draw(st.integers(1, 3))):
        place = data
        while isinstance(place, dict) and place:
            key = draw(st.sampled_from(sorted(place, key=str)))
            if isinstance(place[key], dict) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            match draw(st.sampled_from(["replace", "add", "remove", "rename"])):
                case "replace":
                    place[key] = draw(json_values)
                case "add":
                    place[draw(NAMES | st.sampled_from(_KEYS))] = draw(json_values | declared_fields())
                case "remove":
                    del place[key]
                case "rename":
                    place[draw(NAMES)] = place.pop(key)
            break
    return data


_KEYS = [
    *Definition.model_fields,
    "type",
    "params",
    "search",
    "max_length",
    "element_type",
    "nullable",
    "index",
    "format",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], None]:
    """A check that a definition becomes a collection, whose one row has what the definition says of absent values."""
    folder = tmp_path_factory.mktemp("definitions")
    uri, image, encoder = str(folder / "lite.db"), folder / "image.png", FakeEncoder()
    picture(1).save(image)
    numbers = count()

    def check(source: Any) -> None:
        name = f"made{next(numbers)}"
        with ImageCollection.create(name, definition=source, uri=uri, encoder=encoder) as collection:
            try:
                _check_reopened(collection, uri)
                _check_defaults(collection, image)
            finally:
                collection.drop()

    return check


def _check_reopened(collection: ImageCollection, uri: str) -> None:
    with ImageCollection.open(collection.name, uri=uri) as opened:
        assert opened.definition == collection.definition
        assert opened.definition.model_dump() == collection.definition.model_dump()


def _check_defaults(collection: ImageCollection, image: Path) -> None:
    required = [name for name, declared in collection.definition.fields.items() if declared.required]
    report = collection.ingest(image)
    assert (report.written, dict(report.refused)) == ((0, {"metadata refused": 1}) if required else (1, {}))
    for row in collection.get([found["id"] for rows in collection.store.scan(["id"]) for found in rows]).values():
        for name, declared in collection.definition.fields.items():
            meant = meaning(declared.model_dump(), declared.default)
            values = [None if value is ABSENT else value for value in meant.values]
            stored = row.get(name)
            assert any(same(stored, value) for value in values), f"{name}: {declared.default!r} stored as {stored!r}"


def _check_place(error: DefinitionError, data: Any) -> None:
    assert error.where or not isinstance(data, dict) or not data, f"no place: {error}"


def _check_file(error: DefinitionError, file: Path) -> None:
    assert str(error).startswith(str(file)), error


def _check_line(error: DefinitionError, data: Any, file: Path) -> None:
    _check_file(error, file)
    _check_place(error, data)
    # what is missing has a line where the section that misses it has one
    assert error.line is not None or not isinstance(data, dict) or "is missing" in str(error), error


def test_a_definition_is_kept_or_refused_by_its_place(fuzz: Fuzz, tally: Tally, made: Callable[[Any], None]) -> None:
    def check(data: Any) -> None:
        with tally.expecting(DefinitionError):
            try:
                made(data)
            except DefinitionError as exc:
                _check_place(exc, data)
                raise

    fuzz(check, sound() | doubtful(), day=60, night=3000)
    assert tally.accepted
    assert tally.refused


def test_a_file_says_what_the_mapping_says(fuzz: Fuzz, tally: Tally, tmp_path: Path) -> None:
    """Or is refused by its line."""
    file = tmp_path / "definition.yaml"

    def check(data: Any) -> None:
        try:
            text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
            unchanged = repr(yaml.safe_load(text)) == repr(data)
        except (yaml.YAMLError, ValueError):
            return  # not a thing that a file can say
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with tally.expecting(DefinitionError):
            try:
                found = Definition.load(file)
            except DefinitionError as exc:
                _check_line(exc, data, file)
                if unchanged:
                    with pytest.raises(DefinitionError):
                        Definition.load(data)
                raise
            if unchanged:
                assert found == Definition.load(data)

    fuzz(check, sound() | doubtful(), day=60, night=5000)


def test_text_that_someone_typed(fuzz: Fuzz, tally: Tally, tmp_path: Path) -> None:
    """The bundled definitions with characters and lines changed, and YAML's own traps."""
    file = tmp_path / "definition.yaml"
    originals = [path.read_text(encoding="utf-8") for path in bundled().values()]

    @st.composite
    def typed(draw: st.DrawFn) -> bytes:
        lines = draw(st.sampled_from(originals)).splitlines(keepends=True)
        chance = draw(st.randoms(use_true_random=False))
        for _ in range(chance.choice([1, 1, 2, 5])):
            _mistype(lines, chance)
        text = "".join(lines)
        return (
            draw(st.sampled_from([text.encode(), text.encode("utf-16"), text.encode("latin-1", "replace")]))
            if chance.random() < 0.1
            else text.encode()
        )

    def check(data: bytes) -> None:
        file.write_bytes(data)
        with tally.expecting(DefinitionError):
            try:
                Definition.load(file)
            except DefinitionError as exc:
                _check_file(exc, file)
                raise

    anything = st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    fuzz(
        check,
        st.one_of(*[typed()] * 8, anything),
        day=150,
        night=10_000,
    )
    assert tally.accepted
    assert tally.refused


_TRAPS = [
    *(
        "<<: *x\n",
        "a: &a [*a]\n",
        "x: &x {y: *x}\n",
        "? [1, 2]\n: 3\n",
        "? {a: b}\n: 3\n",
        "1: 2\n",
        "null: 1\n",
        "~: 1\n",
    ),
    *(
        "!!python/object/apply:os.system [true]\n",
        "x: !!binary aGk\n",
        "x: !!set {a}\n",
        "x: !thing 1\n",
        "---\n",
        "...\n",
        "%YAML 9.9\n",
    ),
    *(
        "about: 2024-06-01\n",
        "about: 0o17\n",
        "about: .nan\n",
        "about: 1e999\n",
        "num_shards: .inf\n",
        "num_shards: 1_6\n",
        "num_shards: 0x1\n",
    ),
    *(
        "about: " + "[" * 3000 + "\n",
        "{" * 2000,
        "- " * 3000 + "\n",
        "about: '" + "x" * 100_000 + "'\n",
        "\t\n",
        "\x00\n",
        "\u2028",
        "\ufeff",
    ),
    "num_shards: " + "9" * 5000 + "\n",
    "about: 12:30:45\n",
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + p] * 8)}]\n" for p, c in pairwise("abcdefghi")),
]


def _mistype(lines: list[str], chance: random.Random) -> None:
    at = chance.randrange(len(lines) + 1)
    match chance.randrange(12):
        case 0:
            lines.insert(at, chance.choice(_TRAPS))
        case 1 if lines:
            del lines[min(at, len(lines) - 1)]
        case 2 if lines:
            lines.insert(at, chance.choice(lines))
        case 3 if lines:
            chance.shuffle(lines)
        case _ if lines:
            index = min(at, len(lines) - 1)
            line = list(lines[index])
            place = chance.randrange(len(line) + 1)
            if chance.random() < 0.5:
                line.insert(place, chance.choice("\t :{}[],&*!|>'\"%@`#-?0x\u00e9\x07\u2028"))
            elif line:
                del line[min(place, len(line) - 1)]
            lines[index] = "".join(line)
