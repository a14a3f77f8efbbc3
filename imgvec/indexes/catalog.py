"""Every Milvus index type, as frozen data: the one place that definitions, command help and errors derive from.

Ranges and defaults are those of zilliztech/knowhere (August 2026) where the code and the Milvus documentation (2.6)
disagree. Memory formulas are the documentation's, checked against a server's process where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from imgvec.errors import DefinitionError

Version = tuple[int, ...]
ParameterValue = int | float | bool | str

MAX_DIM = 32_768
MAX_LIMIT = 16_384
"""Milvus's bound on `limit`, on `offset + limit`, and on the queries in one call."""

FLOAT_METRICS = ("COSINE", "IP", "L2")
BINARY_METRICS = ("HAMMING", "JACCARD")

#: Bytes an element of each vector type takes, and the first Milvus version that has it.
VECTOR_TYPES: Mapping[str, tuple[float, Version]] = MappingProxyType(
    {
        "FLOAT_VECTOR": (4, (2, 0)),
        "FLOAT16_VECTOR": (2, (2, 4)),
        "BFLOAT16_VECTOR": (2, (2, 4)),
        "INT8_VECTOR": (1, (2, 6)),
        "BINARY_VECTOR": (1 / 8, (2, 0)),
    }
)
_FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR", "BFLOAT16_VECTOR")
_FLOATS_AND_INT8 = (*_FLOATS, "INT8_VECTOR")
_GPU_FLOATS = ("FLOAT_VECTOR", "FLOAT16_VECTOR")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One build or search parameter: what values it takes, and what it does."""

    name: str
    meaning: str
    kind: Literal["int", "float", "bool", "choice"] = "int"
    low: float | None = None
    high: float | None = None
    default: ParameterValue | None = None
    choices: tuple[str, ...] = ()
    multiple_of: int | None = None
    at_least_limit: bool = False
    """A search parameter that Milvus wants no smaller than the search's `limit`."""
    required: bool = False
    """Milvus has no default for it."""

    def accepts(self) -> str:
        """What values are accepted, for a person."""
        if self.kind == "bool":
            return "true or false"
        if self.choices:
            return ", ".join(self.choices)
        noun = "an integer" if self.kind == "int" else "a number"
        if self.multiple_of:
            noun = f"a multiple of {self.multiple_of}"
        if self.low is not None and self.high is not None:
            return f"{noun} from {self.low:g} to {self.high:g}"
        return f"{noun} of at least {self.low:g}" if self.low is not None else noun

    def problem(self, value: object) -> str | None:
        """Why `value` is refused, or None where it is accepted."""
        fits = {
            "bool": isinstance(value, bool),
            "choice": isinstance(value, str) and value in self.choices,
            "int": isinstance(value, int) and not isinstance(value, bool),
            "float": isinstance(value, int | float) and not isinstance(value, bool),
        }[self.kind]
        if fits and isinstance(value, int | float) and not isinstance(value, bool):
            fits = (
                (self.low is None or value >= self.low)
                and (self.high is None or value <= self.high)
                and not (self.multiple_of and value % self.multiple_of)
            )
        return None if fits else f"{self.name} = {value!r} is refused: give {self.accepts()}"


Memory = Callable[[int, int, float, Mapping[str, Any]], float]
"""(rows, dim, bytes an element, build parameters) to bytes, without a raw column kept beside it."""


