"""The options of `imgvec ingest` that say what a source's columns mean, and which part of it is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes import FakeEncoder
from pictures import picture

from imgvec import ImageCollection
from imgvec.cli import main

DEFINITION = """\
about: Options.
encoder: {model: fake}
fields:
  album: {type: VARCHAR, max_length: 64, default: ""}
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten pictures, their manifest, and an encoder that needs no weights."""
    (tmp_path / "options.yaml").write_text(DEFINITION)
    rows = ["where,sku,shelf"]
    for n in range(10):
        picture(n).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,sku-{n},shelf{n % 2}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    create = ImageCollection.create.__func__  # type: ignore[attr-defined]

    def with_fake(cls: type[ImageCollection], name: str, **options: object) -> ImageCollection:
        return create(cls, name, **{**options, "encoder": FakeEncoder()})  # type: ignore[no-any-return]

    monkeypatch.setattr(ImageCollection, "create", classmethod(with_fake))
    return tmp_path / "m.csv"


def ingest(manifest: Path, *options: str, name: str = "options") -> Result:
    folder = manifest.parent
    common = ["--uri", str(folder / "lite.db"), "ingest", str(manifest), "-c", name, "-o", "json"]
    return CliRunner().invoke(main, [*common, "--definition", str(folder / "options.yaml"), *options])


def test_columns(manifest: Path) -> None:
    result = ingest(manifest, "--uri-column", "where", "--id-column", "sku", "--map", "shelf=album")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["written"] == 10
    with ImageCollection.open("options", uri=str(manifest.parent / "lite.db"), encoder=FakeEncoder()) as collection:
        row = collection.get(["sku-3"])["sku-3"]
        assert (row["album"], row["uri"]) == ("shelf1", str(manifest.parent / "3.png"))
        assert "shelf" not in row


def test_parts(manifest: Path) -> None:
    columns = ["--uri-column", "where", "--map", "shelf=album"]
    written = []
    for rank in ("0", "1", "2"):
        result = ingest(manifest, *columns, "--rank", rank, "--of", "3")
        assert result.exit_code == 0, result.output
        written.append(json.loads(result.stdout)["seen"])
    assert sum(written) == 10
    assert max(written) < 10
    assert json.loads(ingest(manifest, *columns).stdout)["unchanged"] == 10


@pytest.mark.parametrize(
    "options",
    [
        ["--rank", "0"],
        ["--of", "2"],
        ["--rank", "2", "--of", "2"],
        ["--rank", "-1", "--of", "2"],
        ["--rank", "0", "--of", "0"],
        ["--rank", "0", "--of", "2", "--prune", "--yes"],
        ["--map", "shelf"],
        ["--map", "=album"],
        ["--map", "shelf="],
    ],
)
def test_usage(manifest: Path, options: list[str]) -> None:
    result = ingest(manifest, *options)
    assert result.exit_code == 2, result.output
    assert not (manifest.parent / "lite.db").exists()


def test_a_source_that_breaks_off_says_so(manifest: Path) -> None:
    with manifest.open("a") as file:
        file.write('\n1,"' + "x\n" * 9_000_000)
    result = ingest(manifest, "--uri-column", "where", "--map", "shelf=album")
    assert result.exit_code == 1
    assert "m.csv:12: not valid CSV" in result.stderr
    with ImageCollection.open("options", uri=str(manifest.parent / "lite.db"), encoder=FakeEncoder()) as collection:
        assert collection.count() == 10
