"""The examples of the adapters, run as they stand, with the pretrained encoder."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.weights
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "package"), [("langchain_images", "langchain_core"), ("llamaindex_images", "llama_index.core")]
)
def test_an_example(
    name: str,
    package: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(package)
    query = tmp_path / "query.jpg"
    query.write_bytes((pictures / "album0" / "04.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, str(pictures / "album0"), str(query)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Most like the picture:"
    assert len([line for line in said if line.startswith("  ")]) == 3
    assert said[1].split()[:2] == ["1.000", "04.jpg"]
    if name == "langchain_images":
        assert said[4].startswith("Like it, and unlike each other: 04.jpg ")


def test_there_are_no_other_examples() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == ["langchain_images", "llamaindex_images"]