@dataclass(frozen=True, slots=True)
class IndexType:
    """One vector index type of Milvus."""

    name: str
    about: str
    device: Literal["cpu", "gpu", "disk"]
    family: Literal["exact", "ivf", "graph", "auto"]
    since: Version
    vector_types: tuple[str, ...]
    metrics: tuple[str, ...]
    memory: Memory
    memory_source: str
    build: tuple[Parameter, ...] = ()
    search: tuple[Parameter, ...] = ()
    max_limit: int = MAX_LIMIT
    cannot: tuple[str, ...] = ()
    """Of `range search`, `group-by`, `iterators`, `mmap`."""
    needs: str = ""
    """What else a server must have: a processor feature, a setting."""
    lite: bool = False
    """Milvus Lite 3.2.2 builds it; it accepts every other name too, and then searches by brute force."""

    def defaults(self, which: Literal["build", "search"]) -> dict[str, ParameterValue]:
        return {p.name: p.default for p in getattr(self, which) if p.default is not None}

    def check_build(self, params: Mapping[str, Any], *, dim: int | None = None) -> None:
        """Refuse build parameters that Milvus would refuse, or silently ignore.

        `dim` adds the checks that depend on it, where it is known. Raises `DefinitionError` whose `where` is
        `params.NAME`.
        """
        _check(self, "build", self.build, params)
        for parameter in self.build:
            if parameter.required and parameter.name not in params:
                raise DefinitionError(
                    f"{self.name} needs {parameter.name}: give {parameter.accepts()}", where=f"params.{parameter.name}"
                )
        pieces = next((p for p in ("m", "sub_dim") if p in params), None)
        if pieces and dim and params[pieces] and dim % params[pieces]:
            raise DefinitionError(
                f"{pieces} = {params[pieces]} does not divide the {dim} dimensions of the vectors: "
                f"give one of {_divisors(dim)}",
                where=f"params.{pieces}",
            )
        if self.name == "GPU_CAGRA":
            values = {**self.defaults("build"), **params}
            if values["graph_degree"] > values["intermediate_graph_degree"]:
                raise DefinitionError(
                    f"graph_degree = {values['graph_degree']} is refused: it is the smaller of the two, "
                    f"intermediate_graph_degree is {values['intermediate_graph_degree']}",
                    where="params.graph_degree",
                )

    def check_search(self, params: Mapping[str, Any], *, limit: int | None = None) -> None:
        """Refuse search parameters that Milvus would refuse; raises `DefinitionError` like `check_build`."""
        _check(self, "search", self.search, params)
        if limit is None:
            return
        if limit > self.max_limit:
            raise DefinitionError(f"limit = {limit} is refused: {self.name} answers at most {self.max_limit}")
        for parameter in self.search:
            value = params.get(parameter.name)
            if parameter.at_least_limit and value is not None and value < limit:
                raise DefinitionError(
                    f"{parameter.name} = {value} is refused: give at least the limit, {limit}",
                    where=f"search.{parameter.name}",
                )

    def search_params(self, params: Mapping[str, Any], *, limit: int) -> dict[str, Any]:
        """The search parameters to send for `limit` hits: `params`, with those bound to the limit raised to it.

        Milvus refuses `ef < limit`; a caller that asks for more hits wants more hits, not an error.
        """
        sent = dict(params)
        for parameter in self.search:
            if parameter.at_least_limit and parameter.name in sent:
                step = parameter.multiple_of or 1
                sent[parameter.name] = max(sent[parameter.name], -(-limit // step) * step)
        return sent


def _check(index: IndexType, where: str, known: tuple[Parameter, ...], given: Mapping[str, Any]) -> None:
    by_name = {p.name: p for p in known}
    place = "params" if where == "build" else "search"
    for name, value in given.items():
        if name not in by_name:
            accepted = ", ".join(by_name) or "none"
            raise DefinitionError(
                f"{name} is no {where} parameter of {index.name} (it has: {accepted})", where=f"{place}.{name}"
            )
        if problem := by_name[name].problem(value):
            raise DefinitionError(problem, where=f"{place}.{name}")


def _divisors(dim: int) -> str:
    found = [str(d) for d in range(1, dim + 1) if dim % d == 0]
    return ", ".join(found if len(found) <= 12 else [*found[:6], "…", *found[-5:]])


NLIST = Parameter("nlist", "clusters the rows are divided into", low=1, high=65_536, default=128)
NPROBE = Parameter("nprobe", "clusters searched", low=1, high=65_536, default=8)
_M = Parameter("M", "links a node has in the graph", low=2, high=2048, default=30)
_EF_CONSTRUCTION = Parameter(
    "efConstruction", "candidates looked at while a node is linked", low=1, high=2**31 - 1, default=360
)
_EF = Parameter("ef", "candidates kept while searching", low=1, high=2**31 - 1, default=64, at_least_limit=True)
_NBITS = Parameter("nbits", "bits a code has", low=1, high=24, default=8)
_REFINE = Parameter("refine", "keep finer vectors to order the candidates again", kind="bool", default=False)
_REFINE_TYPE = Parameter(
    "refine_type", "precision of those finer vectors", kind="choice", choices=("SQ6", "SQ8", "FP16", "BF16", "FP32")
)
_RABITQ_REFINE_TYPE = Parameter(
    "refine_type",
    "precision of those finer vectors",
    kind="choice",
    choices=("SQ6", "SQ8", "FP16", "BF16", "FP32", "FLAT"),
)
_REFINE_K = Parameter(
    "refine_k", "times `limit` candidates ordered again", kind="float", low=1, high=float(MAX_LIMIT), default=1
)
_CACHE_ON_DEVICE = Parameter(
    "cache_dataset_on_device", "keep the raw vectors in GPU memory", kind="bool", default=False
)

_GPU_CANNOT = ("range search", "group-by", "iterators", "mmap")


def _raw(rows: int, dim: int, width: float, _: Mapping[str, Any]) -> float:
    return rows * dim * width


_BITS = MappingProxyType({"SQ4": 4, "SQ4U": 4, "SQ6": 6, "SQ8": 8, "BF16": 16, "FP16": 16, "FP32": 32, "FLAT": 32})


def _refined(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    """What the finer vectors take that `refine` keeps beside the codes; the raw ones where no type is named."""
    if not params.get("refine"):
        return 0
    return float(rows * dim * _BITS.get(str(params.get("refine_type")), width * 8)) / 8


def _scalar_quantized(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    return rows * dim * _BITS[str(params.get("sq_type", "SQ8"))] / 8 + _refined(rows, dim, width, params)


def _product_quantized(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    pieces = params.get("m") or max(1, dim // 8)
    codes = float(rows * pieces * params.get("nbits", 8) * params.get("nrq", 1)) / 8
    return codes + _refined(rows, dim, width, params)


def _links(rows: int, params: Mapping[str, Any]) -> float:
    return float(rows * 2 * params.get("M", 30) * 4)


def _scann(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    codes = rows * (dim / params.get("sub_dim", 2)) / 2  # 4 bits for each piece of sub_dim elements
    return float(codes + (rows * dim * width if params.get("with_raw_data", True) else 0))


def _cagra(rows: int, dim: int, width: float, params: Mapping[str, Any]) -> float:
    return float(rows * dim * width + rows * params.get("graph_degree", 64) * 4)


_SQ_TYPE = Parameter("sq_type", "bits of a quantized element", kind="choice", choices=("SQ4", "SQ6", "SQ8"))
_HNSW_SQ_TYPE = Parameter(
    "sq_type",
    "bits of a quantized element",
    kind="choice",
    choices=("SQ4U", "SQ6", "SQ8", "BF16", "FP16"),
    default="SQ8",
)
_DOCS = "Milvus documentation 2.6, index pages"

_TYPES = (
    IndexType(
        "FLAT",
        "exact: compares with every row",
        "cpu",
        "exact",
        (2, 0),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        _raw,
        _DOCS + ": the raw vectors",
        lite=True,
    ),
    IndexType(
        "IVF_FLAT",
        "clusters of whole vectors",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        _raw,
        _DOCS + ": about the raw vectors",
        build=(NLIST,),
        search=(NPROBE,),
        lite=True,
    ),
    IndexType(
        "IVF_SQ8",
        "clusters of vectors with one byte an element",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        _scalar_quantized,
        _DOCS + ": a quarter of float32",
        build=(NLIST, _SQ_TYPE, _REFINE, _REFINE_TYPE),
        search=(NPROBE, _REFINE_K),
        lite=True,
    ),
    IndexType(
        "IVF_PQ",
        "clusters of product-quantized vectors",
        "cpu",
        "ivf",
        (2, 0),
        _FLOATS,
        FLOAT_METRICS,
        _product_quantized,
        _DOCS + ": rows * m * nbits / 8",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, required=True),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(NPROBE, _REFINE_K),
    ),
    IndexType(
        "IVF_RABITQ",
        "clusters of vectors with one bit an element",
        "cpu",
        "ivf",
        (2, 6),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * (dim / 8 + 8) + _refined(rows, dim, width, params),
        "RaBitQ (SIGMOD 2024): a bit an element and two floats a row, and the finer vectors where refine",
        build=(NLIST, _REFINE, _RABITQ_REFINE_TYPE),
        search=(
            NPROBE,
            Parameter("rbq_bits_query", "bits a query element is quantized to; 0 for none", low=0, high=8, default=0),
            _REFINE_K,
        ),
    ),
    IndexType(
        "SCANN",
        "clusters of 4-bit codes, ordered again by the raw vectors",
        "cpu",
        "ivf",
        (2, 3),
        _FLOATS,
        FLOAT_METRICS,
        _scann,
        _DOCS + ": 4 bits a piece, and the raw vectors where with_raw_data",
        build=(
            NLIST,
            Parameter("with_raw_data", "keep the raw vectors in the index", kind="bool", default=True),
            Parameter("sub_dim", "elements a code stands for; divides the dimension", low=1, high=MAX_DIM, default=2),
        ),
        search=(
            NPROBE,
            Parameter(
                "reorder_k", "candidates ordered again by the raw vectors", low=1, high=2**31 - 1, at_least_limit=True
            ),
        ),
        needs="AVX2",
    ),
    IndexType(
        "HNSW",
        "a layered graph over whole vectors",
        "cpu",
        "graph",
        (2, 0),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: rows * dim * width + _links(rows, params),
        _DOCS + ": raw + rows * 2M * 4 for the base layer's links",
        build=(_M, _EF_CONSTRUCTION),
        search=(_EF,),
        lite=True,
    ),
    IndexType(
        "HNSW_SQ",
        "a graph over vectors with few bits an element",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: _scalar_quantized(rows, dim, width, params) + _links(rows, params),
        _DOCS + ": codes + rows * 2M * 4",
        build=(_M, _EF_CONSTRUCTION, _HNSW_SQ_TYPE, _REFINE, _REFINE_TYPE),
        search=(_EF, _REFINE_K),
        lite=True,
    ),
    IndexType(
        "HNSW_PQ",
        "a graph over product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            _product_quantized(rows, dim, width, {"m": 32, **params}) + _links(rows, params)
        ),
        _DOCS + ": rows * m * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=32),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(_EF, _REFINE_K),
    ),
    IndexType(
        "HNSW_PRQ",
        "a graph over residual product-quantized vectors",
        "cpu",
        "graph",
        (2, 5),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, params: (
            _product_quantized(rows, dim, width, {"m": 2, "nrq": 2, **params}) + _links(rows, params)
        ),
        _DOCS + ": rows * m * nrq * nbits / 8 + rows * 2M * 4",
        build=(
            _M,
            _EF_CONSTRUCTION,
            Parameter("m", "pieces a vector is cut into; divides its dimension", low=1, high=MAX_DIM, default=2),
            Parameter("nrq", "residual rounds", low=1, high=16, default=2),
            _NBITS,
            _REFINE,
            _REFINE_TYPE,
        ),
        search=(_EF, _REFINE_K),
    ),
    IndexType(
        "DISKANN",
        "a graph on disk, with codes in memory",
        "disk",
        "graph",
        (2, 2),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 4,
        _DOCS + ": about a quarter of the raw vectors in memory, the rest on NVMe",
        search=(Parameter("search_list", "candidates kept while searching", low=1, high=65_535, at_least_limit=True),),
        needs="a fast local disk and queryNode.enableDisk; max_degree and search_list_size stand in the server's yaml",
        cannot=("mmap",),
    ),
    IndexType(
        "AISAQ",
        "DISKANN with its codes on disk as well",
        "disk",
        "graph",
        (2, 6, 4),
        _FLOATS,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width / 100,
        "knowhere: codes stay on disk; entry points and caches remain, below a hundredth of the raw vectors",
        build=(
            Parameter("inline_pq", "codes kept beside each node on disk", low=0, high=65_535),
            Parameter("num_entry_points", "places a search can start from", low=0, high=1000, default=100),
        ),
        search=(
            Parameter("search_list", "candidates kept while searching", low=1, high=65_535, default=16),
            Parameter("vectors_beamwidth", "vectors read from disk at once", low=1, high=4, default=1),
        ),
        needs="a fast local disk and queryNode.enableDisk",
        cannot=("mmap",),
    ),
    IndexType(
        "GPU_BRUTE_FORCE",
        "exact, on the GPU",
        "gpu",
        "exact",
        (2, 4),
        _GPU_FLOATS,
        FLOAT_METRICS,
        _raw,
        _DOCS + ": the raw vectors, in GPU memory",
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_IVF_FLAT",
        "clusters of whole vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _GPU_FLOATS,
        FLOAT_METRICS,
        _raw,
        _DOCS + ": about the raw vectors, in GPU memory",
        build=(NLIST, _CACHE_ON_DEVICE),
        search=(NPROBE,),
        max_limit=2048,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_IVF_PQ",
        "clusters of product-quantized vectors, on the GPU",
        "gpu",
        "ivf",
        (2, 3),
        _GPU_FLOATS,
        FLOAT_METRICS,
        _product_quantized,
        _DOCS + ": rows * m * nbits / 8, in GPU memory",
        build=(
            NLIST,
            Parameter("m", "pieces a vector is cut into; 0 chooses", low=0, high=MAX_DIM, default=0),
            Parameter("nbits", "bits a code has", low=4, high=8, default=8),
            _CACHE_ON_DEVICE,
        ),
        search=(NPROBE,),
        max_limit=1024,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "GPU_CAGRA",
        "a graph built and searched on the GPU",
        "gpu",
        "graph",
        (2, 4),
        _GPU_FLOATS,
        FLOAT_METRICS,
        _cagra,
        _DOCS + ": raw + rows * graph_degree * 4; the documentation advises 1.8 times raw on the device",
        build=(
            Parameter("intermediate_graph_degree", "links before pruning", low=1, high=4096, default=128),
            Parameter("graph_degree", "links after pruning", low=1, high=4096, default=64),
            Parameter(
                "build_algo",
                "how the first graph is made",
                kind="choice",
                choices=("IVF_PQ", "NN_DESCENT", "ITERATIVE"),
            ),
            _CACHE_ON_DEVICE,
            Parameter("adapt_for_cpu", "built on the GPU, searched as HNSW on the CPU", kind="bool", default=False),
        ),
        search=(
            Parameter(
                "itopk_size", "candidates kept while searching", low=32, high=1024, multiple_of=32, at_least_limit=True
            ),
            Parameter("search_width", "entry points looked at in a step", low=1, high=1024),
            Parameter("min_iterations", "steps at least", low=0, high=2**31 - 1),
            Parameter("max_iterations", "steps at most; 0 chooses", low=0, high=2**31 - 1),
            Parameter("team_size", "GPU threads for a distance", kind="choice", choices=("4", "8", "16", "32")),
            Parameter(
                "ef", "candidates, where adapt_for_cpu searches on the CPU", low=1, high=2**31 - 1, at_least_limit=True
            ),
        ),
        max_limit=1024,
        cannot=_GPU_CANNOT,
    ),
    IndexType(
        "AUTOINDEX",
        "what the server chooses",
        "cpu",
        "auto",
        (2, 2),
        _FLOATS_AND_INT8,
        FLOAT_METRICS,
        lambda rows, dim, width, _params: rows * dim * width + rows * 2 * 18 * 4,
        "HNSW with M 18, what an open-source server makes of it",
        lite=True,
    ),
    IndexType(
        "BIN_FLAT",
        "exact, over binary vectors",
        "cpu",
        "exact",
        (2, 0),
        ("BINARY_VECTOR",),
        BINARY_METRICS,
        _raw,
        _DOCS + ": the raw vectors",
    ),
    IndexType(
        "BIN_IVF_FLAT",
        "clusters of binary vectors",
        "cpu",
        "ivf",
        (2, 0),
        ("BINARY_VECTOR",),
        BINARY_METRICS,
        _raw,
        _DOCS + ": about the raw vectors",
        build=(NLIST,),
        search=(NPROBE,),
    ),
)

INDEX_TYPES: Mapping[str, IndexType] = MappingProxyType({index.name: index for index in _TYPES})


@dataclass(frozen=True, slots=True)
class ScalarIndex:
    """One scalar index type: what filters on a field can use."""

    name: str
    about: str
    since: Version
    field_types: tuple[str, ...]
    params: tuple[Parameter, ...] = ()


_INTEGERS = ("INT8", "INT16", "INT32", "INT64")
_NUMBERS = (*_INTEGERS, "FLOAT", "DOUBLE")

_SCALARS = (
    ScalarIndex("INVERTED", "general", (2, 4), ("BOOL", *_NUMBERS, "VARCHAR", "JSON", "ARRAY")),
    ScalarIndex("BITMAP", "few distinct values (below about 500)", (2, 5), ("BOOL", *_INTEGERS, "VARCHAR", "ARRAY")),
    ScalarIndex("STL_SORT", "numbers, sorted", (2, 0), _NUMBERS),
    ScalarIndex("Trie", "strings by prefix", (2, 0), ("VARCHAR",)),
    ScalarIndex(
        "NGRAM",
        "LIKE on strings",
        (2, 6, 2),
        ("VARCHAR",),
        params=(
            Parameter("min_gram", "shortest piece", low=1, high=65_535, default=2),
            Parameter("max_gram", "longest piece", low=1, high=65_535, default=3),
        ),
    ),
)

SCALAR_INDEXES: Mapping[str, ScalarIndex] = MappingProxyType({index.name: index for index in _SCALARS})


def index_type(name: str) -> IndexType:
    """The index type of that name; raises `DefinitionError` that names those there are."""
    try:
        return INDEX_TYPES[name]
    except KeyError:
        raise DefinitionError(f"{name!r} is no index type (known: {', '.join(INDEX_TYPES)})", where="type") from None
