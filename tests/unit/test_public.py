from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import imgvec
from imgvec.options import json_model, stated

ROOMS = {path.stem for path in Path(imgvec.__file__).parent.iterdir() if path.suffix in ("", ".py")}
HEAVY = ("torch", "transformers", "pymilvus")


def test_the_public_names() -> None:
    assert imgvec.__all__ == [
        "Answer",
        "AsyncImageCollection",
        "Bridge",
        "BridgeOptions",
        "Bridged",
        "CalibrateOptions",
        "Calibration",
        "CallableEncoder",
        "ClusterOptions",
        "Crop",
        "Definition",
        "Deleted",
        "Duplicates",
        "DuplicatesOptions",
        "EnrolOptions",
        "EvaluateOptions",
        "Explanation",
        "ExportOptions",
        "FaceEncoder",
        "Hit",
        "Hybrid",
        "HybridAnswer",
        "IdentifyOptions",
        "ImageBytes",
        "ImageCollection",
        "ImageFile",
        "ImgvecError",
        "ImportOptions",
        "IngestOptions",
        "IngestReport",
        "Like",
        "LoadOptions",
        "NameOptions",
        "PageOptions",
        "Pages",
        "Part",
        "Pixels",
        "PlanOptions",
        "Progress",
        "RecommendOptions",
        "Recommendation",
        "ReembedOptions",
        "Reembedding",
        "SearchOptions",
        "Settings",
        "Source",
        "SourceOptions",
        "StoredId",
        "SucceedOptions",
        "Text",
        "TuneOptions",
        "VectorQuery",
        "Verdict",
        "VerifyFacesOptions",
        "VerifyOptions",
        "WatchOptions",
        "Words",
        "__version__",
        "apply_tuning",
        "bridge_reembedding",
        "bridged_copy",
        "build_index",
        "calibrate",
        "cluster_faces",
        "compare",
        "compare_indexes",
        "contact_sheet",
        "create_for_vectors",
        "delete_duplicates",
        "drop_alias",
        "duplicates",
        "dynamic",
        "enrol_person",
        "enrolled_people",
        "errors",
        "evaluate",
        "explain",
        "export_vectors",
        "field",
        "finish_reembedding",
        "fit_bridge",
        "fit_projection",
        "forget_person",
        "identify_faces",
        "import_vectors",
        "index_status",
        "load",
        "name_faces",
        "plan_index",
        "projected_copy",
        "recommend",
        "reembed",
        "refine",
        "release",
        "rename",
        "rollback_reembedding",
        "scratch_copy",
        "set_alias",
        "set_search_defaults",
        "tune",
        "verify",
        "verify_faces",
        "watch_index",
    ]
    for name in imgvec.__all__:
        assert getattr(imgvec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        imgvec.nothing  # noqa: B018


def test_the_options_of_every_work_are_stated_with_words_and_have_a_form_in_json() -> None:
    kinds = [getattr(imgvec, name) for name in imgvec.__all__ if name.endswith("Options")]
    assert len(kinds) > 4
    for kind in kinds:
        assert all(one.option.help for one in stated(kind).values()), kind
        assert json_model(kind).model_json_schema()["additionalProperties"] is False


def test_no_public_name_is_a_modules() -> None:
    """Importing `imgvec.evaluate` would put the module in the function's place."""
    assert {*imgvec.__all__} & ROOMS == {"errors"}  # which is the module


def test_every_room_stands_on_the_map() -> None:
    shown = (imgvec.__doc__ or "").split("The rooms")[1]
    packages = {path.name for path in Path(imgvec.__file__).parent.iterdir() if (path / "__init__.py").is_file()}
    assert len(packages) > 9
    for name in packages:
        assert f"{name}/" in shown, name


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
