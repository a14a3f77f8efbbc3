"""Imports point one way (DESIGN, rooms): a short walk over the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import imgvec
from imgvec import rows, vectors

PACKAGE = Path(__file__).parents[2] / "imgvec"

FLOOR = {"errors", "home", "intervals", "meant", "nulls", "plurals", "progress", "rows", "vectors"}
"""What every room may import, and what imports nothing of imgvec itself."""

MAY_IMPORT = {
    "__init__": {"*"},  # the lazy public names
    "__main__": {"cli"},
    "verbs": {"by_vector", "catalog", "collection", "curation", "dates", "definition", "deployment", "encoders",
              "engines", "exchange", "explanation", "faces", "filling", "filters", "forgetting", "images", "indexes",
              "ingest", "kept", "migration", "milvus", "noted", "noting", "opening", "options", "quality", "report",
              "retry", "search", "settings", "sources", "store", "stored", "succession", "target"},
    "cli": {"adapters", "catalog", "collection", "curation", "database", "dates", "definition", "demo", "deployment",
            "doctor", "encoders", "engines", "errors", "exchange", "faces", "filters", "images", "indexes", "ingest",
            "migration", "options", "pruning", "quality", "report", "search", "serving", "settings", "sources"},
    # leaves: public names alone; dates, fields, pictures and options as they are shown to others
    "adapters": {*imgvec.__all__, "dates", "filters", "images", "options", "settings"},
    "aio": {"awaiting", "collection", "filters", "opening", "options", "search", "sharing", "sources", "verbs"},
    "sharing": {"awaiting", "collection", "gathering", "search"},
    "serving": {"abandoned", "adapters", "aio", "awaiting", "collection", "curation", "database", "dates", "encoders",
                "exchange", "explanation", "faces", "filling", "images", "ingest", "options", "quality", "search",
                "settings", "sharing", "sources", "verbs"},
    "awaiting": {"abandoned"},
    "gathering": {"abandoned", "awaiting"},
    "abandoned": set(),
    "demo": {"collection", "errors", "filters", "gallery", "images", "report", "search", "settings", "sources"},
    "doctor": {"collection", "database", "definition", "encoders", "errors", "kept", "milvus", "settings"},
    "gallery": {"errors", "images"},
    "collection": {"definition", "encoders", "errors", "filling", "filters", "handle", "ingest", "milvus", "noting",
                   "opening", "options", "pruning", "report", "search", "searchable", "settings", "sources", "target"},
    "searchable": {"filling", "handle", "milvus", "options", "search", "settings", "sources"},
    "handle": {"definition", "encoders", "kept", "milvus", "search", "settings", "succession", "target"},
    "target": {"definition", "encoders", "filters", "images", "ingest", "kept", "loading", "milvus", "noting",
               "quality", "search", "settings"},
    "filling": {"collection", "database", "definition", "encoders", "engines", "faces", "filters", "forgetting",
                "images", "ingest", "kept", "loading", "milvus", "opening", "options", "pruning", "report", "rotating",
                "settings", "sources", "store", "stored"},
    "forgetting": {"faces", "milvus", "target"},
    "opening": {"database", "definition", "encoders", "faces", "kept", "loading", "milvus", "noting", "options",
                "settings"},
    "kept": {"definition", "encoders", "errors", "milvus"},
    "noted": {"errors", "filters", "indexes", "milvus"},
    "noting": {"errors", "indexes", "milvus", "noted", "store"},
    "rotating": {"by_vector", "errors", "indexes", "milvus", "noted", "noting", "report", "store", "target"},
    "loading": {"definition", "encoders", "errors", "settings"},
    "deployment": {"definition", "options"},
    "pruning": {"filters", "options", "sources"},
    "database": {"definition", "encoders", "errors", "milvus", "settings"},
    "quality": {"by_vector", "definition", "errors", "filters", "images", "indexes", "milvus", "options", "search",
                "store", "stored", "views"},
    "faces": {"encoders", "errors", "filters", "ingest", "options", "search", "store", "stored"},
    "curation": {"dates", "errors", "filters", "images", "options", "store", "stored", "views"},
    "explanation": {"encoders", "images"},
    "exchange": {"dates", "definition", "encoders", "errors", "filters", "images", "options", "retry", "sources",
                 "store", "stored"},
    "migration": {"errors", "ingest", "options", "quality", "report", "sources", "store", "stored"},
    "succession": {"abandoned", "errors", "milvus"},
    "engines": {"encoders", "errors", "images", "ingest", "options", "report", "sources", "store", "stored"},
    "ingest": {"encoders", "errors", "images", "options", "report", "retry", "sources", "store", "stored", "threads",
               "workers"},
    "report": set(),
    "workers": set(),
    "retry": {"errors"},
    "search": {"dates", "encoders", "errors", "filters", "images", "options", "sources", "store", "stored", "views"},
    "milvus": {"abandoned", "catalog", "dates", "definition", "errors", "filters", "geometry", "retry", "store",
               "stored"},
    "definition": {"catalog", "dates", "encoders", "errors", "filters", "geometry"},
    "dates": set(),
    "geometry": set(),
    "encoders": {"abandoned", "errors", "forked", "options"},
    "forked": set(),
    "sources": {"errors", "images", "options"},
    "images": {"errors", "formats"},
    "formats": set(),
    "filters": {"dates", "errors", "geometry"},
    "indexes": {"catalog", "filters", "forked", "options", "store", "stored", "views"},
    "catalog": set(),
    "by_vector": {"filters", "store", "stored"},
    "views": {"store", "stored"},
    "store": {"filters", "stored"},
    "stored": {"errors"},
    "threads": set(),
    "settings": {"errors", "formats"},
    "options": {"errors"},
}  # fmt: skip
# ingest and search know the encoder's protocol, and only when types are checked; it is passed in. A definition's room
# makes bindings, which are part of the protocol, of what a collection remembers
ONLY_THE_PROTOCOL = {"ingest", "search", "definition", "engines", "exchange", "explanation"}

FOREIGN = {
    "transformers": {"encoders"},
    "torch": {"encoders", "forked", "indexes"},
    "onnx": {"encoders"},
    "onnxruntime": {"encoders"},
    "timm": {"encoders"},
    "open_clip": {"encoders"},
    "keras": {"encoders"},
    "pymilvus": {"milvus"},
    "ray": {"engines"},
    "faiss": {"exchange"},
    "annoy": {"exchange"},
    "cv2": {"curation"},
    "matplotlib": {"indexes"},
    "milvus_lite": {"milvus"},
    "click": {"cli"},
    "langchain_core": {"adapters"},
    "llama_index": {"adapters"},
    "mcp": {"adapters", "serving"},
    "mcp_types": {"adapters"},
    "fastapi": {"serving"},
    "starlette": {"serving"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "rich": {"cli"},
    "PIL": {"adapters", "explanation", "faces", "images", "encoders", "search", "ingest"},
    "dlib": {"faces"},
    "pi_heif": {"images"},
    "pillow_jxl": {"images"},
    "rawpy": {"images"},
    "brotli": {"images"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "imgvec":
                found |= {f"imgvec.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    allowed = set() if own in FLOOR else MAY_IMPORT[own] | FLOOR
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "imgvec" and rest:
            other = rest.split(".")[0]
            assert other == own or other in allowed or "*" in allowed or name == "imgvec.__version__", (
                f"{own} imports {name}"
            )
            if own in ONLY_THE_PROTOCOL and other == "encoders":
                assert name == "imgvec.encoders.protocol"
        elif top in FOREIGN:
            assert own in FOREIGN[top], f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_truth_stands_in_one_place(path: Path) -> None:
    """What a row and a vector are: no module has limits, tolerances or an alias of its own."""
    others = {"WIDTH", "HEIGHT", "KEY", "NOTE", "URI"}  # tags of TIFF, and other words that mean other things elsewhere
    once = {"rows": vars(rows), "vectors": vars(vectors)}
    shared = {
        name
        for home, names in once.items()
        for name in names
        if home != room(path) and name[0].isupper() and name not in others
    }
    made = {
        target.id.lstrip("_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    assert not made & shared


def test_no_room_has_a_name_that_says_nothing() -> None:
    nothing = {"utils.py", "helpers.py", "common.py", "base.py"}
    assert not [path for path in MODULES if path.name in nothing]
