from __future__ import annotations

import subprocess
import sys

import pytest

import imgvec

HEAVY = ("torch", "transformers", "pymilvus")


def test_the_public_names() -> None:
    assert imgvec.__all__ == [
        "Answer",
        "CallableEncoder",
        "Crop",
        "Definition",
        "Hit",
        "ImageBytes",
        "ImageCollection",
        "ImageFile",
        "ImgvecError",
        "IngestOptions",
        "IngestReport",
        "Like",
        "Pixels",
        "SearchOptions",
        "Settings",
        "Source",
        "SourceOptions",
        "StoredId",
        "Text",
        "VectorQuery",
        "__version__",
        "dynamic",
        "errors",
        "field",
    ]
    for name in imgvec.__all__:
        assert getattr(imgvec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        imgvec.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import imgvec",
        "from imgvec.cli import main; main(['--help'], standalone_mode=False)",
        "from imgvec.cli import main; main(['ingest', '--help'], standalone_mode=False)",
        "from imgvec.cli import main; main(['encoders', 'list'], standalone_mode=False)",
        "from imgvec import Definition; Definition.load('photos')",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = f"import sys\n{code}\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


def test_a_command_starts_without_what_the_others_need() -> None:
    for words, loaded in ((["search", "--help"], True), (["--help"], False)):
        check = (
            f"import sys; from imgvec.cli import main; main({words}, standalone_mode=False); "
            "print(sorted(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        for other in ("cli.index", "cli.ingest", "cli.exchange", "sources", "images", "search.forms"):
            assert f"'imgvec.{other}'" not in done.stderr
        assert ("'imgvec.cli.search'" in done.stderr) == loaded
        assert "'numpy'" not in done.stderr
