"""imgvec: the image search layer for Milvus.

    from imgvec import ImageCollection, field

    photos = ImageCollection.create("photos", definition="photos")  # in ./imgvec.db, or at uri=…
    photos.ingest("~/Pictures")
    answer = photos.search("query.jpg", where=field("width") >= 800)

Operations on rows are methods of the collection; everything else is a function: `imgvec.tune(photos, recall=0.95)`.
Names are loaded on first use: `import imgvec` imports neither torch nor pymilvus.

The rooms, from the top down; imports point down, and tests/unit/test_layering.py has the full table:

    cli/           the command: one file a command; parses, calls, prints
    adapters/      other programs' interfaces, leaves over the public names: LangChain, LlamaIndex, MCP
    serving/       collections over HTTP: imgvec serve
    verbs/         tune, verify, evaluate, import_vectors, …: what is done to a collection as a whole
    aio.py         AsyncImageCollection: reads that are awaited;  awaiting.py, abandoned.py  how, and how they end
    collection.py  ImageCollection: rows in, hits out;  searchable.py  the part of it that takes queries
    opening.py, filling.py  what making, ingest and prune do
    forgetting.py  from where what forgets people takes its notes
    kept.py        the projections that a collection keeps in Milvus;  succession.py  which one it was made of
    noted.py       what its standing probes are, and what is noted of them;  noting.py, rotating.py  writes and ingests
    handle.py      what it holds: the target of its name, which follows an alias;  target.py  one opened collection
    curation/      duplicates: found, grouped, shown, deleted
    quality/       how good the hits are, by labels, and what scores are worth (calibration)
    explanation/   which parts of two pictures are alike
    faces/         faces in pictures, and whose they are
    migration/     the same pictures in a new collection, of another encoder
    exchange/      vectors in and out: NumPy, Parquet, Faiss, Annoy
    engines/       where an ingest runs: here, or on a Ray cluster
    ingest/        the pipeline: read, look up, decode, encode, write, report
    search/        forms, requests and answers
    sources/       where images live, one kind a file;  images/  bytes to upright RGB
    encoders/      pixels and texts to vectors, a registry of kinds: the room of torch and transformers
    indexes/       plan, verify, tune and compare indexes, and exact search to hold them against
    options/       options stated once, for Python, the command and JSON
    milvus/        the only room that imports pymilvus
    store.py       what a store promises: milvus.Store and the tests' fake inherit it
    stored.py      what it holds and gives: vector fields, indexes, rows that were found
    by_vector.py   a store as one of its vectors sees it;  views.py  the pictures whose views its rows are
    catalog/       every index type of Milvus, as data, a family a file
    definition/    what a collection is, from YAML, and what it remembers of that;  filters/  which rows are meant
    dates.py, geometry.py  dates and shapes as people write them
    rows.py, vectors.py, intervals.py, progress.py, errors.py   the floor: every room stands on it, and it on none
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgvec import errors as errors
    from imgvec.aio import AsyncImageCollection
    from imgvec.collection import ImageCollection
    from imgvec.curation import Deleted, Duplicates
    from imgvec.curation.options import DuplicatesOptions
    from imgvec.definition import Definition
    from imgvec.deployment import LoadOptions
    from imgvec.encoders.callables import CallableEncoder
    from imgvec.errors import ImgvecError
    from imgvec.exchange.options import ExportOptions, ImportOptions
    from imgvec.explanation import Explanation
    from imgvec.faces.encoder import FaceEncoder
    from imgvec.faces.options import ClusterOptions, EnrolOptions, IdentifyOptions, NameOptions, VerifyFacesOptions
    from imgvec.filters import dynamic, field
    from imgvec.indexes.options import TuneOptions, VerifyOptions, WatchOptions
    from imgvec.indexes.workload import PlanOptions
    from imgvec.ingest import IngestOptions
    from imgvec.migration import Bridge, Bridged, Reembedding
    from imgvec.migration.bridge import BridgeOptions
    from imgvec.migration.options import ReembedOptions
    from imgvec.progress import Progress
    from imgvec.quality.calibration import Calibration
    from imgvec.quality.options import CalibrateOptions, EvaluateOptions
    from imgvec.report import IngestReport
    from imgvec.search.answer import Answer, Hit, Verdict
    from imgvec.search.forms import Crop, ImageBytes, ImageFile, Like, Pixels, StoredId, Text, VectorQuery
    from imgvec.search.fusing import HybridAnswer
    from imgvec.search.hybrid import Hybrid, Part, Words
    from imgvec.search.pages import Pages
    from imgvec.search.recommending import Recommendation
    from imgvec.search.request import PageOptions, SearchOptions
    from imgvec.search.strategies import RecommendOptions
    from imgvec.settings import Settings
    from imgvec.sources import Source, SourceOptions
    from imgvec.verbs.bridging import bridge_reembedding, bridged_copy, fit_bridge
    from imgvec.verbs.calibration import calibrate
    from imgvec.verbs.curation import contact_sheet, delete_duplicates, duplicates
    from imgvec.verbs.deployment import load, release
    from imgvec.verbs.exchange import create_for_vectors, export_vectors, import_vectors
    from imgvec.verbs.explanation import explain
    from imgvec.verbs.faces import enrol_person, enrolled_people, forget_person, identify_faces, verify_faces
    from imgvec.verbs.fitting import fit_projection
    from imgvec.verbs.index import build_index, index_status, plan_index, scratch_copy, set_search_defaults
    from imgvec.verbs.names import drop_alias, rename, set_alias
    from imgvec.verbs.projecting import projected_copy
    from imgvec.verbs.quality import compare, evaluate
    from imgvec.verbs.recommendation import recommend, refine
    from imgvec.verbs.reembedding import finish_reembedding, reembed, rollback_reembedding
    from imgvec.verbs.stored_faces import cluster_faces, name_faces
    from imgvec.verbs.tuning import apply_tuning, compare_indexes, tune, verify
    from imgvec.verbs.watching import watch_index

__version__ = "0.1.0"

_HOMES = {
    "Answer": "imgvec.search.answer",
    "AsyncImageCollection": "imgvec.aio",
    "Bridge": "imgvec.migration",
    "BridgeOptions": "imgvec.migration.bridge",
    "Bridged": "imgvec.migration",
    "CalibrateOptions": "imgvec.quality.options",
    "Calibration": "imgvec.quality.calibration",
    "CallableEncoder": "imgvec.encoders.callables",
    "ClusterOptions": "imgvec.faces.options",
    "Crop": "imgvec.search.forms",
    "Definition": "imgvec.definition",
    "Deleted": "imgvec.curation",
    "Duplicates": "imgvec.curation",
    "DuplicatesOptions": "imgvec.curation.options",
    "EnrolOptions": "imgvec.faces.options",
    "EvaluateOptions": "imgvec.quality.options",
    "Explanation": "imgvec.explanation",
    "ExportOptions": "imgvec.exchange.options",
    "FaceEncoder": "imgvec.faces.encoder",
    "Hit": "imgvec.search.answer",
    "Hybrid": "imgvec.search.hybrid",
    "HybridAnswer": "imgvec.search.fusing",
    "IdentifyOptions": "imgvec.faces.options",
    "ImageBytes": "imgvec.search.forms",
    "ImageCollection": "imgvec.collection",
    "ImageFile": "imgvec.search.forms",
    "ImgvecError": "imgvec.errors",
    "ImportOptions": "imgvec.exchange.options",
    "IngestOptions": "imgvec.ingest",
    "IngestReport": "imgvec.report",
    "Like": "imgvec.search.forms",
    "LoadOptions": "imgvec.deployment",
    "NameOptions": "imgvec.faces.options",
    "PageOptions": "imgvec.search.request",
    "Pages": "imgvec.search.pages",
    "Part": "imgvec.search.hybrid",
    "Pixels": "imgvec.search.forms",
    "PlanOptions": "imgvec.indexes.workload",
    "Progress": "imgvec.progress",
    "RecommendOptions": "imgvec.search.strategies",
    "Recommendation": "imgvec.search.recommending",
    "ReembedOptions": "imgvec.migration.options",
    "Reembedding": "imgvec.migration",
    "SearchOptions": "imgvec.search.request",
    "Settings": "imgvec.settings",
    "Source": "imgvec.sources",
    "SourceOptions": "imgvec.sources",
    "StoredId": "imgvec.search.forms",
    "SucceedOptions": "imgvec.migration.options",
    "Text": "imgvec.search.forms",
    "TuneOptions": "imgvec.indexes.options",
    "VectorQuery": "imgvec.search.forms",
    "Verdict": "imgvec.search.answer",
    "VerifyFacesOptions": "imgvec.faces.options",
    "VerifyOptions": "imgvec.indexes.options",
    "WatchOptions": "imgvec.indexes.options",
    "Words": "imgvec.search.hybrid",
    "apply_tuning": "imgvec.verbs.tuning",
    "bridge_reembedding": "imgvec.verbs.bridging",
    "bridged_copy": "imgvec.verbs.bridging",
    "build_index": "imgvec.verbs.index",
    "calibrate": "imgvec.verbs.calibration",
    "cluster_faces": "imgvec.verbs.stored_faces",
    "compare": "imgvec.verbs.quality",
    "compare_indexes": "imgvec.verbs.tuning",
    "contact_sheet": "imgvec.verbs.curation",
    "create_for_vectors": "imgvec.verbs.exchange",
    "delete_duplicates": "imgvec.verbs.curation",
    "drop_alias": "imgvec.verbs.names",
    "duplicates": "imgvec.verbs.curation",
    "dynamic": "imgvec.filters",
    "enrol_person": "imgvec.verbs.faces",
    "enrolled_people": "imgvec.verbs.faces",
    "errors": "imgvec",
    "evaluate": "imgvec.verbs.quality",
    "explain": "imgvec.verbs.explanation",
    "export_vectors": "imgvec.verbs.exchange",
    "field": "imgvec.filters",
    "finish_reembedding": "imgvec.verbs.reembedding",
    "fit_bridge": "imgvec.verbs.bridging",
    "fit_projection": "imgvec.verbs.fitting",
    "forget_person": "imgvec.verbs.faces",
    "identify_faces": "imgvec.verbs.faces",
    "import_vectors": "imgvec.verbs.exchange",
    "index_status": "imgvec.verbs.index",
    "load": "imgvec.verbs.deployment",
    "name_faces": "imgvec.verbs.stored_faces",
    "plan_index": "imgvec.verbs.index",
    "projected_copy": "imgvec.verbs.projecting",
    "recommend": "imgvec.verbs.recommendation",
    "reembed": "imgvec.verbs.reembedding",
    "refine": "imgvec.verbs.recommendation",
    "release": "imgvec.verbs.deployment",
    "rename": "imgvec.verbs.names",
    "rollback_reembedding": "imgvec.verbs.reembedding",
    "scratch_copy": "imgvec.verbs.index",
    "set_alias": "imgvec.verbs.names",
    "set_search_defaults": "imgvec.verbs.index",
    "tune": "imgvec.verbs.tuning",
    "verify": "imgvec.verbs.tuning",
    "verify_faces": "imgvec.verbs.faces",
    "watch_index": "imgvec.verbs.watching",
}

__all__ = [
    "Answer", "AsyncImageCollection", "Bridge", "BridgeOptions", "Bridged", "CalibrateOptions", "Calibration",
    "CallableEncoder", "ClusterOptions", "Crop", "Definition", "Deleted", "Duplicates", "DuplicatesOptions",
    "EnrolOptions", "EvaluateOptions", "Explanation", "ExportOptions", "FaceEncoder", "Hit", "Hybrid",
    "HybridAnswer", "IdentifyOptions", "ImageBytes", "ImageCollection", "ImageFile", "ImgvecError", "ImportOptions",
    "IngestOptions", "IngestReport", "Like", "LoadOptions", "NameOptions", "PageOptions", "Pages", "Part", "Pixels",
    "PlanOptions", "Progress", "RecommendOptions", "Recommendation", "ReembedOptions", "Reembedding",
    "SearchOptions", "Settings", "Source", "SourceOptions", "StoredId", "SucceedOptions", "Text", "TuneOptions",
    "VectorQuery", "Verdict", "VerifyFacesOptions", "VerifyOptions", "WatchOptions", "Words", "__version__",
    "apply_tuning", "bridge_reembedding", "bridged_copy", "build_index", "calibrate", "cluster_faces", "compare",
    "compare_indexes", "contact_sheet", "create_for_vectors", "delete_duplicates", "drop_alias", "duplicates",
    "dynamic", "enrol_person", "enrolled_people", "errors", "evaluate", "explain", "export_vectors", "field",
    "finish_reembedding", "fit_bridge", "fit_projection", "forget_person", "identify_faces", "import_vectors",
    "index_status", "load", "name_faces", "plan_index", "projected_copy", "recommend", "reembed", "refine",
    "release", "rename", "rollback_reembedding", "scratch_copy", "set_alias", "set_search_defaults", "tune",
    "verify", "verify_faces", "watch_index",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgvec' has no attribute {name!r}")
    if name == "errors":
        return importlib.import_module("imgvec.errors")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
