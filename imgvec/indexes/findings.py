"""The problems that `verify` can find, by name, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

from imgvec.indexes.pictures import Ranked
from imgvec.indexes.recall import Estimate
from imgvec.rows import VECTOR

Severity = Literal["error", "warning"]

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "not a number": "a stored vector has NaN or infinite elements (Milvus Lite takes them)",
        "zero vector": "a stored vector has length zero, and the metric needs a direction",
        "not unit length": "a stored vector does not have unit length, which changes the ranking under IP",
        "row count": "count(*) and the number of readable rows differ (milvus#52055, milvus#36199)",
        "repeated id": "a row is read, or found by one search, more than once (milvus#36199)",
        "unfindable row": "a search with a row's own vector does not find it (milvus#21359, milvus#32585)",
        "unknown row": "a search finds a row that is not stored or does not match the filter",
        "wrong score": "Milvus's score differs from that of the stored vectors (milvus#49864)",
        "out of order": "the hits of a search are not sorted by score (milvus#40573)",
        "low recall": "too few of the true neighbours are found (milvus#49864, milvus#51821)",
        "unfinished index": 'the index does not cover all rows, whatever "Finished" says (milvus#40580)',
        "changed meanwhile": "rows were written or deleted during the check, which may explain the other findings",
    }
)
"""Every finding, with Milvus issues (https://github.com/milvus-io/milvus/issues) in which it was seen."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: `name` is one of `MEANINGS`, `message` says how often it occurs."""

    name: str
    message: str
    examples: tuple[str, ...] = ()
    """Ids of some affected rows."""
    severity: Severity = "error"
    """A warning is not a wrong answer, but a slow one or one that this check cannot judge."""

    def __str__(self) -> str:
        shown = f" (such as {', '.join(self.examples)})" if self.examples else ""
        return f"{self.name}: {self.message}{shown}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked and what was found."""

    name: str
    index: str
    limit: int
    rows: int
    """Number of rows read."""
    recall: Estimate | None
    """recall@`limit` for stored rows, with its 95 % interval; None if no row can be a query. An approximate index
    finds the neighbours of the rows that it holds more easily than those of other pictures: `tune` measures the latter.
    """
    findings: tuple[Finding, ...]
    checked: Mapping[str, int]
    """How many vectors, searches, probes and scores were looked at."""
    seconds: float
    ranked: Ranked = "rows"
    """What recall is of: of pictures in a collection of views, as a search by default finds them."""
    vector: str = VECTOR
    """The name of the vector that was looked at."""

    @property
    def ok(self) -> bool:
        """Whether there is nothing worse than warnings."""
        return all(finding.severity == "warning" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self), "checked": dict(self.checked)}
