from __future__ import annotations

import pickle
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
        "IngestReport",
        "Like",
        "Pixels",
        "SearchOptions",
        "Settings",
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


def test_every_error_is_an_imgvec_error() -> None:
    classes = [value for value in vars(imgvec.errors).values() if isinstance(value, type)]
    assert len(classes) > 10
    assert all(issubclass(one, imgvec.ImgvecError) for one in classes)
    tree = imgvec.errors.__doc__ or ""
    assert all(one.__name__ in tree for one in classes)


def test_errors_travel_between_processes() -> None:
    errors = imgvec.errors
    failed = pickle.loads(pickle.dumps(errors.WriteFailed("half", written=3, pending=4, code=8, retryable=True)))
    assert (str(failed), failed.written, failed.pending, failed.code, failed.retryable) == ("half", 3, 4, 8, True)
    refused = pickle.loads(pickle.dumps(errors.UnreadableImage("a.jpg", "empty", "0 bytes")))
    assert (refused.uri, refused.reason, refused.detail) == ("a.jpg", "empty", "0 bytes")
    wrong = pickle.loads(pickle.dumps(errors.DefinitionError("no", where="index.cpu", source="a.yaml", line=3)))
    assert (str(wrong), wrong.problem, wrong.line) == ("a.yaml:3: index.cpu: no", "no", 3)
