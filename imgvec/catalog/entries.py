"""What an entry of the catalogue says: an index type's parameters, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imgvec.errors import DefinitionError

Version = tuple[int, ...]
ParameterValue = int | float | bool | str

MAX_LIMIT = 16_384
"""Milvus's bound on `limit`, on `offset + limit`, and on the queries in one call."""

DOCS = "Milvus documentation 2.6, index pages"
"""Where most of the memory formulas are from."""


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
    since: Version = ()
    """The first Milvus version that has it, if later than its index type; before that it is ignored without a word."""
    when: tuple[str, bool] | None = None
    """A build parameter, and the value of it, without which this one has no effect."""

    def counts(self, build: Mapping[str, Any]) -> bool:
        """Whether it has an effect on an index built so."""
        return self.when is None or bool(build.get(self.when[0], False)) is self.when[1]

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
            return f"{noun} from {self.low:.12g} to {self.high:.12g}"
        return f"{noun} of at least {self.low:.12g}" if self.low is not None else noun

    def problem(self, value: object) -> str | None:
        """Why `value` is refused, or None if it is accepted."""
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
        return None if fits else f"{self.name} must be {self.accepts()}, not {value!r}"


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

        `dim` adds the checks that depend on it, if known. Raises `DefinitionError` whose `where` is
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
                f"{pieces} must divide the vectors' {dim} dimensions, so it cannot be {params[pieces]}: use one of "
                f"{_divisors(dim)}",
                where=f"params.{pieces}",
            )
        if self.name == "GPU_CAGRA":
            values = {**self.defaults("build"), **params}
            if values["graph_degree"] > values["intermediate_graph_degree"]:
                raise DefinitionError(
                    f"graph_degree must be at most intermediate_graph_degree, "
                    f"{values['intermediate_graph_degree']}, not {values['graph_degree']}",
                    where="params.graph_degree",
                )

    def check_search(self, params: Mapping[str, Any], *, limit: int | None = None) -> None:
        """Refuse search parameters that Milvus would refuse; raises `DefinitionError` like `check_build`."""
        _check(self, "search", self.search, params)
        if limit is None:
            return
        if limit > self.max_limit:
            raise DefinitionError(f"limit must be at most {self.max_limit} with {self.name}, not {limit}")
        for parameter in self.search:
            value = params.get(parameter.name)
            if parameter.at_least_limit and value is not None and value < limit:
                raise DefinitionError(
                    f"{parameter.name} must be at least the limit, {limit}, not {value}",
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

    def every_row(self, build: Mapping[str, Any], *, rerank: int) -> dict[str, Any] | None:
        """Search parameters by which an index built so compares with every row that passes the filter.

        `rerank` is how many of them are compared again by their whole vectors, where the index keeps codes beside
        these. None where no parameter promises it.
        """
        clusters = next((p for p in self.build if p.name == "nlist"), None)
        if self.family != "ivf" or clusters is None:
            return None
        return {
            "nprobe": build.get("nlist", clusters.default),
            **{p.name: rerank for p in self.search if p.name == "reorder_k"},
        }

    def wider(self, params: Mapping[str, Any], build: Mapping[str, Any], *, candidates: int) -> dict[str, Any]:
        """`params` raised so that the index considers at least so many rows on the way; clusters, 16 times as many."""
        more: dict[str, Any] = {}
        for parameter in self.search:
            now = params.get(parameter.name, parameter.default)
            if not parameter.counts(build):
                continue
            if parameter.at_least_limit:
                step = parameter.multiple_of or 1
                more[parameter.name] = min(
                    int(parameter.high or candidates), max(now or 0, -(-candidates // step) * step)
                )
            elif parameter.name == "nprobe" and now is not None:
                more["nprobe"] = max(now, min(16 * now, build.get("nlist", now)))
        return {**params, **more}


@dataclass(frozen=True, slots=True)
class ScalarIndex:
    """One scalar index type: what filters on a field can use."""

    name: str
    about: str
    since: Version
    field_types: tuple[str, ...]
    params: tuple[Parameter, ...] = ()


def _check(index: IndexType, where: str, known: tuple[Parameter, ...], given: Mapping[str, Any]) -> None:
    by_name = {p.name: p for p in known}
    place = "params" if where == "build" else "search"
    for name, value in given.items():
        if name not in by_name:
            accepted = ", ".join(by_name) or "none"
            raise DefinitionError(
                f"{name} is not a {where} parameter of {index.name} (valid: {accepted})", where=f"{place}.{name}"
            )
        if problem := by_name[name].problem(value):
            raise DefinitionError(problem, where=f"{place}.{name}")


def _divisors(dim: int) -> str:
    found = [str(d) for d in range(1, dim + 1) if dim % d == 0]
    return ", ".join(found if len(found) <= 12 else [*found[:6], "…", *found[-5:]])
